"""What the pages are made of: differences in words, tables, folds, figures with alt text; each reads the ledger."""

import html
from dataclasses import dataclass
from functools import cache

import matplotlib
import numpy as np

from deit_edu.errors import DeiTEduError
from deit_edu.evidence.cells import unique_runs
from deit_edu.evidence.grids import EXPERIMENTS
from deit_edu.evidence.ledger import Ledger
from deit_edu.evidence.report import Results, interval, judge, missing, paragraph, seed_rows
from deit_edu.evidence.second_claims import SECOND_CLAIMS
from deit_edu.evidence.verdicts import ENOUGH_SEEDS, Difference, paired_difference
from deit_edu.reading import figures


class Text:
    """Markdown, as Jupyter and the book show it."""

    def __init__(self, markdown):
        self.markdown = markdown

    def _repr_markdown_(self):
        return self.markdown

    def __repr__(self):
        return self.markdown


@dataclass(frozen=True)
class Evidence:
    """The ledger, what it says of both scales, and the verdicts."""

    ledger: Ledger
    results: Results
    photos: Results  # scale small: CIFAR-10
    own: Results  # scale own: a folder of pictures
    judged: dict
    second: dict  # the claims of the second series


@cache
def evidence():
    """The ledger of this clone, read once.

    Raises:
        DeiTEduError: where it holds nothing.
    """
    ledger = Ledger()
    if not ledger.records:
        raise DeiTEduError(f"{ledger.path} holds no records: the ledger comes with a clone of the repository")
    results, photos = Results(ledger), Results(ledger, "small")
    second = judge(results, SECOND_CLAIMS) | judge(photos, SECOND_CLAIMS)
    return Evidence(ledger, results, photos, Results(ledger, "own"), judge(results), second)


def judged(claim):
    """A claim of either series with its verdict, by its id."""
    return (evidence().judged | evidence().second)[claim]


def networks(*experiments):
    """How many networks some experiments of scale tiny have in the ledger, and how many they ask for."""
    of = evidence().results
    cells = unique_runs(cell for name in experiments for cell in of.grid.cells(name))
    return sum(of.ledger.find(cell) is not None for cell in cells), len(cells)


def sisters(experiment):
    """The seeds in which not all students of an experiment's one teacher learned from the same weights.

    Those that an earlier series has trained learned from weights that are gone; trained again, on another type of
    machine, the teacher comes out different.
    """
    of, found = evidence().results, []
    for seed in range(EXPERIMENTS[experiment].seeds):
        records = [of.record(experiment, name, seed) for name in EXPERIMENTS[experiment].configurations]
        weights = {str(record["teachers"]) for record in records if record and record.get("teachers")}
        found += [seed] if len(weights) > 1 else []
    return found


# ---- numbers in words ----


def shown(found, text="{:+.2f}"):
    """A difference with its interval, and a dagger where the seeds are few."""
    few = "†" if 1 < found.seeds < ENOUGH_SEEDS else ""
    return f"{text.format(found.mean)} {interval(found, text)}{few}".strip() if found.seeds else "-"


def difference(experiment, plus, minus, text="{:+.2f}", seeds=slice(None)):
    """One (configuration, measure) minus another, seed by seed, of all seeds or of some."""
    terms = evidence().results.paired(experiment, ((1, *plus), (-1, *minus)))
    return shown(paired_difference([(weight, values[seeds]) for weight, values in terms]), text)


def heads_gap_changes(experiment, one, other):
    """How far the distillation head's lead over the class head differs between two configurations, in points."""
    gaps = [((sign, name, "distillation"), (-sign, name, "class")) for sign, name in ((1, one), (-1, other))]
    return shown(paired_difference(evidence().results.paired(experiment, (*gaps[0], *gaps[1]))))


def mean_of(experiment, configuration, measure):
    ((_, values),) = evidence().results.paired(experiment, ((1, configuration, measure),))
    return values.mean() if len(values) else np.nan


def taught_right(configuration, experiment="teachers", of=None):
    """On how many of the training images its teacher was right, %: the mean over seeds."""
    of = of or evidence().results
    found = [record for seed in of.seeds(experiment) if (record := of.record(experiment, configuration, seed))]
    return np.mean([100 * record["teacher_on_train"]["accuracy"] for record in found]) if found else np.nan


def ours(claim):
    """A claim's difference with its interval."""
    return judged(claim).ours


def seeds_of(claim):
    return judged(claim).found.seeds


# ---- text ----


def said(text, **verdicts):
    """Markdown that explains verdicts, tied to them: a verdict that has moved since is said first.

    Args:
        text: Markdown. verdicts: a claim's id with _ for -: the verdict that the text explains.
    """
    tied = {claim.replace("_", "-"): verdict for claim, verdict in verdicts.items()}
    return Text(paragraph(evidence().judged | evidence().second, text, tied))


def markup(piece):
    """A piece as Markdown: text, a figure, or a string."""
    return piece._repr_html_() if isinstance(piece, figures.Picture) else getattr(piece, "markdown", piece)


def together(*pieces):
    """Several pieces as one."""
    return Text("\n\n".join(markup(piece) for piece in pieces if piece))


# The markup of sphinx-design's dropdown, so that all folds of the book look alike.
CHEVRON = (
    '<span class="sd-summary-state-marker sd-summary-chevron-right"><svg width="1.5em" height="1.5em" '
    'class="sd-octicon sd-octicon-chevron-right" viewBox="0 0 24 24" aria-hidden="true">'
    '<path d="M9 6l6 6-6 6" fill="none" stroke="currentColor" stroke-width="1.5"></path></svg></span>'
)
FOLD = """<details class="sd-sphinx-override sd-dropdown sd-card sd-mb-3">
<summary class="sd-summary-title sd-card-header"><span class="sd-summary-text">{title}</span>{chevron}</summary>
<div class="sd-summary-content sd-card-body">

{content}

</div>
</details>"""


def fold(title, *pieces):
    """What a reader opens when they want it: a <details>, which needs neither kernel nor script."""
    return Text(FOLD.format(title=html.escape(title), chevron=CHEVRON, content=together(*pieces).markdown))


def table(columns, rows):
    """A table in Markdown; keep it narrow, for a phone."""
    lines = (columns, ["---"] * len(columns), *rows)
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def paper_differences(one):
    """The paper's differences, one for each of its models, or the direction where it gives no number."""
    found = [(model, one.claim.paper_difference(model)) for model in one.claim.paper]
    if len(found) > 3:
        values = [value for _, value in found]
        return f"{one.number.format(min(values))} to {one.number.format(max(values))} ({len(found)} data sets)"
    words = ", ".join(f"{one.number.format(value)} {model}" for model, value in found)
    return words or ("positive" if one.claim.sign > 0 else "negative")


def cards(columns, groups, caption):
    """A table that is wider than a phone: there the book's style sheet makes a card of each row.

    Args:
        columns: their names. groups: {heading: rows of cells, HTML}; a heading of "" is left out. caption: what it is.
    """
    head = "".join(f'<th scope="col">{column}</th>' for column in columns)
    body = []
    for heading, rows in groups.items():
        if heading:
            body.append(f'<tr class="group"><th scope="colgroup" colspan="{len(columns)}">{heading}</th></tr>')
        for cells in rows:
            told = zip(columns, cells, strict=True)
            body.append("<tr>" + "".join(f'<td data-label="{name}">{cell}</td>' for name, cell in told) + "</tr>")
    return Text(
        f'<table class="cards"><caption>{html.escape(caption)}</caption>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n" + "\n".join(body) + "\n</tbody></table>"
    )


def claim_cells(one):
    """A claim as a row of `claims_table`."""
    unit = "" if one.claim.unit == "in points" else f" {one.claim.unit.removeprefix('in ')}"
    sentence = html.escape(one.claim.sentence)
    verdict = f'<span class="verdict">{one.verdict}</span>'
    return sentence, one.claim.where, paper_differences(one), one.ours + unit, one.found.seeds, verdict


def claims_table(groups, caption):
    """Claims with their verdicts: {heading: [Judged]} as `cards`."""
    columns = ("claim", "where", "paper", "here", "seeds", "verdict")
    return cards(columns, {heading: map(claim_cells, judged) for heading, judged in groups.items()}, caption)


def claims(*experiments):
    """The claims of some experiments, and what of these is not in the ledger yet."""
    known = evidence()
    found = [one for one in (known.judged | known.second).values() if one.claim.experiment in experiments]
    lines = [line for name in experiments if (line := missing(known.results, name))]
    notes = [f"*Still to run: {line.partition(': ')[2]}.*" for line in lines]
    return together(claims_table({"": found}, "The claims of this page; differences in points"), *notes)


# ---- figures ----


@dataclass(frozen=True)
class Row:
    """A difference to draw: what minus what, seed by seed."""

    label: str
    values: np.ndarray
    found: Difference
    note: str  # the two levels, and the verdict where there is one
    colour: str = "fused"


def row(label, experiment, plus, minus, colour="fused", of=None):
    """One (configuration, measure) minus another, as a row."""
    return row_of_terms(label, experiment, ((1, *plus), (-1, *minus)), colour, of)


def row_of_terms(label, experiment, terms, colour="fused", of=None, verdict=""):
    paired = (of or evidence().results).paired(experiment, terms)
    note = ""
    if len(paired) == 2 and len(paired[0][1]):
        form = ".2f" if terms[0][2].startswith("similarity") else ".1f"
        note = " − ".join(f"{values.mean():{form}}" for _, values in paired)
    values = sum(weight * column for weight, column in paired)
    return Row(label, values, paired_difference(paired), ", ".join(filter(None, (note, verdict))), colour)


def claimed(claim, label, colour="fused"):
    """A claim's difference as a row, with its verdict."""
    one = judged(claim)
    return row_of_terms(label, one.claim.experiment, one.claim.terms, colour, verdict=one.verdict)


def drawn(draw, alt):
    """A figure in the book's style, whatever style is set: draw is called without arguments and gives it."""
    with matplotlib.rc_context(figures.STYLE):
        return figures.show(draw(), alt)


def differences(rows, xlabel="difference, points of test accuracy"):
    """The figure that verdicts rest on: every seed's difference a dot, a line at zero."""
    rows = [one for one in rows if one.found.seeds]
    if not rows:
        return Text("*The runs of this figure are not in the ledger yet.*")
    told = [  # of two seeds an interval would say less than they do
        (one.label, one.colour, one.values, (one.found.low, one.found.high) if one.found.seeds > 2 else None, one.note)
        for one in rows
    ]
    words = "; ".join(
        f"{one.label}: {one.found.mean:+.2f}, {(one.values > 0).sum()} of {len(one.values)} seeds above zero"
        for one in rows
    )
    alt = f"{xlabel}: a dot for every seed, a bar at the mean, a line for its interval, and a line at zero. {words}."
    return drawn(lambda: figures.seed_differences(told, xlabel), alt)


def levels(experiment, of=None, what="test accuracy, %"):
    """Every seed of every head, as it stands by itself."""
    of = of or evidence().results
    rows = seed_rows(of, experiment)
    if not rows:
        return Text(f"*The runs of `{experiment}` are not in the ledger yet: `deit-edu ablate {experiment}`.*")
    heads = {"teacher": "teacher", **figures.HEAD_WORDS}
    means = "; ".join(f"{label}, {heads[colour]}: {np.mean(values):.1f}" for label, colour, values, _ in rows)
    alt = f"{EXPERIMENTS[experiment].title}: {what}, a dot for every seed, a bar at the mean. Means: {means}."
    return drawn(lambda: figures.seed_dots(rows, what), alt)


def levels_fold(*experiments, of=None):
    """The levels behind a page's differences, folded."""
    note = """A dot is one seed, the bar their mean, the line the interval of that mean. Do not judge by whether two
lines overlap: a verdict rests on the differences, and those can be far surer. Teachers have an axis of their own
above, at the same scale."""
    return fold("Levels: every seed of every row", *(levels(name, of) for name in experiments), note)
