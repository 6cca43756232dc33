"""fashion_clutter: items anywhere among crops of other items, made from the packaged images at load time."""

from dataclasses import replace

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image

from deit_edu.data.packaged import FASHION_CLASSES, packaged_splits
from deit_edu.data.splits import Split, make_dataset
from deit_edu.errors import DeiTEduError

CANVAS, ITEM = 28, 14  # sides in pixels; both twice that where more detail is asked for
CLUTTER_CROPS = (6, 6, 5, 5)  # side of each crop of another item, in the order of pasting
ANYWHERE = (0, CANVAS - ITEM)  # an item's columns, its left-most and its right-most place, in pixels
HALVES = {"left": (0, 6), "right": (8, 14)}  # its middle stands in this half; never in both
FIXED_DRAW, REDRAW = 0, 1  # keep the fixed splits and the draws of training apart, whatever the seed


def fashion_clutter(image_size=None):
    """Each item of fashion_mnist_10k at half size, anywhere on a 28x28 canvas, among crops of other items.

    At another image size the same scenes are drawn with the items as large as they are, on 56x56 pixels, and brought
    to that size: 56 has all the detail there is, and 28 is brought down by `halve`.

    Where the item is tells nothing about its class, so the translation equivariance built into a convnet is
    worth a lot, and a transformer must learn it. `redraw(seed, epoch)` gives the training items, in the same
    order, new places and new clutter. Boxes are the items' own, without the clutter.

    Raises:
        DeiTEduError: for an image_size below 14, or above 56.
    """
    side = image_size or CANVAS
    if not CANVAS // 2 <= side <= 2 * CANVAS:
        raise DeiTEduError(f"fashion_clutter can be drawn at 14 to 56 pixels a side, not {side}")
    sources = [ClutterSource(images, labels, 1 if side == CANVAS else 2) for images, labels in packaged_splits()]
    splits = [resize(source.draw(FIXED_DRAW, index), side) for index, source in enumerate(sources)]
    train = sources[0]

    def redraw(seed, epoch):
        return resize(train.draw(REDRAW, seed, epoch), side)

    return make_dataset("fashion_clutter", FASHION_CLASSES, *splits, redraw)


def fashion_clutter_left():
    """fashion_clutter with every item's middle in the left half of its canvas, but for the test: that is the same.

    Who learned items on the left alone, does it know them on the right? `places` has the test's items drawn in either
    half. A picture that is mirrored would show its item on the right: train without.
    """
    sources = [ClutterSource(*part) for part in packaged_splits()]
    train, validation, test = sources
    splits = (train.draw(FIXED_DRAW, 0, columns=HALVES["left"]), validation.draw(FIXED_DRAW, 1, columns=HALVES["left"]))
    places = {half: test.draw(FIXED_DRAW, 2, columns=columns) for half, columns in HALVES.items()}

    def redraw(seed, epoch):
        return train.draw(REDRAW, seed, epoch, columns=HALVES["left"])

    dataset = make_dataset("fashion_clutter_left", FASHION_CLASSES, *splits, test.draw(FIXED_DRAW, 2), redraw)
    return replace(dataset, places=places)


class ClutterSource:
    """The items of one split, and where in each a crop shows something.

    Args:
        images: (n, 28, 28) uint8. labels: (n,). scale: 1 for items at half size, 2 for twice the pixels a side.
        canvas: side of the scenes, in the pixels of scale 1.
    """

    def __init__(self, images, labels, scale=1, canvas=CANVAS):
        self.labels, self.scale, self.side = torch.from_numpy(labels), scale, canvas  # (n,)
        halved = halve(images)  # (n, 14, 14)
        self.items = images if scale == 2 else halved
        self.boxes = tight_boxes(self.items)  # (n, 4)
        self.crops = {size: crop_corners(halved, size) for size in set(CLUTTER_CROPS)}

    def draw(self, *seed, columns=ANYWHERE):
        """A Split of all n items, in whole numbers only, so that every machine makes the same pixels.

        columns: the left-most and the right-most place of an item, in pixels of scale 1.
        """
        random = np.random.RandomState(seed)  # its stream is frozen by NumPy's policy, a Generator's is not
        n, s, side = len(self.items), self.scale, self.side  # places are drawn in pixels of scale 1: scenes agree
        each = np.arange(n)
        canvas = np.zeros((n, s * side, s * side), np.uint8)

        for size in CLUTTER_CROPS:
            other = (each + random.randint(1, n, n, np.int64)) % n  # of the same split, never itself
            corners, first, count = self.crops[size]
            chosen = corners[first[other] + random.randint(0, 2**30, n, np.int64) % count[other]]
            top, left = chosen.astype(np.int64).T
            crops = windows(self.items, s * size)[other, s * top, s * left]  # (n, s * size, s * size)
            top, left = s * random.randint(0, side - size + 1, (2, n), np.int64)
            windows(canvas, s * size)[each, top, left] = crops

        top = s * random.randint(0, side - ITEM + 1, n, np.int64)
        left = s * random.randint(columns[0], columns[1] + side - CANVAS + 1, n, np.int64)
        under = windows(canvas, s * ITEM)[each, top, left]  # clutter, seen where the item is empty
        windows(canvas, s * ITEM)[each, top, left] = np.where(self.items > 0, self.items, under)

        boxes = self.boxes + np.stack([top, left, 0 * top, 0 * left], axis=1)  # (n, 4)
        return Split(torch.from_numpy(canvas[:, None]), self.labels, torch.from_numpy(boxes))


def resize(split, side):
    """A split whose images are brought to a side, by Pillow: in whole numbers too.

    Pillow resizes along the rows, then along the columns. All images at once do so one below another, then one beside
    another: the same pixels as of each by itself, in a third of the time.
    """
    n, _, _, before = split.images.shape
    if side == before:
        return split
    rows = resize_plane(split.images.numpy().reshape(n * before, before), (side, n * before))
    beside = rows.reshape(n, before, side).swapaxes(0, 1).reshape(before, n * side)
    columns = resize_plane(beside, (n * side, side)).reshape(side, n, side)
    images = torch.from_numpy(np.ascontiguousarray(columns.swapaxes(0, 1)))[:, None]
    return Split(images, split.labels, (split.boxes * side + before // 2) // before)


def resize_plane(pixels, size):
    """(H, W) uint8 at another size, which is (W, H) as Pillow has it."""
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR))


def windows(images, size):
    """Every square window, as a view to read or write: (n, H, W) to (n, places, places, size, size)."""
    return sliding_window_view(images, (size, size), axis=(1, 2), writeable=True)


def halve(images):
    """Half the size, each pixel the rounded mean of four: (n, 28, 28) to (n, 14, 14) uint8."""
    wide = images.astype(np.uint16)  # four pixels together pass 255
    four = wide[:, ::2, ::2] + wide[:, ::2, 1::2] + wide[:, 1::2, ::2] + wide[:, 1::2, 1::2]
    return ((four + 2) // 4).astype(np.uint8)


def tight_boxes(items):
    """Smallest box around the non-zero pixels: (n, H, W) to (n, 4) int64, top, left, height, width."""
    (top, height), (left, width) = (first_and_length((items > 0).any(axis=axis)) for axis in (2, 1))
    return np.stack([top, left, height, width], axis=1)


def first_and_length(shown):
    """Where the True stretch of each row begins and how long it is: (n, side) bool to two (n,) int64."""
    first = shown.argmax(axis=1)
    return first, shown.shape[1] - shown[:, ::-1].argmax(axis=1) - first


def crop_corners(items, size):
    """Crops worth pasting: with at least half as many non-zero pixels as the fullest crop of the same item.

    Items have less than 256 pixels a side.

    Returns (corners, first, count): corners[first[i] : first[i] + count[i]] is (top, left) of item i's crops.
    """
    places = items.shape[1] - size + 1
    shown = (items > 0).astype(np.int16)  # becomes the number of non-zero pixels in each crop
    shown = sum(shown[:, i : i + places] for i in range(size))
    shown = sum(shown[:, :, i : i + places] for i in range(size))  # (n, places, places)
    good = 2 * shown >= shown.max(axis=(1, 2), keepdims=True)
    count = good.sum(axis=(1, 2))
    corners = np.stack(np.nonzero(good)[1:], axis=1).astype(np.uint8)
    return corners, np.cumsum(count) - count, count
