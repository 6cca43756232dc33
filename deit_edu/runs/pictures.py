"""Pictures from files for a network that is trained: read, prepared as it was taught, and asked about.

A photograph is brought to the network's size as the data it was trained on were; its channels, mean and deviation are
the network's own.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path

import torch

from deit_edu.data.decode import decode_picture, in_threads, resize_and_crop
from deit_edu.data.walk import printable, walk
from deit_edu.errors import DeiTEduError
from deit_edu.inspect import prefix_attention
from deit_edu.model import fuse, mean_answer
from deit_edu.runs.build import recall_statistics
from deit_edu.runs.folders import open_run
from deit_edu.runs.preprocess import crop_ratio, in_channels
from deit_edu.teachers import as_head_logits

BATCH = 64  # pictures in memory at a time


@dataclass(frozen=True)
class Answer:
    """What a network says of one picture, or why it could not be read."""

    picture: str  # as it was given
    probabilities: dict = field(default_factory=dict)  # {"class": , "distillation": , "fused": } of (K,) tensors
    classes: tuple = ()  # K names
    why: str = ""  # it could not be read

    @property
    def decisive(self):
        """(K,): both heads' where there are two, else the only head's."""
        return self.probabilities.get("fused", self.probabilities.get("class"))

    def likeliest(self, count):
        """The classes that are likeliest for both heads together, [(name, {head: probability})]."""
        top = self.decisive.topk(min(count, len(self.classes))).indices.tolist()
        return [(self.classes[k], {head: p[k].item() for head, p in self.probabilities.items()}) for k in top]


class TrainedNetwork:
    """A network of a run, a folder's name or packaged:NAME, with what its file says of pictures and classes.

    Args:
        name: as for `deit_edu.runs.open_run`.

    Raises:
        DeiTEduError: as `open_run`; for a file of 0.1 whose data are not here to ask how they were normalised.
    """

    def __init__(self, name):
        self.name = os.fspath(name)
        self.model, self.metadata = open_run(name)
        if self.model.preprocessing is None:
            recall_statistics(self.model, self.metadata)
        self.preprocessing = self.model.preprocessing
        named = self.metadata.get("classes") or map(str, range(self.metadata["num_classes"]))
        self.classes = tuple(named)
        self.ranges = ranges_of(self.metadata)

    @property
    def side(self):
        """Pixels, of the square that a photograph is brought to."""
        return self.preprocessing.image_shape[-1]

    def read(self, paths, side=None):
        """Decode picture files as this network's data were: [`Decoded`], pixels (side, side) or (side, side, 3)."""
        side = side or self.side
        shorter = int(side / crop_ratio(self.metadata))
        return in_threads(
            lambda path: decode_picture(path, lambda image: resize_and_crop(image, side, shorter), self.ranges), paths
        )

    def batch(self, pixels):
        """Pictures as `read` gives them -> what the network sees: (n, C, H, W) float32."""
        C = self.preprocessing.image_shape[0]
        images = [torch.from_numpy(one[None] if one.ndim == 2 else one.transpose(2, 0, 1)) for one in pixels]
        return self.preprocessing(torch.stack([in_channels(image[None], C)[0] for image in images]))

    @torch.no_grad()
    def ask(self, pixels):
        """Pictures as `read` gives them -> what the network says: HeadLogits of (n, K) float32."""
        return as_head_logits(self.model(self.batch(pixels)))

    def attention(self, pixels):
        """What each prefix token of a DeiT takes from the patches in the last layer, the mean over heads.

        Returns {"class": (n, rows, columns), "distillation": }, the latter for a distilled one.
        """
        maps = self.model.attention_maps(self.batch(pixels))[-1].mean(dim=1)  # (n, T, T)
        return prefix_attention(maps, self.model.config)


def ranges_of(metadata):
    """Of 16-bit and float greys, the values that became 0 and 255 when a network was trained: {kind: (low, high)}."""
    return {kind: tuple(ends) for kind, ends in metadata.get("value_ranges", {}).items()}


def probabilities(said):
    """HeadLogits of (n, K) -> {"class": (n, K), "distillation": , "fused": }; the class head alone where it is alone.

    Fused is the mean of both heads' probabilities (paper, section 4).
    """
    found = {"class": said.class_logits.softmax(dim=-1)}
    if said.distillation_logits is not None:
        found |= {"distillation": mean_answer(said.distillation_logits).softmax(dim=-1), "fused": fuse(said).exp()}
    return found


def predict_pictures(run, pictures):
    """What a trained network says of picture files.

    Args:
        run: a run folder, its name, packaged:NAME, or a `TrainedNetwork`.
        pictures: paths of files.

    Returns:
        [`Answer`], one for each; one that could not be read says why and has no probabilities.

    Raises:
        DeiTEduError: for a run that is not there.
    """
    network = run if isinstance(run, TrainedNetwork) else TrainedNetwork(run)
    pictures = list(map(os.fspath, pictures))
    answers = []
    for first in range(0, len(pictures), BATCH):
        paths = pictures[first : first + BATCH]
        decoded = network.read(paths)
        sound = [one.pixels for one in decoded if not one.why]
        found = probabilities(network.ask(sound)) if sound else {}
        rows = iter(range(len(sound)))
        for path, one in zip(paths, decoded, strict=True):
            row = None if one.why else next(rows)
            told = {} if one.why else {head: shares[row] for head, shares in found.items()}
            answers.append(Answer(path, told, network.classes, one.why))
    return answers


def pictures_in(places):
    """Files as they were named, and of folders all pictures in them: ([paths], [sentences about what is left out]).

    Raises:
        DeiTEduError: for a folder without a picture.
    """
    found, beside = [], []
    for place in map(Path, places):
        if not place.is_dir():
            found.append(str(place))
            continue
        tree = walk(place)
        if not tree.files:
            read = f": {tree.left_out[0].why}, as {printable(tree.left_out[0].path)}" if tree.left_out else ""
            raise DeiTEduError(f"{printable(place)} holds no picture{read}")
        found += [str(place.joinpath(*names)) for names in tree.files]
        loud = [out for out in tree.left_out if out.loud]
        beside += [f"left out ({out.why}): {printable(out.path)}" for out in loud]
    return found, beside
