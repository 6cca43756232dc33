"""Patch explorer: an image as a sequence of tokens, and what patch size and resolution cost."""

import matplotlib.pyplot as plt
import numpy as np
import torch
import traitlets

from deit_edu.data.names import load_dataset
from deit_edu.errors import DeiTEduError
from deit_edu.patches import patchify
from deit_edu.reading.figures import NARROW, STYLE
from deit_edu.widgets.figure import Figure, packed

MOST = 32  # patches a side at the image's own resolution: more can neither be seen nor drawn at once


class PatchExplorer(Figure):
    """An image cut into patches: the tokens in their order, how many, what attention over them costs.

    Paper: section 3. Shuffle the patches: what a model without position embeddings would not notice.

    Args:
        images: (n, C, H, W) uint8, square. names: n words.

    Raises:
        DeiTEduError: for images that are not square or have one pixel, or names that are not as many.
    """

    images = traitlets.Bytes().tag(sync=True)
    image_shape = traitlets.List().tag(sync=True)
    names = traitlets.List().tag(sync=True)
    sizes = traitlets.List().tag(sync=True)  # of patches, in pixels: those that divide the image
    image = traitlets.Int(0).tag(sync=True)
    choice = traitlets.Int(0).tag(sync=True)  # which of `sizes`
    times = traitlets.Int(1).tag(sync=True)  # the resolution, in times the image's own
    order = traitlets.List().tag(sync=True)  # of the patches; empty: as they are

    def __init__(self, images, names):
        C, H, W = images.shape[1:]
        if H != W:
            raise DeiTEduError(f"images of {H}x{W} pixels are not square: crop them first")
        if len(images) != len(names):
            raise DeiTEduError(f"{len(names)} names for {len(images)} images: give one for each")
        if H == 1:
            raise DeiTEduError("images of 1x1 pixels are one patch each: give larger ones")
        sizes = [P for P in range(2, H + 1) if H % P == 0 and H // P <= MOST]
        super().__init__(images=packed(images, "u1"), image_shape=[C, H, W], names=list(names), sizes=sizes,
                         choice=len(sizes) // 2)  # fmt: skip

    @classmethod
    def packaged(cls):
        """The first test image of each class of fashion_mnist_10k, the last class first: an ankle boot."""
        data = load_dataset("fashion_mnist_10k")
        labels = range(data.num_classes)[::-1]
        chosen = [(data.test.labels == label).nonzero()[0, 0].item() for label in labels]
        return cls(data.test.images[chosen], [data.classes[label] for label in labels])

    def picture(self):
        C, H, W = self.image_shape
        pixels = torch.from_numpy(np.frombuffer(self.images, np.uint8)[: C * H * W].copy()).reshape(1, C, H, W)
        P = self.sizes[self.choice]
        patches = patchify(pixels, P)[0].reshape(-1, P, P, C)
        columns = W // P
        with plt.rc_context(STYLE):
            fig, axes = plt.subplots(len(patches) // columns, columns, figsize=(NARROW / 2, NARROW / 2), squeeze=False)
            for ax, patch in zip(axes.flat, patches, strict=True):
                ax.imshow(patch.numpy().squeeze(-1) if C == 1 else patch.numpy(), cmap="gray", vmin=0, vmax=255)
                ax.axis("off")
        return fig

    def caption(self):
        H, P = self.image_shape[1], self.sizes[self.choice]
        N = (H // P) ** 2
        return f"""An image of {H}x{H} pixels ({self.names[0]}) cut into {N} patches of {P}x{P} pixels, read row by row:
        {N} tokens, and {N * N:,} pairs for attention to compare in each head."""
