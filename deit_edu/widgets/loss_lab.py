"""Loss lab: drag the logits of student and teacher, and see what soft and hard distillation make of them."""

import matplotlib.pyplot as plt
import numpy as np
import torch
import traitlets

from deit_edu.errors import DeiTEduError
from deit_edu.losses import DistillationObjective, check_soft, smooth_labels
from deit_edu.model import HeadLogits
from deit_edu.reading.figures import COLOURS, NARROW, STYLE, literal
from deit_edu.widgets.figure import Figure


class LossLab(Figure):
    """One image: logits, probabilities, soft and hard loss, and their gradients on each logit.

    Paper: equations 2 and 3.

    Args:
        student, teacher: K logits each. class_names: K words. label: the true class.
        temperature, distillation_weight, label_smoothing: tau, lambda and epsilon of the losses.
        reduction: "batchmean" (the paper) or "official" (the authors' code, K times smaller).

    Raises:
        DeiTEduError: when the lengths differ, the label is none of the classes, or a setting is none of its loss.
    """

    student = traitlets.List(traitlets.Float()).tag(sync=True)
    teacher = traitlets.List(traitlets.Float()).tag(sync=True)
    class_names = traitlets.List(traitlets.Unicode()).tag(sync=True)
    label = traitlets.Int(0).tag(sync=True)
    temperature = traitlets.Float(3.0).tag(sync=True)
    distillation_weight = traitlets.Float(0.1).tag(sync=True)
    label_smoothing = traitlets.Float(0.1).tag(sync=True)
    reduction = traitlets.Enum(["batchmean", "official"], "batchmean").tag(sync=True)

    def __init__(
        self,
        student=(1.2, 2.0, -0.5, -1.5, 0.3),
        teacher=(3.5, 2.4, 0.2, -2.0, -1.0),
        class_names=("sneaker", "sandal", "boot", "bag", "shirt"),
        label=1,
        temperature=3.0,
        distillation_weight=0.1,
        label_smoothing=0.1,
        reduction="batchmean",
    ):
        check_soft(temperature, reduction)
        if not len(student) == len(teacher) == len(class_names) > 1:
            lengths = f"{len(student)}, {len(teacher)} and {len(class_names)}"
            raise DeiTEduError(f"student, teacher and class names are {lengths}: give as many of each, two or more")
        if not 0 <= label < len(class_names):
            raise DeiTEduError(f"label is {label}: choose 0 to {len(class_names) - 1}")
        super().__init__(
            student=[*map(float, student)], teacher=[*map(float, teacher)], class_names=list(class_names), label=label,
            temperature=temperature, distillation_weight=distillation_weight, label_smoothing=label_smoothing,
            reduction=reduction,
        )  # fmt: skip
        self.loss("soft")  # says what else cannot be

    def loss(self, kind):
        """The loss of the logits as they stand, and its gradient on the student's (K,): kind "none", "soft", "hard"."""
        student = torch.tensor([self.student], dtype=torch.float64, requires_grad=True)
        teacher = torch.tensor([self.teacher], dtype=torch.float64)
        weight = {"none": None, "soft": self.distillation_weight, "hard": 0.5}[kind]
        objective = DistillationObjective(kind, "class", self.temperature, weight, self.reduction)
        target = smooth_labels(torch.tensor([self.label]), len(self.class_names), self.label_smoothing).double()
        loss = objective(HeadLogits(student, None), target, teacher)
        loss.backward()
        return loss.item(), student.grad[0].numpy()

    def picture(self):
        with plt.rc_context(STYLE):
            fig, (left, right) = plt.subplots(1, 2, figsize=(NARROW * 1.4, 2.6), sharey=True)
            rows = np.arange(len(self.class_names))
            for offset, (who, logits) in enumerate({"class": self.student, "teacher": self.teacher}.items()):
                shares = torch.softmax(torch.tensor(logits), 0).numpy()
                left.barh(rows + 0.38 * offset, shares, 0.36, color=COLOURS[who])
            for offset, kind in enumerate(("none", "soft", "hard")):
                right.barh(
                    rows + 0.25 * offset, self.loss(kind)[1], 0.23, color=["#8C8C8C", "#6b7480", "#1f2328"][offset]
                )
            left.set(yticks=rows + 0.2, yticklabels=[*map(literal, self.class_names)], title="probabilities")
            right.set_title("gradients: none, soft, hard")
            left.invert_yaxis()
        return fig

    def caption(self):
        losses = ", ".join(f"{kind} {self.loss(kind)[0]:.2f}" for kind in ("none", "soft", "hard"))
        decided = self.class_names[int(np.argmax(self.teacher))]
        return f"""Probabilities of the student (blue) and the teacher (green), and the gradient of each loss on the
        student's logits. The teacher decides for {decided}, the label says {self.class_names[self.label]}. Losses by
        kind of distillation: {losses}."""
