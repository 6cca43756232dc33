"""Labelled pictures to ask a trained network about: a folder of classes, from which nothing is trained."""

import os
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch

from deit_edu.data.folders import decode_found, store_of
from deit_edu.data.found import warn_of
from deit_edu.data.labels import part_of
from deit_edu.data.splits import Split
from deit_edu.data.tree import find
from deit_edu.data.walk import answers, printable
from deit_edu.errors import DeiTEduError, counted


@dataclass(frozen=True)
class Network:
    """What must be known of the network that is to be asked. classes: its K names. ranges: of its deep greys."""

    name: str
    classes: tuple
    side: int  # pixels
    ranges: dict


def load_labelled(path, network, part="test", store_root=None):
    """All pictures of a folder that has no part to train on, with the labels that a network gives their classes' names.

    That is path/CLASS/*, a table of names and labels, or path/PART/CLASS/* of this part alone. Pictures of classes
    that the network does not know are left out, with a warning.

    Args:
        path: of the folder. network: a `Network`. part: "validation" or "test". store_root: as for `load_folder`.

    Returns:
        a Split of them all, or None for a folder that has a part to train on.

    Raises:
        DeiTEduError: for a folder of none of these layouts, or none of whose classes the network knows.
    """
    path = Path(path)
    found = find(alone(path, part))
    if not found.undivided:
        return None
    label_of = {name: label for label, name in enumerate(network.classes)}
    knows = ", ".join(network.classes[:10]) + (", ..." if len(network.classes) > 10 else "")
    unknown = [name for name in found.classes if name not in label_of]
    listing = found.parts["train"]
    known = torch.tensor([name in label_of for name in found.classes])[listing.labels]  # (n,)
    if not known.any():
        raise DeiTEduError(
            f"{printable(path)} has the classes {', '.join(found.classes[:10])}, of which {network.name} knows none: "
            f"it knows {knows}; call the folders so"
        )
    if unknown:
        count = int((~known).sum())
        left_out = f"{counted(count, 'picture')} {'is' if count == 1 else 'are'} left out"
        warnings.warn(
            f"{left_out}, of classes that {network.name} does not know: {', '.join(unknown[:10])}; it knows {knows}",
            stacklevel=2,
        )
    found.parts["train"] = listing.at(known.nonzero().flatten())
    found.ranges = network.ranges
    (split,) = decode_found(found, network.side, store_of(found, network.side, store_root))
    warn_of(found, trains=False)
    labels = torch.tensor([label_of.get(name, -1) for name in found.classes])[split.labels]
    return Split(split.images, labels)


def alone(path, part):
    """The folder of this part, where it lies in path without one to train on; else path itself."""
    names = (
        {part_of(entry.name): entry.name for entry in os.scandir(path) if answers(entry.is_dir)}
        if path.is_dir()
        else {}
    )
    return path / names[part] if part in names and "train" not in names else path
