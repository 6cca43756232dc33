"""Pictures that every reader can use: one style, one meaning per colour, and words for whoever does not see them."""

import base64
import html
import io

import matplotlib
import matplotlib.pyplot as plt

from deit_edu.errors import DeiTEduError

# One meaning per colour through the whole book. Told apart with any kind of colour vision, and on white.
COLOURS = {
    "class": "#0072B2",  # the class token, its head, its attention
    "distillation": "#D55E00",  # the distillation token, its head, its attention
    "fused": "#882255",  # both heads together
    "plain": "#8C8C8C",  # a student trained without a teacher
    "teacher": "#117733",
    "truth": "#111111",  # the true label
}
COLOURS_IN_THE_DARK = {  # the same hues on a dark page, for the interactive figures
    "class": "#5AB1E8",
    "distillation": "#F58A3C",
    "fused": "#D982B5",
    "plain": "#A9A9A9",
    "teacher": "#5CC77B",
    "truth": "#F2F2F2",
}
ATTENTION_MAP = "viridis"  # for weights and attention: dark is 0, light is much
DIFFERENCE_MAP = "PuOr"  # for signed numbers: centre it on 0

WIDTH = 7.0  # inches: the width of the book's text
NARROW = 4.6  # inches: a figure whose words can still be read on a phone
PIXELS_PER_INCH = 96  # on the page; the picture itself has twice as many, for sharp screens

STYLE = {
    "figure.figsize": (NARROW, 3),
    "figure.facecolor": "white",  # a card of its own, the same in the light and in the dark theme
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.w_pad": 0.1,  # inches
    "figure.constrained_layout.h_pad": 0.1,
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    # A line that is none of these is slate, told apart by its dashes.
    "axes.prop_cycle": matplotlib.cycler(color=["#56687A"] * 4, linestyle=["-", "--", ":", "-."]),
    "image.cmap": ATTENTION_MAP,
    "image.interpolation": "nearest",  # a pixel is a square
    "lines.linewidth": 2,
}


def use_style():
    """Draw matplotlib's figures in the book's style from here on; a chapter calls it in its first cell."""
    matplotlib.rcParams.update(STYLE)


def literal(words):
    """Words for matplotlib to draw as they are: it takes what stands between two dollars for a formula."""
    return words.replace("$", r"\$")


def token_attention(images, boxes, attention, titles):
    """Draw images, and under each what every prefix token takes from its patches, the item's box dashed.

    Args:
        images: (n, H, W) grey, or (n, H, W, 3) in colour. titles: n words.
        boxes: (n, 4): top, left, height, width, in pixels; None: the images have no boxes.
        attention: {token: (n, rows, columns)}, from `deit_edu.inspect.prefix_attention`.

    Returns:
        the matplotlib figure, for `show`.
    """
    n, H, W = images.shape[:3]
    rows = 1 + len(attention)
    fig, axes = plt.subplots(rows, n, figsize=(WIDTH, rows * WIDTH / n * 1.05), squeeze=False)
    for column in range(n):
        axes[0, column].imshow(images[column], cmap="gray")
        axes[0, column].set_title(literal(titles[column]), fontsize=9, loc="center")
        for ax, picture in zip(axes[1:, column], attention.values(), strict=True):
            ax.imshow(picture[column], extent=(-0.5, W - 0.5, H - 0.5, -0.5))  # in pixels of the image
        for ax in axes[:, column]:
            if boxes is not None:
                top, left, height, width = (int(side) for side in boxes[column])
                corner, line = (left - 0.5, top - 0.5), dict(edgecolor="white", linewidth=1.4, linestyle="--")
                ax.add_patch(plt.Rectangle(corner, width, height, fill=False, **line))
            ax.set(xticks=[], yticks=[])
    for ax, token in zip(axes[1:, 0], attention, strict=True):
        ax.set_ylabel(f"{token.replace('_', ' ')} token", fontsize=9, color=COLOURS[token.partition("_")[0]])
    return fig


def where_tokens_look(photographs, attention, titles):
    """Photographs, a row each, and over each how much every prefix token takes from its patches.

    Args:
        photographs: n arrays (H, W) grey or (H, W, 3), uint8. titles: n sentences, what is said of each.
        attention: {token: (n, rows, columns)}, from `deit_edu.inspect.prefix_attention`.

    Returns:
        the matplotlib figure.
    """
    n, columns = len(photographs), 1 + len(attention)
    size = (NARROW, n * (NARROW / columns + 0.35) + 0.25)
    fig, axes = plt.subplots(n, columns, figsize=size, squeeze=False)
    for row, photograph in enumerate(photographs):
        H, W = photograph.shape[:2]
        for ax in axes[row]:
            ax.imshow(photograph, cmap="gray", vmin=0, vmax=255, interpolation="bilinear")
            ax.set(xticks=[], yticks=[])
        for ax, maps in zip(axes[row, 1:], attention.values(), strict=True):
            ax.imshow(maps[row], extent=(-0.5, W - 0.5, H - 0.5, -0.5), alpha=0.65, vmin=0)
        axes[row, 0].set_title(literal(titles[row]), fontsize=9)
    for ax, token in zip(axes[-1, 1:], attention, strict=True):
        ax.set_xlabel(f"{token.replace('_', ' ')} token", fontsize=9, color=COLOURS[token.partition("_")[0]])
    return fig


OVER_LINES = {"facecolor": "white", "edgecolor": "none", "pad": 1}  # of words that stand on a grid
VERDICT_MARKS = {"reproduced": "o", "reversed": "X", "not resolved": "D", "not run": ""}


HEAD_WORDS = {
    "plain": "plain", "class": "class head", "distillation": "distillation head", "fused": "both heads",
    "second class token": "second class token",
}  # fmt: skip


def colour_of(head):
    """The colour of a head; a second class token is a class token."""
    return COLOURS["class" if head == "second class token" else head]


def seeds_of_row(ax, y, values, interval, colour):
    """Draw a row of dots at y: every seed one, a bar at their mean, and a line for the interval, if there is one."""
    if interval is not None:
        ax.plot(interval, [y, y], color=colour, linewidth=1.5, linestyle="-")
    ax.plot(values, [y] * len(values), "o", color=colour, markersize=4.5, alpha=0.5, markeredgewidth=0)
    ax.plot([sum(values) / len(values)], [y], "|", color=colour, markersize=12, markeredgewidth=2)


def seed_differences(rows, xlabel):
    """What a verdict rests on: one line a difference, every seed a dot, against a line at zero.

    Args:
        rows: [(label, key of COLOURS, values (seeds,), (low, high) or None, note)]; the label stands above its dots on
            the left, the note, such as the two levels, on the right.
        xlabel: what the differences are.

    Returns:
        the matplotlib figure, for `show`.
    """
    fig, ax = plt.subplots(figsize=(NARROW, 0.75 + 0.46 * len(rows)))
    ax.axvline(0, color="black", linewidth=1, linestyle="-")
    across = ax.get_yaxis_transform()
    for y, (label, colour, values, interval, note) in enumerate(rows):
        seeds_of_row(ax, y, values, interval, COLOURS[colour])
        ax.text(0, y - 0.3, label, fontsize=10, transform=across, bbox=OVER_LINES)
        ax.text(1, y - 0.3, note, fontsize=8.5, transform=across, ha="right", color="#555555", bbox=OVER_LINES)
    ax.xaxis.set_major_formatter(matplotlib.ticker.StrMethodFormatter("{x:+g}"))
    ax.set(yticks=[], ylim=(len(rows) - 0.5, -0.8), xlabel=xlabel)
    ax.spines["left"].set_visible(False)
    ax.grid(axis="x", alpha=0.3)
    return fig


def seed_dots(rows, xlabel):
    """One line a row: every seed a dot, the mean a bar, the interval a line under it.

    Args:
        rows: [(label, key of HEAD_WORDS or "teacher", values (seeds,), (low, high))]; rows of one label are heads of
            one network.
            Teachers are drawn above, on an axis of their own, or their distance would hide the students'.
        xlabel: what the values are.

    Returns:
        the matplotlib figure, for `show`.
    """
    of_label = [label for label, *_ in rows]
    parts = [[row for row in rows if (row[1] == "teacher") == is_teacher] for is_teacher in (True, False)]
    parts = [part for part in parts if part]
    sizes = [0.24 * len(part) for part in parts]
    height = sum(sizes) + 0.5 * len(parts) + 0.3
    fig, axes = plt.subplots(len(parts), figsize=(NARROW, height), squeeze=False, height_ratios=sizes)
    for ax, part in zip(axes[:, 0], parts, strict=True):
        names = []
        for y, (label, colour, values, (low, high)) in enumerate(part):
            seeds_of_row(ax, y, values, (low, high), colour_of(colour))
            name, head = label.replace("_", " "), HEAD_WORDS.get(colour, "")
            if of_label.count(label) > 1:
                name = f"{name}: {head}" if y == 0 or part[y - 1][0] != label else head
            names.append(name)
        ax.set(yticks=range(len(part)), yticklabels=names, ylim=(len(part) - 0.5, -0.5))
        ax.grid(axis="x", alpha=0.3)
    span = max(high - low for low, high in (ax.get_xlim() for ax in axes[:, 0]))
    for ax in axes[:, 0]:  # a point is as wide in both
        middle = sum(ax.get_xlim()) / 2
        ax.set_xlim(middle - span / 2, middle + span / 2)
    axes[-1, 0].set_xlabel(xlabel)
    return fig


def forest(judged, xlabel):
    """Claims as differences: ours with its interval, filled, and the paper's, hollow, one mark for each of its models.

    Each is multiplied by its claim's sign, so that right of zero is always the paper's side.

    Args:
        judged: [deit_edu.evidence.report.Judged], of one unit. xlabel: what the differences are.

    Returns:
        the matplotlib figure, for `show`.
    """
    fig, ax = plt.subplots(figsize=(0.8 * NARROW, 0.9 + 0.36 * len(judged)))
    ax.axvline(0, color="black", linewidth=1, linestyle="-")
    for y, one in enumerate(judged):
        sign = one.claim.sign
        for model in one.claim.paper:
            theirs = sign * one.claim.paper_difference(model)
            ax.plot(theirs, y, "s", color=COLOURS["truth"], fillstyle="none", markersize=5)
        if one.found.seeds > 1:
            ax.plot([sign * one.found.low, sign * one.found.high], [y, y], color=COLOURS["fused"], linestyle="-")
        if one.found.seeds:
            ax.plot(sign * one.found.mean, y, VERDICT_MARKS[one.verdict], color=COLOURS["fused"], markersize=7)
        words = one.claim.id.replace("-", " ")
        ax.text(0, y - 0.3, words, fontsize=9, transform=ax.get_yaxis_transform(), bbox=OVER_LINES)
    ax.set_xscale("symlog", linthresh=2)
    ax.xaxis.set_major_formatter(matplotlib.ticker.StrMethodFormatter("{x:+g}"))
    ax.set(yticks=[], ylim=(len(judged) - 0.5, -0.9), xlabel=xlabel)
    ax.spines["left"].set_visible(False)
    ax.grid(axis="x", alpha=0.3)
    return fig


class Picture:
    """A drawn figure with its alt text, as Jupyter and the book show it."""

    def __init__(self, png, width, alt):
        self.png, self.width, self.alt = png, width, alt

    def _repr_html_(self):
        data = base64.b64encode(self.png).decode()
        return (
            '<figure class="deit-figure" style="margin: 0">'
            f'<img class="dark-light" src="data:image/png;base64,{data}" width="{self.width}" '
            f'style="max-width: 100%; height: auto; border-radius: 6px" alt="{html.escape(self.alt)}"></figure>'
        )

    def __repr__(self):
        return f"Figure: {self.alt}"


def show(figure, alt):
    """Show a matplotlib figure with alt text: the last expression of a cell, or an argument of `display`.

    Args:
        figure: the figure; it is closed, so that Jupyter does not show it a second time.
        alt: what a reader who cannot see the figure needs to know: what is drawn and what follows from it.
            Put computed numbers into it with an f-string, and it stays true.

    Raises:
        DeiTEduError: when alt is shorter than a sentence.
    """
    alt = " ".join(alt.split())
    if len(alt) < 30:
        raise DeiTEduError(f"alt text {alt!r} says too little: describe what is drawn and what follows from it")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=2 * PIXELS_PER_INCH, metadata={"Software": None})
    plt.close(figure)
    return Picture(buffer.getvalue(), round(figure.get_figwidth() * PIXELS_PER_INCH), alt)
