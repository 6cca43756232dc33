"""Rebuild the packaged data set fashion_mnist_10k, byte for byte, from the official Fashion-MNIST files.

10,000 training images (1,000 of each class), 2,000 validation images (200 of each class) and the full official test set.
A training image that also appears in the test set, or earlier in the training set, is never chosen.

A split is one file: n labels (one byte each), then one bit per pixel that says whether it is non-zero, then the non-zero
pixels (one byte each). Half of all pixels are zero, so this is 40 % smaller than plain bytes, and unlike gzip or xz it comes
out the same with every version of every library.
"""

import argparse
import gzip
import hashlib
import sys
from pathlib import Path

import numpy as np

FILES = {
    "train_images": "train-images-idx3-ubyte.gz",
    "train_labels": "train-labels-idx1-ubyte.gz",
    "test_images": "t10k-images-idx3-ubyte.gz",
    "test_labels": "t10k-labels-idx1-ubyte.gz",
}
ASSETS = Path(__file__).resolve().parents[1] / "deit_edu" / "assets" / "fashion_mnist_10k"
SEED = 0
TRAIN_PER_CLASS, VALIDATION_PER_CLASS = 1000, 200


def read_idx(path):
    """Array of an idx file (big-endian header: two zero bytes, type 8 for uint8, number of axes, then each axis' length)."""
    data = gzip.decompress(path.read_bytes())
    axes = data[3]
    shape = np.frombuffer(data, ">u4", count=axes, offset=4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * axes).reshape(shape)


def choose(train_images, train_labels, test_images):
    """Indices of the chosen training and validation images, each in the official order."""
    seen = {image.tobytes() for image in test_images}
    candidates = []
    for index, image in enumerate(train_images):
        key = image.tobytes()
        if key not in seen:
            candidates.append(index)
            seen.add(key)
    candidates = np.array(candidates)

    random = np.random.RandomState(SEED)  # its stream is frozen by NumPy's policy, a Generator's is not
    train, validation = [], []
    for label in range(10):
        shuffled = random.permutation(candidates[train_labels[candidates] == label])
        train.append(shuffled[:TRAIN_PER_CLASS])
        validation.append(shuffled[TRAIN_PER_CLASS:TRAIN_PER_CLASS + VALIDATION_PER_CLASS])
    return np.sort(np.concatenate(train)), np.sort(np.concatenate(validation))


def pack(images, labels):
    """Bytes of one split; `deit_edu.data.unpack_split` is the inverse."""
    visible = images > 0
    return labels.tobytes() + np.packbits(visible).tobytes() + images[visible].tobytes()


def build(source):
    """File name -> bytes, for every file of the data set."""
    raw = {key: read_idx(source / name) for key, name in FILES.items()}
    train, validation = choose(raw["train_images"], raw["train_labels"], raw["test_images"])
    files = {
        "train.bin": pack(raw["train_images"][train], raw["train_labels"][train]),
        "validation.bin": pack(raw["train_images"][validation], raw["train_labels"][validation]),
        "test.bin": pack(raw["test_images"], raw["test_labels"]),
    }
    sums = "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in files.items())
    return files | {"SHA256SUMS": sums.encode()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, help="folder with the four official idx .gz files")
    parser.add_argument("--output", type=Path, default=ASSETS)
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    for name, data in build(args.source).items():
        (args.output / name).write_bytes(data)
        print(f"{len(data):>9,} bytes  {args.output / name}")


if __name__ == "__main__":
    sys.exit(main())
