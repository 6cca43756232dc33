"""What the student learns from: the true label, and the teacher's answer, soft or hard.

Paper: section 4, equations 2 and 3. Z_s are the student's logits, Z_t the teacher's, psi is the softmax.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from deit_edu.errors import DeiTEduError


def check_labels(labels, num_classes):
    """Refuse labels that are no numbers of classes, 0 to K - 1."""
    if labels.dtype != torch.int64:
        raise DeiTEduError(f"labels of type {labels.dtype} are no numbers of classes: give (B,) int64")
    if labels.numel() and not 0 <= labels.min() <= labels.max() < num_classes:
        low, high = labels.min().item(), labels.max().item()
        raise DeiTEduError(f"labels from {low} to {high} are not all of {num_classes} classes: number them from 0")


def smooth_labels(labels, num_classes, epsilon, over="others"):
    """Turn labels into probabilities, a little of each taken from the truth (paper, table 9: epsilon = 0.1).

    Args:
        labels: (B,) int64. num_classes: K. epsilon: the probability given away, in [0, 1).
        over: "others" shares epsilon among the K - 1 wrong classes (the paper's words: truth gets 1 - epsilon);
            "all" spreads it over all K (the authors' code: truth gets 1 - epsilon + epsilon / K).

    Returns:
        (B, K), each row sums to 1.

    Raises:
        DeiTEduError: for an epsilon outside [0, 1), another word for `over`, or labels that are none of K classes.
    """
    if over not in ("others", "all"):
        raise DeiTEduError(f"unknown smoothing {over!r}: choose 'others' (the paper) or 'all' (the authors' code)")
    if not 0 <= epsilon < 1:
        raise DeiTEduError(f"label smoothing {epsilon} must lie in [0, 1)")
    check_labels(labels, num_classes)
    one_hot = F.one_hot(labels, num_classes).float()  # (B, K)
    if over == "all":
        return one_hot * (1 - epsilon) + epsilon / num_classes
    return one_hot * (1 - epsilon) + (1 - one_hot) * epsilon / max(1, num_classes - 1)


def soft_cross_entropy(logits, targets):
    """CE(psi(Z), y), the mean over the batch, for labels or for probabilities.

    Args:
        logits: (B, K). targets: (B,) int64 labels, or (B, K) probabilities (smoothed or mixed labels).

    Raises:
        DeiTEduError: for targets of other shapes, or labels that are none of K classes.
    """
    if len(logits) == 0:
        raise DeiTEduError("a batch without images has no loss: give one or more")
    if targets.dim() == 1 and len(targets) == len(logits):
        check_labels(targets, logits.shape[-1])
    elif targets.shape != logits.shape:
        raise DeiTEduError(
            f"targets of shape {tuple(targets.shape)} do not fit logits {tuple(logits.shape)}: give labels (B,) or "
            f"probabilities (B, K)"
        )
    return F.cross_entropy(logits, targets)


def check_same_classes(student_logits, teacher_logits):
    """Refuse a teacher of other classes: its argmax would be a label of the wrong class, and nothing would fail."""
    if student_logits.shape != teacher_logits.shape:
        raise DeiTEduError(
            f"the teacher's logits {tuple(teacher_logits.shape)} do not match the student's "
            f"{tuple(student_logits.shape)}: give both the same number of classes"
        )


def soft_distillation(student_logits, teacher_logits, temperature, reduction="batchmean"):
    """tau^2 KL(psi(Z_t / tau) || psi(Z_s / tau)): the distillation term of equation 2.

    The paper writes KL(student, teacher); the authors' code, like Hinton's, takes the teacher's distribution as
    the reference, and so do we.

    Args:
        student_logits, teacher_logits: (B, K). No gradient reaches the teacher.
        temperature: tau; the paper uses 3.
        reduction: "batchmean" is the mean over the batch; "official" divides the sum by B*K as the authors'
            code does, and is K times smaller.

    Returns:
        A scalar.

    Raises:
        DeiTEduError: for logits of different shapes, a temperature that is not positive, another reduction.
    """
    check_soft(temperature, reduction)
    check_same_classes(student_logits, teacher_logits)
    student = F.log_softmax(student_logits / temperature, dim=-1)  # (B, K)
    teacher = F.log_softmax(teacher_logits.detach() / temperature, dim=-1)  # (B, K)
    divergence = F.kl_div(student, teacher, reduction="batchmean", log_target=True)
    if reduction == "official":
        divergence = divergence / student_logits.shape[-1]
    return temperature**2 * divergence


def check_soft(temperature, reduction):
    """Refuse settings that `soft_distillation` has not."""
    if reduction not in ("batchmean", "official"):
        raise DeiTEduError(f'unknown reduction {reduction!r}: choose "batchmean" or "official" (the authors\' code)')
    if not 0 < temperature < math.inf:
        raise DeiTEduError(f"temperature {temperature} must be positive and finite; the paper uses 3")


def hard_distillation(student_logits, teacher_logits):
    """CE(psi(Z_s), y_t) with y_t = argmax_c Z_t(c): the teacher's decision as a label (equation 3).

    Args:
        student_logits, teacher_logits: (B, K). The teacher's labels are not smoothed.

    Returns:
        A scalar.

    Raises:
        DeiTEduError: for logits of different shapes.
    """
    check_same_classes(student_logits, teacher_logits)
    return F.cross_entropy(student_logits, teacher_logits.argmax(dim=-1))


def drawn_distillation(student_logits, teacher_logits):
    """CE(psi(Z_s), y) with y drawn from psi(Z_t): a label as hard as the teacher's decision, and as unsure as it.

    Its mean over many draws is soft distillation at temperature 1, but for a constant. Not in the paper. The draw is
    of PyTorch's own generator.

    Args:
        student_logits, teacher_logits: (B, K).

    Returns:
        A scalar.

    Raises:
        DeiTEduError: for logits of different shapes.
    """
    check_same_classes(student_logits, teacher_logits)
    drawn = torch.multinomial(teacher_logits.detach().softmax(dim=-1), 1)  # (B, 1)
    return F.cross_entropy(student_logits, drawn[:, 0])


def pairs_of(student_logits, teacher_logits):
    """The head of every teacher beside what that teacher says: (B, n, K) twice -> (B n, K) twice.

    Raises:
        DeiTEduError: when there are not as many distillation heads as teachers.
    """
    heads, teachers = (logits.shape[1] if logits.dim() == 3 else 1 for logits in (student_logits, teacher_logits))
    if heads != teachers or student_logits.dim() < 3:
        raise DeiTEduError(
            f'tokens "each" give every teacher a head of its own: here are {heads} and {teachers}; build the model '
            f"with distillation_tokens={teachers}"
        )
    check_same_classes(student_logits, teacher_logits)
    return student_logits.flatten(0, 1), teacher_logits.flatten(0, 1)


DISTILLATIONS = ("none", "soft", "hard", "drawn")
TOKENS = ("class", "both", "each")


def at_least_float32(logits):
    """Logits of half precision as float32; others, or None, as they are."""
    return logits.float() if logits is not None and logits.dtype in (torch.bfloat16, torch.float16) else logits


class DistillationObjective(nn.Module):
    """(1 - weight) * loss on the true label + weight * loss on the teacher: equations 2 and 3 for every row of table 3.

    With tokens="class" both terms train the class head (rows 1 to 3 of table 3). With tokens="both" the label
    trains the class head and the teacher trains the distillation head (rows 4 to 6); without a teacher, both
    heads learn the label, which is the paper's control with two class tokens (section 4). With tokens="each" every one
    of several teachers trains a distillation head of its own, and they share the teacher's part of the loss.

    Args:
        distillation: "none", "soft", "hard" or "drawn".
        tokens: "class", "both" or "each".
        temperature: tau of the soft loss; the paper uses 3.
        weight: lambda, the teacher's share. None takes the paper's: 0.1 soft, 1/2 hard or drawn.
        reduction: of the soft loss, see `soft_distillation`.

    Raises:
        DeiTEduError: for a name that it does not know, or a temperature or weight that cannot be.
    """

    def __init__(self, distillation="hard", tokens="both", temperature=3.0, weight=None, reduction="batchmean"):
        super().__init__()
        if distillation not in DISTILLATIONS:
            raise DeiTEduError(f"unknown distillation {distillation!r}: choose one of {', '.join(DISTILLATIONS)}")
        if tokens not in TOKENS:
            raise DeiTEduError(f'unknown tokens {tokens!r}: choose "class", "both" or "each"')
        if (distillation, tokens) == ("none", "each"):
            raise DeiTEduError('tokens "each" are for the teachers: name two, or choose "class" or "both"')
        if weight is not None and not 0 <= weight <= 1:
            raise DeiTEduError(f"distillation weight {weight} must lie in [0, 1]; the paper uses 0.1 soft, 0.5 hard")
        if distillation == "soft":
            check_soft(temperature, reduction)
        self.distillation = distillation
        self.tokens = tokens
        self.temperature = temperature
        paper = {"none": 0.5 if tokens == "both" else 0.0, "soft": 0.1, "hard": 0.5, "drawn": 0.5}
        self.weight = paper[distillation] if weight is None else weight
        self.reduction = reduction

    def forward(self, head_logits, targets, teacher_logits=None):
        """HeadLogits of (B, K), targets (B,) or (B, K), teacher's logits (B, K) -> the loss, a scalar.

        With tokens="each" the teachers' logits are (B, n, K), and so are those of the distillation heads.

        Raises:
            DeiTEduError: for a missing teacher or a missing head, or logits of different shapes.
        """
        # autocast would take the logarithms, and the division by tau, in bfloat16 where the products are: on a CPU
        # it casts float32 logits down again. The loss is computed in float32 everywhere, or in float64.
        with torch.autocast(head_logits.class_logits.device.type, enabled=False):
            head_logits = type(head_logits)(*map(at_least_float32, head_logits))
            return self.loss(head_logits, targets, at_least_float32(teacher_logits))

    def loss(self, head_logits, targets, teacher_logits):
        """What `forward` returns, in the precision of the logits."""
        student = head_logits.class_logits  # the head that listens to the teacher
        if self.tokens != "class":
            if head_logits.distillation_logits is None:
                raise DeiTEduError(
                    f"tokens={self.tokens!r} needs a distillation token: build the model with distilled=True"
                )
            student = head_logits.distillation_logits
        if self.tokens == "each" and teacher_logits is not None:
            student, teacher_logits = pairs_of(student, teacher_logits)  # (B n, K): the mean over the teachers, too
        loss = soft_cross_entropy(head_logits.class_logits, targets)
        if self.distillation == "none":
            if self.tokens == "class":
                return loss
            second = soft_cross_entropy(student, targets)
        elif teacher_logits is None:
            raise DeiTEduError(f"{self.distillation} distillation needs the teacher's logits: name a teacher")
        elif self.distillation == "soft":
            second = soft_distillation(student, teacher_logits, self.temperature, self.reduction)
        elif self.distillation == "drawn":
            second = drawn_distillation(student, teacher_logits)
        else:
            second = hard_distillation(student, teacher_logits)
        return (1 - self.weight) * loss + self.weight * second
