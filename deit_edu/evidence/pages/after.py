"""What came after DeiT: other people's numbers with their sources, and ours beside them."""

import matplotlib.pyplot as plt

from deit_edu.evidence.pages.photographs import on_test, parts
from deit_edu.evidence.pages.pieces import Text, cards, drawn, together
from deit_edu.reading import figures

HARNESS = "timm's results-imagenet.csv at aa4b5850, August 2026"
# Top-1 on ImageNet, %, all in that file: (without a teacher, with one). Equal recipes, but for the teacher.
PAIRS = {
    "DeiT-Ti": (72.190, 74.538),
    "DeiT-S": (79.856, 81.204),
    "DeiT-B": (81.980, 83.384),
    "FastViT-T8": (76.184, 77.170),
    "TinyViT-5M": (79.196, 80.874),
    "TinyViT-11M": (81.538, 83.232),
    "TinyViT-21M": (83.268, 85.088),
}
WITHOUT = {  # later recipes without a teacher, in the same file
    "DeiT III S, 800 epochs": 81.382,
    "DeiT III B, 800 epochs": 83.800,
    "AugReg S/16": 78.842,
    "AugReg B/16": 79.154,
    "little reg4 of timm": 82.520,
    "medium reg4 of timm": 83.466,
}
PATIENCE = {300: 82.170, 600: 82.388, 1200: 82.576}  # FlexiViT-S, distilled: epochs, the same file
PAPER_1000 = {"DeiT-S": (81.2, 82.6), "DeiT-B": (83.4, 84.2)}  # distilled, after 300 and 1000 epochs: table 5

# CIFAR-10 from nothing: (who, parameters in millions, epochs, test accuracy in %, source).
SMALL = (
    ("CCT-7/3x1, convolutions before the transformer", 3.76, "300", "96.5", "Compact-Transformers"),
    ("the same", 3.76, "5000", "98.0", "Compact-Transformers"),
    ("plain ViT, a full recipe", 2.8, "100", "93.6", "SPT_LSA_ViT"),
    ("ViT-Lite-7/4", 3.717, "200", "91.4", "Compact-Transformers"),
    ("ViT-CIFAR", 6.3, "200", "90.9", "omihub777/ViT-CIFAR"),
    ("CCT-2/3x2", 0.284, "200", "89.2", "Compact-Transformers"),
    ("ViT, patch 4, RandAugment", 0.82, "200", "86.3", "s-chh/PyTorch-Scratch-Vision-Transformer-ViT"),
    ("the same, without RandAugment", 0.82, "200", "82.5", "s-chh/PyTorch-Scratch-Vision-Transformer-ViT"),
    ("ViT, patch 4", None, "200", "80", "kentaroy47/vision-transformers-cifar10"),
    ("the same", None, "1000", "89", "kentaroy47/vision-transformers-cifar10"),
    ("ViT of a tutorial", None, "180", "75.6", "UvA deep learning tutorials, 15"),
    ("a small DeiT, as a user of the authors' code saw it", None, "", "79 plain, 81 distilled", "issue 154"),
)


def gains():
    return {name: taught - alone for name, (alone, taught) in PAIRS.items()}


def answer():
    found = gains()
    return Text(f"""With a teacher every one of these networks is better, by {min(found.values()):.1f} to
{max(found.values()):.1f} points. For DeiT itself it is {found["DeiT-Ti"]:.1f}, {found["DeiT-S"]:.1f} and
{found["DeiT-B"]:.1f}.""")


def figure():
    """The pairs, each from alone to taught."""

    def draw():
        fig, ax = plt.subplots(figsize=(figures.NARROW, 3.2))
        for place, (alone, taught) in enumerate(PAIRS.values()):
            ax.plot([alone, taught], [place, place], color=figures.COLOURS["fused"], linewidth=1.5, linestyle="-")
            ax.plot(alone, place, "o", color=figures.COLOURS["plain"], label="alone" if not place else None)
            ax.plot(taught, place, "s", color=figures.COLOURS["fused"], label="with a teacher" if not place else None)
        ax.set(yticks=range(len(PAIRS)), yticklabels=PAIRS, xlabel="top-1 on ImageNet, %")
        ax.invert_yaxis()
        ax.legend(fontsize=8, loc="lower left")
        return fig

    told = "; ".join(f"{name} {alone:.1f} and {taught:.1f}" for name, (alone, taught) in PAIRS.items())
    return drawn(draw, f"Accuracy on ImageNet alone and with a teacher, in percent: {told}.")


def without_a_teacher():
    """DeiT beside later recipes that need no teacher."""
    third, small = WITHOUT["DeiT III S, 800 epochs"], PAIRS["DeiT-S"]
    rows = [(f"{name}, 300 epochs", f"{taught:.1f}", "yes") for name, (_, taught) in list(PAIRS.items())[1:3]]
    rows += [(name, f"{accuracy:.1f}", "no") for name, accuracy in WITHOUT.items()]
    longer = ", ".join(f"{name} {after:.1f} in place of {short:.1f}" for name, (short, after) in PAPER_1000.items())
    return together(
        cards(("network", "top-1, %", "teacher"), {"": rows}, f"Each at its own size; {HARNESS}"),
        f"""A better recipe caught up with the teacher: DeiT III's small network has {third:.1f} without one, where
DeiT's has {small[1]:.1f} with one. But look at the lengths. DeiT III trains for 800 epochs; after 1000 the distilled
networks of the paper have more ({longer}; table 5, measured by the authors, not in this file). Patience pays for
others too: FlexiViT-S, distilled, has {PATIENCE[300]:.1f} after 300 epochs and {PATIENCE[1200]:.1f} after 1200.""",
    )


def small_images():
    """CIFAR-10 from nothing, with the book's own student."""
    last = parts()[-1]
    ours = (
        "<b>ours, hard labels, two tokens</b>", f"{last['parameters'] / 1e6:.2f}",
        str(sum(len(record["curve"]) for record in parts())), f"{on_test(last)['fused']:.1f}", "this book",
    )  # fmt: skip
    rows = [
        (who, f"{size:.2f}" if size else "-", epochs or "-", told, source) for who, size, epochs, told, source in SMALL
    ]
    return cards(
        ("network", "parameters, M", "epochs", "test, %", "source"), {"": [*rows, ours]},
        "CIFAR-10 from nothing. Nearly all are single runs; recipes and lengths differ",
    )  # fmt: skip
