"""Images by name: splits of uint8 tensors in memory, what normalises them, and a checksum to cite."""

import difflib
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from .errors import DeiTEduError

# What load_dataset knows, in one line each.
DATASETS = {
    "fashion_mnist_10k": "packaged: 10,000 / 2,000 / 10,000 images of clothes, 28x28 grey, 10 classes",
    "fashion_clutter": "made from the packaged images: items at half size, anywhere, among clutter; boxes",
    "fashion_mnist": "download, 31 MB: 54,000 / 6,000 / 10,000 images, 28x28 grey, 10 classes",
    "cifar10": "download, 170 MB: 45,000 / 5,000 / 10,000 images, 32x32 colour, 10 classes",
    "cifar100": "download, 169 MB: 45,000 / 5,000 / 10,000 images, 32x32 colour, 100 classes",
    "imagenette": "download, 99 MB: 9,469 training and validation, 3,925 test photographs, 10 classes",
    "flowers102": "download, 345 MB: 1,020 / 1,020 / 6,149 photographs, 102 classes",
    "folder:PATH": "your own images: PATH/train/CLASS/*.jpg and PATH/test/CLASS/*.jpg",
    "imagenet:PATH": "ImageNet: PATH/train/WNID/*.JPEG and PATH/val/WNID/*.JPEG, decoded batch by batch",
}
RESIZABLE = ("fashion_clutter", "folder", "imagenet", "imagenette", "flowers102")  # at any image_size

PACKAGED = Path(__file__).parent / "assets" / "fashion_mnist_10k"
PACKAGED_SIZES = {"train.bin": 10_000, "validation.bin": 2_000, "test.bin": 10_000}
PICTURES = Path(__file__).parent / "assets" / "pictures"
FASHION_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip


@dataclass(frozen=True)
class Split:
    """One part of a data set, whole in memory."""

    images: torch.Tensor  # (n, C, H, W) uint8
    labels: torch.Tensor  # (n,) int64
    boxes: torch.Tensor | None = None  # (n, 4) int64: top, left, height, width (fashion_clutter only)

    def __len__(self):
        return len(self.labels)

    @property
    def image_shape(self):
        return tuple(self.images.shape[1:])  # (C, H, W)

    def batch(self, indices, generator=None):
        """Images (B, C, H, W) uint8 at indices (B,). Only a `LazySplit` draws crops from the generator."""
        return self.images[indices]


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

    @property
    def image_shape(self):
        return self.train.image_shape  # (C, H, W)

    @property
    def num_classes(self):
        return len(self.classes)


def load_dataset(name, root=None, image_size=None, classes=""):
    """Load a data set by its name: one of `DATASETS`, with your own path after ``folder:`` or ``imagenet:``.

    root: folder for downloads; by default the environment variable DEIT_EDU_DATA, or ~/.cache/deit_edu.
    image_size: side in pixels to bring photographs to (imagenette, flowers102, folder and imagenet), or to draw
    fashion_clutter at.
    classes: only the images of these, by number, as in "0-4" or "0,2,5"; empty is all.
    Returns an ImageDataset. Raises DeiTEduError if the name is unknown, or the data missing or damaged.
    """
    check_name(name)
    kind, _, path = name.partition(":")
    if image_size is not None and kind not in RESIZABLE:
        raise DeiTEduError(f"{name} comes in one image size: leave image_size out")
    if image_size is not None and image_size < 1:
        raise DeiTEduError(f"image_size is a side in pixels, got {image_size}")
    dataset = load_all_classes(name, kind, path, root, image_size)
    return keep_classes(dataset, classes) if classes else dataset


def load_all_classes(name, kind, path, root, image_size):
    # The other rooms are written in terms of this one, and torchvision alone takes a second: import what is asked for.
    if kind == "fashion_mnist_10k":
        return fashion_mnist_10k()
    if kind == "fashion_clutter":
        from .clutter import fashion_clutter

        return fashion_clutter(image_size)
    if kind in ("folder", "imagenet"):
        from .folders import load_folder, load_imagenet

        load = load_folder if kind == "folder" else load_imagenet
        return load(name, Path(path).expanduser(), image_size)
    from .downloads import load_download

    return load_download(name, data_root(root), image_size)


def data_root(root=None):
    """Folder for downloads: `root`, or the environment variable DEIT_EDU_DATA, or ~/.cache/deit_edu."""
    return Path(root or os.environ.get("DEIT_EDU_DATA") or "~/.cache/deit_edu").expanduser()


def check_name(name):
    """Raise DeiTEduError for a name that is no data set's, whether or not its images are here."""
    kind, _, path = name.partition(":")
    if (f"{kind}:PATH" if path else name) not in DATASETS:
        raise DeiTEduError(unknown_name(name))


def unknown_name(name):
    """The line for a mistyped name: every known name, the nearest first."""
    if os.path.isdir(os.path.expanduser(name)):
        return f"unknown data set {name!r}, but there is such a folder: say folder:{name}"
    nearest = difflib.get_close_matches(name, DATASETS, n=len(DATASETS), cutoff=0)
    return f"unknown data set {name!r}: did you mean {nearest[0]}? Known: {', '.join(nearest)}"


def make_dataset(name, classes, train, validation, test, redraw=None):
    """An ImageDataset of three splits in memory, with mean, standard deviation and checksum computed."""
    digest = hashlib.sha256()
    for split in (train, validation, test):
        digest.update(np.ascontiguousarray(split.images))
        digest.update(np.ascontiguousarray(split.labels))
    mean, std = channel_statistics(train.images)
    return ImageDataset(name, tuple(classes), mean, std, train, validation, test, digest.hexdigest(), redraw)


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


def keep_classes(dataset, classes):
    """The images of some classes alone, labelled 0 and up in the order given; the rest of the data set stays as it is.

    What else an image shows stays: the clutter of fashion_clutter is cut from items of all classes.

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
            raise DeiTEduError(f"{dataset.name} is decoded batch by batch: classes are chosen of data in memory only")
        labels = new_label[split.labels]
        found = (labels >= 0).nonzero().flatten()
        if not len(found):
            raise DeiTEduError(f"a split of {dataset.name} has no image of classes {classes}: choose others")
        return Split(split.images[found], labels[found], None if split.boxes is None else split.boxes[found])

    redraw = dataset.redraw and (lambda seed, epoch: of_split(dataset.redraw(seed, epoch)))
    splits = {name: of_split(getattr(dataset, name)) for name in ("train", "validation", "test")}
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
    """
    mean, std = per_channel(mean, images.device), per_channel(std, images.device)  # (C, 1, 1)
    return (images.float() / 255 - mean) / std


def denormalise(images, mean, std):
    """Undo `normalise`, for pictures: (B, C, H, W) float to (B, C, H, W) float in [0, 1]."""
    mean, std = per_channel(mean, images.device), per_channel(std, images.device)  # (C, 1, 1)
    return (images * std + mean).clamp(0, 1)


def per_channel(values, device):
    return torch.tensor(values, dtype=torch.float32, device=device).view(-1, 1, 1)  # (C, 1, 1)


# ---- pictures for the networks of CIFAR-10 ----


def drawn_pictures():
    """Pictures of what CIFAR-10 knows, none of them from CIFAR-10: (images (n, 3, 32, 32) uint8, n class names).

    They ship with the package, free of rights: data_scripts/make_pictures.py says where they come from.
    """
    paths = sorted(PICTURES.glob("*.png"))
    images = [torch.from_numpy(np.array(Image.open(path).convert("RGB"))).permute(2, 0, 1) for path in paths]
    return torch.stack(images), [path.stem.partition("_")[0] for path in paths]


# ---- fashion_mnist_10k: inside the package ----


def fashion_mnist_10k():
    """10,000 training, 2,000 validation and all 10,000 test images of Fashion-MNIST, from the package."""
    splits = []
    for images, labels in packaged_splits():
        splits.append(Split(torch.from_numpy(images[:, None]), torch.from_numpy(labels)))
    return make_dataset("fashion_mnist_10k", FASHION_CLASSES, *splits)


def packaged_splits():
    """Train, validation and test as [(images (n, 28, 28) uint8, labels (n,) int64)], checksums verified."""
    return [unpack_split(read_packaged(file_name), n) for file_name, n in PACKAGED_SIZES.items()]


def read_packaged(file_name):
    """Bytes of one packaged file. Raises DeiTEduError if SHA256SUMS does not hold its checksum."""
    path = PACKAGED / file_name
    try:
        data = path.read_bytes()
        sums = (PACKAGED / "SHA256SUMS").read_bytes().splitlines()
    except OSError as error:
        raise DeiTEduError(f"{error.filename}: {error.strerror}; {REPAIR}") from None
    if f"{hashlib.sha256(data).hexdigest()}  {file_name}".encode() not in sums:
        raise DeiTEduError(f"{path} is damaged: its SHA-256 is not the one in SHA256SUMS; {REPAIR}")
    return data


REPAIR = "reinstall deit-edu, or in a clone run: python data_scripts/make_fashion_mnist_10k.py"


def unpack_split(data, n):
    """Images (n, 28, 28) uint8 and labels (n,) int64 of one packaged file.

    It is made by data_scripts/make_fashion_mnist_10k.py: n labels, then one bit per pixel that says
    whether it is non-zero, then the non-zero pixels.
    """
    labels, bits, values = np.split(np.frombuffer(data, np.uint8), [n, n + n * 28 * 28 // 8])
    images = np.zeros((n, 28, 28), np.uint8)
    images[np.unpackbits(bits).astype(bool).reshape(images.shape)] = values
    return images, labels.astype(np.int64)
