"""What the chapter *Distil it in this page* says of the races."""

from types import SimpleNamespace

import numpy as np

from deit_edu.evidence.races import RACE_CLAIMS, SEEDS, TRIED, Races, score
from deit_edu.evidence.report import paragraph


def what_seeds_showed(claim_id):
    """A claim, its verdict and its numbers, in two sentences of Markdown."""
    (claim,) = (one for one in RACE_CLAIMS if one.id == claim_id)
    races = Races()
    if not races.seeds(*(name for _, name, _ in claim.terms)):
        return f"*{claim.sentence}* No seed of it has been run yet."
    difference, said, held = races.judge(claim)
    words = {"reproduced": "it holds", "reversed": "the opposite holds", "not resolved": "not resolved"}
    return (
        f"*{claim.sentence}* Over {difference.seeds} seeds: **{words[said]}**. The difference {claim.unit} is "
        f"{difference.mean:+.2f} [{difference.low:+.2f}, {difference.high:+.2f}]; it is as claimed "
        f"in {held} of {difference.seeds} seeds, and {claim.at_least} of {SEEDS} were foretold."
    )


def explained(text, **verdicts):
    """Markdown that explains verdicts, tied to them as `deit_edu.evidence.pages.pieces.said` ties it to the ledger's.

    Args:
        text: Markdown. verdicts: a claim's id with _ for -: the verdict that the text explains.
    """
    races = Races()
    judged = {claim.id: SimpleNamespace(claim=claim, verdict=races.judge(claim)[1]) for claim in RACE_CLAIMS}
    return paragraph(judged, text, {claim.replace("_", "-"): verdict for claim, verdict in verdicts.items()})


def tried():
    """The regimes that were tried as a table in Markdown: accuracy in % on validation scenes.

    The last rows are of records: whole runs of the claims in regimes that showed nothing.
    """
    rows = ["| classes, canvas, labels, teacher | images | none | hard | soft |", "|---|---|---|---|---|"]
    rows += [f"| {what} | {images:,} | {none} | {hard} | {soft} |" for what, images, none, hard, soft in TRIED]
    for what, images, means in earlier_regimes():
        rows.append(f"| {what} | {images:,} | {' | '.join(f'{mean:.1f}' for mean in means)} |")
    return "\n".join(rows)


def earlier_regimes():
    """Of the records under other conditions, by regime: (what, images, mean accuracies of none, hard and soft)."""
    found = {}
    for record in Races().earlier:
        labels = f"{record['wrong']:.0%} of the labels wrong" if record.get("wrong") else "labels as they are"
        what = f"{record['student']['image_size']} pixels, {labels}, all claims of this page"
        images = record["regime"]["batch"] * record["regime"]["steps"]
        ends = found.setdefault((what, images), {"none": {}, "hard": {}, "soft": {}})
        if record["configuration"] in ends:
            ends[record["configuration"]][record["seed"]] = 100 * score(record["points"][-1])
    for (what, images), ends in found.items():
        seeds = set.intersection(*map(set, ends.values()))
        if seeds:
            means = [np.mean([of[seed] for seed in seeds]) for of in ends.values()]
            yield f"{what}; the mean of {len(seeds)} seeds", images, means
