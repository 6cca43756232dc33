"""Hard and soft answers at equal shares of the loss: which part of the lead of hard answers is the weight's?"""

from deit_edu.evidence.pages.pieces import (
    claimed,
    difference,
    differences,
    judged,
    levels_fold,
    networks,
    row,
    said,
    seeds_of,
    sisters,
    together,
)
from deit_edu.evidence.second_grids import PAPERS_SHARE, SHARES
from deit_edu.evidence.verdicts import ENOUGH_SEEDS
from deit_edu.losses import DistillationObjective

NAME = "hard_or_soft"
AT_EQUAL_SHARES = {
    "10 %": "hard-beats-soft-at-tenth",
    "50 %": "hard-beats-soft-at-half",
    "90 %": "hard-beats-soft-at-nine-tenths",
}
SHARE = {kind: DistillationObjective(kind, "class").weight for kind in PAPERS_SHARE}


def hard(share):
    return f"hard_{share:g}", "class"


def soft(share, temperature=""):
    return f"soft{temperature}_{share:g}", "class"


def so_far():
    """How much of the question is in the ledger; empty when all of it is."""
    there, wanted = networks(NAME)
    if there == wanted:
        return ""
    return f"""*{there} of the {wanted} networks of this page are in the ledger so far. A claim is judged from
{ENOUGH_SEEDS} seeds on.*"""


def points(plus, minus):
    """One row minus another, or that no seed has both yet."""
    found = difference(NAME, plus, minus)
    return "*(not yet run)*" if found == "-" else f"{found} points"


def teachers():
    """Where the rows of the first series had another training of their teacher; empty where none had."""
    seeds = sisters(NAME)
    return (
        seeds
        and f"""The rows with the paper's shares were trained with the first series. In seed
{", ".join(map(str, seeds))} their teacher was no longer at hand; trained again, on another type of machine, it came out
different. So there a difference between these rows and the others holds the luck of two teachers."""
    )


def verdict_words(claim):
    """A claim's difference, and the verdict, or that it has no run yet."""
    one = judged(claim)
    return f"{one.ours} ({one.verdict})" if one.found.seeds else "not yet run"


def answer():
    told = ", ".join(f"{verdict_words(claim)} at {share}" for share, claim in AT_EQUAL_SHARES.items())
    return said(f"With the same share of the loss, hard answers minus soft ones, in points: {told}.")


def figure():
    return together(
        differences(
            [
                row("hard − soft, as in the paper", NAME, hard(SHARE["hard"]), soft(SHARE["soft"]), "class"),
                *(row(f"hard − soft, {share:.0%} each", NAME, hard(share), soft(share), "class") for share in SHARES),
            ],
            "difference, points; the share is the teacher's in the loss",
        ),
        so_far(),
        teachers(),
    )


def others_figure():
    """What the share, the temperature and the draw do."""
    return differences(
        [
            claimed("larger-share-helps-soft", "soft, 50% − 10%", "class"),
            claimed("larger-share-helps-hard", "hard, 50% − 10%", "class"),
            claimed("decision-beats-draw", "decision − label drawn, 50% each", "class"),
            row("the same, 90% each", NAME, hard(0.9), ("drawn_0.9", "class"), "class"),
            claimed("cool-answers-beat-hot", "soft, temperature 1 − 5, 50% each", "class"),
            row("hard − soft at temperature 1, 50% each", NAME, hard(0.5), soft(0.5, "_temperature_1"), "class"),
        ]
    )


def reading():
    seeds = seeds_of("hard-beats-soft-at-half")
    parts = said(f"""The lead has two parts. Where all three networks have the same seeds, they add up:

- As the paper sets them, hard answers with {SHARE["hard"]:.0%} of the loss and soft ones with {SHARE["soft"]:.0%}, hard
  stands at {points(hard(SHARE["hard"]), soft(SHARE["soft"]))} against soft here, after a quarter of the epochs.
- *The weight's part*, what it does to soft answers to get {SHARE["hard"]:.0%} as well:
  {points(soft(SHARE["hard"]), soft(SHARE["soft"]))}.
- *The kind's part*, what is left at equal shares, from {seeds} seeds:
  {points(hard(SHARE["hard"]), soft(SHARE["hard"]))}.

A label *drawn* from the teacher's probabilities is as hard as its decision, and is wrong more often where the teacher
is unsure. Many draws together say what a soft answer at temperature 1 says. So if hardness itself were what helps,
drawn labels would do as well as decisions.""")
    so = said(
        """In this short regime the lead of hard answers comes from their share. Give soft ones as much, and hard ones
are ahead nowhere: with a tenth of the loss each and with nine tenths soft ones are, with shares between these seeds do
not tell the two apart. Whichever you take, do not give the teacher a tenth: both kinds teach better with half.""",
        hard_beats_soft_at_tenth="reversed",
        hard_beats_soft_at_half="not resolved",
        hard_beats_soft_at_nine_tenths="reversed",
        larger_share_helps_soft="reproduced",
        larger_share_helps_hard="reproduced",
    )
    draw = said(
        f"""They do not: the decision is ahead of the draw by {points(hard(0.5), ("drawn_0.5", "class"))}, and over no
teacher at all the draw brings {points(("drawn_0.5", "class"), ("none", "class"))}, in as many steps as bring a soft
answer at temperature 1 {points(soft(0.5, "_temperature_1"), ("none", "class"))}. What a hard label helps with is that
it is steady and mostly right. Between temperatures 1 and 5 these seeds do not decide.""",
        decision_beats_draw="reproduced",
        cool_answers_beat_hot="not resolved",
    )
    return together(so, parts, draw)


def levels():
    return levels_fold(NAME)
