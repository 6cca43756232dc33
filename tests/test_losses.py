"""The losses are the paper's equations, in both normalisations, and timm's distillation tasks agree."""

import numpy as np
import pytest
import references
import timm
import torch
import torch.nn.functional as F
from timm.data.mixup import mixup_target
from timm.loss import LabelSmoothingCrossEntropy, SoftTargetCrossEntropy
from timm.task import LogitDistillationTask, TokenDistillationTask
from torch import nn

from deit_edu.errors import DeiTEduError
from deit_edu.losses import (
    DISTILLATIONS,
    DistillationObjective,
    drawn_distillation,
    hard_distillation,
    smooth_labels,
    soft_cross_entropy,
    soft_distillation,
)
from deit_edu.model import DeiT, DeiTConfig, HeadLogits

B, K = 6, 5
LABELS = torch.tensor([0, 1, 2, 3, 4, 2])


def random_logits(seed, scale=3.0):
    return scale * torch.randn(B, K, generator=torch.Generator().manual_seed(seed))


def random_heads():
    return HeadLogits(random_logits(0).requires_grad_(), random_logits(1).requires_grad_())


STUDENT, TEACHER = random_logits(1), random_logits(2)
Z_s, Z_t = STUDENT.double().numpy(), TEACHER.double().numpy()
ONE_HOT = references.one_hot(LABELS.numpy(), K)
MIXED = 0.7 * ONE_HOT + 0.3 * ONE_HOT[::-1]  # what Mixup makes of labels


# ---- true labels ----


def test_smoothing_over_the_others_gives_the_truth_1_minus_epsilon():
    smoothed = smooth_labels(LABELS, K, 0.1)
    expected = np.array([[0.9 if c == y else 0.1 / (K - 1) for c in range(K)] for y in LABELS])
    assert np.allclose(smoothed, expected)
    assert torch.allclose(smoothed.sum(-1), torch.ones(B))
    assert torch.equal(smooth_labels(LABELS, K, 0.1, over="others"), smoothed), "the paper's way is the default"


def test_smoothing_over_all_leaves_the_truth_a_little_more():
    smoothed = smooth_labels(LABELS, K, 0.1, over="all")
    expected = np.array([[(0.9 if c == y else 0) + 0.1 / K for c in range(K)] for y in LABELS])
    assert np.allclose(smoothed, expected)
    assert torch.allclose(smoothed.sum(-1), torch.ones(B))
    assert torch.allclose(smoothed, mixup_target(LABELS, K, smoothing=0.1)), "the authors' code, in timm"


def test_smoothing_over_all_is_timms_and_pytorchs_label_smoothing():
    loss = soft_cross_entropy(STUDENT, smooth_labels(LABELS, K, 0.1, over="all"))
    assert torch.allclose(loss, LabelSmoothingCrossEntropy(0.1)(STUDENT, LABELS))
    assert torch.allclose(loss, F.cross_entropy(STUDENT, LABELS, label_smoothing=0.1))
    assert not torch.allclose(loss, soft_cross_entropy(STUDENT, smooth_labels(LABELS, K, 0.1)), rtol=1e-3)


@pytest.mark.parametrize("over", ["others", "all"])
def test_no_smoothing_leaves_the_labels_as_they_are(over):
    assert np.array_equal(smooth_labels(LABELS, K, 0, over), ONE_HOT)
    assert torch.allclose(
        soft_cross_entropy(STUDENT, smooth_labels(LABELS, K, 0, over)), soft_cross_entropy(STUDENT, LABELS)
    )


@pytest.mark.parametrize("targets", [ONE_HOT, MIXED], ids=["labels", "mixed"])
def test_cross_entropy_is_its_definition_and_timms(targets):
    loss = soft_cross_entropy(STUDENT, torch.tensor(targets, dtype=torch.float32))
    assert loss.item() == pytest.approx(references.cross_entropy(Z_s, targets), rel=1e-5)
    assert torch.allclose(loss, SoftTargetCrossEntropy()(STUDENT, torch.tensor(targets).float()))


def test_cross_entropy_of_labels_is_that_of_their_one_hot_form():
    assert soft_cross_entropy(STUDENT, LABELS).item() == pytest.approx(references.cross_entropy(Z_s, ONE_HOT), rel=1e-5)


# ---- the teacher ----


@pytest.mark.parametrize("tau", [1.0, 3.0, 10.0])
def test_soft_distillation_is_the_second_term_of_equation_2(tau):
    loss = soft_distillation(STUDENT, TEACHER, tau)
    assert loss.item() == pytest.approx(tau**2 * references.kl(Z_t, Z_s, tau).mean(), rel=1e-5)


@pytest.mark.parametrize("tau", [1.0, 3.0])
def test_the_authors_normalisation_divides_by_the_batch_and_the_classes(tau):
    official = soft_distillation(STUDENT, TEACHER, tau, reduction="official")
    by_hand = tau**2 * references.kl(Z_t, Z_s, tau).sum() / (B * K)
    student, teacher = F.log_softmax(STUDENT / tau, dim=1), F.log_softmax(TEACHER / tau, dim=1)
    in_their_code = F.kl_div(student, teacher, reduction="sum", log_target=True) * tau**2 / STUDENT.numel()
    assert official.item() == pytest.approx(by_hand, rel=1e-5)
    assert torch.allclose(official, in_their_code)
    assert torch.allclose(K * official, soft_distillation(STUDENT, TEACHER, tau)), "K times smaller than batchmean"


def test_the_divergence_is_from_the_teacher_to_the_student_and_not_the_other_way():
    there, back = references.kl(Z_t, Z_s, 1.0).mean(), references.kl(Z_s, Z_t, 1.0).mean()
    assert abs(there - back) > 0.1, "this example tells the two apart"
    assert soft_distillation(STUDENT, TEACHER, 1.0).item() == pytest.approx(there, rel=1e-5)


@pytest.mark.parametrize("tau", [1.0, 3.0])
def test_the_student_is_pulled_by_tau_times_the_difference_of_the_softened_outputs(tau):
    """Why tau^2: the gradient of KL alone would shrink with 1 / tau^2 as tau grows."""
    student = STUDENT.clone().requires_grad_()
    soft_distillation(student, TEACHER, tau).backward()
    expected = tau * (references.softmax(Z_s / tau) - references.softmax(Z_t / tau)) / B
    assert np.allclose(student.grad, expected, atol=1e-6)


@pytest.mark.parametrize("reduction", ["batchmean", "official"])
def test_a_student_that_answers_like_its_teacher_has_nothing_to_learn(reduction):
    shifted = TEACHER + 7  # the softmax does not see what is added to all classes
    assert soft_distillation(shifted, TEACHER, 3.0, reduction).item() == pytest.approx(0, abs=1e-6)
    assert soft_distillation(STUDENT, TEACHER, 3.0, reduction) > 0.01


def test_hard_distillation_is_cross_entropy_on_the_teachers_decision():
    expected = references.cross_entropy(Z_s, references.one_hot(Z_t.argmax(-1), K))
    assert hard_distillation(STUDENT, TEACHER).item() == pytest.approx(expected, rel=1e-5)
    assert torch.equal(hard_distillation(STUDENT, TEACHER), hard_distillation(STUDENT, 100 * TEACHER))


@pytest.mark.parametrize("distillation", ["soft", "hard"])
def test_logits_of_half_precision_are_judged_in_float32_and_those_of_float64_in_that(distillation):
    objective, labels = DistillationObjective(distillation, "both"), torch.tensor([0, 2])
    made = torch.randn(3, 2, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64).bfloat16()
    for precision, expected in ((torch.bfloat16, torch.float32), (torch.float64, torch.float64)):
        one, other, teachers = made.to(precision)
        found = objective(HeadLogits(one, other), labels, teachers)
        assert found.dtype == expected
        full = objective(HeadLogits(one.double(), other.double()), labels, teachers.double())
        torch.testing.assert_close(found.double(), full, rtol=1e-6, atol=0)


def test_drawn_labels_teach_on_average_what_soft_answers_do_at_temperature_1():
    torch.manual_seed(0)
    draws = torch.stack([drawn_distillation(STUDENT, TEACHER) for _ in range(4000)])
    expected = soft_cross_entropy(STUDENT, TEACHER.softmax(-1))
    error = draws.std() / len(draws) ** 0.5
    assert len(draws.unique()) > 10 and abs(draws.mean() - expected) < 4 * error
    certain = drawn_distillation(STUDENT, 1000 * TEACHER)  # who is sure says what it decides
    assert torch.equal(certain, hard_distillation(STUDENT, TEACHER))


def objective_on_teacher(**settings):
    return lambda student, teacher: DistillationObjective(**settings)(HeadLogits(student, student), LABELS, teacher)


EVERY_LOSS = {
    "soft": lambda student, teacher: soft_distillation(student, teacher, 3.0),
    "official": lambda student, teacher: soft_distillation(student, teacher, 3.0, "official"),
    "hard": hard_distillation,
    "drawn": drawn_distillation,
    "objective-soft": objective_on_teacher(distillation="soft"),
    "objective-hard": objective_on_teacher(distillation="hard"),
    "objective-soft-class": objective_on_teacher(distillation="soft", tokens="class"),
    "objective-hard-class": objective_on_teacher(distillation="hard", tokens="class"),
}
every_loss = pytest.mark.parametrize("loss", EVERY_LOSS.values(), ids=EVERY_LOSS)


@every_loss
def test_no_gradient_reaches_the_teacher(loss):
    student, teacher = STUDENT.clone().requires_grad_(), TEACHER.clone().requires_grad_()
    loss(student, teacher).backward()
    assert teacher.grad is None
    assert student.grad.abs().sum() > 0


@every_loss
@pytest.mark.parametrize("scale", [1e4, 1e8])
def test_the_loss_and_its_gradient_stay_finite_for_extreme_logits(loss, scale):
    student = (scale * STUDENT).requires_grad_()
    value = loss(student, -scale * TEACHER)
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(student.grad).all()


# ---- equations 2 and 3, and the rows of table 3 ----


@pytest.mark.parametrize("targets", [ONE_HOT, MIXED], ids=["labels", "mixed"])
@pytest.mark.parametrize("tau, lam", [(3.0, 0.1), (1.0, 0.5)], ids=["paper", "code"])
def test_the_soft_objective_is_equation_2(targets, tau, lam):
    objective = DistillationObjective("soft", "class", tau, lam)
    loss = objective(HeadLogits(STUDENT, None), torch.tensor(targets).float(), TEACHER)
    assert loss.item() == pytest.approx(references.soft_loss(Z_s, Z_t, targets, tau, lam), rel=1e-5)


@pytest.mark.parametrize("targets", [ONE_HOT, MIXED], ids=["labels", "mixed"])
def test_the_hard_objective_is_equation_3(targets):
    loss = DistillationObjective("hard", "class")(HeadLogits(STUDENT, None), torch.tensor(targets).float(), TEACHER)
    assert loss.item() == pytest.approx(references.hard_loss(Z_s, Z_t, targets), rel=1e-5)


def test_the_papers_numbers_are_the_defaults():
    soft = DistillationObjective("soft", "class")(HeadLogits(STUDENT, None), LABELS, TEACHER)
    assert soft.item() == pytest.approx(references.soft_loss(Z_s, Z_t, ONE_HOT, tau=3.0, lam=0.1), rel=1e-5)
    default = DistillationObjective()
    assert (default.distillation, default.tokens, default.weight, default.temperature) == (
        "hard",
        "both",
        0.5,
        3.0,
    )


def test_without_distillation_and_with_one_token_the_loss_is_cross_entropy_alone():
    heads = random_heads()
    loss = DistillationObjective("none", "class")(heads, LABELS, TEACHER)
    assert torch.equal(loss, F.cross_entropy(heads.class_logits, LABELS))


def test_with_two_tokens_the_label_trains_one_head_and_the_teacher_the_other():
    heads = random_heads()
    Z_class, Z_distillation = (logits.detach().double().numpy() for logits in heads)
    label = references.cross_entropy(Z_class, ONE_HOT)
    hard = references.cross_entropy(Z_distillation, references.one_hot(Z_t.argmax(-1), K))
    soft = 9 * references.kl(Z_t, Z_distillation, 3.0).mean()
    loss = DistillationObjective("hard", "both")(heads, LABELS, TEACHER)
    assert loss.item() == pytest.approx(label / 2 + hard / 2, rel=1e-5)
    loss = DistillationObjective("soft", "both")(heads, LABELS, TEACHER)
    assert loss.item() == pytest.approx(0.9 * label + 0.1 * soft, rel=1e-5)
    loss = DistillationObjective("soft", "both", reduction="official")(heads, LABELS, TEACHER)
    assert loss.item() == pytest.approx(0.9 * label + 0.1 * soft / K, rel=1e-5)


def test_two_class_tokens_both_learn_the_label():
    """The paper's control for the distillation token (section 4): a second token with the same target."""
    heads = random_heads()
    loss = DistillationObjective("none", "both")(heads, LABELS)
    halves = [references.cross_entropy(logits.detach().double().numpy(), ONE_HOT) / 2 for logits in heads]
    assert loss.item() == pytest.approx(sum(halves), rel=1e-5)


@pytest.mark.parametrize("distillation", ["none", "soft", "hard"])
def test_with_one_token_the_distillation_head_learns_nothing(distillation):
    heads = random_heads()
    DistillationObjective(distillation, "class")(heads, LABELS, TEACHER).backward()
    assert heads.class_logits.grad.abs().sum() > 0
    assert heads.distillation_logits.grad is None


@pytest.mark.parametrize("distillation", ["soft", "hard"])
def test_with_two_tokens_each_head_hears_its_own_target_only(distillation):
    heads, objective = random_heads(), DistillationObjective(distillation, "both")
    objective(heads, LABELS, TEACHER).backward()
    of_label, of_teacher = heads.class_logits.grad, heads.distillation_logits.grad
    others = random_heads()
    objective(others, (LABELS + 1) % K, TEACHER).backward()
    assert torch.equal(others.distillation_logits.grad, of_teacher)
    assert not torch.allclose(others.class_logits.grad, of_label, atol=1e-3)
    others = random_heads()
    objective(others, LABELS, random_logits(3)).backward()
    assert torch.equal(others.class_logits.grad, of_label)
    assert not torch.allclose(others.distillation_logits.grad, of_teacher, atol=1e-3)


# ---- timm's tasks ----

SHAPE = dict(image_size=12, patch_size=4, in_channels=3, num_classes=K, embed_dim=24, depth=1, num_heads=2)


def timm_teacher():
    torch.manual_seed(5)
    teacher = timm.create_model("resnet10t", num_classes=K, in_chans=3)
    nn.init.normal_(teacher.fc.weight, std=0.5)
    return teacher.train()  # the task itself must put it into eval mode


@pytest.mark.parametrize("weight", [0.1, 0.5])
@pytest.mark.parametrize("kind", ["soft", "hard"])
def test_the_objective_with_two_tokens_is_timms_token_distillation_task(kind, weight):
    student = references.random_deit(distilled=True, **SHAPE)
    twin, teacher = references.timm_twin(student), timm_teacher()
    images = references.random_images(student, batch=B)
    task = TokenDistillationTask(
        twin, teacher, nn.CrossEntropyLoss(), distill_type=kind, task_loss_weight=1 - weight, temperature=3.0,
        verbose=False,
    ).train()  # fmt: skip
    theirs = task(images, LABELS)["loss"]
    with torch.no_grad():
        teacher_logits = teacher.eval()(images)
    ours = DistillationObjective(kind, "both", 3.0, weight)(student(images), LABELS, teacher_logits)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)
    ours.backward()
    theirs.backward()
    for name, parameter in student.named_parameters():
        expected = twin.get_parameter(references.timm_name(name)).grad
        assert references.relative_error(parameter.grad, expected) < 1e-5, name
    assert all(parameter.grad is None for parameter in teacher.parameters())


@pytest.mark.parametrize("tau, weight", [(3.0, 0.1), (1.0, 0.5)])
def test_the_soft_objective_with_one_token_is_timms_logit_distillation_task(tau, weight):
    student = references.random_deit(distilled=False, **SHAPE)
    twin, teacher = references.timm_twin(student), timm_teacher()
    images = references.random_images(student, batch=B)
    task = LogitDistillationTask(
        twin, teacher, nn.CrossEntropyLoss(), task_loss_weight=1 - weight, temperature=tau, verbose=False
    ).train()
    with torch.no_grad():
        teacher_logits = teacher.eval()(images)
    ours = DistillationObjective("soft", "class", tau, weight)(student(images), LABELS, teacher_logits)
    assert ours.item() == pytest.approx(task(images, LABELS)["loss"].item(), rel=1e-5)


def test_every_row_of_table_3_can_be_trained():
    """Rows 1 to 3 are plain models, rows 4 to 6 one distilled model read in three ways: a step lowers each loss."""
    teacher_logits = 5 * TEACHER
    for distillation, tokens in [("none", "class"), ("soft", "class"), ("hard", "class"), ("hard", "both")]:
        torch.manual_seed(0)
        model = DeiT(DeiTConfig(distilled=tokens == "both", **SHAPE))
        images = references.random_images(model, batch=B)
        objective, optimiser = (
            DistillationObjective(distillation, tokens),
            torch.optim.AdamW(model.parameters(), 1e-3),
        )
        losses = []
        for _ in range(3):
            loss = objective(model(images), LABELS, teacher_logits)
            optimiser.zero_grad()
            loss.backward()
            assert all(parameter.grad is not None for parameter in model.parameters())
            optimiser.step()
            losses.append(loss.item())
        assert losses[0] > losses[1] > losses[2]


# ---- errors ----


def call_objective(*settings, heads=None, teacher=None, **more):
    heads = HeadLogits(STUDENT, None) if heads is None else heads
    return DistillationObjective(*settings, **more)(heads, LABELS, teacher)


@pytest.mark.parametrize(
    "call, message",
    [
        (
            lambda: smooth_labels(LABELS, K, 0.1, over="some"),
            "unknown smoothing 'some': choose 'others' (the paper) or 'all' (the authors' code)",
        ),
        (lambda: smooth_labels(LABELS, K, 1.0), "label smoothing 1.0 must lie in [0, 1)"),
        (lambda: smooth_labels(LABELS, K, -0.1), "label smoothing -0.1 must lie in [0, 1)"),
        (
            lambda: soft_distillation(STUDENT, TEACHER, 3.0, "mean"),
            """unknown reduction 'mean': choose "batchmean" or "official" (the authors' code)""",
        ),
        (
            lambda: soft_distillation(STUDENT, TEACHER, 0.0),
            "temperature 0.0 must be positive and finite; the paper uses 3",
        ),
        (lambda: call_objective("medium"), "unknown distillation 'medium': choose one of none, soft, hard, drawn"),
        (lambda: call_objective("hard", "three"), """unknown tokens 'three': choose "class", "both" or "each\""""),
        (
            lambda: call_objective("hard", weight=1.5),
            "distillation weight 1.5 must lie in [0, 1]; the paper uses 0.1 soft, 0.5 hard",
        ),
        (
            lambda: call_objective("hard", "both", teacher=TEACHER),
            "tokens='both' needs a distillation token: build the model with distilled=True",
        ),
        (
            lambda: call_objective("soft", "class"),
            "soft distillation needs the teacher's logits: name a teacher",
        ),
        (
            lambda: hard_distillation(STUDENT, TEACHER[:, :4]),
            "the teacher's logits (6, 4) do not match the student's (6, 5): give both the same number of classes",
        ),
        (
            lambda: soft_distillation(STUDENT, TEACHER[:, :1], 3.0),
            "the teacher's logits (6, 1) do not match the student's (6, 5): give both the same number of classes",
        ),
    ],
)
def test_what_cannot_be_is_named_with_the_next_thing_to_try(call, message):
    with pytest.raises(DeiTEduError) as error:
        call()
    assert str(error.value) == message


@pytest.mark.parametrize("distillation", DISTILLATIONS)
@pytest.mark.parametrize("tokens", ("class", "both"))
def test_under_bfloat16_loss_and_gradients_are_those_of_float32_to_the_last_bit(distillation, tokens):
    generator = torch.Generator().manual_seed(0)
    logits = [torch.randn(16, 10, generator=generator) for _ in range(3)]
    targets = torch.randn(16, 10, generator=generator).softmax(-1)
    objective, results = DistillationObjective(distillation, tokens), []
    for under in (False, True):
        torch.manual_seed(0)  # of the labels that are drawn
        class_logits, distillation_logits = (one.clone().requires_grad_() for one in logits[:2])
        with torch.autocast("cpu", torch.bfloat16, enabled=under):
            loss = objective(HeadLogits(class_logits, distillation_logits), targets, 3 * logits[2])
        loss.backward()
        results.append([loss.detach(), class_logits.grad, distillation_logits.grad])
    for exact, rounded in zip(*results, strict=True):
        assert exact is rounded is None or torch.equal(exact, rounded)
