"""ImageNet, or any tree too large for memory: PATH/train/WNID/*.JPEG, decoded batch by batch."""

import hashlib
import os
import random
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from PIL import Image

from deit_edu.data.decode import decode_picture, resize_and_crop, value_ranges
from deit_edu.data.found import warn_of
from deit_edu.data.splits import ImageDataset, hold_out
from deit_edu.data.tree import find
from deit_edu.data.walk import printable
from deit_edu.errors import DeiTEduError

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # as is usual for ImageNet
CROP_RATIO = 0.875  # of the shorter side that evaluation sees, as in the authors' code


def load_imagenet(name, path, image_size=None, ranges=None):
    """ImageNet, or any tree too large for memory: path/train/WNID/*.JPEG and path/val/WNID/*.JPEG.

    The official validation set, which papers report, is `test`; one training image in a hundred of each class is
    held out as `validation`. With labelled pictures in a folder test/ too, each is what it is called. The names of
    the folders are those that `folder:PATH` knows. image_size: 224 by default. ranges: of deep greys; None is
    the whole range of a type that holds those of some training pictures. The checksum covers file names, file sizes and
    labels. Raises DeiTEduError for a tree that is not so.
    """
    found = find(path, only_parts=True)
    listing, validation, test = (found.parts.get(part) for part in ("train", "validation", "test"))
    if validation is None and test is None:
        raise DeiTEduError(f"{printable(path)} has no folder val/: data_scripts/prepare_imagenet.py makes it")
    if validation is None or test is None:
        test, validation = test or validation, None
        kept, held_out = hold_out(listing.labels, one_in=100)
        found.cut("train", {"train": kept, "validation": held_out})
        found.parts["test"] = test
    warn_of(found)
    listing = listing if validation is None else listing.and_also(validation)
    digest = hashlib.sha256()
    for part in (listing, test):
        for file, label in zip(part.paths, part.labels.tolist(), strict=True):
            digest.update(os.fsencode(os.path.basename(file)) + f" {os.path.getsize(file)} {label}\n".encode())
    some = found.parts["train"].paths[:: max(1, len(listing.paths) // 200)]
    found.ranges = value_ranges(some, whole_types=True) if ranges is None else ranges
    splits = [LazySplit(found.parts[part], image_size or 224, found.ranges) for part in ("train", "validation", "test")]
    return ImageDataset(name, found.classes, IMAGENET_MEAN, IMAGENET_STD, *splits, digest.hexdigest(), found=found)


class LazySplit:
    """A part of a data set too large for memory: an image is decoded when a batch asks for it."""

    boxes = None
    on_disk = True

    def __init__(self, listing, image_size, ranges=None):
        self.paths, self.labels = listing
        self.image_shape = (3, image_size, image_size)  # (C, H, W)
        self.ranges = ranges  # of 16-bit greys: `value_ranges`

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

        pixels = decode_picture(path, transform, self.ranges).pixels
        if pixels is None:
            warnings.warn(f"{printable(path)} cannot be decoded: a black image takes its place", stacklevel=2)
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
