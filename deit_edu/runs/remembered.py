"""A picture that the teacher has seen is not shown to it again: its decision is remembered.

A crop of at most p pixels and a mirror make 2 (2p + 1)^2 pictures of each image and no more: 50 with the tiny recipe,
of which 40 epochs show some 28. Hard distillation needs the teacher's decision alone, a number for each.
"""

import threading

import torch
import torch.nn.functional as F

from deit_edu.data.splits import Split

MOST_PLACES = 2**22  # 12 bytes each: 50 MB


def remembering(teacher, config, dataset, world):
    """The teacher as `Remembered`, where a run shows the same pictures again and only its decisions count.

    Args:
        teacher: what the loop would ask, or None. config: TrainConfig. dataset: an ImageDataset. world: a `World`.
    """
    if config.tokens == "each":
        return teacher  # several decisions
    if teacher is None or config.distillation != "hard" or config.compile or world.device.type != "cpu":
        return teacher  # a compiled network is made for one size of batch
    drawn = config.rand_augment or config.auto_augment or config.erasing or config.mixup_alpha or config.cutmix_alpha
    if drawn or (dataset.redraw and config.redraw) or not isinstance(dataset.train, Split):
        return teacher  # hardly a picture comes again
    pictures = (1 + config.flip) * (2 * config.crop_padding + 1) ** 2
    images = config.train_images or len(dataset.train)
    expected = min(images * pictures, len(dataset.train) * config.epochs)
    return Remembered(teacher, dataset.num_classes, min(MOST_PLACES, 2 ** (2 * expected - 1).bit_length()))


class Remembered:
    """Stands in for a frozen teacher in the loop, for hard distillation.

    Every picture has one place, by a number made of its pixels; who comes later to the same place takes it.

    Args:
        teacher: images (B, C, H, W) -> logits (B, K). num_classes: K. places: how many, a power of two.
    """

    def __init__(self, teacher, num_classes, places):
        self.teacher, self.num_classes = teacher, num_classes
        self.numbers = torch.zeros(places, dtype=torch.int64)  # of the picture in each place, 0 for none
        self.classes = torch.zeros(places, dtype=torch.int32)
        self.asked = self.known = 0  # pictures
        self.lock = threading.Lock()  # the parts of a batch ask side by side

    def __call__(self, images):
        """(B, C, H, W) -> logits (B, K): 1 for the class that the teacher decides for, else 0."""
        numbers = picture_numbers(images)  # (B,)
        places = (numbers >> 32) % len(self.numbers)  # by the upper bits, which depend on all bits of the pixels
        with self.lock:
            new = (self.numbers[places] != numbers).nonzero().flatten()
            decisions = self.classes[places].long()  # (B,), right where nothing is new
            self.asked, self.known = self.asked + len(new), self.known + len(images) - len(new)
        if len(new):
            together = new if len(new) > 1 else new.repeat(2)  # alone it would be summed in another order
            said = self.teacher(images[together]).argmax(dim=-1)[: len(new)]
            decisions[new] = said
            with self.lock:
                self.numbers[places[new]], self.classes[places[new]] = numbers[new], said.to(self.classes.dtype)
        return F.one_hot(decisions, self.num_classes).float()


def picture_numbers(images):
    """A number of 64 bits for each picture (B, C, H, W) float32, never 0: pictures that differ have others, (B,).

    The sum of its pixels' bits, each times a random number: two pictures agree by chance once in more than 2^40 times.
    """
    bits = images.detach().contiguous().flatten(1).view(torch.int32).long()  # (B, C H W)
    generator = torch.Generator().manual_seed(0)
    factors = torch.randint(-(2**63), 2**63 - 1, bits.shape[1:], generator=generator)
    return (bits * factors).sum(dim=1) | 1  # (B,)
