"""Rebuild the packaged data set fashion_mnist_10k, byte for byte, from the official Fashion-MNIST files.

It holds 10,000 training images (1,000 of each class), 2,000 validation images (200 of each class) and the whole
official test set. A training image that is also in the test set, or earlier in the training set, is never chosen.

A split is one file: n labels, one byte each; then one bit per pixel that says whether it is non-zero; then the
non-zero pixels, one byte each. Half of all pixels are zero, so this takes 60 % of the plain bytes. Files of gzip
or xz would be a little smaller, but not the same with every version of their libraries.
"""

import argparse
import gzip
import hashlib
import sys
import zlib
from pathlib import Path

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))  # this clone's deit_edu, installed or not

from deit_edu.data.names import data_root  # noqa: E402
from deit_edu.data.packaged import PACKAGED, PACKAGED_SIZES  # noqa: E402
from deit_edu.errors import DeiTEduError  # noqa: E402
from deit_edu.runs.checkpoints import write_atomically  # noqa: E402

# The SHA-256 of each official file after gunzip (gzip files of the same bytes differ).
OFFICIAL = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
SEED = 0


def read_idx(source, name):
    """Array of one official file. Header: two zero bytes, the type, the number of axes, each axis as big-endian."""
    path = source / f"{name}.gz"
    try:
        data = gzip.decompress(path.read_bytes())
    except (EOFError, zlib.error, gzip.BadGzipFile):
        data = b""
    if hashlib.sha256(data).hexdigest() != OFFICIAL[name]:
        raise DeiTEduError(f"{path} is not the official file of Fashion-MNIST (or damaged): fetch it again")
    shape = np.frombuffer(data, ">u4", count=data[3], offset=4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * data[3]).reshape(shape)


def choose(images, labels, test_images, sizes):
    """Indices of the training images for each split of `sizes`: class-balanced, no image twice, in official order."""
    seen = {image.tobytes() for image in test_images}
    candidates = []
    for index, image in enumerate(images):
        if image.tobytes() not in seen:
            candidates.append(index)
            seen.add(image.tobytes())
    candidates = np.array(candidates)

    random = np.random.RandomState(SEED)  # its stream is frozen by NumPy's policy, a Generator's is not
    parts = [[] for _ in sizes]
    for label in range(10):
        rest = random.permutation(candidates[labels[candidates] == label])
        for part, size in zip(parts, sizes, strict=True):
            part.append(rest[: size // 10])
            rest = rest[size // 10 :]
    return [np.sort(np.concatenate(part)) for part in parts]


def pack(images, labels):
    """Bytes of one split; `deit_edu.data.packaged.unpack_split` is the inverse."""
    visible = images > 0
    return labels.tobytes() + np.packbits(visible).tobytes() + images[visible].tobytes()


def build(source):
    """Every file of the data set as {name: bytes}, from the folder of the official files."""
    images, labels, test_images, test_labels = (read_idx(source, name) for name in OFFICIAL)
    sizes = [PACKAGED_SIZES["train.bin"], PACKAGED_SIZES["validation.bin"]]
    train, validation = choose(images, labels, test_images, sizes)
    files = {
        "train.bin": pack(images[train], labels[train]),
        "validation.bin": pack(images[validation], labels[validation]),
        "test.bin": pack(test_images, test_labels),
    }
    sums = "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in files.items())
    return files | {"SHA256SUMS": sums.encode()}


def download():
    """Folder of the official files, fetched by torchvision if they are not there yet."""
    from deit_edu.data.downloads import fashion_mnist

    fashion_mnist(data_root())
    return data_root() / "FashionMNIST" / "raw"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, metavar="FOLDER", help="of the official .gz files (default: download)")
    parser.add_argument("--output", type=Path, metavar="FOLDER", default=PACKAGED, help="default: %(default)s")
    parser.add_argument("--dry-run", action="store_true", help="say what would be written, and write nothing")
    args = parser.parse_args()
    print(f"Writes about 11 MB to {args.output}" + ("" if args.source else f"; downloads 31 MB to {data_root()}"))
    if args.dry_run and args.source is None:
        return
    for name, data in build(args.source or download()).items():
        path = args.output / name
        same = path.exists() and path.read_bytes() == data
        action = "unchanged" if same else "would be written" if args.dry_run else "written"
        print(f"{name}: {len(data):,} bytes, {action}")
        if action == "written":
            write_atomically(path, data)


if __name__ == "__main__":
    try:
        main()
    except (DeiTEduError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
