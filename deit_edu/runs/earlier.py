"""A teacher that is asked about other pictures than those that its student sees: each image as it is, or earlier ones.

A teacher asked once costs less, and its answers can be kept beside the images. But then it no longer sees what the
student sees, which the paper's teacher does (section 4), and so does the one of Beyer et al. (arXiv:2106.05237).
"""

import time
from contextlib import contextmanager

import torch

from deit_edu.errors import DeiTEduError
from deit_edu.runs.answers import Counts
from deit_edu.runs.evaluate import predict
from deit_edu.train import batches_of_epoch, shown_order


def epochs_asked(ask_about):
    """`TrainConfig.ask_about` as a number of epochs: None for every picture, 0 for each image as it is.

    Raises:
        DeiTEduError: for anything else than "pictures", "image" or a number of epochs.
    """
    known = {"pictures": None, "image": 0}
    if ask_about in known:
        return known[ask_about]
    if not (ask_about.isdecimal() and int(ask_about)):
        raise DeiTEduError(
            f"ask_about is {ask_about!r}: say pictures, image, or a number of epochs whose pictures it is asked about"
        )
    return int(ask_about)


def check_asks(config, world):
    """Refuse to ask about earlier pictures where an image has no answer of its own, or is not in every epoch."""
    if epochs_asked(config.ask_about) is None:
        return
    off = {
        "mixup_alpha": 0.0,
        "cutmix_alpha": 0.0,
        "repeats": 1,
        "train_images": 0,
        "balanced": False,
        "keep_answers": 0,
    }
    refused = [name for name, value in off.items() if getattr(config, name) != value]
    refused += ["several processes"] if world.size > 1 else []
    if refused:
        raise DeiTEduError(
            f"ask_about {config.ask_about} gives an image the answer to an earlier picture of it alone: leave out "
            f"{', '.join(refused)}"
        )


class EarlierAnswers(Counts):
    """Stands in for a teacher in the loop: an image has the answer to an earlier picture of it, or to itself.

    Args:
        teacher: the frozen network. config: TrainConfig. dataset: an ImageDataset. world: a `World`.
    """

    def __init__(self, teacher, config, dataset, world):
        self.teacher, self.config, self.dataset, self.world = teacher, config, dataset, world
        self.epochs = epochs_asked(config.ask_about)
        self.answers = {}  # {epoch, or None for the images as they are: (n, K) logits}

    @contextmanager
    def of_epoch(self, epoch):
        """Inside, the loop asks for the answers to the pictures of this epoch, batch after batch."""
        asked_of = epoch % self.epochs if self.epochs else None
        if asked_of not in self.answers:
            begun = time.perf_counter()
            self.answers[asked_of] = self.ask(asked_of)
            self.asking += time.perf_counter() - begun
        order = shown_order(self.dataset.train.labels, self.config, epoch)
        self.left = iter(order.split(self.config.batch_size))
        self.now = self.answers[asked_of]
        yield

    @torch.no_grad()
    def ask(self, epoch):
        """The teacher's answers to the pictures of an epoch, or to the images as they are: (n, K) logits.

        The pictures are made again, so a run that was stopped finds the same.
        """
        if epoch is None:
            said = predict(self.teacher, self.dataset.train, self.dataset).class_logits
            self.asked += -(-len(said) // self.config.batch_size)
            return said
        answers = torch.empty(len(self.dataset.train), self.dataset.num_classes)
        for indices, images, _ in batches_of_epoch(self.config, self.dataset, epoch, self.world):
            answers[indices] = self.teacher(images).float().cpu()
            self.asked += 1
        return answers

    def __call__(self, images):
        """(B, C, H, W) -> logits (B, K): what the teacher said of earlier pictures of the same images."""
        self.reused += 1
        return self.now[next(self.left)].to(images.device)
