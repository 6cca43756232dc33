"""Two teachers with a distillation token each: every head learns from its own."""

from dataclasses import replace

import pytest
import references
import torch
from toy import toy_config, toy_dataset

from deit_edu.errors import DeiTEduError
from deit_edu.inspect import prefix_attention, token_similarity
from deit_edu.losses import DistillationObjective
from deit_edu.model import DeiT, HeadLogits, fuse
from deit_edu.runs.build import build_model, build_teacher, open_teacher
from deit_edu.runs.checkpoints import load_network
from deit_edu.runs.evaluate import decisions
from deit_edu.runs.run import train
from deit_edu.runs.weights import timm_settings
from deit_edu.widgets.page import write_page

DATA = toy_dataset()
B, K = 6, 5


def draws(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


# ---- the loss ----


@pytest.mark.parametrize("distillation", ["soft", "hard"])
def test_two_teachers_that_are_one_ask_of_equal_heads_what_one_asks_of_one(distillation):
    class_logits, head, teacher, targets = draws(B, K), draws(B, K) + 1, draws(B, K) * 2, torch.arange(B) % K
    one = DistillationObjective(distillation, "both")(HeadLogits(class_logits, head), targets, teacher)
    twice = [torch.stack([logits, logits], dim=1) for logits in (head, teacher)]
    each = DistillationObjective(distillation, "each")(HeadLogits(class_logits, twice[0]), targets, twice[1])
    torch.testing.assert_close(each, one)


@pytest.mark.parametrize("distillation", ["soft", "hard"])
def test_a_head_learns_from_its_own_teacher_alone(distillation):
    targets, teachers = torch.arange(B) % K, 3 * draws(B, 2, K)
    objective, gradients = DistillationObjective(distillation, "each"), []
    for second in (teachers[:, 1], -teachers[:, 1]):  # the second teacher changes its mind
        heads = draws(B, 2, K).requires_grad_()
        objective(HeadLogits(draws(B, K), heads), targets, torch.stack([teachers[:, 0], second], dim=1)).backward()
        gradients.append(heads.grad)
    first, other = gradients
    assert not torch.equal(first[:, 1], other[:, 1])
    assert first[:, 0].any() and torch.equal(first[:, 0], other[:, 0])


def test_as_many_heads_as_teachers_are_asked_for():
    objective = DistillationObjective("hard", "each")
    for heads, teachers, told in ((draws(B, K), draws(B, 2, K), "1 and 2"), (draws(B, 2, K), draws(B, K), "2 and 1")):
        with pytest.raises(DeiTEduError, match=f"a head of its own: here are {told}"):
            objective(HeadLogits(draws(B, K), heads), torch.arange(B) % K, teachers)
    with pytest.raises(DeiTEduError, match="are for the teachers: name two"):
        DistillationObjective("none", "each")


# ---- the network ----


def with_two():
    one = references.random_deit(distilled=True, **references.SHAPES["3x3-grid"])
    model = DeiT(replace(one.config, distillation_tokens=2)).eval()
    return one, model, references.random_images(model)


def test_every_distillation_head_reads_its_own_token():
    one, model, images = with_two()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    said, features = model(images), model.forward_features(images)
    for n, head in enumerate(model.distillation_head):
        torch.testing.assert_close(said.distillation_logits[:, n], head(features[:, 1 + n]), atol=1e-5, rtol=1e-4)
    said.distillation_logits[:, 0].sum().backward()
    first, second = model.distillation_head
    assert first.weight.grad.any() and not second.weight.grad.any()
    D, K = model.config.embed_dim, model.config.num_classes
    added = sum(p.numel() for p in model.parameters()) - sum(p.numel() for p in one.parameters())
    assert added == 2 * D + (D + 1) * K  # a token, its position, its head


def test_all_heads_have_an_equal_part_in_the_answer():
    _, model, images = with_two()
    said = model(images)
    every = [said.class_logits, said.distillation_logits[:, 0], said.distillation_logits[:, 1]]
    torch.testing.assert_close(fuse(said).exp(), torch.stack([one.softmax(-1) for one in every]).mean(0))
    chosen = decisions(said)
    assert list(chosen) == ["class", "distillation", "fused", "fused_logits", "distillation_1", "distillation_2"]
    torch.testing.assert_close(chosen["distillation_2"], every[2].argmax(-1))


def test_what_looks_inside_knows_the_third_token():
    _, model, images = with_two()
    assert list(prefix_attention(model.attention_maps(images), model.config)) == [
        "class", "distillation_1", "distillation_2"]  # fmt: skip
    features = model.forward_features(images)
    apart = [torch.cosine_similarity(features[:, 0], features[:, n], dim=-1).mean() for n in (1, 2)]
    torch.testing.assert_close(token_similarity(model, images)[-1], torch.stack(apart).mean())
    with pytest.raises(DeiTEduError, match="2 distillation tokens and 0 registers, which no DeiT of others has"):
        timm_settings(model.config)


# ---- a run ----


@pytest.fixture(scope="module")
def teachers(tmp_path_factory):
    """Two convnets of one epoch, as TrainConfig names an ensemble."""
    folder = tmp_path_factory.mktemp("two")
    for seed in (0, 1):
        train(toy_config(model="convnet_weak", epochs=1, seed=seed), folder / str(seed), dataset=DATA, progress=False)
    return f"{folder / '0'}+{folder / '1'}"


def test_a_run_with_two_teachers_is_recorded_and_its_network_opens_again(teachers, tmp_path):
    config = toy_config(teacher=teachers, distillation="hard", tokens="each")
    record = train(config, tmp_path / "run", dataset=DATA, progress=False)
    assert {"class", "distillation", "distillation_1", "distillation_2", "fused"} <= set(record["test"])
    assert 0 <= record["teacher_on_train"]["accuracy"] <= 1
    model, _ = load_network(tmp_path / "run" / "model.safetensors")
    assert model.config.distillation_tokens == 2 and len(model.distillation_head) == 2
    teacher, images = build_teacher(config, DATA), torch.randn(4, *DATA.image_shape)
    assert teacher(images).shape == (4, 2, 3)
    mean = torch.stack([open_teacher(name, DATA)(images).softmax(-1) for name in teachers.split("+")]).mean(0)
    together = build_teacher(toy_config(teacher=teachers, distillation="hard", tokens="both"), DATA)
    torch.testing.assert_close(together(images).exp(), mean, atol=1e-5, rtol=1e-4)
    with pytest.raises(DeiTEduError, match="2 distillation tokens .* runs in deit_edu only"):  # not in a page
        write_page(tmp_path / "run", tmp_path / "page.html")


def test_a_token_for_each_teacher_needs_several_teachers_and_a_deit(teachers):
    alone = toy_config(teacher=teachers.split("+")[0], distillation="hard", tokens="each")
    with pytest.raises(DeiTEduError, match="need several teachers: name them as A\\+B"):
        build_model(alone, DATA)
    with pytest.raises(DeiTEduError, match="leave out keep_answers, ask_about"):
        build_teacher(replace(alone, teacher=teachers, keep_answers=1, ask_about="image"), DATA)
    with pytest.raises(DeiTEduError, match="convnet_weak cannot have a token for each teacher"):
        build_model(replace(alone, teacher=teachers, model="convnet_weak", model_settings={}), DATA)
