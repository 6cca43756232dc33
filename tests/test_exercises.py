"""A check says "Right" to a right solution, and to each usual mistake the hint for that one."""

import math

import pytest
import torch
import torch.nn.functional as F

from deit_edu.attention import attention
from deit_edu.losses import soft_distillation
from deit_edu.model import DeiTConfig, HeadLogits, fuse
from deit_edu.patches import patchify, resize_position_embedding
from deit_edu.reading import exercises
from deit_edu.train import learning_rate_at

# chapters 1 to 3


def channels_first(order):
    """A solution that puts (B, C, rows, P, columns, P) into this order of axes."""

    def solution(images, P):
        B, C, H, W = images.shape
        squares = images.reshape(B, C, H // P, P, W // P, P)
        return squares.permute(order).reshape(B, (H // P) * (W // P), C * P * P)

    return solution


def in_chunks(Q, K, V, chunk):
    return torch.cat([attention(part, K, V)[0] for part in Q.split(chunk)])


def parameters(config, without=None):
    D, L, k = config.embed_dim, config.depth, config.num_prefix_tokens
    count = (config.in_channels * config.patch_size**2 + 1) * D + k * D + config.num_tokens * D
    count += L * (12 * D**2 + 13 * D) + 2 * D + k * (D + 1) * config.num_classes
    return count - (exercises.parameter_parts(config)[without] if without else 0)


PARTS = exercises.parameter_parts(DeiTConfig())

CHECKS_1_TO_3 = [
    (exercises.check_channels_first, channels_first((0, 2, 4, 1, 3, 5)), None),
    (exercises.check_channels_first, lambda images, P: F.unfold(images.float(), P, stride=P).transpose(1, 2), None),
    (exercises.check_channels_first, patchify, "patchify's order"),
    (exercises.check_channels_first, lambda images, P: images.reshape(2, 6, 12), "reshape alone"),
    (exercises.check_channels_first, channels_first((0, 4, 2, 1, 3, 5)), "down the columns: rows"),
    (exercises.check_channels_first, channels_first((0, 2, 4, 1, 5, 3)), "inside a patch"),
    (exercises.check_channels_first, lambda images, P: images.flatten(2), "shape"),
    (exercises.check_token_count, 578, None),
    (exercises.check_token_count, 577, "a distilled one has two"),
    (exercises.check_token_count, 576, "those are the patches"),
    (exercises.check_token_count, 26, "how many rows"),
    (exercises.check_token_count, 198, "at 224 pixels"),
    (exercises.check_token_count, None, "return"),
    (exercises.check_token_count, ..., "in place of the dots"),
    (exercises.check_parameter_count, lambda config: ..., "in place of the dots"),
    (exercises.check_attention_in_chunks, in_chunks, None),
    (exercises.check_attention_in_chunks, lambda Q, K, V, chunk: attention(Q, K, V)[0], "all 50*50 scores"),
    (exercises.check_attention_in_chunks, lambda Q, K, V, chunk: in_chunks(2 * Q, K, V, chunk), "divided by sqrt(d)"),
    (exercises.check_attention_in_chunks, lambda Q, K, V, chunk: in_chunks(Q / 2, K, V, chunk), "divided by d:"),
    (exercises.check_attention_in_chunks, lambda Q, K, V, chunk: in_chunks(Q, K, K, chunk), "weighted keys"),
    (
        exercises.check_attention_in_chunks,
        lambda Q, K, V, chunk: torch.cat([(part @ K.T / 2).softmax(0) @ V for part in Q.split(chunk)]),
        "over the keys",
    ),
    (
        exercises.check_attention_in_chunks,
        lambda Q, K, V, chunk: torch.cat(
            [attention(Q[i : i + chunk], K[i : i + chunk], V[i : i + chunk])[0] for i in range(0, len(Q), chunk)]
        ),
        "own chunk of keys",
    ),
    (exercises.check_attention_in_chunks, lambda Q, K, V, chunk: in_chunks(Q[:48], K, V, chunk), "(50, 4) is needed"),
    (exercises.check_parameter_count, parameters, None),
    *[
        (exercises.check_parameter_count, lambda config, part=part: parameters(config, part), f"left out {part}")
        for part in PARTS
    ],
    (exercises.check_parameter_count, lambda config: 5_910_800, "should be 90775 and is 5910800"),
]  # fmt: skip


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
    (exercises.check_soft_distillation, lambda s, t, tau: distillation(s.detach(), t, tau), "reaches the student"),
    (exercises.check_soft_distillation, lambda s, t, tau: distillation(s, t, tau).item(), "reaches the student"),
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


# chapters 8 to 10


def needed(accuracy, margin):
    return 1.96**2 * accuracy * (1 - accuracy) / margin**2


def second_token(tokens, token, position):
    second = (token + position).expand(len(tokens), -1, -1)
    return torch.cat([tokens[:, :1], second, tokens[:, 1:]], dim=1)


def another_size(positions, side, new_side, **how):
    return resize_position_embedding(positions, (side, side), (new_side, new_side), 2, **how)


CHECKS_8_TO_10 = [
    (exercises.check_pictures_needed, needed, None),
    (exercises.check_pictures_needed, lambda p, margin: needed(p, margin) * margin, "counts squared: it shrinks"),
    (exercises.check_pictures_needed, lambda p, margin: needed(p, margin) / 1.96**2, "one standard deviation"),
    (exercises.check_pictures_needed, lambda p, margin: needed(p, margin / 2), "to each side"),
    (exercises.check_pictures_needed, lambda p, margin: needed(p, margin) / 1.96, "1.96 counts squared"),
    (exercises.check_pictures_needed, lambda p, margin: ..., "in place of the dots"),
    (exercises.check_balanced_accuracy, lambda counts: (counts.diag() / counts.sum(1)).mean(), None),
    (exercises.check_balanced_accuracy, lambda counts: counts.diag().sum() / counts.sum(), "plain accuracy"),
    (exercises.check_balanced_accuracy, lambda counts: (counts.diag() / counts.sum(0)).mean(), "its column"),
    (exercises.check_balanced_accuracy, lambda counts: counts.diag() / counts.sum(1), "is needed"),
    (exercises.check_second_token, second_token, None),
    (exercises.check_second_token, lambda t, s, p: second_token(t, s, 0 * p), "has no place"),
    (exercises.check_second_token, lambda t, s, p: torch.cat([t, (s + p).expand(len(t), -1, -1)], 1), "at the end"),
    (exercises.check_second_token, lambda t, s, p: second_token(t, s, p)[:, [1, 0, 2, 3, 4, 5]], "before the class"),
    (exercises.check_another_size, another_size, None),
    (exercises.check_another_size, lambda *a: another_size(*a, mode="bilinear"), "shortens the vectors"),
    (exercises.check_another_size, lambda *a: another_size(*a)[:, 2:], "is needed"),
    (exercises.check_another_size, lambda *a: another_size(*a)[:, [1, 0, *range(2, 38)]], "changed places"),
    (exercises.check_another_size, lambda e, s, n: resize_position_embedding(e, (s, s), (n, n), 1), "DeiTEduError"),
]  # fmt: skip


@pytest.mark.parametrize("check, solution, hint", [*CHECKS_1_TO_3, *CHECKS, *CHECKS_8_TO_10])
def test_a_check_knows_the_right_solution_and_each_usual_mistake(check, solution, hint):
    answer = check(solution)
    assert bool(answer) == (hint is None), answer
    assert repr(answer).startswith("Right: " if hint is None else "Not yet: ")
    assert hint is None or hint in answer.words
