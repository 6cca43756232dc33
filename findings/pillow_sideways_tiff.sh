#!/bin/sh
# Pillow 13.0.0 shows an uncompressed TIFF with an orientation tag of 5 to 8 in two ways: opened by its name, its rows
# are cut at the wrong places (grey, RGBA, CMYK, palette and 16-bit pictures); opened as a file object, it is right.
# The reader gives the upright size before the pixels are loaded, and the memory-mapped way of loading, which only a
# name allows, takes that size for the stored one. RGB, and anything compressed, is not mapped and right both ways.
# Ends with 0 while that is so.
set -eu
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install -q pillow==13.0.0
cd "$here"
venv/bin/python - <<'PYTHON'
import sys

import PIL
from PIL import Image

upright = Image.new("L", (3, 2))
upright.putdata([0, 30, 60, 90, 120, 150])
exif = Image.Exif()
exif[0x0112] = 6  # to be turned by 90 degrees clockwise
upright.transpose(Image.Transpose.ROTATE_90).save("sideways.tif", exif=exif)


def read(source):
    with Image.open(source) as image:
        announced = image.size
        image.load()
        return announced, image.size, list(image.tobytes())


by_name = read("sideways.tif")
with open("sideways.tif", "rb") as file:
    by_file = read(file)
print("Pillow", PIL.__version__)
print("upright:        ", upright.size, list(upright.tobytes()))
print("as a file object:", *by_file[1:])
print("by its name:     ", *by_name[1:], "after it announced", by_name[0])
assert by_file == ((3, 2), (3, 2), [0, 30, 60, 90, 120, 150])
sys.exit(by_name != ((3, 2), (2, 3), [120, 60, 0, 150, 90, 30]))
PYTHON
