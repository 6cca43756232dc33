"""How pictures are brought to a network: its size, its channels, its own mean and standard deviation.

A network knows what it was trained on. Whoever shows it pictures (evaluation, a student whose teacher it is, an export,
a figure) prepares them here, and never by the statistics of the pictures at hand.
"""

from dataclasses import dataclass, replace

import torch.nn.functional as F
from torch import nn

from deit_edu.data.imagenet import CROP_RATIO
from deit_edu.data.splits import normalise, per_channel
from deit_edu.errors import DeiTEduError, counted

GREY = (0.299, 0.587, 0.114)  # of red, green and blue, as Pillow converts (ITU-R 601)


def crop_ratio(metadata):
    """Which part of a picture's shorter side a network was shown when it was evaluated, by what its file says."""
    return CROP_RATIO if str(metadata.get("data")).startswith("imagenet:") else 1.0


@dataclass(frozen=True)
class Preprocessing:
    """What a network takes.

    Args:
        image_shape: (C, H, W). mean, std: per channel, of pixels scaled to [0, 1].
    """

    image_shape: tuple
    mean: tuple
    std: tuple

    @classmethod
    def of_dataset(cls, dataset):
        """That of a network trained on these data."""
        return cls(tuple(dataset.image_shape), tuple(dataset.mean), tuple(dataset.std))

    @classmethod
    def of_metadata(cls, metadata):
        """That which a file of weights holds, or None: files of 0.1 hold no statistics."""
        if not {"image_shape", "mean", "std"} <= set(metadata):
            return None
        return cls(*(tuple(metadata[name]) for name in ("image_shape", "mean", "std")))

    @classmethod
    def of_timm(cls, settings):
        """That of a timm model's ``pretrained_cfg``."""
        return cls(tuple(settings["input_size"]), tuple(settings["mean"]), tuple(settings["std"]))

    def to_dict(self):
        return {name: list(getattr(self, name)) for name in ("image_shape", "mean", "std")}

    def __call__(self, images):
        """Pictures as they lie in a data set -> what the network sees: (B, C, H, W) uint8 -> float32."""
        images = in_channels(images, self.image_shape[0])
        return normalise(self.resized(images, 0, 255), self.mean, self.std)

    def resized(self, images, low=None, high=None):
        """(B, C, h, w) -> (B, C, H, W) by Pillow's rule, bicubic and smoothed before it shrinks; unchanged in size."""
        if tuple(images.shape[-2:]) == self.image_shape[1:]:
            return images
        images = F.interpolate(images.float(), self.image_shape[1:], mode="bicubic", antialias=True)
        return images if low is None else images.round().clamp(low, high)

    def again(self, images, given):
        """A batch that is prepared for one network -> the same pictures, prepared for this one.

        Normalising, mixing, erasing and cropping are linear in the pixels, so what augmentation did is kept.

        Args:
            images: (B, C, h, w) float32, prepared by `given`, a Preprocessing.
        """
        if (given.mean, given.std) == (self.mean, self.std) and images.shape[1] == self.image_shape[0]:
            return self.resized(images)
        pixels = images * per_channel(given.std, images.device) + per_channel(given.mean, images.device)
        pixels = self.resized(in_channels(pixels, self.image_shape[0]))
        return (pixels - per_channel(self.mean, images.device)) / per_channel(self.std, images.device)


def in_channels(images, channels):
    """Grey pictures for a network of colours, or the other way round: (B, C, H, W) -> (B, channels, H, W)."""
    have = images.shape[1]
    if have == channels:
        return images
    if have == 1:
        return images.expand(-1, channels, -1, -1)
    if channels != 1 or have != 3:
        return images  # the network says what it expects
    grey = (images.float() * per_channel(GREY, images.device)).sum(1, keepdim=True)
    return grey if images.is_floating_point() else grey.round().to(images.dtype)


def preprocessing_of(model, dataset):
    """What a network takes: its own, where its file says it, else that of the data it is trained on."""
    wrapped = getattr(model, "model", None)  # a FrozenTeacher takes what its network takes
    for one in (model, wrapped):
        if own := getattr(one, "preprocessing", None):
            return own
    return Preprocessing.of_dataset(dataset)


class Prepared(nn.Module):
    """A network that is given batches prepared for another one, its student for instance, and sees its own.

    Args:
        model: a module from images to logits. own, given: Preprocessing of the network and of the batches.
    """

    def __init__(self, model, own, given):
        super().__init__()
        self.model, self.own, self.given = model, own, given

    def forward(self, images):
        """(B, C, h, w) -> what the network says. A batch straight from `normalise` says itself how it was made."""
        mean, std = getattr(images, "normalised_by", None) or (self.given.mean, self.given.std)
        return self.model(self.own.again(images, replace(self.given, mean=tuple(mean), std=tuple(std))))


def prepared(model, dataset):
    """A network as one that takes batches of these data, normalised: itself, where nothing differs."""
    own, given = preprocessing_of(model, dataset), Preprocessing.of_dataset(dataset)
    return model if own == given else Prepared(model, own, given)


def for_network(dataset, own):
    """A data set as a network was trained to see it: its channels and its statistics, to be fine-tuned on.

    Args:
        dataset: an ImageDataset. own: a Preprocessing; its size is not asked: positions are resized.

    Raises:
        DeiTEduError: for images on disk of other channels; those in memory are changed there.
    """
    here, needed = dataset.image_shape[0], own.image_shape[0]
    if here != needed and dataset.train.on_disk:
        raise DeiTEduError(
            f"{dataset.name} is read from the disk with {counted(here, 'channel')}, and the weights to start from take "
            f"{needed}: start from weights of {here}"
        )

    def of_split(split):
        return split if here == needed else replace(split, images=in_channels(split.images, needed))

    redraw = dataset.redraw and (lambda seed, epoch: of_split(dataset.redraw(seed, epoch)))
    splits = {name: of_split(getattr(dataset, name)) for name in ("train", "validation", "test")}
    return replace(dataset, mean=own.mean, std=own.std, redraw=redraw, **splits)
