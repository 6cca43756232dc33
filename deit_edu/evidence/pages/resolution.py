"""Another resolution (table 10, section 3.2): what a new grid costs, and what the positions have to do with it."""

import copy

import numpy as np
import torch

from deit_edu.data import load_dataset
from deit_edu.evidence.pages.pieces import (
    claimed,
    difference,
    differences,
    evidence,
    fold,
    mean_of,
    ours,
    row,
    said,
    shown,
    table,
)
from deit_edu.evidence.verdicts import paired_difference
from deit_edu.runs import load_network, packaged_path
from deit_edu.runs.build import INTERPOLATIONS
from deit_edu.runs.evaluate import accuracies, predict

SAME, TRAINED = ("tuned_at_28", "class"), ("none", "class")
SLOW = 4e-3  # the rate of the first series of fine-tuning


def answer():
    return said(
        f"""Put on another grid at once it loses nearly half of its accuracy, or more; five epochs of fine-tuning win
back much of that, not all. On larger images it ends *worse*, {ours("larger-images-help")} points, where the paper's
ends better; on smaller ones worse, as in the paper, {ours("smaller-images-hurt")}.""",
        larger_images_help="reversed", smaller_images_hurt="reproduced",
    )  # fmt: skip


def figure():
    """After fine-tuning at each size."""
    return differences(
        [
            row("fine-tuned at 28 − trained at 28", "resolution", SAME, TRAINED),
            claimed("smaller-images-hurt", "fine-tuned at 21 − at 28"),
            row("fine-tuned at 42 − at 28", "resolution", ("tuned_at_42", "class"), SAME),
            claimed("larger-images-help", "fine-tuned at 56 − at 28"),
            claimed("short-positions-hurt", "at 56 at once: bicubic − bilinear"),
        ]
    )


def at_once():
    """Tested at each size without fine-tuning."""
    return differences(
        [
            row(f"tested at {side} at once − at 28", "resolution", (f"tested_at_{side}", "class"), TRAINED)
            for side in (21, 42, 56)
        ]
    )


def reading():
    rate = evidence().results.cell("resolution", "tuned_at_56", 0).config.learning_rate
    return said(
        f"""**Larger images.** It is not the fine-tuning as such: five more epochs at 28 pixels change
{difference("resolution", SAME, TRAINED)} points. The reason is likely in the patches. They keep their 7
pixels, so at 56 pixels each shows a quarter of what it showed at 28. In the paper, from 224 to 384 pixels, it is
about a third, and there the network fine-tunes for 25 epochs of more than a million images. Ours must learn the new
patches from five epochs of ten thousand. A better rate brought it nearer, from {gap_at(SLOW)} to {gap_at(rate)}
points. We did not try longer fine-tuning. Read *reversed* as: after so short a one.

**Short vectors.** Bilinear interpolation does take more of the norm, as the paper says. At once it costs nothing that
we can see, {difference("resolution", ("tested_at_56_bilinear", "class"), ("tested_at_56", "class"))} points; but on
that grid the network is right on {mean_of("resolution", "tested_at_56", "class"):.0f} % only and has little to lose.
After fine-tuning bilinear stands at
{difference("resolution", ("tuned_at_56_bilinear", "class"), ("tuned_at_56", "class"))} against bicubic. More seeds
would not help that claim: where there is little to lose, there is little to measure.""",
        larger_images_help="reversed", smaller_images_hurt="reproduced", bicubic_keeps_the_norm="reproduced",
        short_positions_hurt="not resolved",
    )  # fmt: skip


def what_the_lab_shows(lab):
    """The norms and accuracies of a PositionLab of the student that ships."""
    share = {(found["interpolation"], found["grid"]): found["percent"] for found in lab.accuracies}
    grids = sorted({grid for _, grid in share})
    at = {grid: [share[how, grid] for how in INTERPOLATIONS] for grid in grids}
    widest = max(max(values) - min(values) for values in at.values())
    total = next(found["total"] for found in lab.accuracies)
    kept, chosen = {}, lab.interpolation
    for lab.interpolation in INTERPOLATIONS:  # each in turn
        (_, _, before), (_, _, after) = lab.panels()
        kept[lab.interpolation] = 100 * after.mean() / before.mean()
    lab.interpolation = chosen
    return said(
        f"""At {lab.grid}x{lab.grid} patches bicubic interpolation keeps {kept["bicubic"]:.0f} % of the mean norm, with
antialias {kept["antialias"]:.0f} %, bilinear {kept["bilinear"]:.0f} %. These are learned vectors, alike where they are
near, so each way keeps more than it does of noise, which chapter 1 shows. The accuracy is another matter: at
{lab.grid * lab.patch_size} pixels it is {share["bicubic", lab.grid]:.1f} % in place of
{share["bicubic", lab.trained_grid]:.1f} %, and at no grid are the three more than {widest:.1f} points apart, which is
{widest * total / 100:.0f} of the {total} images. So the grid costs much, and the way to it about a point at most."""
    )


def shortened():
    """What short position vectors alone cost the packaged student, on the grid that it knows."""
    student, _ = load_network(packaged_path("fashion_clutter_student"))
    dataset = load_dataset("fashion_clutter")
    rows = []
    for left in (1.0, 0.9, 0.7, 0.5):
        shorter = copy.deepcopy(student)
        with torch.no_grad():
            shorter.position_embedding[:, student.config.num_prefix_tokens :] *= left  # the patches' vectors alone
        found = accuracies(predict(shorter, dataset.validation, dataset), dataset.validation.labels)["fused"]
        rows.append((f"{left:.0%}", f"{found}"))
    return fold(
        "What do short vectors alone cost?",
        """Two things change at another size, and the interpolation touches only one of them. A patch of 4 pixels also
sees less of a scene that is drawn larger, or more of one that is drawn smaller, and no position vector repairs that. So
leave the grid as it is, and shorten the vectors:""",
        table(("of the norm", "right on validation images"), rows),
        """What bilinear interpolation takes from these learned vectors is near the second line: little. Seventy per
cent, about what it leaves of white noise, would cost points. DeiT-B is twelve blocks deep, its positions may be less
smooth than these, and it has a thousand classes to confuse; we have no number of the paper's for what short vectors
cost.""",
    )


def norm_at_56(what, how, when):
    """Mean norm of the patches' position vectors in per cent of what it was at 28 pixels, over the seeds."""
    of = evidence().results
    found = [of.record("resolution", f"{what}_at_56{how}", seed) for seed in of.seeds("resolution")]
    norms = [record["position_norm"] for record in found if record and record["position_norm"]]
    return np.mean([100 * norm[when] / norm["before"] for norm in norms])


def norms():
    """From 28 to 56 pixels: norm and accuracy, at once and after fine-tuning."""
    rows = []
    for name, how in {"bicubic": "", "antialias": "_antialias", "bilinear": "_bilinear"}.items():
        right = {what: mean_of("resolution", f"{what}_at_56{how}", "class") for what in ("tested", "tuned")}
        at_once, later = norm_at_56("tested", how, "resized"), norm_at_56("tuned", how, "trained")
        rows.append((name, f"{at_once:.0f}", f"{right['tested']:.1f}", f"{later:.0f}", f"{right['tuned']:.1f}"))
    return fold(
        "Norm and accuracy in the runs of the ledger",
        table(("", "norm at once, %", "right, %", "norm tuned, %", "right, %"), rows),
        """From 28 to 56 pixels, means over seeds. Five epochs of fine-tuning make the vectors longer than they were at
28 pixels, whichever way they were resized. Those that bilinear interpolation had shortened stay somewhat shorter, and
the accuracy is the same.""",
    )


def gap_at(rate):
    """How far 56 pixels end from 28 when fine-tuned at a learning rate, in points."""
    ends = {28: {}, 56: {}}
    for record in evidence().ledger.records.values():
        if record["configuration"] in ("tuned_at_28", "tuned_at_56") and record["config"]["learning_rate"] == rate:
            ends[record["config"]["image_size"]][record["seed"]] = 100 * record["test"]["class"]["accuracy"]
    seeds = sorted(ends[28].keys() & ends[56].keys())
    return shown(
        paired_difference([(sign, [ends[side][s] for s in seeds]) for sign, side in ((1, 56), (-1, 28))]), "{:+.1f}"
    )


def rates():
    """How the rate of fine-tuning was chosen."""

    def validation_at(rate):
        found = paired_difference(evidence().results.paired("tuning", ((1, f"fine_tuning_{rate:g}", "class"),)))
        return f"{rate:g}", f"{found.mean:.1f}"

    return fold(
        "The rate of fine-tuning",
        f"""The first series was fine-tuned at {SLOW:g}. Then the rates were compared on validation images, at 42
pixels, and all rows were run again at the best.""",
        table(("rate", "validation accuracy, %"), map(validation_at, (1e-3, 4e-3, 1.6e-2, 3.2e-2))),
    )
