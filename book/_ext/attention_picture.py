"""Draw README's picture: where the two tokens of the packaged student look (make picture)."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import torch  # noqa: E402

from deit_edu.data import load_dataset, normalise  # noqa: E402
from deit_edu.inspect import attention_rollout, prefix_attention  # noqa: E402
from deit_edu.reading import figures  # noqa: E402
from deit_edu.runs.checkpoints import load_network, packaged_path  # noqa: E402

PICTURE = Path(__file__).resolve().parents[1] / "images" / "attention.png"


def draw():
    """The first test image of each of five classes, chosen by their shapes and not by how they came out."""
    data = load_dataset("fashion_clutter")
    student, _ = load_network(packaged_path("fashion_clutter_student"))
    chosen = torch.stack([(data.test.labels == label).nonzero()[0, 0] for label in (0, 1, 3, 5, 8)])
    images = data.test.images[chosen]  # (B, C, H, W)
    rollout = attention_rollout(student.attention_maps(normalise(images, data.mean, data.std)))  # (B, T, T)
    titles = [data.classes[label] for label in data.test.labels[chosen]]
    figures.use_style()
    return figures.token_attention(
        images[:, 0], data.test.boxes[chosen], prefix_attention(rollout, student.config), titles
    )


if __name__ == "__main__":
    PICTURE.parent.mkdir(exist_ok=True)
    draw().savefig(PICTURE, dpi=120, metadata={"Software": None})
    print(PICTURE)
