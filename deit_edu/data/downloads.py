"""Data sets that torchvision downloads, with its progress bar and its checksums."""

import http.client
import socket
import tarfile
from contextlib import contextmanager

import torch
from torchvision import datasets

from deit_edu.data.folders import DEFAULT_SIZE, decode_found
from deit_edu.data.found import Found, Listing, warn_of
from deit_edu.data.splits import Split, hold_out, make_dataset
from deit_edu.data.tree import find
from deit_edu.errors import DeiTEduError

SECONDS = 30  # without an answer before a download gives up
IMAGENETTE_IMAGES = 13_394  # in both parts of the official archive


def load_download(name, root, image_size=None):
    """Load fashion_mnist, cifar10, cifar100, imagenette or flowers102; download what `root` has not."""
    if name == "imagenette":
        return imagenette(root, image_size or DEFAULT_SIZE)
    if name == "flowers102":
        return flowers102(root, image_size or DEFAULT_SIZE)
    return {"fashion_mnist": fashion_mnist, "cifar10": cifar10, "cifar100": cifar100}[name](root)


@contextmanager
def fetching(name, folder, url, files):
    """Turn whatever goes wrong in a download into one line: which files to fetch from `url` into which folder.

    files: (name, MD5) of each.
    """
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(SECONDS)
    try:
        yield
    except ImportError as error:
        raise DeiTEduError(f"{name} needs the package {error.name}: pip install {error.name}") from None
    except (OSError, RuntimeError, ValueError, EOFError, tarfile.TarError, http.client.HTTPException) as why:
        wanted = ", ".join(f"{file} (md5 {md5})" for file, md5 in files)
        raise DeiTEduError(
            f"cannot get {name} ({type(why).__name__}: {' '.join(str(why).split())}): "
            f"fetch from {url} {wanted}, put it into {folder}, delete what is damaged there, and try again"
        ) from None
    finally:
        socket.setdefaulttimeout(before)


def with_validation(name, classes, images, labels, test_images, test_labels):
    """A data set in memory whose validation split is one training image in ten of each class."""
    labels, test_labels = torch.as_tensor(labels), torch.as_tensor(test_labels)
    kept, held_out = hold_out(labels)
    train, validation = Split(images[kept], labels[kept]), Split(images[held_out], labels[held_out])
    return make_dataset(name, classes, train, validation, Split(test_images, test_labels))


def fashion_mnist(root):
    """All of Fashion-MNIST."""
    source = datasets.FashionMNIST
    with fetching("fashion_mnist", root / "FashionMNIST" / "raw", source.mirrors[0], source.resources):
        train, test = (source(root, train=part, download=True) for part in (True, False))
    return with_validation(
        "fashion_mnist", train.classes, train.data[:, None], train.targets, test.data[:, None], test.targets
    )


def cifar10(root):
    return cifar("cifar10", datasets.CIFAR10, root)


def cifar100(root):
    return cifar("cifar100", datasets.CIFAR100, root)


def cifar(name, source, root):
    """CIFAR-10 or CIFAR-100."""
    with fetching(name, root, source.url.removesuffix(source.filename), [(source.filename, source.tgz_md5)]):
        train, test = (source(root, train=part, download=True) for part in (True, False))
    images, test_images = (torch.from_numpy(part.data) for part in (train, test))  # (n, 32, 32, 3)
    images, test_images = (i.permute(0, 3, 1, 2).contiguous() for i in (images, test_images))  # (n, 3, 32, 32)
    return with_validation(name, train.classes, images, train.targets, test_images, test.targets)


def imagenette(root, image_size):
    """Imagenette, photographs of 10 easy classes of ImageNet; its official validation set is `test`."""
    source, folder = datasets.Imagenette, root / "imagenette2-160"
    url, md5 = source._ARCHIVES["160px"]
    file = url.split("/")[-1]
    with fetching("imagenette", root, url.removesuffix(file), [(file, md5)]):
        names = source(root, "train", "160px", download=not folder.exists()).classes
        found = find(folder, only_parts=True)
        total = sum(len(listing.paths) for listing in found.parts.values())
        if total != IMAGENETTE_IMAGES:  # unpacking was cut off
            raise OSError(f"{folder} holds {total} of {IMAGENETTE_IMAGES} images")
    found.parts["test"] = found.parts.pop("validation")
    kept, held_out = hold_out(found.parts["train"].labels)
    found.cut("train", {"train": kept, "validation": held_out})
    return decoded("imagenette", [synonyms[0] for synonyms in names], found, image_size)


def decoded(name, classes, found, image_size):
    """A data set in memory of the files that were found."""
    splits = decode_found(found, image_size)
    warn_of(found)
    return make_dataset(name, classes, *splits)


def flowers102(root, image_size):
    """Oxford 102 Flowers with its official splits: 1,020 training, 1,020 validation, 6,149 test images."""
    source = datasets.Flowers102
    folder, files = root / "flowers-102", source._file_dict.values()
    with fetching("flowers102", folder, source._download_url_prefix, files):
        parts = [source(root, part, download=True) for part in ("train", "val", "test")]
    listings = [Listing([str(f) for f in part._image_files], torch.tensor(part._labels)) for part in parts]
    classes = getattr(source, "classes", [f"flower {number}" for number in range(1, 103)])  # torchvision 0.19 has none
    parts = dict(zip(("train", "validation", "test"), listings, strict=True))
    return decoded("flowers102", classes, Found(str(folder), tuple(classes), parts), image_size)
