#!/bin/sh
# DeiT's own augmentation, timm's "rand-m9-mstd0.5-inc1", stops some hundred pictures into a training with Pillow 13.
# The strength of an operation is drawn around 9 and cut at 10; at 10 timm 1.0.31 asks ImageOps.posterize to keep 0 bits
# of a pixel. Older Pillows made such a picture black, 13.0.0 refuses it with a ValueError that says nothing of strength.
# "-mmax9" in the string avoids it. timm's module is loaded alone, for the package would need PyTorch.
# Ends with 0 while that is so.
set -eu
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install -q pillow==13.0.0 numpy
"$here/venv/bin/pip" install -q --no-deps timm==1.0.31
cd "$here"
venv/bin/python - <<'PYTHON'
import glob
import importlib.util
import random
import sys

import numpy as np
import PIL
from PIL import Image

(path,) = glob.glob("venv/lib/python3*/site-packages/timm/data/auto_augment.py")
spec = importlib.util.spec_from_file_location("auto_augment", path)
auto_augment = importlib.util.module_from_spec(spec)
spec.loader.exec_module(auto_augment)


def pictures_before_it_stops(policy, most=5000):
    """How many pictures go through before an error, and the error; (most, None) without one."""
    random.seed(0)
    np.random.seed(0)
    transform = auto_augment.rand_augment_transform(policy, {"img_mean": (124, 116, 104)})
    for count in range(most):
        try:
            transform(Image.new("RGB", (32, 32)))
        except ValueError as error:
            return count, str(error)
    return most, None


count, error = pictures_before_it_stops("rand-m9-mstd0.5-inc1")
bounded = pictures_before_it_stops("rand-m9-mstd0.5-inc1-mmax9")
print("Pillow", PIL.__version__, "after", count, "pictures:", error)
print("with -mmax9, after", *bounded)
sys.exit(not (error and "bits" in error and bounded == (5000, None)))
PYTHON
