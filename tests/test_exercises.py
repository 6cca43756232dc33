"""A check says "Right" to a right solution, and to each usual mistake the hint for that one."""

import math

import pytest
import torch.nn.functional as F

from deit_edu import exercises
from deit_edu.losses import soft_distillation
from deit_edu.model import HeadLogits, fuse
from deit_edu.train import learning_rate_at

# chapters 4 to 6


def fusion(class_logits, distillation_logits):
    return (class_logits.softmax(dim=-1) + distillation_logits.softmax(dim=-1)) / 2


def distillation(student_logits, teacher_logits, tau):
    student, teacher = (student_logits / tau).log_softmax(-1), (teacher_logits.detach() / tau).log_softmax(-1)
    return tau**2 * (teacher.exp() * (teacher - student)).sum(-1).mean()


def leaky_distillation(student_logits, teacher_logits, tau):
    student, teacher = (student_logits / tau).log_softmax(-1), (teacher_logits / tau).log_softmax(-1)
    return tau**2 * (teacher.exp() * (teacher - student)).sum(-1).mean()


def rate(step, total, warmup, peak):
    return learning_rate_at(step, total, warmup, peak, start=0, end=0)


def late_cosine(step, total, warmup, peak):
    return peak * step / warmup if step < warmup else peak * 0.5 * (1 + math.cos(math.pi * step / total))


CHECKS = [
    (exercises.check_extra_parameters, lambda D, K: 2 * D + D * K + K, None),
    (exercises.check_extra_parameters, lambda D, K: D + D * K + K, "position embedding"),
    (exercises.check_extra_parameters, lambda D, K: 2 * D + D * K, "biases too"),
    (exercises.check_extra_parameters, lambda D, K: None, "return"),
    (exercises.check_extra_parameters, lambda D, K: 7, "should be"),
    (exercises.check_fusion, fusion, None),
    (exercises.check_fusion, lambda c, d: 2 * fusion(c, d), "sums to 2"),
    (exercises.check_fusion, lambda c, d: ((c + d) / 2).softmax(-1), "authors' code"),
    (exercises.check_fusion, lambda c, d: fuse(HeadLogits(c, d)), "logarithms"),
    (exercises.check_fusion, lambda c, d: c, "should be"),
    (exercises.check_fusion, lambda c, d: c[:, 0], "shape"),
    (exercises.check_fusion, lambda c, d: None, "return"),
    (exercises.check_fusion, lambda c, d: c.softmaks(-1), "AttributeError"),
    (exercises.check_soft_distillation, distillation, None),
    (exercises.check_soft_distillation, leaky_distillation, "detach"),
    (exercises.check_soft_distillation, lambda s, t, tau: distillation(t, s, tau), "direction"),
    (exercises.check_soft_distillation, lambda s, t, tau: distillation(s, t, tau) / tau**2, "missing"),
    (exercises.check_soft_distillation, lambda s, t, tau: soft_distillation(s, t, tau, "official"), "normalisation"),
    (
        exercises.check_soft_distillation,
        lambda s, t, tau: tau**2 * F.cross_entropy(s / tau, (t / tau).softmax(-1)),
        "entropy",
    ),
    (exercises.check_effective_weight, lambda alpha, K: alpha / (alpha + (1 - alpha) * K), None),
    (exercises.check_effective_weight, lambda alpha, K: alpha / K, "sum to 1"),
    (exercises.check_effective_weight, lambda alpha, K: alpha / K / (1 - alpha), "ratio"),
    (exercises.check_effective_weight, lambda alpha, K: alpha * K / (alpha * K + 1 - alpha), "wrong side"),
    (exercises.check_learning_rate, rate, None),
    (exercises.check_learning_rate, late_cosine, "not at step 0"),
    (exercises.check_learning_rate, lambda step, total, warmup, peak: rate(step, total, 0, peak), "warm-up is missing"),
    (exercises.check_learning_rate, lambda step, total, warmup, peak: None, "return"),
]


@pytest.mark.parametrize("check, solution, hint", CHECKS)
def test_a_check_knows_the_right_solution_and_each_usual_mistake(check, solution, hint):
    answer = check(solution)
    assert bool(answer) == (hint is None), answer
    assert repr(answer).startswith("Right: " if hint is None else "Not yet: ")
    assert hint is None or hint in answer.words
