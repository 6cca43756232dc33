"""Position lab: learned position embeddings brought to another grid, what is left of their norm, and what follows."""

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
import traitlets

from deit_edu.data.names import load_dataset
from deit_edu.data.splits import nested_subset
from deit_edu.errors import DeiTEduError
from deit_edu.evidence.grids import EXPERIMENTS
from deit_edu.evidence.ledger import Ledger
from deit_edu.evidence.regime import BASE
from deit_edu.evidence.report import Results
from deit_edu.evidence.verdicts import paired_difference
from deit_edu.patches import resize_position_embedding
from deit_edu.reading.figures import DIFFERENCE_MAP, NARROW, STYLE
from deit_edu.runs.build import INTERPOLATIONS
from deit_edu.runs.checkpoints import load_network, packaged_path
from deit_edu.runs.evaluate import accuracies as accuracies_of
from deit_edu.runs.evaluate import predict
from deit_edu.runs.weights import resize_model
from deit_edu.widgets.figure import Figure, packed

MEASURED = (4, 5, 6, 7, 8, 10, 12, 14)  # grids at which the packaged student is tested
ROWS = {  # of the ledger's `resolution`, (image size, interpolation): tested as it is, and fine-tuned
    (21, "bicubic"): ("tested_at_21", "tuned_at_21"),
    (28, ""): ("none", "tuned_at_28"),  # the size it was trained at: nothing is interpolated
    (42, "bicubic"): ("tested_at_42", "tuned_at_42"),
    (56, "bicubic"): ("tested_at_56", "tuned_at_56"),
    (56, "bilinear"): ("tested_at_56_bilinear", "tuned_at_56_bilinear"),
    (56, "antialias"): ("tested_at_56_antialias", "tuned_at_56_antialias"),
}


class PositionLab(Figure):
    """Choose a grid and an interpolation; see which position embeddings are alike, and how long they stay.

    Paper: section 3.2 and table 10. The page interpolates by itself, as `deit_edu.patches.resize_position_embedding`
    does. `PositionLab.packaged()` shows the student that ships, the constructor any model's.

    Args:
        position_embedding: (1, num_prefix_tokens + N, D). grid: (rows, columns) of its N patches, as many of both.
        num_prefix_tokens: 1 for a plain model, 2 for a distilled one. patch_size: P, in pixels.
        accuracies: {interpolation: {patches a side: Accuracy}} without fine-tuning, from `accuracy_at_grids`.
        recorded: what the ledger has of the experiment `resolution`, from `recorded_runs`.

    Raises:
        DeiTEduError: when they do not fit together.
    """

    positions = traitlets.Bytes().tag(sync=True)  # the patches' position embeddings, (N, D) float32
    width = traitlets.Int().tag(sync=True)  # D
    trained_grid = traitlets.Int().tag(sync=True)  # patches a side
    num_prefix_tokens = traitlets.Int().tag(sync=True)
    patch_size = traitlets.Int().tag(sync=True)
    accuracies = traitlets.List().tag(sync=True)
    recorded = traitlets.Dict().tag(sync=True)
    grid = traitlets.Int().tag(sync=True)  # the new one, patches a side
    interpolation = traitlets.Enum(list(INTERPOLATIONS), "bicubic").tag(sync=True)
    patch = traitlets.Int().tag(sync=True)  # the one compared with all, in the trained grid, row by row from 0

    def __init__(self, position_embedding, grid, num_prefix_tokens, patch_size, accuracies=None, recorded=None):
        if not isinstance(grid, (tuple, list)) or len(grid) != 2 or grid[0] != grid[1] or grid[0] < 2:
            raise DeiTEduError(f"grid is {grid}: give (rows, columns) of a square one, two or more of each")
        if position_embedding.ndim != 3 or len(position_embedding) != 1:
            raise DeiTEduError(
                f"position_embedding is of shape {tuple(position_embedding.shape)}: give (1, tokens, width), as "
                f"DeiT.position_embedding is"
            )
        if patch_size < 1:
            raise DeiTEduError(f"patch_size is {patch_size}: it must be 1 or more")
        position_embedding = position_embedding.detach().cpu().float()
        checked = resize_position_embedding(position_embedding, grid, grid, num_prefix_tokens)  # raises on their count
        patches = checked[0, num_prefix_tokens:]  # (N, D)
        if not patches.any():
            raise DeiTEduError("the position embeddings of the patches are all zero: there is nothing to interpolate")
        G = grid[0]
        super().__init__(
            positions=packed(patches, "f4"), width=patches.shape[1], trained_grid=G, patch_size=patch_size,
            num_prefix_tokens=num_prefix_tokens, accuracies=measured(accuracies or {}, smallest(G), 2 * G),
            recorded=recorded or {}, grid=2 * G, patch=G // 2 * G + G // 2,
        )  # fmt: skip

    @classmethod
    def packaged(cls, ledger=None, images=400):
        """The student that ships, tested on validation `images` at every size, and the runs of the ledger."""
        model, metadata = load_network(packaged_path("fashion_clutter_student"))
        config = model.config
        return cls(
            model.position_embedding, config.grid, config.num_prefix_tokens, config.patch_size,
            accuracy_at_grids(model, metadata["data"], MEASURED, images), recorded_runs(Results(ledger or Ledger())),
        )  # fmt: skip

    def embeddings(self, grid):
        """The patches' position embeddings at a grid, by the chosen interpolation: (grid * grid, D)."""
        G = self.trained_grid
        before = torch.frombuffer(bytearray(self.positions), dtype=torch.float32).reshape(1, G * G, self.width)
        return resize_position_embedding(before, (G, G), (grid, grid), 0, *INTERPOLATIONS[self.interpolation])[0]

    def panels(self):
        """[(grid, similarity (grid, grid) to the chosen patch, norms (grid, grid))], before and after."""
        row, column = divmod(self.patch, self.trained_grid)
        found = []
        for grid in (self.trained_grid, self.grid):
            vectors = self.embeddings(grid)  # (grid * grid, D)
            y, x = ((2 * place + 1) * grid // (2 * self.trained_grid) for place in (row, column))  # where its centre is
            similarity = F.cosine_similarity(vectors, vectors[y * grid + x], dim=-1)
            found.append((grid, *(values.reshape(grid, grid).numpy() for values in (similarity, vectors.norm(dim=-1)))))
        return found

    def picture(self):
        panels = self.panels()
        lengths = np.concatenate([norms.ravel() for *_, norms in panels])
        with plt.rc_context(STYLE):
            fig, axes = plt.subplots(2, 2, figsize=(NARROW, NARROW))
            for column, (grid, similarity, norms) in enumerate(panels):
                cosines = axes[0, column].imshow(similarity, cmap=DIFFERENCE_MAP, vmin=-1, vmax=1)
                shown = axes[1, column].imshow(norms, vmin=lengths.min(), vmax=lengths.max())
                axes[0, column].set_title(f"{grid}x{grid}: cosine")
                axes[1, column].set_title(f"norm, mean {norms.mean():.2f}")
            fig.colorbar(cosines, ax=axes[0])
            fig.colorbar(shown, ax=axes[1])
            for ax in axes.flat:
                ax.set(xticks=[], yticks=[])
        return fig

    def caption(self):
        (before, similarity, old), (after, _, new) = self.panels()
        row, column = divmod(self.patch, before)
        kept = 100 * new.mean() / old.mean()
        tested = [
            f"Without fine-tuning, {one['percent']:.1f} % of {one['total']} validation images are right there."
            for one in self.accuracies
            if (one["grid"], one["interpolation"]) == (after, self.interpolation)
        ]
        return f"""The position embeddings of {before}x{before} patches and, by {self.interpolation} interpolation, of
        {after}x{after}, for images of {after * self.patch_size} pixels. Above, the cosine of the patch on row
        {row + 1}, column {column + 1} with every other, from {similarity.min():.2f} to 1; below, the norms: their mean
        goes from {old.mean():.2f} to {new.mean():.2f}, {kept:.1f} % is kept. {" ".join(tested)}"""


def smallest(grid):
    """The fewest patches a side that the figure offers; the most are twice the grid's."""
    return (grid + 1) // 2


def measured(accuracies, low, high):
    """{interpolation: {grid: Accuracy}} as the page gets it; raises DeiTEduError for what it could not show."""
    rows = []
    for interpolation, found in accuracies.items():
        if interpolation not in INTERPOLATIONS:
            raise DeiTEduError(
                f"accuracies by {interpolation!r}: choose of {', '.join(INTERPOLATIONS)}, as accuracy_at_grids does"
            )
        for grid, accuracy in sorted(found.items()):
            if not low <= grid <= high:
                raise DeiTEduError(f"accuracy at {grid} patches a side: the figure shows {low} to {high}")
            shares = [round(100 * share, 2) for share in (accuracy.value, *accuracy.interval)]
            names = ("percent", "low", "high")
            rows.append({"interpolation": interpolation, "grid": grid, "total": accuracy.total}
                        | dict(zip(names, shares, strict=True)))  # fmt: skip
    return rows


def accuracy_at_grids(model, name, grids, images):
    """Test a DeiT, not fine-tuned, at other image sizes, its position embedding brought there in each way.

    Args:
        model: a DeiT. name: a data set that can be had at these sizes, as `load_dataset` takes it.
        grids: patches a side. images: how many of the validation split, as many of each class.

    Returns:
        {interpolation: {grid: Accuracy}}, of both heads together where there are two.
    """
    found = {interpolation: {} for interpolation in INTERPOLATIONS}
    for grid in grids:
        side = grid * model.config.patch_size
        data = load_dataset(name, image_size=side)
        chosen = nested_subset(data.validation.labels, images)
        for interpolation, way in INTERPOLATIONS.items():
            resized = resize_model(model, side, *way)
            said = predict(resized, data.validation, data, batch_size=50, indices=chosen)  # fits a cache
            scores = accuracies_of(said, data.validation.labels[chosen])
            found[interpolation][grid] = scores.get("fused", scores["class"])
    return found


def recorded_runs(results):
    """The experiment `resolution` as the page gets it: means, intervals, and what is not recorded yet.

    Args:
        results: a deit_edu.evidence.report.Results.
    """

    def mean(configuration, measure):
        found = paired_difference(results.paired("resolution", ((1, configuration, measure),)))
        if not found.seeds:
            return None
        bounds = [found.low, found.high] if np.isfinite(found.low) else []
        return {"mean": found.mean, "interval": bounds, "seeds": found.seeds}

    rows = []
    for (side, interpolation), (tested, tuned) in ROWS.items():
        norm = mean(tested, "norm") if interpolation else {"mean": 100.0}
        rows.append({"side": side, "interpolation": interpolation, "norm": norm and norm["mean"],
                     "tested": mean(tested, "class"), "tuned": mean(tuned, "class")})  # fmt: skip
    return {"model": BASE["tiny"]["student"]["model"], "seeds": EXPERIMENTS["resolution"].seeds, "rows": rows}
