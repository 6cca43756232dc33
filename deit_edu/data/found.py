"""What was found in a folder of pictures, how missing parts are cut from it, and what a reader must hear of it."""

import warnings
from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

import torch

from deit_edu.data.duplicates import content_groups, hold_out_groups, same_content
from deit_edu.data.walk import LeftOut, printable
from deit_edu.errors import DeiTEduError, counted

TELLS_ALL = "deit-edu data folder:PATH tells all"  # how the warning ends


class Listing(NamedTuple):
    """Image files with their classes, not yet decoded."""

    paths: list[str]
    labels: torch.Tensor  # (n,) int64

    def at(self, indices):
        return Listing([self.paths[index] for index in indices.tolist()], self.labels[indices])

    def and_also(self, other):
        return Listing(self.paths + other.paths, torch.cat([self.labels, other.labels]))


@dataclass
class Found:
    """What a folder holds and how it was understood."""

    path: str
    classes: tuple[str, ...] = ()  # as they are printed; the index is the label
    parts: dict[str, Listing] = field(default_factory=dict)  # train, validation, test
    undivided: bool = False  # nobody has said which pictures are to train on: all are in "train" until it is cut
    understood: list[str] = field(default_factory=list)  # sentences for the reader
    left_out: list[LeftOut] = field(default_factory=list)
    damaged: list[LeftOut] = field(default_factory=list)  # known once all is decoded
    several: list[str] = field(default_factory=list)  # files of more than one picture, of which the first is taken
    sizes: Counter = field(default_factory=Counter)  # (width, height): number of pictures
    ranges: dict = field(default_factory=dict)  # of 16-bit and float greys: `value_ranges` of the training pictures
    same: list = field(default_factory=list)  # `same_content`

    def cut(self, part, pieces):
        """Replace one part by pieces of it. pieces: {part: indices}."""
        whole = self.parts.pop(part)
        self.parts |= {name: whole.at(indices) for name, indices in pieces.items()}

    def across(self):
        """Contents that lie in two parts: [(paths, parts, labels)]."""
        return [same for same in self.same if len(set(same[1])) > 1]

    def contradicting(self):
        """Contents that lie in two classes."""
        return [same for same in self.same if len(set(same[2])) > 1]

    def untaught(self):
        """Classes without a training picture."""
        there = set(self.parts["train"].labels.tolist()) if "train" in self.parts else set()
        return [name for label, name in enumerate(self.classes) if label not in there]


# ---- cutting what is one part ----


def cut_parts(found):
    """Cut what is not there as a folder of its own from the training pictures, the same on every machine.

    One picture in ten of each class for each part that is missing. The same content never comes into two of them.
    Raises DeiTEduError where there are too few.
    """
    paths = [path for listing in found.parts.values() for path in listing.paths]
    groups = dict(zip(paths, content_groups(paths).tolist(), strict=True))
    missing = [part for part in ("test", "validation") if part not in found.parts]
    for number, part in enumerate(missing):
        train = found.parts["train"]
        kept, held_out = hold_out_groups(train.labels, [groups[path] for path in train.paths], 10 - number)
        if not len(held_out):
            raise DeiTEduError(
                f"{printable(found.path)}: train has too few images of each class to hold one out for {part}: "
                f"add images, or a folder {part}/"
            )
        found.cut("train", {"train": kept, part: held_out})
    if missing:
        names = " and ".join(reversed(missing))
        found.understood.append(f"{names}: one picture in ten of each class, drawn from the others by a fixed seed")
    found.same = same_content(found.parts, groups)


# ---- what a reader must hear ----


def warn_of(found, trains=True):
    """Warn once, in one line, of all that was left out or looks wrong; not at all if there is nothing.

    trains: a network is to be trained on them; what is wrong with that alone is not said to who evaluates one.
    """
    said = []
    total = len(found.damaged) + sum(len(listing.paths) for listing in found.parts.values())
    if found.damaged:
        names = ", ".join(printable(out.path) for out in found.damaged[:10])
        more = ", ..." if len(found.damaged) > 10 else ""
        said.append(f"{len(found.damaged)} of {counted(total, 'image')} cannot be decoded, left out: {names}{more}")
    loud = [out for out in found.left_out if out.loud]
    for why, count in Counter(out.why for out in loud).most_common(3):
        example = printable(next(out.path for out in loud if out.why == why))
        said.append(f"left out ({why}): {count}, as {example}")
    rest = len({out.why for out in loud}) - 3
    if rest > 0:
        said.append(counted(rest, "more reason"))
    said += wrong_to_train_on(found) if trains else []
    if said:
        warnings.warn("; ".join([*said, TELLS_ALL]), stacklevel=3)


def wrong_to_train_on(found):
    """Sentences about classes and copies."""
    said = []
    if untaught := found.untaught():
        said.append(f"no training picture of {', '.join(untaught[:10])}")
    if across := found.across():
        said.append(f"the same picture in two parts: {len(across)}, as {examples(across)}")
    if contradicting := found.contradicting():
        said.append(f"the same picture in two classes: {len(contradicting)}, as {examples(contradicting)}")
    if len(found.classes) == 1:
        said.append(f"there is one class alone, {found.classes[0]}")
    return said


def examples(same):
    """The first two files of the first content that is there twice, from different parts or classes if they are."""
    paths, parts, labels = same[0]
    other = next((n for n in range(1, len(paths)) if (parts[n], labels[n]) != (parts[0], labels[0])), 1)
    return f"{printable(paths[0])} and {printable(paths[other])}"
