"""Images and labels: where they come from, and the three splits they are brought to.

`names` opens a data set by its name; `splits` says what one is; the rest is a source each.
"""

from deit_edu.data.names import DATASETS, RESIZABLE, check_name, data_root, load_dataset
from deit_edu.data.packaged import drawn_pictures
from deit_edu.data.splits import (
    ImageDataset,
    Split,
    balanced_order,
    class_counts,
    class_weights,
    denormalise,
    hold_out,
    keep_classes,
    make_dataset,
    nested_subset,
    normalise,
)

__all__ = [
    "DATASETS",
    "RESIZABLE",
    "ImageDataset",
    "Split",
    "balanced_order",
    "check_name",
    "class_counts",
    "class_weights",
    "data_root",
    "denormalise",
    "drawn_pictures",
    "hold_out",
    "keep_classes",
    "load_dataset",
    "make_dataset",
    "nested_subset",
    "normalise",
]
