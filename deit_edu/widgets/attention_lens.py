"""Attention lens: what the two tokens of a trained DeiT look at, layer by layer and head by head."""

import matplotlib.pyplot as plt
import numpy as np
import torch
import traitlets

from deit_edu.data.names import load_dataset
from deit_edu.data.splits import nested_subset
from deit_edu.errors import DeiTEduError
from deit_edu.inspect import token_similarity
from deit_edu.model import DeiT
from deit_edu.reading.figures import COLOURS, NARROW, STYLE
from deit_edu.runs.preprocess import Preprocessing
from deit_edu.widgets.figure import Figure, packed
from deit_edu.widgets.network import as_it_takes, check_labelled, export, packaged_pair, preparation


def scaled(box, grown):
    """A box (top, left, height, width) in a picture whose rows and columns have grown so many times."""
    return [round(times * int(side)) for times, side in zip([*grown, *grown], box, strict=True)]


class AttentionLens(Figure):
    """What the class token and the distillation token attend to, side by side; click a patch to ask from there.

    The first image's attention comes with the page. For any other image the network runs in the reader's browser.

    Args:
        model: a DeiT with the distillation token; what its file says of its pictures' size and statistics holds.
        images: (n, C, H, W) uint8. labels: n classes. class_names: K words.
        mean, std: C numbers each, of the training images, for a model that does not say them.
        boxes: (n, 4): top, left, height, width of the item in pixels, where the data have them.

    Raises:
        DeiTEduError: when they do not fit together.
    """

    on_use = ("network_weights",)

    network = traitlets.Dict().tag(sync=True)  # manifest of deit_edu.widgets.network.export
    network_weights = traitlets.Bytes().tag(sync=True)
    first = traitlets.Bytes().tag(sync=True)  # attention of the first image, (L, h, T, T) float16
    similarity = traitlets.List().tag(sync=True)  # cosine of the two tokens for the first image, (L + 1,)
    images = traitlets.Bytes().tag(sync=True)
    image_shape = traitlets.List().tag(sync=True)
    labels = traitlets.List().tag(sync=True)
    class_names = traitlets.List().tag(sync=True)
    boxes = traitlets.List().tag(sync=True)
    image = traitlets.Int(0).tag(sync=True)
    layer = traitlets.Int().tag(sync=True)  # 1 to L
    head = traitlets.Int(0).tag(sync=True)  # 1 to h; 0 is the mean of all
    way = traitlets.Enum(["layer", "rollout"], "layer").tag(sync=True)
    patch = traitlets.Int(-1).tag(sync=True)  # who asks: a patch, row by row from 0, or -1: the two tokens

    def __init__(self, model, images, labels, class_names, mean, std, boxes=None):
        if not (isinstance(model, DeiT) and model.config.distilled):
            raise DeiTEduError("the lens compares two tokens: give it a DeiT with distilled=True")
        check_labelled(images, labels, class_names)
        own = preparation(model, Preprocessing(tuple(images.shape[1:]), tuple(mean), tuple(std)))
        grown = [its / given for its, given in zip(own.image_shape[1:], images.shape[2:], strict=True)]  # rows, columns
        images = as_it_takes(images, own)
        shown = own(images[:1])
        with torch.no_grad():
            maps = model.eval().attention_maps(shown)[:, 0]  # (L, h, T, T)
        manifest, weights = export(model, own)
        super().__init__(
            network=manifest, network_weights=weights, first=packed(maps, "f2"),
            similarity=token_similarity(model, shown).tolist(), images=packed(images, "u1"),
            image_shape=list(own.image_shape), labels=[int(label) for label in labels], class_names=list(class_names),
            boxes=[] if boxes is None else [scaled(box, grown) for box in boxes],
            layer=len(maps),
        )  # fmt: skip

    @classmethod
    def packaged(cls, count=12):
        """The student that ships, and `count` test images, the classes in turn."""
        pair, test = packaged_pair("fashion_clutter"), load_dataset("fashion_clutter").test
        chosen = nested_subset(test.labels, count)
        images, labels, boxes = test.images[chosen], test.labels[chosen], test.boxes[chosen]
        return cls(pair.student, images, labels, pair.classes, pair.mean, pair.std, boxes)

    def tokens(self):
        """Of the first image, last layer, mean over heads: {token: (rows, columns)}."""
        side = self.network["image_size"] // self.network["patch_size"]
        count = 2 + side * side
        maps = np.frombuffer(self.first, "<f2").reshape(-1, self.network["num_heads"], count, count)[-1].mean(0)
        return {token: maps[row, 2:].reshape(side, side) for row, token in enumerate(("class", "distillation"))}

    def picture(self):
        C, H, W = self.image_shape
        pixels = np.frombuffer(self.images, np.uint8)[: C * H * W].reshape(C, H, W)
        with plt.rc_context(STYLE):
            fig, axes = plt.subplots(1, 3, figsize=(NARROW, 1.9))
            axes[0].imshow(pixels.transpose(1, 2, 0).squeeze(), cmap="gray", vmin=0, vmax=255)
            for ax, (token, values) in zip(axes[1:], self.tokens().items(), strict=True):
                ax.imshow(values)
                ax.set_title(token, color=COLOURS[token])
            for ax in axes:
                ax.set(xticks=[], yticks=[])
        return fig

    def caption(self):
        found = {token: divmod(int(values.argmax()), values.shape[1]) for token, values in self.tokens().items()}
        most = " and ".join(f"the {token} token on row {y + 1}, column {x + 1}" for token, (y, x) in found.items())
        shown = self.class_names[self.labels[0]]
        return f"""A test image ({shown}) and the attention of the two tokens to its patches in the last layer, the mean
        over heads. Most of it lies, of {most}. Where the heads read, the cosine of the two tokens is
        {self.similarity[-1]:.2f}; of the two learned vectors at the input it is {self.similarity[0]:.2f}."""
