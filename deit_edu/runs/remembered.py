"""A picture that the teacher has seen is not shown to it again: its decision is remembered.

A crop of at most p pixels and a mirror make 2 (2p + 1)^2 pictures of each image and no more: 50 with the tiny recipe,
of which 40 epochs would show some 28; and a recipe may show the pictures of its first epochs again. Hard distillation
needs the teacher's decision alone, a number for each.
"""

import threading

import torch
import torch.nn.functional as F

from deit_edu.data.splits import Chosen, Split

MOST = 2**19  # pictures, some 100 bytes each: 50 MB


def remembering(teacher, config, dataset, world):
    """The teacher as `Remembered`, where a run shows the same pictures again and only its decisions count.

    Args:
        teacher: what the loop would ask, or None. config: TrainConfig. dataset: an ImageDataset. world: a `World`.
    """
    if teacher is None or share_asked(config, dataset, world) == 1:
        return teacher
    return Remembered(teacher, dataset.num_classes)


def share_asked(config, dataset, world):
    """About what share of a run's pictures its teacher is shown: 1 where decisions cannot be remembered."""
    if config.distillation != "hard" or config.tokens == "each":  # several decisions
        return 1
    if config.compile or world.device.type != "cpu":
        return 1  # a compiled network is made for one size of batch
    return share_new(config, dataset)


def share_new(config, dataset):
    """The expected share of a run's pictures that it has not shown before; 1 where hardly one comes again."""
    epochs = min(config.epochs, config.replay or config.epochs)  # after these all come again
    drawn = config.rand_augment or config.auto_augment or config.erasing or config.mixup_alpha or config.cutmix_alpha
    if drawn or (dataset.redraw and config.redraw) or not isinstance(dataset.train, Split | Chosen):
        return epochs / max(1, config.epochs)
    pictures = (1 + config.flip) * (2 * config.crop_padding + 1) ** 2  # of each image
    shown = len(dataset.train) / (config.train_images or len(dataset.train))  # in an epoch, of each image
    different = pictures * (1 - (1 - 1 / pictures) ** (epochs * shown))
    return different / max(1.0, config.epochs * shown)


class Remembered:
    """Stands in for a frozen teacher in the loop, for hard distillation.

    A picture is known by a number made of its pixels. Once `MOST` are known, others are asked about every time.

    Args:
        teacher: images (B, C, H, W) -> logits (B, K). num_classes: K.
    """

    def __init__(self, teacher, num_classes):
        self.teacher, self.num_classes = teacher, num_classes
        self.decisions = {}  # {a picture's number: the class that the teacher decides for}
        self.asked = self.known = 0  # pictures
        self.lock = threading.Lock()  # the parts of a batch ask side by side

    def __call__(self, images):
        """(B, C, H, W) -> logits (B, K): 1 for the class that the teacher decides for, else 0."""
        numbers = picture_numbers(images).tolist()
        decisions = [self.decisions.get(number) for number in numbers]
        new = [place for place, decision in enumerate(decisions) if decision is None]
        with self.lock:
            self.asked, self.known = self.asked + len(new), self.known + len(images) - len(new)
        if new:
            together = new if len(new) > 1 else 2 * new  # alone it would be summed in another order
            said = self.teacher(images[together]).argmax(dim=-1).tolist()
            for place, decision in zip(new, said, strict=False):
                decisions[place] = decision
                if len(self.decisions) < MOST:
                    self.decisions[numbers[place]] = decision
        return F.one_hot(torch.tensor(decisions), self.num_classes).float()


def picture_numbers(images):
    """A number of 64 bits for each picture (B, C, H, W) float32: pictures that differ have others, (B,).

    The sum of its pixels' bits, each times a random number: two pictures agree by chance once in more than 2^40 times.
    """
    bits = images.detach().contiguous().flatten(1).view(torch.int32).long()  # (B, C H W)
    generator = torch.Generator().manual_seed(0)
    factors = torch.randint(-(2**63), 2**63 - 1, bits.shape[1:], generator=generator)
    return (bits * factors).sum(dim=1)  # (B,)
