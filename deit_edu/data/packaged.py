"""The images inside the package: 22,000 of Fashion-MNIST, and pictures for the networks of CIFAR-10."""

import hashlib
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from deit_edu.data.splits import Split, make_dataset
from deit_edu.errors import DeiTEduError

ASSETS = Path(__file__).resolve().parents[1] / "assets"
PACKAGED = ASSETS / "fashion_mnist_10k"
PACKAGED_SIZES = {"train.bin": 10_000, "validation.bin": 2_000, "test.bin": 10_000}
PICTURES = ASSETS / "pictures"
FASHION_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip


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
    images[np.unpackbits(bits).view(bool).reshape(images.shape)] = values
    return images, labels.astype(np.int64)
