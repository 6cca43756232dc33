"""Exercises: a check answers your solution with "Right", or with a hint at what is not right yet."""

from dataclasses import dataclass

import torch

from deit_edu.losses import soft_cross_entropy, soft_distillation
from deit_edu.model import HeadLogits, fuse
from deit_edu.train import learning_rate_at


@dataclass(frozen=True)
class Answer:
    """What a check says: whether the solution is right, and why or why not."""

    right: bool
    words: str

    def __bool__(self):
        return self.right

    def __repr__(self):
        return f"{'Right' if self.right else 'Not yet'}: {self.words}"


def judge(solve, expected, praise, mistakes=None):
    """Run a solution, compare it with what is expected, and recognise the usual mistakes.

    Args:
        solve: a function without arguments. expected: the number or tensor it should give.
        praise: the words for a right solution. mistakes: {hint: what this usual mistake gives}.
    """
    try:
        given = solve()
    except Exception as error:  # the reader's code: whatever it raises is part of the answer
        return Answer(False, f"it stops with {type(error).__name__}: {error}")
    if given is None:
        return Answer(False, "it gives nothing back: end it with a return")
    try:
        given, expected = torch.as_tensor(given).detach().float(), torch.as_tensor(expected).float()
    except (TypeError, ValueError, RuntimeError):
        return Answer(False, f"it gives a {type(given).__name__}: a number or a tensor is needed")
    if given.shape != expected.shape:
        return Answer(False, f"it gives the shape {tuple(given.shape)}, and {tuple(expected.shape)} is needed")
    if torch.allclose(given, expected, rtol=1e-4, atol=1e-6):
        return Answer(True, praise)
    for hint, mistaken in (mistakes or {}).items():
        if torch.allclose(given, mistaken.float(), rtol=1e-4, atol=1e-6):
            return Answer(False, hint)
    worst = (given - expected).abs().flatten().argmax()
    return Answer(False, f"one number should be {expected.flatten()[worst]:.4g} and is {given.flatten()[worst]:.4g}")


def on_each(solution, cases):
    """What a solution that gives numbers gives for each case, as a tensor; None where it gives nothing."""
    given = [solution(*case) for case in cases]
    return None if None in given else torch.tensor([float(number) for number in given])


# chapters 4 to 6


def check_extra_parameters(solution):
    """Check ``solution(D, K)``: how many parameters the distilled model has more than the plain one (chapter 4)."""
    shapes = torch.tensor([[192, 1000], [384, 1000], [64, 10]])
    D, K = shapes.unbind(dim=1)
    return judge(
        lambda: on_each(solution, shapes.tolist()),
        2 * D + D * K + K,
        "a token, its position, the weights and the biases of the second head",
        {
            "the new token also has a place in the sequence: count its position embedding": D + D * K + K,
            "a linear layer has biases too, one for each class": 2 * D + D * K,
            "two things are missing: the new token's position embedding, and the head's biases": D + D * K,
            "that is the token and its position; the second head has parameters too": 2 * D,
            "that is the second head; the token and its position train too": D * K + K,
        },
    )


def check_fusion(solution):
    """Check ``solution(class_logits, distillation_logits)``: the paper's fusion as probabilities (chapter 4)."""
    heads = HeadLogits(*torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0)).mul(3))
    probabilities = fuse(heads).softmax(dim=-1)  # (B, K)
    return judge(
        lambda: solution(*heads),
        probabilities,
        "the mean of two distributions is a distribution",
        {
            "each row sums to 2: take the mean, which chooses the same class as the sum": 2 * probabilities,
            "that is the authors' code: the paper takes each head's softmax first": fuse(heads, "logits").softmax(-1),
            "those are mean logits: take each head's softmax first": fuse(heads, "logits"),
            "those are logarithms: the probabilities themselves are asked for": fuse(heads),
            "that is the class head alone: let the distillation head speak too": heads.class_logits.softmax(-1),
        },
    )


def check_soft_distillation(solution):
    """Check ``solution(student_logits, teacher_logits, temperature)`` against equation 2's second term (chapter 5)."""
    B, K, tau = 6, 5, 3.0
    student, teacher = torch.randn(2, B, K, generator=torch.Generator().manual_seed(0)).mul(2)
    expected = soft_distillation(student, teacher, tau)
    cross_entropy = soft_cross_entropy(student / tau, (teacher / tau).softmax(dim=-1))
    answer = judge(
        lambda: solution(student, teacher, tau),
        expected,
        "the teacher is the reference, tau^2 keeps the gradient's size, and no gradient reaches the teacher",
        {
            "the direction is turned round: the teacher's probabilities are the weights": soft_distillation(
                teacher, student, tau
            ),
            "the factor tau^2 is missing": expected / tau**2,
            "the factor is tau^2, not tau": expected / tau,
            "that is the sum over the batch: take the mean over the images": expected * B,
            "that is the authors' normalisation: sum over the classes, then take the mean over the images": expected
            / K,
            "both outputs must be softened: divide the logits by tau": tau**2
            * soft_distillation(student, teacher, 1.0),
            "that is the cross-entropy: subtract the teacher's own entropy": tau**2 * cross_entropy,
        },
    )
    if answer:
        student, teacher = student.clone().requires_grad_(), teacher.clone().requires_grad_()
        solution(student, teacher, tau).backward()
        if teacher.grad is not None:
            return Answer(False, "the number is right, but a gradient reaches the teacher: detach its logits")
    return answer


def check_effective_weight(solution):
    """Check ``solution(alpha, K)``: the lambda of equation 2 that the authors' alpha amounts to (chapter 5)."""
    alpha, K = torch.tensor([0.5, 0.5, 0.1, 0.9]), torch.tensor([1000, 10, 1000, 100])
    return judge(
        lambda: on_each(solution, zip(alpha.tolist(), K.tolist(), strict=True)),
        alpha / (alpha + (1 - alpha) * K),
        "dividing the divergence by K is the same as making the label K times heavier",
        {
            "the two weights must sum to 1 again: divide alpha / K by the sum of both": alpha / K,
            "that is the ratio of the two weights: lambda is the second's share of both": alpha / K / (1 - alpha),
            "K is on the wrong side: the code's divergence is K times smaller": alpha * K / (alpha * K + 1 - alpha),
        },
    )


def check_learning_rate(solution):
    """Check ``solution(step, total_steps, warmup_steps, peak)``: a line up, then half a cosine to 0 (chapter 6)."""
    total, warmup, peak = 100, 20, 1e-3
    steps = torch.arange(0, 101, 5).float()
    expected = torch.tensor([learning_rate_at(s.item(), total, warmup, peak, start=0.0, end=0.0) for s in steps])
    progress = (steps - warmup) / (total - warmup)

    def share(step):
        rate = solution(step, total, warmup, peak)
        return None if rate is None else rate / peak

    def after_warmup(falling):  # shares of the peak
        return torch.where(steps < warmup, steps / warmup, falling)

    cosine = 0.5 * (1 + torch.cos(torch.pi * steps / total))
    return judge(
        lambda: on_each(share, [(step,) for step in steps.tolist()]),
        expected / peak,
        "it rises on a line, and falls on half a cosine that begins where the warm-up ends",
        {
            "the warm-up is missing: while step < warmup_steps the rate rises on a line": cosine,
            "the cosine must begin where the warm-up ends, not at step 0": after_warmup(cosine),
            "after the warm-up the rate must fall": after_warmup(torch.ones(())),
            "that falls on a line: half a cosine is asked for": after_warmup(1 - progress),
            "that is a quarter of a cosine: (1 + cos(pi * progress)) / 2 starts and ends flat": after_warmup(
                torch.cos(torch.pi / 2 * progress)
            ),
        },
    )
