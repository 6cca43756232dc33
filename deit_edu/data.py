"""Images by name: splits of uint8 tensors in memory, with the numbers that normalise them and a checksum to cite."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view

from .errors import DeiTEduError

ASSETS = Path(__file__).parent / "assets" / "fashion_mnist_10k"

FASHION_CLASSES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")


@dataclass(frozen=True)
class Split:
    """One part of a data set, whole in memory."""

    images: torch.Tensor  # (n, C, H, W) uint8
    labels: torch.Tensor  # (n,) int64
    boxes: torch.Tensor | None = None  # (n, 4) int64: top, left, height, width of the item, in pixels (fashion_clutter only)

    def __len__(self):
        return len(self.labels)


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
    redraw: Callable[[int, int], Split] | None = None  # redraw(seed, epoch): the training split drawn afresh (fashion_clutter)

    @property
    def image_shape(self):
        return tuple(self.train.images.shape[1:])  # (C, H, W)

    @property
    def num_classes(self):
        return len(self.classes)


def normalise(images, mean, std):
    """Scale uint8 images to [0, 1], then to mean 0 and standard deviation 1 per channel.

    images: (B, C, H, W) uint8. mean, std: one number per channel. Returns (B, C, H, W) float32.
    """
    mean, std = _per_channel(images, mean), _per_channel(images, std)  # (C, 1, 1)
    return (images.float() / 255 - mean) / std


def denormalise(images, mean, std):
    """Undo `normalise`, for pictures: (B, C, H, W) float to (B, C, H, W) float in [0, 1]."""
    mean, std = _per_channel(images, mean), _per_channel(images, std)  # (C, 1, 1)
    return (images * std + mean).clamp(0, 1)


def _per_channel(images, values):
    return torch.tensor(values, dtype=torch.float32, device=images.device).view(-1, 1, 1)


def load_dataset(name, root=None):
    """Load a data set by name."""
    if name == "fashion_mnist_10k":
        return fashion_mnist_10k()
    if name == "fashion_clutter":
        return fashion_clutter()
    raise DeiTEduError(f"unknown data set {name!r}")


def make_dataset(name, classes, train, validation, test, redraw=None):
    """An ImageDataset with its mean, standard deviation and checksum computed."""
    digest = hashlib.sha256()
    for split in (train, validation, test):
        digest.update(np.ascontiguousarray(split.images))
        digest.update(np.ascontiguousarray(split.labels))
    mean, std = channel_statistics(train.images)
    return ImageDataset(name, tuple(classes), mean, std, train, validation, test, digest.hexdigest(), redraw)


def channel_statistics(images):
    """Mean and standard deviation per channel of (n, C, H, W) uint8 images scaled to [0, 1].

    Counted in integers, so that they are the same to the last bit on every machine.
    """
    means, stds = [], []
    for channel in range(images.shape[1]):
        counts = np.zeros(256, np.int64)
        for chunk in images[:, channel].split(1000):  # a histogram of everything at once would need 8 bytes a pixel
            counts += np.bincount(chunk.reshape(-1).numpy(), minlength=256)
        values = np.arange(256)
        total, sum_, sum_of_squares = (int(counts @ values**power) for power in (0, 1, 2))
        means.append(sum_ / total / 255)
        stds.append((total * sum_of_squares - sum_**2) ** 0.5 / total / 255)
    return tuple(means), tuple(stds)


# ---- fashion_mnist_10k: inside the package ----


def fashion_mnist_10k():
    """10,000 training, 2,000 validation and all 10,000 test images of Fashion-MNIST, from the package itself."""
    splits = (Split(torch.from_numpy(images[:, None]), torch.from_numpy(labels)) for images, labels in packaged_splits())
    return make_dataset("fashion_mnist_10k", FASHION_CLASSES, *splits)


def packaged_splits():
    """The three packaged splits as [(images (n, 28, 28) uint8, labels (n,) int64)], after checking their checksums."""
    sizes = {"train.bin": 10_000, "validation.bin": 2_000, "test.bin": 10_000}
    sums = {}
    for line in read_asset("SHA256SUMS").decode().splitlines():
        digest, file_name = line.split()
        sums[file_name] = digest
    splits = []
    for file_name, n in sizes.items():
        data = read_asset(file_name)
        if hashlib.sha256(data).hexdigest() != sums[file_name]:
            raise DeiTEduError(f"{ASSETS / file_name} is damaged")
        splits.append(unpack_split(data, n))
    return splits


def read_asset(file_name):
    return (ASSETS / file_name).read_bytes()


def unpack_split(data, n):
    """Images (n, 28, 28) uint8 and labels (n,) int64 of one packaged file (data_scripts/make_fashion_mnist_10k.py packs them).

    The file holds n labels, one bit per pixel that says whether it is non-zero, and the non-zero pixels.
    """
    data = np.frombuffer(data, np.uint8)
    labels, bits, values = np.split(data, [n, n + n * 28 * 28 // 8])
    images = np.zeros((n, 28, 28), np.uint8)
    images[np.unpackbits(bits).view(bool).reshape(images.shape)] = values
    return images, labels.astype(np.int64)


# ---- fashion_clutter: made from the packaged images ----

CLUTTER_SEED = 0  # of the fixed draws: train, validation and test as load_dataset gives them
CLUTTER_CROPS = (7, 7, 6, 6, 5, 5)  # side of each crop of another item, pasted in this order under the item


def fashion_clutter():
    """Each item of fashion_mnist_10k at half size, anywhere on a 28x28 canvas, among small crops of other items.

    Where the item is tells nothing about its class, so the translation equivariance built into a convnet is worth a lot, and a
    transformer must learn it. `redraw(seed, epoch)` gives the training items, in the same order, new places and new clutter.
    """
    sources = [ClutterSource(images, labels) for images, labels in packaged_splits()]
    train, validation, test = (source.draw(CLUTTER_SEED, which, 0) for which, source in enumerate(sources))

    def redraw(seed, epoch):
        return sources[0].draw(seed, 3, epoch)

    return make_dataset("fashion_clutter", FASHION_CLASSES, train, validation, test, redraw)


class ClutterSource:
    """The half-size items of one split, and where in them a crop shows something."""

    def __init__(self, images, labels):
        self.labels = torch.from_numpy(labels)
        self.items = halve(images)  # (n, 14, 14)
        self.boxes = tight_boxes(self.items)  # (n, 4)
        self.crops = {size: crop_table(self.items, size) for size in set(CLUTTER_CROPS)}

    def draw(self, seed, which, epoch):
        """One Split of all items. Only whole numbers are drawn and computed: the same pixels on every machine."""
        random = np.random.RandomState([seed, which, epoch])  # its stream is frozen by NumPy's policy
        n = len(self.items)
        rows = np.arange(n)
        canvas = np.zeros((n, 28, 28), np.uint8)
        for size in CLUTTER_CROPS:
            other = (rows + random.randint(1, n, n, np.int64)) % n  # never the item itself
            corners, first, count = self.crops[size]
            crop_top, crop_left = corners[first[other] + random.randint(0, 1 << 30, n, np.int64) % count[other]].T
            crops = windows(self.items, size)[other, crop_top, crop_left]  # (n, size, size)
            top, left = random.randint(0, 29 - size, (2, n), np.int64)
            windows(canvas, size)[rows, top, left] = crops
        top, left = random.randint(0, 15, (2, n), np.int64)
        under = windows(canvas, 14)[rows, top, left]  # (n, 14, 14)
        windows(canvas, 14)[rows, top, left] = np.where(self.items > 0, self.items, under)
        boxes = self.boxes + np.stack([top, left, 0 * top, 0 * left], axis=1)
        return Split(torch.from_numpy(canvas[:, None]), self.labels, torch.from_numpy(boxes))


def halve(images):
    """Half the size, each pixel the rounded mean of four: (n, 28, 28) to (n, 14, 14) uint8."""
    quads = images.reshape(-1, 14, 2, 14, 2).astype(np.uint16)
    return ((quads.sum(axis=(2, 4), dtype=np.uint16) + 2) // 4).astype(np.uint8)


def tight_boxes(items):
    """Smallest box that holds an item's non-zero pixels: (n, 4) int64 of top, left, height, width."""
    box = []
    for axis in (2, 1):  # rows that show something, then columns
        shown = (items > 0).any(axis=axis)  # (n, 14)
        first = shown.argmax(axis=1)
        last = 13 - shown[:, ::-1].argmax(axis=1)
        box.append((first, last - first + 1))
    (top, height), (left, width) = box
    return np.stack([top, left, height, width], axis=1)


def crop_table(items, size):
    """Crops worth pasting: those with at least half as many non-zero pixels as the fullest crop of the same item.

    Returns (corners, first, count): the (top, left) corners of item i's crops are corners[first[i] : first[i] + count[i]].
    """
    shown = windows(items > 0, size).sum(axis=(3, 4), dtype=np.int64)  # (n, 15 - size, 15 - size)
    good = 2 * shown >= shown.max(axis=(1, 2), keepdims=True)
    corners = np.argwhere(good)[:, 1:]
    count = good.sum(axis=(1, 2))
    return corners, np.cumsum(count) - count, count


def windows(images, size):
    """View of every square window: (n, H, W) to (n, H - size + 1, W - size + 1, size, size), writable without a copy."""
    return sliding_window_view(images, (size, size), axis=(1, 2), writeable=images.flags.writeable)
