"""Teachers: what they are, that they only answer, and how they are stored."""

import copy
import json

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn
from toy import changed, weights

from deit_edu.data import normalise
from deit_edu.errors import DeiTEduError
from deit_edu.model import HeadLogits, create_model, fuse
from deit_edu.runs import checkpoints
from deit_edu.runs.build import build_model, open_dataset
from deit_edu.runs.checkpoints import load, load_network, load_teacher, save, save_network
from deit_edu.runs.weights import to_timm_state_dict
from deit_edu.teachers import (
    CONVNETS,
    ConvNet,
    Ensemble,
    FrozenTeacher,
    PooledStage,
    ResidualBlock,
    as_head_logits,
    create_teacher,
    fold_norms,
)
from deit_edu.train import TrainConfig, make_optimizer


def images(B=4, C=1, side=28, seed=0):
    return torch.randn(B, C, side, side, generator=torch.Generator().manual_seed(seed))


def tiny_student(distilled=True):
    settings = dict(embed_dim=16, depth=1, num_heads=2)
    return create_model("deit_nano_patch7_28", distilled=distilled, **settings)


# ---- convnets ----


def test_the_small_convnet_has_about_a_third_of_a_million_parameters():
    counts = {name: sum(p.numel() for p in create_teacher(name, 1, 10).parameters()) for name in CONVNETS}
    assert 250_000 < counts["convnet"] < 400_000
    assert counts["convnet_weak"] < counts["convnet"] < counts["convnet_large"]


@pytest.mark.parametrize("C,K,side", [(1, 10, 28), (3, 7, 33)])
@pytest.mark.parametrize("name", CONVNETS)
def test_convnets_turn_images_into_logits(name, C, K, side):
    model = create_teacher(name, C, K).eval()
    logits = model(images(3, C, side))
    assert logits.shape == (3, K)
    torch.testing.assert_close(model(images(3, C, side)[1:2]), logits[1:2], atol=1e-5, rtol=1e-4)


def test_every_stage_but_the_first_halves_the_picture_and_widens_the_channels():
    model = ConvNet(1, 10, widths=(4, 8, 16), depths=(2, 1, 2), stem_stride=2)
    features, shapes = model.stem(images()), []
    for block in model.blocks:
        features = block(features)
        shapes.append(tuple(features.shape[1:]))
    assert shapes == [(4, 14, 14), (4, 14, 14), (8, 7, 7), (16, 4, 4), (16, 4, 4)]
    torch.testing.assert_close(model(images()), model.head(features.mean((2, 3))), atol=1e-4, rtol=1e-3)


def test_a_residual_block_with_silent_convolutions_is_the_way_around():
    features = torch.rand(2, 4, 6, 6)  # not negative: the last ReLU leaves it
    block = ResidualBlock(4, 4).eval()
    nn.init.zeros_(block.norm2.weight)
    torch.testing.assert_close(block(features), features)
    assert not torch.allclose(ResidualBlock(4, 4).eval()(features), features)


def test_a_whitened_patch_comes_out_uncorrelated_with_variance_one():
    model = create_teacher("convnet_whitening", 3, 10)
    seen = images(64, 3)
    seen[:, 1] += 2 * seen[:, 0]  # colours that go together, as in photographs
    model.whiten(seen)
    answers = model.whitening(seen).detach()
    half = len(answers[0]) // 2
    assert half == 3 * 2 * 2
    torch.testing.assert_close(answers[:, half:], -answers[:, :half])  # every direction, and its opposite
    covariance = torch.cov(answers[:, :half].transpose(0, 1).flatten(1))
    torch.testing.assert_close(covariance, torch.eye(half), atol=1e-2, rtol=0)


def test_the_whitening_layer_is_computed_from_the_training_images_and_stays(tmp_path):
    config = TrainConfig(data="fashion_mnist_10k", model="convnet_whitening")
    dataset = open_dataset(config)
    model = build_model(config, dataset)
    seen = normalise(dataset.train.images[::2], dataset.mean, dataset.std)
    half = model.whitening.out_channels // 2
    spread = model.whitening(seen)[:, :half].detach().transpose(0, 1).flatten(1).var(dim=1)
    torch.testing.assert_close(spread, torch.ones(half), atol=0.05, rtol=0)
    before = model.whitening.weight.clone()
    optimizer = make_optimizer(model, config)
    optimizer.param_groups[0]["lr"] = optimizer.param_groups[1]["lr"] = 0.1
    model(seen[:8]).square().sum().backward()
    optimizer.step()
    assert torch.equal(model.whitening.weight, before) and not model.whitening.bias.eq(0).all()
    save_network(tmp_path / "it.safetensors", model, "convnet_whitening", dataset.image_shape, dataset.num_classes)
    again, _ = load_network(tmp_path / "it.safetensors")
    assert torch.equal(again(seen[:8]), model.eval()(seen[:8]))


def test_a_pooled_stage_halves_the_picture():
    stage = PooledStage(4, 6).eval()
    features = images(2, 4, 7)
    assert stage(features).shape == (2, 6, 3, 3)
    pooled = F.max_pool2d(stage.conv1(features), 2)  # then norm, GELU, and the second convolution
    torch.testing.assert_close(stage(features), F.gelu(stage.norm2(stage.conv2(F.gelu(stage.norm1(pooled))))))


def test_the_memory_layout_changes_no_number():
    model = create_teacher("convnet_weak", 3, 5).eval()
    assert model.stem[0].weight.is_contiguous(memory_format=torch.channels_last)
    first = model(images(2, 3))
    model.to(memory_format=torch.contiguous_format)
    torch.testing.assert_close(model(images(2, 3)), first, atol=1e-5, rtol=1e-4)


# ---- any timm model ----


def test_any_timm_model_can_teach():
    model = create_teacher("timm:test_resnet", 1, 7).eval()
    assert isinstance(model, timm.models.ResNet) and model(images()).shape == (4, 7)


@pytest.mark.parametrize(
    "name,message",
    [
        ("resnet", "unknown teacher 'resnet': choose one of convnet, convnet_wide, convnet_large,"),
        ("timm:", "unknown teacher 'timm:': choose one of"),
        ("timm:resnt18", "timm has no model 'resnt18'"),
        ("timm:resnet18000", "timm has no model 'resnet18000'; did you mean .*resnet"),
        ("timm:resnet18.no_such_tag", "timm cannot make 'resnet18.no_such_tag': Invalid pretrained tag"),
    ],
)
def test_an_unknown_teacher_is_answered_with_the_known_ones(name, message):
    with pytest.raises(DeiTEduError, match=message):
        create_teacher(name, 1, 10)


def test_weights_of_other_classes_are_refused_before_they_are_fetched():
    with pytest.raises(DeiTEduError, match="know 1000 classes, the data has 10: train it on them first with deit-edu"):
        load_teacher("timm:resnet18", 1, 10)


def test_without_a_network_the_weights_are_named(monkeypatch):
    def offline(*arguments, **named):
        raise ConnectionError("no route")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(DeiTEduError, match="could not fetch weights for 'resnet18' .ConnectionError.: go online once"):
        load_teacher("timm:resnet18", 3, 1000)


# ---- frozen ----


@pytest.mark.parametrize("name", ["convnet", "convnet_large", "convnet_weak"])
def test_folded_norms_change_no_answer_but_by_rounding(name):
    torch.manual_seed(0)
    network = create_teacher(name, 1, 10)
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            for tensor, low, high in ((part.running_mean, -1, 1), (part.running_var, 0.5, 2), (part.weight, -2, 2)):
                nn.init.uniform_(tensor, low, high)
    expected = FrozenTeacher(network)(images())
    folded = fold_norms(Ensemble([copy.deepcopy(network)])).models[0]
    assert not any(isinstance(part, nn.BatchNorm2d) for part in folded.modules())
    torch.testing.assert_close(FrozenTeacher(folded)(images()), expected, rtol=1e-5, atol=1e-5)
    assert fold_norms(folded) is folded  # once is enough


def test_other_networks_are_not_folded():
    for network in (create_teacher("convnet_whitening", 1, 10), create_model("deit_nano_patch7_28")):
        before = repr(network)
        assert repr(fold_norms(network)) == before


def test_a_frozen_teacher_never_leaves_eval_mode():
    teacher = FrozenTeacher(create_teacher("convnet_weak", 1, 10).train())
    assert not any(module.training for module in teacher.model.modules())
    before = weights(teacher)
    student_and_teacher = nn.ModuleList([nn.Dropout(), teacher])
    for _ in range(2):
        student_and_teacher.train()
        assert student_and_teacher[0].training
        assert not any(module.training for module in teacher.modules())
        teacher(images())
    assert changed(before, teacher.state_dict()) == set()  # batch norm's statistics among them


def test_no_gradient_reaches_a_teacher_or_passes_through_it():
    teacher = FrozenTeacher(create_teacher("convnet_weak", 1, 10))
    seen = images().requires_grad_()
    logits = teacher(seen)
    assert not logits.requires_grad and not any(p.requires_grad for p in teacher.parameters())


def test_a_teacher_with_two_heads_answers_with_both():
    student = tiny_student().eval()
    torch.testing.assert_close(FrozenTeacher(student)(images()), fuse(student(images())))
    plain = tiny_student(distilled=False).eval()
    torch.testing.assert_close(FrozenTeacher(plain)(images()), plain(images()).class_logits)


def test_an_ensemble_says_the_mean_of_the_probabilities():
    members = [create_teacher("convnet_weak", 1, 10).eval(), tiny_student().eval(), tiny_student(False).eval()]
    said = Ensemble(members).eval()(images()).softmax(-1)
    apart = [FrozenTeacher(model)(images()).softmax(-1) for model in members]
    torch.testing.assert_close(said, sum(apart) / 3)


def test_heads_are_float32_whatever_the_network_says():
    one, two = torch.randn(2, 3, dtype=torch.bfloat16), HeadLogits(torch.randn(2, 3), torch.randn(2, 3).half())
    assert as_head_logits(one).distillation_logits is None
    assert torch.equal(as_head_logits(one).class_logits, one.float())
    assert {logits.dtype for logits in as_head_logits(two)} == {torch.float32}
    assert torch.equal(as_head_logits(two).distillation_logits, two.distillation_logits.float())


# ---- stored ----


@pytest.mark.parametrize("make,name", [
    (lambda: create_teacher("convnet_weak", 1, 10), "convnet_weak"),
    (lambda: create_teacher("timm:test_resnet", 1, 10), "timm:test_resnet"),
    (tiny_student, "deit_nano_patch7_28"),
])  # fmt: skip
def test_what_is_saved_comes_back(make, name, tmp_path):
    model = make()
    for module in model.modules():  # numbers that a fresh network does not have
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
    save_network(tmp_path / "model.safetensors", model, name, (1, 28, 28), 10, {"note": "mine"})
    again, metadata = load_network(tmp_path / "model.safetensors")
    assert type(again) is type(model) and not any(module.training for module in again.modules())
    assert changed(weights(model), again.state_dict()) == set()
    assert metadata["name"] == name and metadata["image_shape"] == [1, 28, 28]
    assert metadata["num_classes"] == 10 and metadata["note"] == "mine"


def test_half_precision_files_come_back_in_float32(tmp_path):
    model = create_teacher("convnet_weak", 1, 10)
    save_network(tmp_path / "half.safetensors", model, "convnet_weak", (1, 28, 28), 10, dtype=torch.float16)
    again, _ = load_network(tmp_path / "half.safetensors")
    assert {p.dtype for p in again.parameters()} == {torch.float32}
    assert torch.equal(again.head.weight, model.head.weight.half().float())
    assert load(tmp_path / "half.safetensors")[0]["head.weight"].dtype == torch.float16


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    path = tmp_path / "model.safetensors"
    with pytest.raises(DeiTEduError, match="no checkpoint .*model.safetensors"):
        load_network(path)
    save_network(path, create_teacher("convnet_weak", 1, 10), "convnet_weak", (1, 28, 28), 10)
    tensors, metadata = load(path)
    whole = path.read_bytes()
    for cut in (0, 5, 200, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(DeiTEduError, match="model.safetensors is damaged or no safetensors file"):
            load_network(path)
    save(path, tensors, metadata | {"name": "convnet"})
    with pytest.raises(DeiTEduError, match="does not hold the convnet it names: train it again"):
        load_network(path)
    save(path, to_timm_state_dict(tiny_student()))
    with pytest.raises(DeiTEduError, match="holds weights without a config, not a DeiT"):
        load_network(path)


def test_a_teacher_is_found_by_its_run_folder(tmp_path):
    model = create_teacher("convnet_weak", 1, 10)
    save_network(tmp_path / "run/model.safetensors", model, "convnet_weak", (1, 28, 28), 10)
    again, metadata = load_teacher(str(tmp_path / "run"), 1, 10)
    assert changed(weights(model), again.state_dict()) == set() and metadata["num_classes"] == 10
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun/config.json").write_text(json.dumps({}))
    with pytest.raises(DeiTEduError, match="begun has not finished training: train it first with deit-edu train"):
        load_teacher(str(tmp_path / "begun"), 1, 10)
    with pytest.raises(DeiTEduError, match="nowhere is not a run folder: train it first with deit-edu train"):
        load_teacher(str(tmp_path / "nowhere"), 1, 10)


def test_a_packaged_teacher_is_found_by_its_name(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "CHECKPOINTS", tmp_path)
    save_network(tmp_path / "one.safetensors", create_teacher("convnet_weak", 1, 10), "convnet_weak", (1, 28, 28), 10)
    assert load_teacher("packaged:one", 1, 10)[1]["name"] == "convnet_weak"
    with pytest.raises(DeiTEduError, match="no packaged network 'two': choose one of one"):
        load_teacher("packaged:two", 1, 10)
