"""Photographs in folders, PATH/train/CLASS/*.jpg: whole in memory at one size, or decoded batch by batch."""

import hashlib
import os
import random
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from deit_edu.data.splits import ImageDataset, Split, hold_out, make_dataset
from deit_edu.errors import DeiTEduError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff", ".webp")
DEFAULT_SIZE = 64  # pixels, where photographs come in many sizes
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # as is usual for ImageNet
CROP_RATIO = 0.875  # of the shorter side that evaluation sees, as in the authors' code


class Listing(NamedTuple):
    """Image files with their classes, not yet decoded."""

    paths: list[str]
    labels: torch.Tensor  # (n,) int64

    def at(self, indices):
        return Listing([self.paths[index] for index in indices.tolist()], self.labels[indices])


# ---- folder:PATH, whole in memory ----


def load_folder(name, path, image_size=None):
    """Images in memory: path/train/CLASS/*.jpg, path/test/CLASS/*.jpg and, if there, validation/ or val/.

    Without a validation folder, one training image in ten of each class is held out for it. All are brought to
    one square size: image_size, or that of the images if they agree on one of at most 224, or 64. Grey if all are
    grey, else RGB. An image that cannot be decoded is left out, with a warning that names it.
    Raises DeiTEduError for a tree that is not so.
    """
    for part in ("train", "test"):
        if not (path / part).is_dir():
            raise DeiTEduError(f"{path} has no folder {part}/: expected {path / part}/CLASS/*.jpg")
    classes = class_names(path / "train")
    train, test = list_images(path / "train", classes), list_images(path / "test", classes)
    for part in ("validation", "val"):
        if (path / part).is_dir():
            validation = list_images(path / part, classes)
            break
    else:
        kept, held_out = hold_out(train.labels)
        if not len(held_out):
            raise DeiTEduError(
                f"{path / 'train'} has too few images of each class to hold one out for validation: "
                f"add images, or a folder validation/"
            )
        train, validation = train.at(kept), train.at(held_out)
    size = image_size or common_size(train, len(classes))
    return make_dataset(name, classes, *decode_listings([train, validation, test], size))


def class_names(folder):
    """Names of the class folders, sorted: the index in this order is the label."""
    names = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and entry.name[0] not in "._")
    if not names:
        raise DeiTEduError(f"{folder} has no class folders: expected {folder}/CLASS/*.jpg")
    return tuple(names)


def list_images(folder, classes):
    """All images below folder/CLASS, in the order of their names; a class that is not in `classes` is an error."""
    unknown = set(class_names(folder)) - set(classes)
    if unknown:
        raise DeiTEduError(f"{folder} has classes that train/ has not: {', '.join(sorted(unknown))}")
    paths, labels = [], []
    for label, name in enumerate(classes):
        if not (folder / name).is_dir():
            continue
        entries = (entry for entry in os.scandir(folder / name) if entry.name[0] != ".")
        files = sorted(entry.path for entry in entries if entry.name.lower().endswith(SUFFIXES))
        paths += files
        labels += [label] * len(files)
    if not paths:
        raise DeiTEduError(f"{folder} has no images: expected {folder}/CLASS/*, ending in {' '.join(SUFFIXES)}")
    return Listing(paths, torch.tensor(labels))


def common_size(listing, num_classes):
    """The square size of the first image of every class if all agree on one of at most 224 pixels, else 64."""
    sizes = set()
    for label in range(num_classes):
        first = int(torch.searchsorted(listing.labels, label))
        try:
            with Image.open(listing.paths[min(first, len(listing.paths) - 1)]) as image:
                sizes.add(image.size)
        except (OSError, Image.DecompressionBombError):
            pass  # decode_listings will name it
    width, height = sizes.pop() if len(sizes) == 1 else (0, 1)
    return width if width == height <= 224 else DEFAULT_SIZE


def decode_listings(listings, size):
    """Decode every image to size x size: a Split for each Listing, grey if all images of all listings are."""
    decoded = [decode_many(listing.paths, size) for listing in listings]
    grey = all(image is None or image.ndim == 2 for images in decoded for image in images)
    splits, damaged = [], []
    for listing, images in zip(listings, decoded, strict=True):
        good = [index for index, image in enumerate(images) if image is not None]
        damaged += [path for path, image in zip(listing.paths, images, strict=True) if image is None]
        if not good:
            raise DeiTEduError(f"none of the {len(images)} images beside {listing.paths[0]} can be decoded")
        tensor = torch.empty(len(good), 1 if grey else 3, size, size, dtype=torch.uint8)
        for row, index in enumerate(good):
            image = torch.from_numpy(images[index])  # (H, W), which fills all channels, or (H, W, 3)
            tensor[row] = image if image.ndim == 2 else image.permute(2, 0, 1)
        splits.append(Split(tensor, listing.labels[good]))
    if damaged:
        total = sum(len(listing.paths) for listing in listings)
        names = ", ".join(damaged[:10]) + (", ..." if len(damaged) > 10 else "")
        warnings.warn(f"{len(damaged)} of {total} images cannot be decoded, left out: {names}", stacklevel=2)
    return splits


def decode_many(paths, size):
    """Each image as (size, size) or (size, size, 3) uint8, or None if it cannot be decoded."""

    def decode(path):
        return decode_image(path, lambda image: resize_and_crop(image, size, size))

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(tqdm(pool.map(decode, paths), "decoding", len(paths), leave=False, disable=None))


def decode_image(path, transform):
    """Open an image, make it grey or RGB, transform it: (H, W) or (H, W, 3) uint8, or None if damaged."""
    try:
        with Image.open(path) as image:
            if image.mode.startswith("I;16"):  # Pillow would cut off what is above 255
                image = Image.fromarray((np.asarray(image) // 256).astype(np.uint8))
            image = image.convert("L" if image.mode in ("1", "L", "LA") else "RGB")
            return np.array(transform(image))
    except Exception:  # Pillow raises a dozen kinds of error for a damaged file
        return None


def resize_and_crop(image, size, shorter_side):
    """Bring the shorter side to `shorter_side` pixels, then take the central size x size."""
    width, height = image.size
    shorter = min(width, height)
    new = (width * shorter_side // shorter, height * shorter_side // shorter)
    if new != image.size:
        image = image.resize(new, Image.Resampling.BICUBIC)
    left, top = round((new[0] - size) / 2), round((new[1] - size) / 2)
    return image.crop((left, top, left + size, top + size))


# ---- imagenet:PATH, decoded batch by batch ----


def load_imagenet(name, path, image_size=None):
    """ImageNet, or any tree too large for memory: path/train/WNID/*.JPEG and path/val/WNID/*.JPEG.

    The official validation set, which papers report, is `test`; one training image in a hundred of each class is
    held out as `validation`. image_size: 224 by default. The checksum covers file names, file sizes and labels.
    Raises DeiTEduError for a tree that is not so.
    """
    for part in ("train", "val"):
        if not (path / part).is_dir():
            raise DeiTEduError(f"{path} has no folder {part}/: data_scripts/prepare_imagenet.py makes it")
    classes = class_names(path / "train")
    listing, test = list_images(path / "train", classes), list_images(path / "val", classes)
    kept, held_out = hold_out(listing.labels, one_in=100)
    splits = [LazySplit(part, image_size or 224) for part in (listing.at(kept), listing.at(held_out), test)]
    digest = hashlib.sha256()
    for part in (listing, test):
        for file, label in zip(part.paths, part.labels.tolist(), strict=True):
            digest.update(f"{os.path.basename(file)} {os.path.getsize(file)} {label}\n".encode())
    return ImageDataset(name, classes, IMAGENET_MEAN, IMAGENET_STD, *splits, digest.hexdigest())


class LazySplit:
    """A part of a data set too large for memory: an image is decoded when a batch asks for it."""

    def __init__(self, listing, image_size):
        self.paths, self.labels = listing
        self.image_shape = (3, image_size, image_size)  # (C, H, W)

    def __len__(self):
        return len(self.paths)

    def batch(self, indices, generator=None):
        """Images (B, 3, H, W) uint8 at the indices (B,), decoded by one thread per core.

        With a generator, for training, each is a random crop (`random_crop_box`); without, for evaluation, the
        centre. A damaged image comes back black, with a warning that names it.
        """
        paths = [self.paths[index] for index in indices]
        if generator is None:
            seeds = [None] * len(paths)
        else:  # drawn here, so that the crops do not depend on which thread comes first
            seeds = torch.randint(2**31, (len(paths),), generator=generator).tolist()
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            images = list(pool.map(self.decode, paths, seeds))
        return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()  # (B, 3, H, W)

    def decode(self, path, seed):
        size = self.image_shape[-1]

        def transform(image):
            image = image.convert("RGB")
            if seed is None:
                return resize_and_crop(image, size, int(size / CROP_RATIO))
            box = random_crop_box(*image.size, random.Random(seed))
            return image.crop(box).resize((size, size), Image.Resampling.BICUBIC)

        pixels = decode_image(path, transform)
        if pixels is None:
            warnings.warn(f"{path} cannot be decoded: a black image takes its place", stacklevel=2)
            return np.zeros((size, size, 3), np.uint8)
        return pixels


def random_crop_box(width, height, draw):
    """Where a training crop lies: (left, top, right, bottom), 8 to 100 % of the area, its ratio from 3/4 to 4/3.

    The rule of torchvision's RandomResizedCrop. draw: a random.Random.
    """
    for _ in range(10):
        area = width * height * draw.uniform(0.08, 1)
        ratio = np.exp(draw.uniform(np.log(3 / 4), np.log(4 / 3)))
        w, h = round((area * ratio) ** 0.5), round((area / ratio) ** 0.5)
        if 0 < w <= width and 0 < h <= height:
            break
    else:  # a very long image: as much of it as the ratio allows
        w, h = min(width, round(height * 4 / 3)), min(height, round(width * 4 / 3))
    left, top = draw.randint(0, width - w), draw.randint(0, height - h)
    return left, top, left + w, top + h
