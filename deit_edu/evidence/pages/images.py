"""Fewer images (ours): convnet, plain and distilled student on the same few, in equally many steps."""

from deit_edu.evidence.grids import EXPERIMENTS
from deit_edu.evidence.pages.pieces import difference, differences, row, said, table, taught_right
from deit_edu.evidence.verdicts import ENOUGH_SEEDS

CONFIGURATIONS = EXPERIMENTS["data_efficiency"].configurations
SIZES = sorted({settings["train_images"] for settings in CONFIGURATIONS.values() if "train_images" in settings})
HEADS = {"convnet": "class", "none": "class", "token_hard": "fused"}
FEWEST = SIZES[0]


def ends(kind, size, other="none"):
    return [(f"{one}_{size}", HEADS[one]) for one in (kind, other)]


def with_images(size, kind):
    return difference("data_efficiency", *ends(kind, size))


def lost(kind):
    return difference("data_efficiency", *((f"{kind}_{size}", HEADS[kind]) for size in (FEWEST, "all")))


def answer():
    return said(f"""The convnet: with {FEWEST} images it changes by {lost("convnet")} points, the plain student by
{lost("none")}, the distilled one, both heads, by {lost("token_hard")}.""")


def figure():
    return differences(
        [
            row(f"{size:,} images" if size != "all" else "all images", "data_efficiency", *ends("token_hard", size))
            for size in (*SIZES, "all")
        ],
        "distilled minus plain student, points",
    )


def leads():
    """The lead over the plain student at each size."""
    rows = []
    for size in (*SIZES, "all"):
        right = taught_right(f"token_hard_{size}", "data_efficiency")
        rows.append((size, with_images(size, "convnet"), with_images(size, "token_hard"), f"{right:.0f}"))
    columns = ("images", "convnet − plain", "distilled − plain", "teacher right, %")
    return said(table(columns, rows))


def reading():
    return said(f"""The plain student is far from having learned its images by heart in so few epochs, since every scene
is drawn anew; the convnet is further along, and has more to lose. The distilled student, taught by it, stands between
the two.

Does distillation help most where images are few? Nothing here says so. Its mean gain is near a point down to
{SIZES[2]:,} images and smaller below, and most of the intervals hold zero, so not even that is settled. The last
column, how often the teacher is right on the images that it teaches with, may be why. With few of them the teacher
has learned them better than it has learned the rest, so its answers add less to their labels; and its lead over the
student is smaller. With {EXPERIMENTS["data_efficiency"].seeds} seeds for most rows, and {ENOUGH_SEEDS} asked for a
verdict, none of this is judged.""")
