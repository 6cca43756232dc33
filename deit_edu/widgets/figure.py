"""What all interactive figures share: one Python file and one JavaScript module each, and a common module beside them.

A figure is an anywidget: in Jupyter it talks to the kernel. In the built book there is no kernel, and
`static_host.js` gives the same JavaScript the state that the book was built with.
"""

import functools
import inspect
import io
import os
from pathlib import Path

import anywidget
import matplotlib.pyplot as plt
import numpy as np
import traitlets

from deit_edu.data.imagenet import LazySplit
from deit_edu.errors import DeiTEduError
from deit_edu.reading.figures import COLOURS, COLOURS_IN_THE_DARK, PIXELS_PER_INCH
from deit_edu.runs.build import open_dataset
from deit_edu.train import TrainConfig
from deit_edu.widgets.bundle import FOLDER, bundled
from deit_edu.widgets.static import STATIC


@functools.cache
def themed(name):
    """A style sheet, with the book's colours as variables: --class, --distillation, --fused, --teacher, --truth, ..."""
    light, dark = (
        "".join(f"--{name}:{colour};" for name, colour in colours.items()) for colours in (COLOURS, COLOURS_IN_THE_DARK)
    )
    return (FOLDER / name).read_text("utf8").replace("/*LIGHT*/", light).replace("/*DARK*/", dark)


class Figure(anywidget.AnyWidget):
    """An interactive figure. A subclass has its JavaScript in a file of its own name beside it.

    Every trait tagged ``sync=True`` is the same in Python and in the page: read it, set it, or ``observe`` it. Arrays
    are Bytes traits, from `packed`; those named in `on_use` are large and loaded only when the figure asks for them.
    """

    on_use = ()  # names of Bytes traits that a static page fetches late

    _figure = traitlets.Unicode().tag(sync=True)  # the class's name: how the book knows its own figures
    _on_use = traitlets.List().tag(sync=True)
    _picture = traitlets.Bytes(b"").tag(sync=True)  # PNG of the first view, in a book being built
    _caption = traitlets.Unicode("").tag(sync=True)

    def __init_subclass__(cls, **settings):
        super().__init_subclass__(**settings)
        if cls.__name__ == cls.__base__.__name__:
            return  # traitlets derives a class of the same name when an object gets a trait of its own
        cls._esm = bundled(Path(inspect.getfile(cls)).with_suffix(".js"))
        cls._css = themed("common.css")

    def __init__(self, **traits):
        super().__init__(_figure=type(self).__name__, _on_use=list(self.on_use), **traits)
        if os.environ.get(STATIC):
            self._picture, self._caption = png(self.picture()), " ".join(self.caption().split())

    def picture(self):
        """The first view as a matplotlib figure, for a page without JavaScript."""
        raise NotImplementedError

    def caption(self):
        """The first view in words: what is drawn, with its numbers."""
        raise NotImplementedError


def png(figure):
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=1.5 * PIXELS_PER_INCH, metadata={"Software": None})
    plt.close(figure)
    return buffer.getvalue()


def data_to_show(config):
    """The data set of a recorded run's config, its test images in memory. Raises DeiTEduError when they are not."""
    data = open_dataset(TrainConfig(**config))
    if isinstance(data.test, LazySplit):
        raise DeiTEduError(f"{data.name} is decoded batch by batch: a figure shows data that fit in memory only")
    return data


def packed(array, kind):
    """An array as the bytes of a trait: little-endian, in C order.

    Args:
        array: anything numpy can read, or a tensor. kind: "u1", "f2", "f4": what `unpacked` in numbers.js is told.

    Raises:
        DeiTEduError: for values that are no finite numbers, or as "u1" none of 0 to 255.
    """
    values = np.asarray(array.detach().cpu() if hasattr(array, "detach") else array)
    if not np.isfinite(values.astype(np.float64)).all():
        raise DeiTEduError("a figure shows finite numbers only: look for nan or inf in what you gave it")
    if kind == "u1" and values.size and not 0 <= values.min() <= values.max() <= 255:
        raise DeiTEduError(
            f"a figure takes pixels, and numbers of classes, from 0 to 255, not {values.min():g} to {values.max():g}"
        )
    return values.astype(np.dtype(kind).newbyteorder("<"), order="C").tobytes()
