"""The book's figures: alt text always there, colours that every reader can tell apart."""

import itertools

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest

from deit_edu.errors import DeiTEduError
from deit_edu.evidence.claims import CLAIMS
from deit_edu.evidence.report import Judged
from deit_edu.evidence.verdicts import Difference
from deit_edu.reading import figures

matplotlib.use("Agg")

# Machado, Oliveira and Fernandes (2009): how linear RGB looks to dichromats, severity 1.0.
SEEN_BY = {
    "full colour vision": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}


def linear(colour):
    rgb = np.array(matplotlib.colors.to_rgb(colour))
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def lab(rgb):
    """CIE L*a*b* of linear sRGB: a distance of 2.3 is just noticeable."""
    to_xyz = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
    xyz = np.array(to_xyz) @ np.clip(rgb, 0, 1) / [0.95047, 1.0, 1.08883]
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("vision", SEEN_BY)
def test_the_colours_stay_apart_for_every_kind_of_colour_vision(vision):
    seen = {name: lab(SEEN_BY[vision] @ linear(colour)) for name, colour in figures.COLOURS.items()}
    for a, b in itertools.combinations(seen, 2):
        assert np.linalg.norm(seen[a] - seen[b]) > 12, (a, b)


@pytest.mark.parametrize("name", figures.COLOURS)
def test_every_colour_stands_out_on_white(name):
    luminance = linear(figures.COLOURS[name]) @ [0.2126, 0.7152, 0.0722]
    assert 1.05 / (luminance + 0.05) >= 3  # WCAG 2.1, 1.4.11: non-text contrast


def test_a_figure_carries_its_alt_text_and_is_closed():
    figures.use_style()
    fig, ax = plt.subplots()
    ax.plot([1, 2])
    shown = figures.show(
        fig,
        alt="""A line that rises from 1 to 2,
        and "quotes" & <signs> in its alt text.""",
    )
    assert 'alt="A line that rises from 1 to 2, and &quot;quotes&quot; &amp; &lt;signs&gt; in' in shown._repr_html_()
    assert not plt.fignum_exists(fig.number)


def test_the_same_figure_is_the_same_bytes():
    def draw():
        fig, ax = plt.subplots()
        ax.plot([1, 2])
        return figures.show(fig, alt="A line that rises from 1 to 2 in one step.").png

    assert draw() == draw()


@pytest.mark.parametrize("alt", ["", "  \n ", "a figure"])
def test_a_figure_without_a_sentence_of_alt_text_is_refused(alt):
    fig = plt.figure()
    with pytest.raises(DeiTEduError, match="says too little"):
        figures.show(fig, alt=alt)
    plt.close(fig)


def test_seeds_are_dots_heads_have_words_and_teachers_an_axis_of_their_own():
    rows = [
        ("convnet", "teacher", [81.0, 81.4], (80.9, 81.5)),
        ("none", "plain", [69.0], (69.0, 69.0)),
        ("token_hard", "class", [70.0, 70.2], (69.9, 70.3)),
        ("token_hard", "fused", [70.1, 70.3], (70.0, 70.4)),
    ]
    fig = figures.seed_dots(rows, "accuracy, %")
    teachers, students = fig.axes
    assert [text.get_text() for text in teachers.get_yticklabels()] == ["convnet"]
    expected = ["none", "token hard: class head", "both heads"]
    assert [text.get_text() for text in students.get_yticklabels()] == expected
    assert students.get_xlim()[1] < 75 < teachers.get_xlim()[0]
    assert np.ptp(students.get_xlim()) == pytest.approx(np.ptp(teachers.get_xlim()))
    dots = [line.get_xdata().tolist() for line in students.lines if line.get_marker() == "o"]
    assert dots == [[69.0], [70.0, 70.2], [70.1, 70.3]]
    plt.close(fig)
    assert len(figures.seed_dots(rows[1:], "accuracy, %").axes) == 1
    plt.close("all")


def test_differences_are_dots_beside_a_line_at_zero_with_label_and_levels():
    rows = [
        ("hard − plain", "fused", np.array([1.0, 3.0]), (0.5, 3.5), "71.0 − 69.0"),
        ("one seed", "class", np.array([-1.0]), None, ""),
    ]
    (ax,) = figures.seed_differences(rows, "difference").axes
    zero, *others = ax.lines
    assert list(zero.get_xdata()) == [0, 0]
    assert [list(line.get_xdata()) for line in others] == [[0.5, 3.5], [1.0, 3.0], [2.0], [-1.0], [-1.0]]
    assert [text.get_text() for text in ax.texts] == ["hard − plain", "71.0 − 69.0", "one seed", ""]
    assert ax.yaxis_inverted()  # the first row is on top
    plt.close("all")


def test_a_token_for_each_of_two_teachers_is_drawn_in_the_distillation_tokens_colour():
    maps = dict.fromkeys(("class", "distillation_1", "distillation_2"), np.ones((1, 2, 2)))
    fig = figures.where_tokens_look([np.zeros((4, 4), np.uint8)], maps, ["a picture"])
    labels = [ax.xaxis.label for ax in fig.axes[1:]]
    assert [label.get_text() for label in labels] == ["class token", "distillation 1 token", "distillation 2 token"]
    assert {label.get_color() for label in labels[1:]} == {figures.COLOURS["distillation"]}


def test_a_second_class_token_has_words_of_its_own_and_the_class_tokens_colour():
    rows = [("two_class_tokens", head, [70.0], (70.0, 70.0)) for head in ("class", "second class token", "fused")]
    (ax,) = figures.seed_dots(rows, "accuracy, %").axes
    names = [text.get_text() for text in ax.get_yticklabels()]
    assert names == ["two class tokens: class head", "second class token", "both heads"]
    assert ax.lines[3].get_color() == figures.COLOURS["class"]
    plt.close("all")


def test_in_the_forest_the_papers_side_is_right_whatever_a_claims_sign():
    hurts = next(claim for claim in CLAIMS if claim.sign < 0 and claim.paper)
    as_the_paper_says = Judged(hurts, Difference(-0.5, -0.9, -0.1, 5), "reproduced")
    (ax,) = figures.forest([as_the_paper_says], "difference").axes
    drawn = [x for line in ax.lines[1:] for x in line.get_xdata()]  # the first is the line at zero
    assert min(drawn) > 0 and max(drawn) >= 0.9
