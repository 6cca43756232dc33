"""Make the pictures that the live figure offers to the CIFAR-10 networks: no image of CIFAR-10 may be shipped.

All are in the public domain: drawings of the Open Clip Art Library, from Debian's package openclipart-png, each put
before two colours, a ground and a sky; and the photo of a cat that comes with scikit-image (CC0, by its photographer
Stefan van der Walt). To rebuild:

    sudo apt-get install openclipart-png && pip install scikit-image
    python data_scripts/make_pictures.py
"""

import argparse
import io
import sys
from pathlib import Path

from PIL import Image

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))  # this clone's deit_edu, installed or not

from deit_edu.data.packaged import PICTURES  # noqa: E402
from deit_edu.errors import DeiTEduError  # noqa: E402
from deit_edu.runs.checkpoints import write_atomically  # noqa: E402

SIDE, LARGE = 32, 256
SKY, GRASS, ROAD, SEA, FLOOR, WALL = "#bcd6ec", "#7f9a54", "#8b8680", "#4f7690", "#a08a72", "#d9d2c6"
DRAWINGS = {  # class: (file, sky, ground, where the ground begins, share of the picture that the drawing takes, tint)
    "airplane": ("transportation/vehicles/aircraft_jarno_vasamaa_.png", SKY, SKY, 1.0, 0.95),
    "automobile": ("transportation/vehicles/road_runner_ganson.png", SKY, ROAD, 0.55, 0.92),
    "bird": ("animals/birds/gull_marcelo_staudt_01.png", SKY, ROAD, 0.8, 0.85),
    "cat": ("animals/mammals/housecats/gatto_cat_architetto_fra_02.png", WALL, FLOOR, 0.6, 0.9),
    "deer": ("animals/mammals/fawn_mo_01.png", GRASS, GRASS, 1.0, 0.9, "#7a5230"),
    "dog": ("animals/mammals/dogs/beagle_copper_ganson.png", WALL, GRASS, 0.6, 0.92),
    "horse": ("animals/mammals/horses/cavallo_architetto_franc_07.png", SKY, GRASS, 0.6, 0.95),
    "ship": ("transportation/boating/boat_jarno_vasamaa_.png", SKY, SEA, 0.75, 0.85),
    "truck": ("transportation/truck_jarno_vasamaa_.png", SKY, ROAD, 0.6, 0.92),
}
LICENCE = """All of these pictures are in the public domain: drawings of the Open Clip Art Library (Creative Commons
Public Domain Dedication), by the authors that the names of the files say, and a photo by Stefan van der Walt (CC0).
They were made by data_scripts/make_pictures.py, from:
"""


def drawing(path, sky, ground, horizon, share, tint=None):
    """A drawing with a transparent ground -> LARGE x LARGE pixels, in the middle; a black shape gets the tint."""
    picture = Image.new("RGB", (LARGE, LARGE), sky)
    picture.paste(ground, (0, int(horizon * LARGE), LARGE, LARGE))
    item = Image.open(path).convert("RGBA")
    item = item.crop(item.getbbox())
    scale = share * LARGE / max(item.size)
    item = item.resize([round(scale * side) for side in item.size], Image.Resampling.LANCZOS)
    left, top = ((LARGE - side) // 2 for side in item.size)
    place = (left, top, left + item.width, top + item.height)
    picture.paste(tint or item, place, item)
    return picture


def photo(path):
    """The head and shoulders of the cat, square."""
    picture = Image.open(path).convert("RGB")
    return picture.crop((75, 0, 375, 300))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clipart", default="/usr/share/openclipart/png", help="its folder (default: %(default)s)")
    parser.add_argument("--photo", help="chelsea.png (default: scikit-image's)")
    parser.add_argument("--output", default=str(PICTURES), help="where the pictures go (default: the package)")
    parser.add_argument("--dry-run", action="store_true", help="say what would be written, and where")
    chosen = parser.parse_args()
    print(f"writes {len(DRAWINGS) + 1} pictures of {SIDE}x{SIDE} pixels, 15 kB together, to {chosen.output}")
    if chosen.dry_run:
        return 0
    cat = chosen.photo
    if cat is None:
        try:
            import skimage
        except ImportError:
            print("error: scikit-image is missing: pip install scikit-image, or give --photo PATH", file=sys.stderr)
            return 2
        cat = Path(skimage.__file__).parent / "data" / "chelsea.png"
    output = Path(chosen.output)
    try:
        large = {name: drawing(Path(chosen.clipart) / path, *how) for name, (path, *how) in DRAWINGS.items()}
        large["cat_photo"] = photo(cat)
    except FileNotFoundError as error:
        hint = "sudo apt-get install openclipart-png, or give --clipart and --photo where they lie"
        print(f"error: {error.filename} is missing: {hint}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: a picture cannot be read: {error}", file=sys.stderr)
        return 2
    sources = {name: path for name, (path, *_) in DRAWINGS.items()} | {"cat_photo": "chelsea.png of scikit-image, CC0"}
    lines = [LICENCE, *(f"{name}.png: {source}" for name, source in sources.items())]
    try:
        for name, picture in large.items():
            small = io.BytesIO()
            picture.resize((SIDE, SIDE), Image.Resampling.BOX).save(small, "PNG", optimize=True)
            write_atomically(output / f"{name}.png", small.getvalue())
        write_atomically(output / "LICENSE", ("\n".join(lines) + "\n").encode())
    except DeiTEduError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
