"""Photographs in folders, PATH/train/CLASS/*.jpg and the like: at one size, in memory or in one file on disk."""

from collections import Counter, defaultdict

import torch
from PIL import Image

from deit_edu.data.decode import decode_picture, in_threads, quiet_pillow, resize_and_crop, value_ranges
from deit_edu.data.found import cut_parts, warn_of
from deit_edu.data.ondisk import Store, wanted_on_disk
from deit_edu.data.splits import Split, make_dataset
from deit_edu.data.tree import find
from deit_edu.data.walk import LeftOut, printable
from deit_edu.errors import DeiTEduError, counted

DEFAULT_SIZE = 64  # pixels, where photographs come in many sizes
ORDER = ("train", "validation", "test")  # in which they are decoded and counted
LARGEST_COMMON = 224  # pixels: larger pictures are brought down even if they agree


def load_folder(name, path, image_size=None, store_root=None, on_disk=None, ranges=None):
    """The pictures in a folder that is laid out as people have it: `find` says how, `cut_parts` what is missing.

    All are brought to one square size: image_size, or that of the images if they agree on one of at most 224, or
    64. Grey if all are grey, else RGB; each as a viewer shows it. What is left out is said in one warning. More
    pictures than `MEMORY_SHARE` of memory are kept in a file below store_root; on_disk asks for it, or forbids it.
    ranges: of deep greys; None is those of the training pictures. Raises DeiTEduError for a folder that cannot be read
    so.
    """
    found = find(path)
    cut_parts(found)
    found.ranges = value_ranges(found.parts["train"].paths) if ranges is None else ranges
    size = image_size or common_size(found.parts["train"])
    store = store_of(found, size, store_root, on_disk)
    splits = decode_found(found, size, store)
    warn_of(found)
    return make_dataset(name, found.classes, *splits, found=found, recall=store.recall if store else None)


def store_of(found, size, store_root, on_disk=None):
    """Where the decoded pictures are kept on disk, a `Store`; None where memory holds them. Asks for found.ranges."""
    total = sum(len(listing.paths) for listing in found.parts.values())
    if store_root is None or not wanted_on_disk(total, size, on_disk):
        return None
    labels = [listing.labels.tolist() for listing in found.parts.values()]
    paths = [path for part in ORDER if part in found.parts for path in found.parts[part].paths]
    store = Store(store_root, paths, size, labels, found.ranges)
    found.understood.append(f"kept on disk at {counted(size, 'pixel')}, in {store.folder}")
    return store


def common_size(listing):
    """The square size of the first sound image of every class if all agree on one of at most 224 pixels, else 64."""
    of_class = defaultdict(list)
    for path, label in zip(listing.paths, listing.labels.tolist(), strict=True):
        of_class[label].append(path)
    sizes = {next(filter(None, map(stored_size, paths)), None) for paths in of_class.values()} - {None}
    width, height = sizes.pop() if len(sizes) == 1 else (0, 1)
    return width if width == height <= LARGEST_COMMON else DEFAULT_SIZE


def stored_size(path):
    """(width, height) in the file; None if its head is damaged: decoding will name it."""
    try:
        with quiet_pillow(), Image.open(path) as image:
            return image.size
    except Exception:
        return None


def decode_found(found, size, store=None):
    """Decode every picture to size x size: (train, validation, test), grey if all pictures of all parts are.

    Notes in `found` what is damaged and how large the pictures are. Deep greys are scaled by found.ranges. store: a
    `Store` of them, to keep them on disk. Raises DeiTEduError for a part of which nothing can be decoded.
    """
    parts = [part for part in ORDER if part in found.parts]
    paths = [path for part in parts for path in found.parts[part].paths]
    if store:
        images, decoded = store.open()
    else:
        decoded = in_threads(
            lambda path: decode_picture(path, lambda image: resize_and_crop(image, size, size), found.ranges),
            paths, "decoding",
        )  # fmt: skip
    grey = all(one.grey for one in decoded if not one.why)
    found.sizes = Counter(one.size for one in decoded if not one.why)
    found.several = [path for path, one in zip(paths, decoded, strict=True) if one.frames > 1]
    found.damaged = [LeftOut(path, one.why) for path, one in zip(paths, decoded, strict=True) if one.why]
    splits, first, first_row = [], 0, 0
    for part in parts:
        listing = found.parts[part]
        mine = decoded[first : first + len(listing.paths)]
        first += len(mine)
        good = torch.tensor([index for index, one in enumerate(mine) if not one.why], dtype=torch.int64)
        if not len(good):
            beside = printable(listing.paths[0])
            raise DeiTEduError(f"none of the {counted(len(mine), 'image')} beside {beside} can be decoded")
        if store:
            rows = torch.from_numpy(images[first_row : first_row + len(good), : 1 if grey else 3])
            first_row += len(good)
        else:
            rows = torch.empty(len(good), 1 if grey else 3, size, size, dtype=torch.uint8)
            for row, index in enumerate(good.tolist()):
                image = torch.from_numpy(mine[index].pixels)  # (H, W), which fills all channels, or (H, W, 3)
                rows[row] = image if image.ndim == 2 else image.permute(2, 0, 1)
        found.parts[part] = listing.at(good)
        splits.append(Split(rows, found.parts[part].labels, on_disk=store is not None))
    return splits
