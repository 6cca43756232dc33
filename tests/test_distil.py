"""A second token for somebody's ViT: timm's own token distillation says the same, and the loop trains it."""

import dataclasses
import io
import json
import re
import urllib.error
from contextlib import nullcontext

import pytest
import timm
import torch
from toy import changed, toy_config, toy_dataset, weights

from deit_edu.cli import main
from deit_edu.distil import DistilledViT, add_distillation
from deit_edu.errors import DeiTEduError
from deit_edu.losses import DistillationObjective
from deit_edu.model import create_model
from deit_edu.patches import resize_position_embedding
from deit_edu.runs import build
from deit_edu.runs.build import build_model, check_sees, head_names, start_timm
from deit_edu.runs.evaluate import accuracies, predict
from deit_edu.runs.folders import open_run
from deit_edu.runs.run import train
from deit_edu.train import TrainConfig, parameter_groups

SHAPE = dict(img_size=32, patch_size=8, embed_dim=32, depth=2, num_heads=2, num_classes=5)


def pair():
    """timm's distilled DeiT, and a plain one of its weights with our second token."""
    torch.manual_seed(0)
    theirs = timm.create_model("deit_tiny_distilled_patch16_224", **SHAPE)
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    plain = timm.create_model("deit_tiny_patch16_224", **SHAPE)
    state = theirs.state_dict()
    positions = state.pop("pos_embed")
    second = {name: state.pop(name) for name in ("dist_token", "head_dist.weight", "head_dist.bias")}
    plain.load_state_dict(state | {"pos_embed": torch.cat([positions[:, :1], positions[:, 2:]], 1)})
    ours = add_distillation(plain, 5)
    with torch.no_grad():
        ours.distillation_token.copy_(second["dist_token"])
        ours.distillation_position_embed.copy_(positions[:, 1:2])
        ours.distillation_head.weight.copy_(second["head_dist.weight"])
        ours.distillation_head.bias.copy_(second["head_dist.bias"])
    return theirs, ours


@pytest.mark.parametrize("training", [True, False])
def test_timms_token_distillation_says_the_same_in_both_modes(training):
    theirs, ours = (model.train(training) for model in pair())
    theirs.set_distilled_training(training)
    images = torch.randn(3, 3, 32, 32)
    expected, said = theirs(images), ours(images)
    if training:  # both heads
        for one, other in zip(said, expected, strict=True):
            torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-6)
    else:  # their mean
        torch.testing.assert_close(sum(said) / 2, expected, atol=1e-6, rtol=1e-6)


def test_a_trained_vit_keeps_its_head_and_its_second_token_starts_as_the_first():
    plain = timm.create_model("vit_tiny_patch16_224", **SHAPE)
    head, token = plain.head, plain.cls_token.detach().clone()
    ours = add_distillation(plain, 5)
    assert ours.class_head is head and torch.equal(ours.distillation_token, token)
    other = add_distillation(timm.create_model("vit_tiny_patch16_224", **SHAPE), 7)
    assert {len(logits[0]) for logits in other(torch.zeros(1, 3, 32, 32))} == {7}


def test_a_vit_of_hugging_face_takes_it_too():
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
                                    image_size=32, patch_size=8, num_labels=5)  # fmt: skip
    torch.manual_seed(0)
    plain = transformers.ViTForImageClassification(config).eval()
    images = torch.randn(2, 3, 32, 32)
    ours = add_distillation(plain, 5).eval()
    said = ours(images)
    assert said.class_logits.shape == said.distillation_logits.shape == (2, 5)
    (said.class_logits.sum() + said.distillation_logits.sum()).backward()
    assert all(parameter.grad is not None for name, parameter in ours.named_parameters() if "pooler" not in name)


def test_the_loss_trains_both_tokens():
    ours = add_distillation(timm.create_model("vit_tiny_patch16_224", **SHAPE | {"num_classes": 3}), 3)
    optimizer, before = torch.optim.AdamW(ours.parameters(), lr=1e-3), weights(ours)
    data = toy_dataset(side=32, channels=3).train
    loss = DistillationObjective("hard", "both")(ours(data.images[:9] / 255), data.labels[:9], torch.randn(9, 3))
    loss.backward()
    optimizer.step()
    assert not torch.equal(before["distillation_token"], ours.distillation_token)


def test_dropping_patches_of_timms_drops_neither_token():
    torch.manual_seed(0)
    ours = add_distillation(timm.create_model("vit_tiny_patch16_224", **SHAPE, patch_drop_rate=0.5), 5).train()
    seen, images = [], torch.zeros(64, 3, 32, 32)  # all alike, so that any difference is what was dropped
    ours.model.blocks[0].register_forward_pre_hook(lambda block, tokens: seen.append(*tokens))
    ours(images)
    assert seen[0].shape == (64, 2 + 8, 32)  # half of the sixteen patches, both tokens
    second = ours.distillation_token + ours.distillation_position_embed
    torch.testing.assert_close(seen[0][:, 1:2], second.expand(64, -1, -1))
    assert not torch.equal(seen[0][0, 2:], seen[0][1, 2:])


def test_what_timm_does_before_its_head_is_done_before_both():
    torch.manual_seed(0)
    plain = timm.create_model("vit_tiny_patch16_224", **SHAPE, fc_norm=True).eval()
    torch.nn.init.normal_(plain.fc_norm.weight)
    ours = add_distillation(plain, 5).eval()
    tokens = ours.tokens_of_timm(torch.randn(2, 3, 32, 32))
    undone = (tokens - plain.fc_norm.bias) / plain.fc_norm.weight
    torch.testing.assert_close(undone.std(dim=-1, unbiased=False), torch.ones(2, 18), atol=1e-3, rtol=0)
    dropping = add_distillation(timm.create_model("vit_tiny_patch16_224", **SHAPE, drop_rate=0.5), 5).train()
    assert 0.4 < (dropping.tokens_of_timm(torch.randn(2, 3, 32, 32)) == 0).float().mean() < 0.6


def test_dropout_behind_the_embeddings_reaches_the_second_token_too():
    transformers = pytest.importorskip("transformers")
    timms = timm.create_model("vit_tiny_patch16_224", **SHAPE, pos_drop_rate=0.5)
    config = transformers.ViTConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64,
                                    image_size=32, patch_size=8, num_labels=5, hidden_dropout_prob=0.5)  # fmt: skip
    faces = transformers.ViTForImageClassification(config)
    for vit, blocks in ((timms, lambda vit: vit.blocks[0]), (faces, lambda vit: layers_of(vit)[0])):
        ours, seen = add_distillation(vit, 5).train(), []
        torch.nn.init.normal_(ours.distillation_token)
        blocks(vit).register_forward_pre_hook(lambda block, tokens: seen.append(*tokens))  # noqa: B023
        ours(torch.zeros(64, 3, 32, 32))
        assert 0.4 < (seen[0][:, 1] == 0).float().mean() < 0.6


def layers_of(vit):
    return vit.vit.encoder.layer if hasattr(vit.vit, "encoder") else vit.vit.layers


def test_gradient_checkpointing_of_timms_goes_on_behind_the_second_token():
    counts = {}
    for saves in (False, True):
        vit, calls = timm.create_model("vit_tiny_patch16_224", **SHAPE), []
        vit.set_grad_checkpointing(saves)
        vit.blocks[0].register_forward_pre_hook(lambda *_: calls.append(1))  # noqa: B023
        sum(logits.sum() for logits in add_distillation(vit, 5).train()(torch.zeros(1, 3, 32, 32))).backward()
        counts[saves] = len(calls)
    assert counts == {False: 1, True: 2}


@pytest.mark.parametrize("kind", ["ViTForMaskedImageModeling", "ViTMAEForPreTraining", "YolosForObjectDetection"])
def test_a_vit_of_hugging_face_for_something_else_is_refused(kind):
    transformers = pytest.importorskip("transformers")
    model = getattr(transformers, kind)
    side = [32, 32] if kind.startswith("Yolos") else 32
    sizes = dict(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64, image_size=side,
                 patch_size=8)  # fmt: skip
    with pytest.raises(DeiTEduError, match=f"{kind} takes no distillation token: give a ViT for image classification"):
        add_distillation(model(model.config_class(**sizes)), 5)


@pytest.mark.parametrize(("name", "settings", "message"), [
    ("test_resnet", {}, "no ViT"), ("deit_tiny_distilled_patch16_224", {}, "prefix tokens of its own already"),
    ("deit3_small_patch16_224", {}, "positions leave out the class token"),
    ("vit_tiny_patch16_224", {"pos_embed": "none"}, "have no positions"),
    ("vit_tiny_patch16_224", {"reg_tokens": 4}, "prefix tokens of its own already"),
    ("eva02_tiny_patch14_224", {"global_pool": "token"}, "no ViT of timm's"),
])  # fmt: skip
def test_what_has_no_single_class_token_is_refused(name, settings, message):
    with pytest.raises(DeiTEduError, match=message):
        add_distillation(timm.create_model(name, **settings), 5)


# ---- trained by deit-edu train ----

DATA = toy_dataset(train=48, side=32)
VIT = dict(model="timm:test_vit", model_settings={}, tokens="both", epochs=2)  # patches of 16 pixels: four tokens


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    """A ViT of timm, taught by a convnet for two epochs: its folder."""
    root = tmp_path_factory.mktemp("taught")
    train(toy_config(model="convnet_weak", epochs=1), root / "teacher", dataset=DATA, progress=False)
    config = toy_config(**VIT, teacher=str(root / "teacher"), distillation="hard")
    train(config, root / "student", dataset=DATA, progress=False)
    return root / "student"


def test_a_vit_of_timm_is_trained_evaluated_and_opened_again(taught):
    record = json.loads((taught / "result.json").read_text())
    assert set(record["test"]) == {"class", "distillation", "fused", "fused_logits"}
    model, metadata = open_run(str(taught))
    assert isinstance(model, DistilledViT) and metadata["tokens"] == "both"
    said = predict(model, DATA.test, DATA)
    assert {head: one.to_dict() for head, one in accuracies(said, DATA.test.labels).items()} == record["test"]
    torch.manual_seed(0)
    before = build_model(toy_config(**VIT), DATA).state_dict()
    still = set(before) - changed(before, weights(model))
    assert not still, f"these learned nothing: {still}"


def test_it_goes_on_after_a_stop_with_the_same_weights(taught, tmp_path):
    whole = json.loads((taught / "result.json").read_text())
    config = TrainConfig(**whole["config"])

    def stop(images):
        if (tmp_path / "cut/resume.safetensors").exists():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "cut", dataset=DATA, progress=False, on_images=stop)
    again = train(config, tmp_path / "cut", dataset=DATA, resume=True, progress=False)
    assert again["checkpoint"] == whole["checkpoint"]


def test_it_is_tuned_at_another_size_and_on_other_classes(taught, tmp_path):
    large = dataclasses.replace(toy_dataset(train=48, side=48), classes=("left", "centre", "right"))
    config = toy_config(**VIT | {"epochs": 0}, initial=str(taught))
    train(config, tmp_path / "tuned", dataset=large, progress=False)
    first, tuned = (open_run(str(folder))[0].state_dict() for folder in (taught, tmp_path / "tuned"))
    assert tuned["model.pos_embed"].shape == (1, 1 + 9, 64)
    expected = resize_position_embedding(first["model.pos_embed"], (2, 2), (3, 3), 1)
    torch.testing.assert_close(tuned["model.pos_embed"], expected)
    same = set(first) - changed(first, tuned | {"model.pos_embed": first["model.pos_embed"]})
    assert same == {name for name in first if "_head." not in name}


@pytest.mark.parametrize("tokens", ["class", "both"])
def test_timms_own_weights_start_it_with_their_size_channels_and_statistics(tokens, tmp_path, monkeypatch):
    torch.manual_seed(5)
    theirs = timm.create_model("test_vit")
    torch.save(theirs.state_dict(), tmp_path / "cached.pth")
    fetch = timm.create_model

    def from_cache(name, pretrained=False, **settings):
        local = {"pretrained_cfg_overlay": {"file": str(tmp_path / "cached.pth")}} if pretrained else {}
        return fetch(name, pretrained=pretrained, **settings, **local)

    monkeypatch.setattr(timm, "create_model", from_cache)
    monkeypatch.setattr("urllib.request.urlopen", lambda *request, **named: io.BytesIO())
    config = toy_config(**VIT | {"epochs": 0, "tokens": tokens}, initial="timm:test_vit")
    notes = pytest.warns(UserWarning, match="test_vit has no distillation token: .* its head is drawn anew")
    with notes if tokens == "both" else nullcontext():
        train(config, tmp_path / "run", dataset=DATA, progress=False)
    model, metadata = open_run(str(tmp_path / "run"))
    assert metadata["mean"] == [0.5, 0.5, 0.5] and metadata["image_shape"] == [3, 32, 32]
    trunk = getattr(model, "model", model)
    expected = theirs.state_dict()
    expected["pos_embed"] = resize_position_embedding(expected["pos_embed"], (10, 10), (2, 2), 1)
    for name, tensor in trunk.state_dict().items():
        if not name.startswith("head."):  # of other classes
            torch.testing.assert_close(tensor, expected[name])
    if tokens == "both":
        assert torch.equal(model.distillation_token, theirs.cls_token)


def test_without_a_network_timms_weights_are_one_line_at_once(tmp_path, monkeypatch, capfd):
    from huggingface_hub import constants

    def nobody(*request, **named):
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr("urllib.request.urlopen", nobody)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "empty"))
    for model in ("timm:vit_tiny_patch16_224", "deit_tiny_patch16_224 --patch-size 14"):
        line = f"train --quiet --model {model} --initial timm:vit_tiny_patch16_224 --tokens both --out {tmp_path}/run"
        assert main(line.split()) == 2
        said = capfd.readouterr().err
        assert re.fullmatch(r"error: timm could not fetch weights for 'vit_tiny.*: go online once, .*\n", said), said
    assert constants.HF_HUB_OFFLINE is False and not (tmp_path / "run").exists()


@pytest.mark.parametrize(("settings", "message"), [
    (dict(model="timm:test_resnet"), "timm:test_resnet: ResNet takes no .*: it is no ViT .*, or --tokens class"),
    (dict(initial="timm:resnet18x"), "timm has no weights for 'timm:resnet18x'"),
    (dict(initial="student"), "student is a timm:test_vit, not timm:test_vit2: start from a run of the same"),
    (dict(initial="nowhere"), "no run nowhere"),
    (dict(initial=__file__), "starts from timm:NAME or from a run of its own; a DeiT starts from a file"),
    (dict(model_settings={"depth": 3}), "timm:test_vit2 has no size and no dropout to set"),
])  # fmt: skip
def test_what_does_not_fit_a_vit_of_timm_is_one_line(settings, message, taught, tmp_path, monkeypatch):
    monkeypatch.setenv("DEIT_EDU_RUNS", str(taught.parent))
    with pytest.raises(DeiTEduError, match=message):
        config = toy_config(**VIT | {"model": "timm:test_vit2"} | settings)
        train(config, tmp_path / "run", dataset=DATA, progress=False)
    assert not (tmp_path / "run").exists()


def test_patches_that_leave_out_a_rest_of_the_picture_are_refused():
    with pytest.raises(DeiTEduError, match="timm:test_vit cannot see .* .patches of 16 x 16 pixels do not divide it"):
        build_model(toy_config(**VIT), toy_dataset(side=40))


@pytest.mark.parametrize(("name", "side"), [
    ("efficientvit_m0", 64), ("xcit_nano_12_p16_224", 64), ("pvt_v2_b0", 64), ("pit_xs_224", 72),
])  # fmt: skip
def test_patches_that_overlap_need_not_divide_the_picture(name, side):
    model = build_model(toy_config(model=f"timm:{name}"), toy_dataset(side=side))
    assert model(torch.zeros(2, 1, side, side)).shape == (2, 3)


@pytest.mark.parametrize(("settings", "side", "message"), [
    (dict(model="timm:gcvit_tiny"), 28, "timm cannot make 'gcvit_tiny' for images of 28x28 .*: choose another model"),
    (dict(model="timm:test_resnet", batch_size=2, accumulate=2), 32, "two images or more: .* a smaller --accumulate"),
    (dict(model="timm:levit_128s", batch_size=1), 64, "batch norms, which need two images or more"),
    (dict(model="timm:test_resnet", drop_path_rate=1.5), 32, r"drop_path_rate is 1.5: it must lie in \[0, 1\)"),
    (dict(model="timm:test_resnet", drop_path_rate=-1.0), 32, r"drop_path_rate is -1.0: it must lie in \[0, 1\)"),
])  # fmt: skip
def test_what_a_network_of_timm_cannot_be_is_one_line(settings, side, message):
    with pytest.raises(DeiTEduError, match=message):
        build_model(toy_config(**settings), toy_dataset(side=side))


def test_a_division_by_zero_inside_a_network_is_one_line():
    class Dividing(torch.nn.Module):
        def forward(self, images):
            return images / (1 // 0)

    with pytest.raises(DeiTEduError, match="it cannot see images of 1x8x8 .*division.* by zero.: choose another model"):
        check_sees(Dividing(), "it", toy_dataset())


def started(student, initial, monkeypatch, **settings):
    """A network of timm, built at random, that starts from another as from timm's own weights."""
    monkeypatch.setattr(
        build, "open_timm", lambda *names: (initial, {"num_classes": getattr(initial, "num_classes", 3)})
    )
    start_timm(student, toy_config(model="timm:it", initial="timm:it", **settings), DATA)
    return student.state_dict()


def test_a_run_with_two_tokens_starts_none_with_one(monkeypatch):
    one, other = (timm.create_model("test_vit", img_size=32, num_classes=3) for _ in range(2))
    with pytest.raises(DeiTEduError, match="timm:it has a distillation token: start from it with --tokens both"):
        started(one, add_distillation(other, 3), monkeypatch)


@pytest.mark.parametrize("name", ["deit_tiny_distilled_patch16_224", "levit_128s"])
@pytest.mark.parametrize("classes", [3, 5])
def test_a_network_of_two_heads_starts_from_its_own(name, classes, monkeypatch):
    side = {"img_size": 32, "depth": 1} if "deit" in name else {}
    theirs = timm.create_model(name, num_classes=classes, **side)
    student = timm.create_model(name, num_classes=3, **side)
    drawn = {key: tensor.clone() for key, tensor in student.state_dict().items()}
    state, of_heads = started(student, theirs, monkeypatch), set(head_names(student))
    kept = of_heads if classes == 5 else set()
    assert {key.partition(".")[0] for key in of_heads} == {"head", "head_dist"}
    for key, tensor in state.items():
        torch.testing.assert_close(tensor, drawn[key] if key in kept else theirs.state_dict()[key])


@pytest.mark.parametrize(("name", "settings", "prefix"), [
    ("deit3_small_patch16_224", {}, 0), ("vit_small_patch14_reg4_dinov2", dict(patch_size=16), 0),
    ("cait_xxs24_224", {}, 0), ("deit_tiny_distilled_patch16_224", {}, 2), ("vit_tiny_patch16_224", {}, 1),
])  # fmt: skip
def test_positions_are_resized_whatever_stands_before_them(name, settings, prefix, monkeypatch):
    theirs, student = (
        timm.create_model(name, img_size=side, depth=1, num_classes=3, **settings) for side in (64, 32)
    )  # fmt: skip
    state = started(student, theirs, monkeypatch)
    expected = resize_position_embedding(theirs.pos_embed, (4, 4), (2, 2), prefix)
    torch.testing.assert_close(state["pos_embed"], expected)


@pytest.mark.parametrize(("name", "sides"), [("volo_d1_224", (64, 32)), ("pit_xs_224", (72, 64))])
def test_positions_of_another_kind_are_one_line(name, sides, monkeypatch):
    theirs, student = (timm.create_model(name, img_size=side, num_classes=3) for side in sides)
    with pytest.raises(DeiTEduError, match="timm:it has positions for another image size, .* images of its own size"):
        started(student, theirs, monkeypatch)


def test_positions_between_tokens_do_not_fit_another_size(monkeypatch):
    shape = dict(depth=1, embed_dim=48, num_heads=3, num_classes=3)
    theirs, student = (timm.create_model("beit_base_patch16_224", img_size=side, **shape) for side in (64, 32))
    with pytest.raises(DeiTEduError, match="does not fit timm:it here .size mismatch .*, with images of its own size"):
        started(student, theirs, monkeypatch)


def test_tokens_and_positions_do_not_decay_in_anybodys_vit():
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64,
                                    image_size=32, patch_size=8, num_labels=5)  # fmt: skip
    for plain in (timm.create_model("vit_tiny_patch16_224", **SHAPE), transformers.ViTForImageClassification(config)):
        model = add_distillation(plain, 5)
        decay, _ = parameter_groups(model, 0.05)
        decays = {id(parameter) for parameter in decay["params"]}
        wrong = [name for name, one in model.named_parameters()
                 if id(one) in decays and ("token" in name or "pos" in name)]  # fmt: skip
        assert not wrong and decays


# ---- a start that has one head ----


def test_a_plain_deit_keeps_how_it_sees_pictures_and_gets_one_token_however_many_it_was_set_up_for():
    plain = create_model("deit_nano_patch7_28", distilled=False, distillation_tokens=2)
    plain.preprocessing = "its own"
    ours = add_distillation(plain, 5)
    assert ours.preprocessing == "its own" and ours.config.num_prefix_tokens == 2
    assert ours(torch.zeros(1, 1, 28, 28)).distillation_logits.shape == (1, 5)


def test_a_plain_deit_gets_a_second_token_that_starts_as_the_first():
    torch.manual_seed(0)
    plain = create_model("deit_nano_patch7_28", embed_dim=16, depth=1, num_heads=2).eval()
    two = add_distillation(plain, plain.config.num_classes)
    assert torch.equal(two.distillation_token, plain.class_token) and not two.training
    assert torch.equal(two.position_embedding[:, 0], two.position_embedding[:, 1])
    ours, theirs = two.state_dict(), plain.state_dict()
    theirs["position_embedding"] = ours["position_embedding"]
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    with pytest.raises(DeiTEduError, match="has a distillation token already"):
        add_distillation(two, 10)


@pytest.mark.parametrize("source", ["run", "file"])
def test_a_run_with_two_tokens_starts_from_weights_of_one_head_and_says_so(source, tmp_path):
    data = toy_dataset()
    train(toy_config(epochs=1), tmp_path / "plain", dataset=data, progress=False)
    initial = str(tmp_path / "plain")
    if source == "file":
        initial = f"{initial}/model.safetensors"
    config = toy_config(initial=initial, tokens="both", epochs=0)
    with pytest.warns(UserWarning, match="plain.* has no distillation token: it begins as a copy of the class token"):
        train(config, tmp_path / "two", dataset=data, progress=False)
    plain, two = (open_run(str(tmp_path / name))[0].state_dict() for name in ("plain", "two"))
    new = {"distillation_token", "distillation_head.weight", "distillation_head.bias", "position_embedding"}
    assert torch.equal(two["distillation_token"], plain["class_token"])
    assert changed(plain, {name: two[name] for name in plain}) == {"position_embedding"}
    assert set(two) - set(plain) == new - {"position_embedding"}
