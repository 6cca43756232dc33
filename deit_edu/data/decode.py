"""One picture file, as a viewer shows it: upright, on white, its values in the data set's range."""

import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageCms, ImageOps, features
from tqdm import tqdm

EIGHT_BIT = ("1", "L", "LA", "La")  # modes that are grey, in eight bits or fewer
DEEP = ("I", "F")  # first letters of the modes of 16 and 32-bit greys and of floats
MAY_BE_DEEP = (".png", ".tif", ".tiff", ".pgm", ".pnm", ".pfm", ".jp2", ".j2k", ".avif")
DEPTHS = (8, 10, 12, 14, 16, 24, 32)  # bits of a grey value that cameras and scanners write
SUFFIXES = (
    ".jpg", ".jpeg", ".jfif", ".jpe", ".jif", ".mpo", ".png", ".apng", ".bmp", ".dib", ".gif", ".ppm", ".pgm", ".pbm",
    ".pnm", ".pfm", ".tif", ".tiff", ".webp", ".jp2", ".j2k", ".tga", ".pcx", ".ico",
)  # fmt: skip
LONG = 64  # times as long as wide: of a picture longer still, only the middle is looked at
ONLY_THE_FIRST_IS_MEANT = ("MPO", "ICO")  # formats that keep one picture several times, in other sizes


@cache
def suffixes():
    """What a picture's name may end in here: more with a Pillow that knows AVIF, or with the package pillow-heif."""
    return SUFFIXES + (".avif",) * features.check("avif") + (".heic", ".heif", ".hif") * has_heif()


@cache
def has_heif():
    """Whether the package pillow-heif is there, which reads the pictures of phones; Pillow is taught to ask it."""
    try:
        import pillow_heif
    except ImportError:
        return False
    pillow_heif.register_heif_opener()
    return True


class Decoded(NamedTuple):
    """A picture file that was read, or why it was not."""

    pixels: np.ndarray | None  # (size, size) grey or (size, size, 3), uint8
    size: tuple[int, int] | None = None  # (width, height) upright, before it was resized
    frames: int = 1  # of which the first is taken
    why: str = ""  # it cannot be decoded
    grey: bool = True
    passing: bool = False  # the disk did not give it, or memory: another time it may


def decode_picture(path, transform, ranges=None):
    """Read a file, bring it to grey or RGB, transform it: a `Decoded`, which says why if the file is damaged.

    transform: from a PIL image to a PIL image. ranges: see `value_ranges`; None is each type's whole range.
    """
    try:
        # Opened by name, an uncompressed TIFF that is stored sideways is read from memory pages in the wrong order.
        with open(path, "rb") as file, Image.open(file) as image:
            once = image.format in ONLY_THE_FIRST_IS_MEANT
            frames = 1 if once else getattr(image, "n_frames", 1)
            image = as_shown(image, ranges or {})
            return Decoded(np.array(transform(image)), image.size, frames, grey=image.mode == "L")
    except Image.DecompressionBombError:
        return Decoded(None, why=f"more than {2 * Image.MAX_IMAGE_PIXELS:,} pixels")
    except OSError as error:
        return Decoded(None, why=error.strerror or "damaged", passing=error.errno is not None)
    except Exception:  # Pillow raises a dozen kinds of error for a damaged file
        return Decoded(None, why="damaged")


def as_shown(image, ranges):
    """A PIL image as a viewer shows it, in mode L or RGB: turned as its tag says, what is transparent on white."""
    image = turned(image)
    if image.mode.startswith(DEEP):
        return in_eight_bits(image, ranges)
    if image.mode == "LAB":
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        return ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
    grey = image.mode in EIGHT_BIT
    if image.has_transparency_data or image.mode in ("La", "RGBa", "PA"):
        image = image.convert("RGBA")
        ground = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(ground, image)
    return image.convert("L" if grey else "RGB")


def turned(image):
    """Turned and mirrored as the camera's orientation tag says; a tag that cannot be read says nothing."""
    try:
        return ImageOps.exif_transpose(image)
    except OSError:  # the picture itself is cut off
        raise
    except Exception:
        return image


def in_eight_bits(image, ranges):
    """A 16-bit, 32-bit or float grey as an L image: ranges[kind], (low, high), becomes 0 to 255."""
    values = np.asarray(image).astype(np.float64)
    low, high = ranges.get(kind_of(image.mode)) or ((0, 1) if image.mode == "F" else (0, 2**16 - 1))
    values = np.nan_to_num(values, nan=low, posinf=high, neginf=low)
    scaled = (values - low) * (255 / (high - low) if high > low else 0)
    return Image.fromarray(scaled.round().clip(0, 255).astype(np.uint8))


def kind_of(mode):
    return "float" if mode == "F" else "integer"


def value_ranges(paths, whole_types=False):
    """The (low, high) that 16-bit, 32-bit and float greys share in one data set: {"integer": , "float": }.

    It is that of these pictures, the training pictures, so that a dark one stays darker than a bright one. Beside
    pictures of eight bits, or with whole_types, it is the range of a type that holds them: 0 to 4,095, say.

    paths: all training pictures. Those that cannot be read say nothing here.
    """
    asked = [path for path in paths if os.path.splitext(path)[1].lower() in MAY_BE_DEEP]
    extents = in_threads(deep_extent, asked)
    whole_types = whole_types or len(asked) < len(paths) or EIGHT in extents
    ranges = {}
    for kind, low, high in (extent for extent in extents if extent and extent != EIGHT):
        before = ranges.get(kind, (low, high))
        ranges[kind] = (min(low, before[0]), max(high, before[1]))
    return {kind: whole_range(kind, *extent) if whole_types else extent for kind, extent in ranges.items()}


EIGHT = ("eight bits", 0, 255)


def deep_extent(path):
    """(kind, lowest, highest value) of a deep grey picture; `EIGHT` of another; None of a file that is damaged."""
    try:
        with Image.open(path) as image:
            if not image.mode.startswith(DEEP):
                return EIGHT
            values = np.asarray(image)
            values = values[np.isfinite(values)]
            return (kind_of(image.mode), float(values.min()), float(values.max())) if values.size else None
    except Exception:
        return None  # it is named when it is decoded


def whole_range(kind, low, high):
    if kind == "float":
        return (min(low, 0), max(high, 1))
    bits = next((depth for depth in DEPTHS if high < 2**depth), DEPTHS[-1])
    return (min(low, 0), 2**bits - 1)


@contextmanager
def quiet_pillow():
    """What Pillow finds strange in a file's tags is no news to a reader."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


def in_threads(function, paths, saying=None):
    """[function(path)], by one thread per core; saying: the title of a progress bar."""
    with quiet_pillow(), ThreadPoolExecutor(os.cpu_count()) as pool:
        done = pool.map(function, paths)
        return list(tqdm(done, saying, len(paths), leave=False, disable=None) if saying else done)


def resize_and_crop(image, size, shorter_side):
    """Bring the shorter side to `shorter_side` pixels, then take the central size x size."""
    width, height = image.size
    shorter = min(width, height)
    if max(width, height) > LONG * shorter:  # resized whole, a line of one pixel by 60,000 would fill the memory
        x, y = max(0, (width - LONG * shorter) // 2), max(0, (height - LONG * shorter) // 2)
        image = image.crop((x, y, min(width, x + LONG * shorter), min(height, y + LONG * shorter)))
        width, height = image.size
    new = (width * shorter_side // shorter, height * shorter_side // shorter)
    if new != image.size:
        image = image.resize(new, Image.Resampling.BICUBIC)
    left, top = round((new[0] - size) / 2), round((new[1] - size) / 2)
    return image.crop((left, top, left + size, top + size))
