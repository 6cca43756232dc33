"""Draw README's picture: where the two tokens of the packaged student look (make picture)."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import torch

from deit_edu import figures
from deit_edu.data import load_dataset, normalise
from deit_edu.inspect import attention_in_boxes, attention_rollout, prefix_attention
from deit_edu.teachers import load_network, packaged_path

PICTURE = Path(__file__).resolve().parents[1] / "images" / "attention.png"
COLUMNS = 5


def draw():
    """A figure: images with their item's box, and under each the rollout of both tokens."""
    dataset = load_dataset("fashion_clutter")
    student, _ = load_network(packaged_path("fashion_clutter_student"))
    # The first test image of each of the first classes that differ most in shape; no choice by result.
    chosen = torch.stack([(dataset.test.labels == label).nonzero()[0, 0] for label in (0, 1, 3, 5, 8)])
    images, boxes = dataset.test.images[chosen], dataset.test.boxes[chosen]
    rollout = attention_rollout(student.attention_maps(normalise(images, dataset.mean, dataset.std)))  # (B, T, T)
    pictures = prefix_attention(rollout, student.config)
    figures.use_style()
    fig, axes = plt.subplots(3, COLUMNS, figsize=(figures.WIDTH, figures.WIDTH * 0.64))
    for column in range(COLUMNS):
        top, left, height, width = boxes[column].tolist()
        for row, picture in enumerate([images[column, 0], *(pictures[token][column] for token in pictures)]):
            ax = axes[row, column]
            scale = picture.shape[-1] / images.shape[-1]
            ax.imshow(picture, cmap="gray" if row == 0 else figures.ATTENTION_MAP)
            corner = (left * scale - 0.5, top * scale - 0.5)
            ax.add_patch(plt.Rectangle(corner, width * scale, height * scale, fill=False, ec="white", ls="--", lw=1.2))
            ax.set(xticks=[], yticks=[])
        axes[0, column].set_title(dataset.classes[dataset.test.labels[chosen[column]]], fontsize=9)
    for row, name in enumerate(["image", "class token", "distillation token"]):
        axes[row, 0].set_ylabel(name, fontsize=9)
    shares = {token: attention_in_boxes(picture, boxes, student.config).mean() for token, picture in pictures.items()}
    return fig, shares


if __name__ == "__main__":
    fig, shares = draw()
    PICTURE.parent.mkdir(exist_ok=True)
    fig.savefig(PICTURE, dpi=130)
    print(PICTURE, {token: f"{share:.1%} of its attention to patches lies in the box" for token, share in shares.items()})
