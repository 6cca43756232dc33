"""What the record of a finished run says of its network: accuracies, curve, tokens, how often its teacher is right."""

from dataclasses import asdict
from statistics import median

import torch

from deit_edu.data import nested_subset
from deit_edu.inspect import describe_tokens
from deit_edu.model import DeiT, HeadLogits, mean_answer
from deit_edu.runs.build import build_model
from deit_edu.runs.checkpoints import digest
from deit_edu.runs.evaluate import accuracies, per_class, predict
from deit_edu.train import shown_epoch, training_split

ASKED_OF_TEACHER = 10_000  # training images at most, of which the record says how often the teacher is right


def speed_and_curve(metrics):
    """The median of images per second over epochs, and loss and validation accuracy of each: a part of a record.

    Args:
        metrics: one dictionary an epoch, as metrics.jsonl has them.
    """
    curve = [{"epoch": line["epoch"], "loss": line["loss"], **line["validation"]} for line in metrics]
    return {
        "images_per_second": median(line["images_per_second"] for line in metrics) if metrics else None,
        **({"waiting": waiting} if (waiting := share_of_waiting(metrics)) is not None else {}),
        "curve": curve,
    }


def share_of_waiting(metrics):
    """The share of the training's seconds in which the network waited for pictures; None where memory held them."""
    timed = [line for line in metrics if "waiting" in line]
    if not timed:
        return None
    return sum(line["waiting"] * line["seconds"] for line in timed) / sum(line["seconds"] for line in timed)


def describe_network(student, config, dataset):
    """What is measured of a trained network, with its weights' digest.

    Args:
        student: a network on its device. config: TrainConfig. dataset: an ImageDataset.

    Returns:
        (a part of the record, HeadLogits of the test images).
    """
    described = {
        "parameters": sum(parameter.numel() for parameter in student.parameters()),
        "checkpoint": digest(student.state_dict()),
    }
    for name in ("validation", "test"):
        split = getattr(dataset, name)
        said = predict(student, split, dataset)
        described[name] = {head: score.to_dict() for head, score in accuracies(said, split.labels).items()}
    for place, items in (dataset.places or {}).items():
        scores = accuracies(predict(student, items, dataset), items.labels)
        described.setdefault("places", {})[place] = {head: score.to_dict() for head, score in scores.items()}
    by_class = per_class(said, split.labels, dataset.num_classes)
    if by_class.uneven:
        described["test_classes"] = {"classes": list(dataset.classes), **asdict(by_class)}
    if isinstance(student, DeiT) and student.config.distilled:
        torch.manual_seed(config.seed)
        untrained = build_model(config, dataset).to(next(student.parameters()).device)
        for name, model in (("tokens", student), ("tokens_untrained", untrained)):
            described[name] = describe_tokens(model, dataset)
    return described, said


def ask_teacher(teacher, config, dataset):
    """How often a teacher is right on the images of the last epoch: who knows them by heart says little of its own.

    Args:
        teacher: a frozen network. config: TrainConfig. dataset: an ImageDataset.

    Returns:
        `Accuracy.to_dict` of at most `ASKED_OF_TEACHER` training images.
    """
    taught = training_split(config, dataset, shown_epoch(config, max(0, config.epochs - 1)))
    asked = nested_subset(taught.labels, min(config.train_images or len(taught), ASKED_OF_TEACHER))
    said = predict(teacher, taught, dataset, indices=asked)
    said = HeadLogits(mean_answer(said.class_logits), None)
    return accuracies(said, taught.labels[asked])["class"].to_dict()
