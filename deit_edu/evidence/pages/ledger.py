"""The ledger: how to read it, and how many seeds an effect takes."""

import textwrap

import matplotlib.pyplot as plt

from deit_edu.errors import DeiTEduError
from deit_edu.evidence.pages.overview import few_seeds
from deit_edu.evidence.pages.pieces import cards, drawn, evidence, fold, said, shown
from deit_edu.evidence.power import (
    EFFECT,
    POWER,
    known_to,
    power_of,
    seeds_needed,
    sensitivities,
    smallest_effect,
    typical_spread,
)
from deit_edu.evidence.table import refuse_mixed_lengths
from deit_edu.evidence.verdicts import CONFIDENCE, ENOUGH_SEEDS
from deit_edu.reading import figures

MOST_SEEDS = 40  # of the figure


def refusal():
    """What the table says when it is asked for all lengths at once."""
    try:
        refuse_mixed_lengths(evidence().ledger.records.values())
    except DeiTEduError as error:
        return textwrap.indent(textwrap.fill(f"DeiTEduError: {error}", 66), "    ").strip()
    return "no name holds several lengths"


def reading():
    """What a record is."""
    records = evidence().ledger.records.values()
    lengths = sorted({record["epochs"] for record in records})
    return said(f"""The ledger has {len(records)} records, one for every network that was trained, and is only ever
added to. A record says which experiment was the first to ask for it, its configuration, seed and length, from
{lengths[0]} to {lengths[-1]} epochs. A run that several experiments share stands there once.

Runs of one name are not always alike. `distillation` was first run for 10 epochs, then for 40, and both are kept.
So `records_table` wants to be told which length you mean, or that you know of all:

    >>> from deit_edu.evidence.table import cells_table, records_table
    >>> records_table()
    {refusal()}
    >>> table = records_table(epochs=40)

`cells_table("schedule")` gives one experiment, seed by seed, whoever ran its networks first: compare by that one.""")


def columns():
    """What the columns mean."""
    return fold(
        "What the columns mean",
        """- `experiment`, `configuration`, `seed`, `epochs`: which network; 0 epochs is one that was only measured.
- `test_class`, `test_distillation`, `test_fused`, `test_fused_logits`: accuracy of each head and of both, in per cent
  of the test images; `validation_...`: of the images that settings were chosen on.
- `seconds`: of the wall, on the machine that the next columns name. Two networks mostly shared it, so do not rank by
  them. The oldest records do not name the instruction set.
- `settings`: a mark of all settings but seed, teacher and start. Equal marks are one configuration, whatever its name.
- `used_by`: the experiments that read the record today. Empty: its settings have changed since, and it is history.
- `key`: under this name its predictions lie beside the ledger, where they are kept.

Records from before there was a field for the length get it when they are read, from their own settings. Rewriting
the file would have left nobody able to tell a record from a correction.""",
    )


def answer():
    """How many seeds half a point takes."""
    spread, count = typical_spread(sensitivities(evidence().results))
    paired, single = (seeds_needed(EFFECT, spread, paired) for paired in (True, False))
    return said(f"""**{paired} seeds on each side** when both sides share them, {single} when they do not. Then an
effect of {EFFECT} points is seen {POWER:.0%} of the time. Between two networks of one seed the difference spreads by
{spread.paired:.2f} points (a standard deviation over seeds, pooled over {count} claims), between two of different seeds
by {spread.single * 2**0.5:.2f}. {ENOUGH_SEEDS} pairs see {smallest_effect(spread, ENOUGH_SEEDS):.1f} points.""")


def figure():
    """The smallest effect that is seen, against the number of seeds."""
    spread, _ = typical_spread(sensitivities(evidence().results))
    seeds = range(2, MOST_SEEDS + 1)
    curves = {
        label: [smallest_effect(spread, n, paired) for n in seeds]
        for label, paired in (("the same seeds on both sides", True), ("seeds of their own", False))
    }

    def draw():
        fig, ax = plt.subplots()
        for (label, effects), style in zip(curves.items(), ("-", "--"), strict=True):
            ax.plot(seeds, effects, style, color=figures.COLOURS["fused"], label=label)
        ax.axhline(EFFECT, color=figures.COLOURS["truth"], linewidth=1)
        ax.axvline(ENOUGH_SEEDS, color=figures.COLOURS["truth"], linewidth=1, linestyle=":")
        ax.set(xlabel="seeds on each side", ylabel=f"effect seen {POWER:.0%} of the time, points", yscale="log")
        ax.set_yticks([0.25, 0.5, 1, 2, 4, 8], ["0.25", "0.5", "1", "2", "4", "8"])
        ax.set_title(f"To see half as much takes about four times the seeds; {EFFECT} points are marked")
        ax.legend()
        return fig

    told = "; ".join(
        f"{label}: {effects[ENOUGH_SEEDS - 2]:.2f} points with {ENOUGH_SEEDS} seeds, {effects[8]:.2f} with 10, "
        f"{effects[-1]:.2f} with {MOST_SEEDS}"
        for label, effects in curves.items()
    )
    alt = f"""Line chart: the smallest effect that is seen {POWER:.0%} of the time against the seeds on each side.
        {told}. Lines mark {EFFECT} points and {ENOUGH_SEEDS} seeds."""
    return drawn(draw, alt)


def claims():
    """The smallest effect that each claim could have seen."""
    judged, rows = evidence().judged, []
    for name, one in sensitivities(evidence().results).items():
        seen = smallest_effect(one.spread, one.seeds)
        in_points = one.claim.unit == "in points"
        unit = "" if in_points else f" {one.claim.unit.removeprefix('in ')}"
        form = judged[name].number.replace("+", "")
        needed = seeds_needed(EFFECT, one.spread) if in_points else "-"
        word = f'<span class="verdict">{judged[name].verdict}</span>'
        cells = (one.claim.sentence, form.format(seen) + unit, shown(judged[name].found, judged[name].number))
        rows.append((*cells, one.seeds, needed, word))
    columns = ("claim", "could see", "here", "seeds", f"seeds for {EFFECT}", "verdict")
    told = f"The effect that each claim sees {POWER:.0%} of the time with its seeds; points where no unit is named"
    return cards(columns, {"": rows}, told)


def rule():
    """What the rule of verdicts costs."""
    return said(few_seeds())


def open_claims():
    """What the claims that stay open could have seen."""
    found, judged = sensitivities(evidence().results), evidence().judged
    still = [
        name
        for name, one in judged.items()
        if one.verdict == "not resolved" and one.claim.unit == "in points" and name in found
    ]
    seen = [smallest_effect(found[name].spread, found[name].seeds) for name in still]
    low, high = known_to(next(one.spread for one in found.values() if one.seeds == ENOUGH_SEEDS))
    return said(f"""Of the claims in points that stay open, each could have seen between {min(seen):.1f} and
{max(seen):.1f} points. Smaller effects may be there: *not resolved* is no word against them. Each row uses the claim's
own spread, and {ENOUGH_SEEDS} seeds know theirs badly: the true one lies anywhere from {low:.1f} to {high:.1f} times
what they show. Plan with the pooled one.""")


def method():
    """How power is computed."""
    spread, _ = typical_spread(sensitivities(evidence().results))
    sees = power_of(EFFECT, spread, ENOUGH_SEEDS)
    return fold(
        "How it is computed",
        f"""Power is Student's, by SciPy's noncentral *t*, for differences that are normal, at {CONFIDENCE:.0%}
confidence: with {ENOUGH_SEEDS} pairs and the pooled spread, {EFFECT} points are seen {sees:.0%} of the time. A test
holds it to SciPy's simulated power, and simulates the verdict's own bootstrap beside it: that one is a little narrower
with five seeds, and sees up to a tenth more.

The same from a terminal, and every claim's row:

    deit-edu power --effect 0.5 --power 0.8 --confidence 0.95""",
    )
