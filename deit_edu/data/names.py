"""Data sets by name: what `--data` and `load_dataset` understand."""

import difflib
import os
from pathlib import Path

from deit_edu.data.clutter import fashion_clutter, fashion_clutter_left
from deit_edu.data.folders import load_folder
from deit_edu.data.imagenet import load_imagenet
from deit_edu.data.packaged import fashion_mnist_10k
from deit_edu.data.splits import keep_classes
from deit_edu.errors import DeiTEduError

# What load_dataset knows, in one line each.
DATASETS = {
    "fashion_mnist_10k": "packaged: 10,000 / 2,000 / 10,000 images of clothes, 28x28 grey, 10 classes",
    "fashion_clutter": "made from the packaged images: items at half size, anywhere, among clutter; boxes",
    "fashion_clutter_left": "the same, items of training in the left half alone; tested anywhere and by half",
    "fashion_mnist": "download, 31 MB: 54,000 / 6,000 / 10,000 images, 28x28 grey, 10 classes",
    "cifar10": "download, 170 MB: 45,000 / 5,000 / 10,000 images, 32x32 colour, 10 classes",
    "cifar100": "download, 169 MB: 45,000 / 5,000 / 10,000 images, 32x32 colour, 100 classes",
    "imagenette": "download, 99 MB: 9,469 training and validation, 3,925 test photographs, 10 classes",
    "flowers102": "download, 345 MB: 1,020 / 1,020 / 6,149 photographs, 102 classes",
    "folder:PATH": "your own images: PATH/CLASS/*.jpg, or PATH/train/CLASS/*.jpg and the like, or labels.csv",
    "imagenet:PATH": "ImageNet: PATH/train/WNID/*.JPEG and PATH/val/WNID/*.JPEG, decoded batch by batch",
}
RESIZABLE = ("fashion_clutter", "folder", "imagenet", "imagenette", "flowers102")  # at any image_size


def load_dataset(name, root=None, image_size=None, classes="", on_disk=None, ranges=None):
    """Load a data set by its name: one of `DATASETS`, with your own path after ``folder:`` or ``imagenet:``.

    root: folder for downloads; by default the environment variable DEIT_EDU_DATA, or ~/.cache/deit_edu.
    image_size: side in pixels to bring photographs to (imagenette, flowers102, folder and imagenet), or to draw
    fashion_clutter at.
    classes: only the images of these, by number, as in "0-4" or "0,2,5"; empty is all.
    on_disk: keep the decoded pictures of a folder in a file below root, memory-mapped; None is where they would take
    more than a quarter of memory, or as the environment variable DEIT_EDU_ON_DISK says, 1 or 0.
    ranges: of a folder's 16-bit and float greys, what becomes black and white: {"integer": (low, high), "float": }, as
    a trained network has them; None is what the training pictures hold.
    Returns an ImageDataset. Raises DeiTEduError if the name is unknown, or the data missing or damaged.
    """
    check_name(name)
    kind, _, path = name.partition(":")
    if image_size is not None and kind not in RESIZABLE:
        raise DeiTEduError(f"{name} comes in one image size: leave image_size out")
    if image_size is not None and image_size < 1:
        raise DeiTEduError(f"image_size is a side in pixels, got {image_size}")
    if on_disk and kind != "folder":
        raise DeiTEduError(f"{name} is not kept on disk: on_disk is for folder:PATH")
    dataset = load_all_classes(name, kind, path, root, image_size, on_disk, ranges)
    return keep_classes(dataset, classes) if classes else dataset


def load_all_classes(name, kind, path, root, image_size, on_disk, ranges):
    if kind == "fashion_mnist_10k":
        return fashion_mnist_10k()
    if kind == "fashion_clutter":
        return fashion_clutter(image_size)
    if kind == "fashion_clutter_left":
        return fashion_clutter_left()
    if kind == "folder":
        return load_folder(name, Path(path).expanduser(), image_size, data_root(root) / "decoded", on_disk, ranges)
    if kind == "imagenet":
        return load_imagenet(name, Path(path).expanduser(), image_size, ranges)
    from deit_edu.data.downloads import load_download  # torchvision takes a second: only who asks for it waits

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
