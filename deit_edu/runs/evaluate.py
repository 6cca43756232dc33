"""How good is it: predictions over a split, accuracy of each head and of both fusions, with intervals."""

from dataclasses import dataclass

import torch

from deit_edu.errors import DeiTEduError, counted
from deit_edu.model import HeadLogits, fuse, mean_answer
from deit_edu.runs.ahead import read_ahead
from deit_edu.runs.checkpoints import load, save
from deit_edu.runs.preprocess import preprocessing_of
from deit_edu.teachers import as_head_logits


@dataclass(frozen=True)
class Accuracy:
    """A share of correct answers, with the 95 % Wilson interval that its number of images gives."""

    correct: int
    total: int

    @property
    def value(self):
        return self.correct / self.total

    @property
    def interval(self):
        """(low, high). It speaks of the choice of test images; the choice of seed is another spread."""
        from scipy.stats import binomtest  # takes half as long as torch: only who asks for it waits

        bounds = binomtest(self.correct, self.total).proportion_ci(method="wilson")
        return bounds.low, bounds.high

    def to_dict(self):
        return {"correct": self.correct, "total": self.total, "accuracy": self.value}

    def __str__(self):
        low, high = self.interval
        return f"{self.value:.2%} ({low:.2%} to {high:.2%})"


@torch.no_grad()
def predict(model, split, dataset, batch_size=125, indices=None):
    """What a network says of the images of a split, in eval mode.

    Args:
        model: a DeiT or any network to logits (B, K). split: a Split of n images.
        dataset: the ImageDataset whose mean and std normalise where the network does not say its own.
        batch_size: images at a time; four times as many take 100 MB more, and no less time, of a small convnet.
        indices: (n,) of the images that are asked for; all by default.

    Returns:
        HeadLogits of (n, K) float32 on the CPU.
    """
    device, prepare = next(model.parameters()).device, preprocessing_of(model, dataset)
    was_training = model.training
    model.eval()
    try:
        answers = []
        parts = (torch.arange(len(split)) if indices is None else indices).split(batch_size)
        for images in read_ahead(split, parts):  # (B, C, H, W)
            answers.append(as_head_logits(model(prepare(images.to(device)))))
    finally:
        model.train(was_training)
    heads = zip(*answers, strict=True)  # first all that the class head said, then the distillation head
    return HeadLogits(*(None if logits[0] is None else torch.cat(logits).cpu() for logits in heads))


def decisions(head_logits):
    """The class each head and each fusion chooses: {name: (n,) int64}.

    The names: class, distillation, fused (the paper's sum of probabilities), fused_logits (the authors' code);
    class alone for a model with one head. With several teachers distillation is the mean of their heads, and
    distillation_1, distillation_2 are each one's own.
    """
    chosen = {"class": head_logits.class_logits.argmax(dim=-1)}
    _, *second = head_logits.heads
    if second:
        chosen["distillation"] = mean_answer(head_logits.distillation_logits).argmax(dim=-1)
        chosen["fused"] = fuse(head_logits, "probabilities").argmax(dim=-1)
        chosen["fused_logits"] = fuse(head_logits, "logits").argmax(dim=-1)
    if len(second) > 1:
        chosen |= {f"distillation_{n}": one.argmax(dim=-1) for n, one in enumerate(second, 1)}
    return chosen


def save_predictions(path, head_logits):
    """Write predictions compactly: each head's logits as float16, and each decision, which rounding could change.

    Args:
        path: a safetensors file. head_logits: HeadLogits of (n, K), from `predict`.
    """
    heads = {"class": head_logits.class_logits, "distillation": head_logits.distillation_logits}
    tensors = {f"logits.{name}": logits.half() for name, logits in heads.items() if logits is not None}
    numbers = torch.int16 if head_logits.class_logits.shape[1] <= 2**15 else torch.int32
    tensors |= {f"decisions.{name}": chosen.to(numbers) for name, chosen in decisions(head_logits).items()}
    save(path, tensors)


def load_decisions(path):
    """The decisions that `save_predictions` wrote, as `decisions` gives them: {name: (n,) int64}."""
    tensors, _ = load(path)
    return {name.removeprefix("decisions."): t.long() for name, t in tensors.items() if name.startswith("decisions.")}


@dataclass(frozen=True)
class PerClass:
    """What accuracy hides where classes differ in size."""

    counts: tuple  # pictures of each class
    recalls: tuple  # the share of each class's pictures that are found; None for a class without one

    @property
    def balanced(self):
        """The mean recall over the classes that have pictures."""
        found = [recall for recall in self.recalls if recall is not None]
        return sum(found) / len(found)

    @property
    def largest(self):
        """The share of the largest class: what who always says its name would reach."""
        return max(self.counts) / sum(self.counts)

    @property
    def uneven(self):
        """Whether the largest class has at least half as many again as the smallest that has any."""
        return max(self.counts) > 1.5 * min(count for count in self.counts if count)

    def lines(self, classes):
        """Lines to print beside an accuracy."""
        found = ", ".join(
            f"{name} {'-' if recall is None else f'{recall:.2%}'} of {count:,}"
            for name, recall, count in zip(classes[:20], self.recalls, self.counts, strict=False)
        ) + (f" and {len(classes) - 20} more" if len(classes) > 20 else "")
        name = classes[self.counts.index(max(self.counts))]
        return [
            f"balanced accuracy {self.balanced:.2%}; always saying {name} would be right on {self.largest:.2%}",
            f"recall: {found}",
        ]


def per_class(head_logits, labels, num_classes):
    """Recall of every class, by the fusion or the only head: HeadLogits of (n, K), labels (n,) -> PerClass."""
    labels, chosen = labels.cpu(), decisions(head_logits)
    chosen = chosen.get("fused", chosen["class"])
    counts = torch.bincount(labels, minlength=num_classes)
    found = torch.bincount(labels[chosen == labels], minlength=num_classes)
    recalls = tuple(hit / n if n else None for hit, n in zip(found.tolist(), counts.tolist(), strict=True))
    return PerClass(tuple(counts.tolist()), recalls)


def accuracies(head_logits, labels):
    """`Accuracy` of each head and each fusion: HeadLogits of (n, K), labels (n,) -> {name: Accuracy}."""
    labels = labels.cpu()
    answers = len(head_logits.class_logits)
    if not 0 < len(labels) == answers:
        given = f"{counted(len(labels), 'label')} for {counted(answers, 'answer')}"
        raise DeiTEduError(f"{given}: an image has one of each, and one is needed")
    return {
        name: Accuracy((chosen == labels).sum().item(), len(labels)) for name, chosen in decisions(head_logits).items()
    }
