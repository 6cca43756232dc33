"""Exercises: a check answers your solution with "Right", or with a hint at what is not right yet."""

from dataclasses import dataclass

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from deit_edu.attention import attention
from deit_edu.losses import soft_cross_entropy, soft_distillation
from deit_edu.model import DeiT, DeiTConfig, HeadLogits, fuse
from deit_edu.patches import patch_grid, patchify, resize_position_embedding
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
    if given is ...:
        return Answer(False, "write your solution in place of the dots, and run the cell again")
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
    return Answer(False, f"one number should be {expected.flatten()[worst]:.7g} and is {given.flatten()[worst]:.7g}")


def on_each(solution, cases):
    """What a solution that gives numbers gives for each case, as a tensor; None or ... where it gives that."""
    given = [solution(*case) for case in cases]
    for nothing in (None, ...):
        if any(number is nothing for number in given):
            return nothing
    return torch.tensor([float(number) for number in given])


# chapters 1 to 3


def check_channels_first(solution):
    """Check ``solution(images, patch_size)``: patches (B, N, C*P*P), channel by channel (chapter 1)."""
    B, C, H, W, P = 2, 3, 4, 6, 2
    images = torch.arange(B * C * H * W).reshape(B, C, H, W)
    rows, columns = patch_grid(H, W, P)
    squares = images.reshape(B, C, rows, P, columns, P)  # (B, C, rows, P, columns, P)
    return judge(
        lambda: solution(images, P),
        squares.permute(0, 2, 4, 1, 3, 5).reshape(B, rows * columns, C * P * P),
        "a patch lists its pixels channel by channel, as the weight of a convolution does",
        {
            "a reshape alone cuts runs of pixels, not squares: split H and W in two each, permute, then flatten": (
                images.reshape(B, rows * columns, C * P * P)
            ),
            "that is patchify's order, the channels of a pixel together: move C in the permute": patchify(images, P),
            "the patches go down the columns: rows come before columns": (
                squares.permute(0, 4, 2, 1, 3, 5).reshape(B, rows * columns, C * P * P)
            ),
            "inside a patch the pixels go down the columns: its rows come before its columns": (
                squares.permute(0, 2, 4, 1, 5, 3).reshape(B, rows * columns, C * P * P)
            ),
        },
    )


def check_token_count(tokens):
    """Check how many tokens a distilled DeiT with patch size 16 reads in a picture of 384 x 384 pixels (chapter 1)."""
    T = DeiTConfig(image_size=384, distilled=True).num_tokens
    hints = {
        T - 2: "those are the patches: which tokens stand before them?",
        T - 1: "a plain model has one token before the patches, a distilled one has two",
        384 // 16: "that is one row of patches",
        384 // 16 + 2: "that is one row of patches and the two tokens: how many rows are there?",
        DeiTConfig().num_tokens: "that is the count at 224 pixels",
        DeiTConfig().num_tokens - 2: "those are the patches at 224 pixels",
    }
    words = f"{T - 2} patches, the class token and the distillation token"
    return judge(lambda: tokens, T, words, {hint: torch.tensor(count) for count, hint in hints.items()})


class LargestTensor(TorchDispatchMode):
    """Remembers how many numbers the largest tensor has that any operation makes."""

    numel = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for made in result if isinstance(result, (tuple, list)) else [result]:
            if isinstance(made, torch.Tensor):
                self.numel = max(self.numel, made.numel())
        return result


def check_attention_in_chunks(solution):
    """Check ``solution(queries, keys, values, chunk)``: equation 1 without ever holding all T*T scores (chapter 2)."""
    T, d, chunk = 50, 4, 8  # the last chunk is shorter
    Q, K, V = 2 * torch.randn(3, T, d, generator=torch.Generator().manual_seed(0))
    chunks = list(zip(Q.split(chunk), K.split(chunk), V.split(chunk), strict=True))
    scores = Q @ K.T  # (T, T)
    largest = LargestTensor()

    def watched():
        with largest:
            return solution(Q, K, V, chunk)

    answer = judge(
        watched,
        attention(Q, K, V)[0],
        f"all scores at once would be {T}*{T} = {T * T} numbers, and no tensor of yours had so many",
        {
            "the scores are not divided by sqrt(d)": scores.softmax(-1) @ V,
            "the scores are divided by d: equation 1 divides by sqrt(d)": (scores / d).softmax(-1) @ V,
            "each row of the weights has to sum to 1: the softmax runs over the keys, dim=-1": (
                torch.cat([part.softmax(0) for part in (scores / d**0.5).split(chunk)]) @ V
            ),
            "each chunk of queries sees only its own chunk of keys: every query asks all keys": (
                torch.cat([attention(*each)[0] for each in chunks])
            ),
            "those are the weighted keys: the answers are made of the values": attention(Q, K, K)[0],
        },
    )
    if answer and largest.numel >= T * T:
        return Answer(False, f"the numbers are right, but one tensor held {largest.numel} of them, all {T}*{T} scores")
    return answer


def check_parameter_count(solution):
    """Check ``solution(config)``: how many parameters a DeiT of this DeiTConfig has (chapter 3)."""
    configs = [
        DeiTConfig(image_size=28, patch_size=7, in_channels=1, num_classes=10, embed_dim=64, depth=4, num_heads=4),
        DeiTConfig(image_size=32, patch_size=4, num_classes=7, embed_dim=48, depth=3, num_heads=3, distilled=False),
        DeiTConfig(),
    ]
    with torch.device("meta"):  # shapes without memory
        counts = [sum(parameter.numel() for parameter in DeiT(config).parameters()) for config in configs]
    counts = torch.tensor(counts)
    parts = [parameter_parts(config) for config in configs]
    return judge(
        lambda: on_each(solution, [(config,) for config in configs]),
        counts,
        "every part is counted, for three shapes, plain and distilled",
        {f"you left out {name}": counts - torch.tensor([part[name] for part in parts]) for name in parts[0]},
    )


def parameter_parts(config):
    """What a count can leave out, and how many parameters it has: {name: number}."""
    D, L, K, k, T = config.embed_dim, config.depth, config.num_classes, config.num_prefix_tokens, config.num_tokens
    return {
        "the patch projection": config.in_channels * config.patch_size**2 * D + D,
        "the class token, or the bias of the patch projection, D numbers each": D,
        "the prefix tokens": k * D,
        "the distillation token": (k - 1) * D,
        "the position embedding": T * D,
        "the blocks": L * (12 * D * D + 13 * D),
        "the second LayerNorm of each block": L * 2 * D,
        "both LayerNorms of each block": L * 4 * D,
        "the biases of the blocks' linear layers": L * 9 * D,
        "queries, keys and values": L * 3 * (D * D + D),
        "the bias of queries, keys and values": L * 3 * D,
        "the attention's projection": L * (D * D + D),
        "the MLPs": L * (8 * D * D + 5 * D),
        "the final LayerNorm": 2 * D,
        "the heads": k * (D * K + K),
        "the biases of the heads": k * K,
        "the second head of a distilled model": (k - 1) * (D * K + K),
    }


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
        "the teacher is the reference, tau^2 keeps the gradient's size at large tau, and none reaches the teacher",
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
        loss = solution(student, teacher, tau)
        if isinstance(loss, torch.Tensor) and loss.requires_grad:
            loss.backward()
        if student.grad is None:
            return Answer(False, "the number is right, but no gradient reaches the student: return the tensor itself")
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
        return rate if rate is None or rate is ... else rate / peak

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


# chapters 8 to 10

NORMAL = 1.96  # standard deviations on each side of a mean that hold 95 % of normal draws


def check_pictures_needed(solution):
    """Check ``solution(accuracy, margin)``: test pictures for an interval of accuracy +- margin (chapter 8)."""
    accuracy, margin = torch.tensor([0.8, 0.5, 0.95]), torch.tensor([0.05, 0.1, 0.01])
    variance = accuracy * (1 - accuracy)
    return judge(
        lambda: on_each(solution, zip(accuracy.tolist(), margin.tolist(), strict=True)),
        NORMAL**2 * variance / margin**2,
        "to halve the margin you need four times as many pictures",
        {
            "the margin counts squared: it shrinks with the root of the number of pictures": (
                NORMAL**2 * variance / margin
            ),
            "that is one standard deviation: an interval of 95 % reaches 1.96 of them to each side": (
                variance / margin**2
            ),
            "the margin is to each side, so it is half of the interval": NORMAL**2 * variance / (margin / 2) ** 2,
            "1.96 counts squared, too": NORMAL * variance / margin**2,
        },
    )


def check_balanced_accuracy(solution):
    """Check ``solution(confusion)``: the mean recall, from counts (K, K), rows the truth (chapter 8)."""
    confusion = torch.tensor([[90, 5, 0], [4, 2, 4], [1, 0, 9]])
    right = confusion.diag()
    return judge(
        lambda: solution(confusion.clone()),
        (right / confusion.sum(dim=1)).mean(),
        "every class counts the same, however few pictures it has",
        {
            "that is plain accuracy: the largest class decides it": right.sum() / confusion.sum(),
            "that divides by the decisions for a class, its column: recall divides by its pictures, its row": (
                right / confusion.sum(dim=0)
            ).mean(),
        },
    )


def check_second_token(solution):
    """Check ``solution(tokens, token, position)``: [class, distillation, patches], (B, 2 + N, D) (chapter 9)."""
    B, N, D = 3, 4, 5
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randn(B, 1 + N, D, generator=generator)
    token, position = torch.randn(2, 1, 1, D, generator=generator)
    second = (token + position).expand(B, 1, D)
    return judge(
        lambda: solution(tokens.clone(), token, position),
        torch.cat([tokens[:, :1], second, tokens[:, 1:]], dim=1),
        "class, distillation, patches: the order that the heads rely on",
        {
            "it stands at the end, where its head does not look: put it after the class token": torch.cat(
                [tokens, second], dim=1
            ),
            "it stands before the class token: the class head would read it": torch.cat([second, tokens], dim=1),
            "it has no place: add its position": torch.cat(
                [tokens[:, :1], token.expand(B, 1, D), tokens[:, 1:]], dim=1
            ),
        },
    )


def check_another_size(solution):
    """Check ``solution(position_embedding, side, new_side)`` of a distilled student, (1, 2 + N, D) (chapter 10)."""
    side, new_side, D = 4, 6, 3
    positions = torch.randn(1, 2 + side**2, D, generator=torch.Generator().manual_seed(0))
    grids = ((side, side), (new_side, new_side))
    resized = resize_position_embedding(positions, *grids, 2)
    return judge(
        lambda: solution(positions.clone(), side, new_side),
        resized,
        "the two prefix rows have no place in the picture, and stay as they are",
        {
            "the two prefix rows changed places": resized[:, [1, 0, *range(2, resized.shape[1])]],
            "that is bilinear, which shortens the vectors: bicubic is asked for": resize_position_embedding(
                positions, *grids, 2, mode="bilinear"
            ),
            "each place went to its mirror image: rows come before columns": torch.cat(
                [
                    resized[:, :2],
                    resized[:, 2:].unflatten(1, (new_side, new_side)).transpose(1, 2).flatten(1, 2),
                ],
                dim=1,
            ),
        },
    )
