"""A data set: three splits of uint8 images in memory, what normalises them, and a checksum to cite."""

import hashlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from deit_edu.errors import DeiTEduError


@dataclass(frozen=True)
class Split:
    """One part of a data set, in memory, or in one file as if it were."""

    images: torch.Tensor  # (n, C, H, W) uint8
    labels: torch.Tensor  # (n,) int64
    boxes: torch.Tensor | None = None  # (n, 4) int64: top, left, height, width (fashion_clutter only)
    on_disk: bool = False  # the images are a file's, of which memory holds what was used last

    def __len__(self):
        return len(self.labels)

    @property
    def image_shape(self):
        return tuple(self.images.shape[1:])  # (C, H, W)

    def batch(self, indices, generator=None):
        """Images (B, C, H, W) uint8 at indices (B,). Only a `LazySplit` draws crops from the generator."""
        return self.images[indices]


@dataclass(frozen=True)
class Chosen:
    """Some images of a `Split` on disk, which stay there: a batch alone comes into memory."""

    split: Split
    rows: torch.Tensor  # (n,) int64: which of the split's
    labels: torch.Tensor  # (n,) int64
    boxes = None
    on_disk = True

    def __len__(self):
        return len(self.labels)

    @property
    def image_shape(self):
        return self.split.image_shape

    @property
    def images(self):
        """All of them, brought into memory: (n, C, H, W) uint8."""
        return self.split.images[self.rows]

    def batch(self, indices, generator=None):
        """As `Split.batch`."""
        return self.split.batch(self.rows[indices])


@dataclass(frozen=True)
class ImageDataset:
    """Three splits of one data set. Choose a model on validation; look at test once, for the record."""

    name: str  # what the reader typed
    classes: tuple[str, ...]
    mean: tuple[float, ...]  # per channel, of training pixels scaled to [0, 1]
    std: tuple[float, ...]
    train: Split
    validation: Split
    test: Split
    checksum: str  # sha256 over all images and labels: what a ledger record cites
    redraw: Callable[[int, int], Split] | None = None  # redraw(seed, epoch): train, afresh (fashion_clutter)
    found: object = None  # of pictures in folders, what lies there and how it was read: `deit_edu.data.found.Found`
    places: dict[str, Split] | None = None  # the test's items elsewhere, by where (fashion_clutter_left)

    @property
    def image_shape(self):
        return self.train.image_shape  # (C, H, W)

    @property
    def num_classes(self):
        return len(self.classes)


def make_dataset(name, classes, train, validation, test, redraw=None, found=None, recall=None):
    """An ImageDataset of three splits in memory, with mean, standard deviation and checksum computed.

    A channel that never changes has a deviation of 0, by which nothing can be divided: it is taken as 1, with a
    warning. recall: a function that is given another, `summary`, and may answer what that answered before.
    """

    def summary():
        digest = hashlib.sha256()
        for split in (train, validation, test):
            for chunk in split.images.split(1000):  # images on disk may be more than memory holds
                digest.update(np.ascontiguousarray(chunk))
            digest.update(np.ascontiguousarray(split.labels))
        mean, std = channel_statistics(train.images)
        return {"mean": mean, "std": std, "checksum": digest.hexdigest()}

    summed = recall(summary) if recall else summary()
    mean, std = tuple(summed["mean"]), usable_deviations(name, summed["mean"], summed["std"])
    return ImageDataset(name, tuple(classes), mean, std, train, validation, test, summed["checksum"], redraw, found)


def usable_deviations(name, mean, std):
    """The deviation of every channel, 1 for one that never changes; that is said in one line."""
    constant = [channel for channel, deviation in enumerate(std) if deviation == 0]
    if constant:
        which = f"channel {', '.join(map(str, constant))} of 0 to {len(std) - 1}" if len(std) > 1 else "every picture"
        level = ", ".join(f"{mean[channel] * 255:.0f}" for channel in constant)
        which = "every picture" if len(constant) == len(std) else which
        warnings.warn(
            f"{name}: {which} is the same at every pixel of the training images, {level} of 255: nothing can be "
            f"learned from it, and its deviation is taken as 1",
            stacklevel=4,
        )
    return tuple(deviation or 1.0 for deviation in std)


def hold_out(labels, one_in=10):
    """Choose a validation part: one image in `one_in` of every class, the same on every machine.

    labels: (n,) int64. Returns (kept, held out): two sorted index tensors.
    """
    random = np.random.RandomState(0)  # its stream is frozen by NumPy's policy, a Generator's is not
    held_out = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = random.permutation(np.flatnonzero(np.asarray(labels) == label))
        count = max(len(members) // one_in, min(1, len(members) - 1))  # a small class gives one, its only image never
        held_out[members[:count]] = True
    return torch.from_numpy(np.flatnonzero(~held_out)), torch.from_numpy(np.flatnonzero(held_out))


def nested_subset(labels, num_images):
    """Choose a class-balanced part: the first of every class, then the second, and so on.

    A smaller part lies within a larger one, so that two sizes differ by what was added alone.

    labels: (n,) int64. Returns indices (num_images,). Raises DeiTEduError when there are not as many.
    """
    if not 1 <= num_images <= len(labels):
        raise DeiTEduError(f"cannot take {num_images} of {len(labels)} training images: choose 1 to {len(labels)}")
    labels = np.asarray(labels)
    rank = np.empty(len(labels), np.int64)  # how many of the same class came before
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        rank[members] = np.arange(len(members))
    return torch.from_numpy(np.lexsort((labels, rank))[:num_images])


# ---- classes of unequal sizes ----


def class_counts(split, num_classes):
    """How many images each class has: (K,) int64. split: anything with labels (n,); num_classes: K."""
    return torch.bincount(torch.as_tensor(split.labels), minlength=num_classes)


def class_weights(counts):
    """What each class weighs in the loss, so that all together weigh the same: n / (K n_k), mean 1 over the images.

    The rule of scikit-learn's "balanced" (King and Zeng 2001). A class without an image weighs 0, and K counts the
    others. counts: (K,), as `class_counts` gives. Returns (K,) float32.
    """
    counts = torch.as_tensor(counts, dtype=torch.float32)
    there = counts > 0
    return torch.where(there, counts.sum() / (there.sum() * counts.clamp(min=1)), 0.0)


def balanced_order(labels, length, generator):
    """An order of `length` images in which every class comes equally often, to within one: indices (length,).

    The images of a class come one after the other in an order of their own, and again from another when they are
    used up: each is seen equally often, to within one. labels: (n,) int64. generator: a torch.Generator.
    """
    labels = torch.as_tensor(labels)
    present = labels.unique()
    present = present[torch.randperm(len(present), generator=generator)]  # who comes once more is drawn
    chosen = []
    for rank, label in enumerate(present.tolist()):
        members = (labels == label).nonzero().flatten()
        count = length // len(present) + (rank < length % len(present))
        rounds = [members[torch.randperm(len(members), generator=generator)] for _ in range(-(-count // len(members)))]
        chosen += [torch.cat(rounds)[:count]] if rounds else []
    order = torch.cat(chosen) if chosen else torch.empty(0, dtype=torch.int64)
    return order[torch.randperm(len(order), generator=generator)]


def keep_classes(dataset, classes):
    """The images of some classes alone, labelled 0 and up in the order given; the rest of the data set stays as it is.

    What else an image shows stays: the clutter of fashion_clutter is cut from items of all classes. Images on disk stay
    there.

    classes: numbers of classes, as in "0-4" or "0,2,5". Raises DeiTEduError when that is not what it says.
    """
    kept, known = [], f"they are 0 to {dataset.num_classes - 1}"
    wrong = DeiTEduError(f"classes {classes!r} are not some of {dataset.name}'s, each once: {known}")
    for part in classes.split(","):
        first, dash, last = part.partition("-")
        last = last if dash else first
        if not (first.strip().isdecimal() and last.strip().isdecimal()):
            raise DeiTEduError(f"classes {classes!r} are not understood: say 0-4, or 0,2,5")
        if not int(first) <= int(last) < dataset.num_classes:
            raise wrong
        kept += range(int(first), int(last) + 1)
    if len(set(kept)) < len(kept):
        raise wrong
    new_label = torch.full((dataset.num_classes,), -1)
    new_label[kept] = torch.arange(len(kept))

    def of_split(split):
        if not isinstance(split, Split):
            raise DeiTEduError(f"{dataset.name} is decoded batch by batch: classes are chosen of folder:PATH")
        labels = new_label[split.labels]
        found = (labels >= 0).nonzero().flatten()
        if not len(found):
            raise DeiTEduError(f"a split of {dataset.name} has no image of classes {classes}: choose others")
        if split.on_disk:
            return Chosen(split, found, labels[found])
        return Split(split.images[found], labels[found], None if split.boxes is None else split.boxes[found])

    redraw = dataset.redraw and (lambda seed, epoch: of_split(dataset.redraw(seed, epoch)))
    splits = {name: of_split(getattr(dataset, name)) for name in ("train", "validation", "test")}
    splits["places"] = dataset.places and {place: of_split(split) for place, split in dataset.places.items()}
    return replace(dataset, classes=tuple(dataset.classes[number] for number in kept), redraw=redraw, **splits)


# ---- normalisation ----


def channel_statistics(images):
    """Mean and standard deviation per channel of (n, C, H, W) uint8 images scaled to [0, 1].

    Counted in whole numbers, so that they are the same to the last bit on every machine.
    """
    means, stds = [], []
    values = np.arange(256)
    for channel in range(images.shape[1]):
        counts = np.zeros(256, np.int64)
        for chunk in images[:, channel].split(1000):  # bincount needs 8 bytes a pixel
            counts += np.bincount(chunk.reshape(-1).numpy(), minlength=256)
        pixels, total, total_of_squares = (int(counts @ values**power) for power in (0, 1, 2))
        means.append(total / pixels / 255)
        stds.append((pixels * total_of_squares - total**2) ** 0.5 / pixels / 255)
    return tuple(means), tuple(stds)


def normalise(images, mean, std):
    """Scale uint8 images to [0, 1], then to mean 0 and standard deviation 1 per channel.

    images: (B, C, H, W) uint8. mean, std: one number per channel. Returns (B, C, H, W) float32.
    Raises DeiTEduError when there are other channels.
    """
    if images.dim() != 4 or len(mean) != images.shape[1] or len(std) != images.shape[1]:
        raise DeiTEduError(
            f"images of shape {tuple(images.shape)} do not fit {len(mean)} means and {len(std)} deviations: give "
            f"(B, C, H, W) and one of each for every channel"
        )
    mean_here, std_here = per_channel(mean, images.device), per_channel(std, images.device)  # (C, 1, 1)
    normalised = (images.float() / 255 - mean_here) / std_here
    normalised.normalised_by = (tuple(mean), tuple(std))  # for a teacher that wants other statistics
    return normalised


def denormalise(images, mean, std):
    """Undo `normalise`, for pictures: (B, C, H, W) float to (B, C, H, W) float in [0, 1]."""
    mean, std = per_channel(mean, images.device), per_channel(std, images.device)  # (C, 1, 1)
    return (images * std + mean).clamp(0, 1)


def per_channel(values, device):
    return torch.tensor(values, dtype=torch.float32, device=device).view(-1, 1, 1)  # (C, 1, 1)
