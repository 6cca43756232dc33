"""What is still running: the questions of the second series, what we expect, and what their runs will cost."""

import html
from dataclasses import dataclass
from statistics import median

from deit_edu.evidence.cells import unique_runs
from deit_edu.evidence.grids import EXPERIMENTS
from deit_edu.evidence.pages.pieces import cards, evidence, said, together
from deit_edu.evidence.verdicts import ENOUGH_SEEDS

IMAGES = {"tiny": 10_000, "small": 45_000}  # of a training set
PER_SECOND = {"tiny": 800, "small": 150}  # pictures, of one core with work beside it: a rough rate to plan with


@dataclass(frozen=True)
class Question:
    """A question of the second series, and the experiments that answer it."""

    asks: str
    experiments: tuple
    scale: str = "tiny"


QUESTIONS = (
    Question("Why do hard answers beat soft ones?", ("hard_or_soft",)),
    Question("Batch, warm-up, rate: what may a reader change?", ("batch_and_rate", "warmup_and_rate")),
    Question("Must the teacher be asked anew for every picture?", ("kept_answers",)),
    Question("Is the convnet's bias inherited?", ("when_to_stop", "unseen_places")),
    Question("Class token, or mean of the patches?", ("pooling",)),
    Question("Fine-tuning with a teacher", ("classes_taught", "resolution_taught")),
    Question("When is the distillation head behind?", ("head_gap", "head_gap_long")),
    Question("Can a student beat its teacher?", ("student_beats_teacher",)),
    Question("Do registers help?", ("registers",)),
    Question("A token for each of two teachers?", ("two_teachers",)),
    Question("The plain twin of the CIFAR-10 student", ("twin",), "small"),
    Question(
        "Which reversed claims turn in a longer or wider regime?",
        ("longer", "usual", "wider", "larger_images", "longest"),
    ),
)


def named(experiment):
    """The question that an experiment answers."""
    return next(question for question in QUESTIONS if experiment in question.experiments)


def cells_of(question):
    """The runs that a question asks for, its teachers among them."""
    grid = (evidence().photos if question.scale == "small" else evidence().results).grid
    return unique_runs(cell for name in question.experiments for cell in grid.cells(name))


def to_do(question):
    """The cells of a question that are not in the ledger."""
    return [cell for cell in cells_of(question) if not evidence().ledger.find(cell)]


def hours(question):
    """What the missing runs of a question cost in hours of one core, roughly."""
    images = sum(
        cell.config.epochs * IMAGES[question.scale] / (2 if cell.config.classes else 1) for cell in to_do(question)
    )
    return images / PER_SECOND[question.scale] / 3600


def begun(question):
    return [one for one in evidence().second.values() if one.claim.experiment in question.experiments]


def answer():
    """How much is in the ledger."""
    wanted = unique_runs(cell for question in QUESTIONS for cell in cells_of(question))
    there = sum(evidence().ledger.find(cell) is not None for cell in wanted)
    claims = [one for question in QUESTIONS for one in begun(question)]
    decided = sum(one.found.seeds >= ENOUGH_SEEDS for one in claims)
    left = sum(map(hours, QUESTIONS))
    return said(f"""Of {len(wanted)} networks {there} are in the ledger, many from the first series, whose rows serve
again; {decided} of {len(claims)} claims have the {ENOUGH_SEEDS} seeds that a verdict asks for. What is missing takes
about {left:.0f} hours of one core.""")


def verdict_of(one):
    """Where a claim stands, as a mark: its verdict, or that its runs are too few or none."""
    verdict = one.verdict if one.found.seeds >= ENOUGH_SEEDS else "not judged" if one.found.seeds else "not run"
    return f'<span class="verdict">{verdict}</span>'


def question_table(question):
    """A question's claims as cards: what we expect, and where it stands."""
    rows = []
    for one in begun(question):
        expected = "more" if one.claim.sign > 0 else "less"
        told = html.escape(one.claim.sentence), one.claim.where, expected
        rows.append((*told, one.ours, one.found.seeds, verdict_of(one)))
    columns = ("what we expect", "where", "difference", "so far", "seeds", "verdict")
    return cards(columns, {"": rows}, question.asks)


def every_question():
    """Every question with its cost and its claims."""
    pieces = []
    for question in QUESTIONS:
        missing, wanted = len(to_do(question)), len(cells_of(question))
        names = ", ".join(f"`{name}`" for name in question.experiments)
        titles = "; ".join(EXPERIMENTS[name].title for name in question.experiments)
        pieces += [
            f"**{question.asks}** {titles} ({names}). {wanted - missing} of {wanted} networks are recorded, teachers "
            f"among them; about {hours(question):.1f} hours of one core are left.",
            question_table(question),
        ]
    return together(*pieces)


def speeds(scale):
    """Pictures a second of one core, by the records of the second series: {kind of instructions: their median}."""
    found = {}
    for cell in (cell for question in QUESTIONS if question.scale == scale for cell in cells_of(question)):
        record = evidence().ledger.find(cell)
        if record and cell.config.epochs and record["machine"]["threads"] == 1:
            kind = record["machine"].get("instructions", "")
            found.setdefault(kind, []).append(record["images_per_second"])
    return {kind: median(rates) for kind, rates in sorted(found.items()) if kind}


def reading():
    """How the hours are counted, and how to help."""
    small = next(question for question in QUESTIONS if question.scale == "small")
    twin = f", where the plain twin alone takes {hours(small):.0f}" if to_do(small) else ""
    rates = " and ".join(f"{rate:,.0f} with {kind}" for kind, rate in speeds("tiny").items())
    measured = f" That is rough: of those recorded the median had {rates}." if rates else ""
    return said(f"""The order is the order of the runs: what decides most for its hours comes first. The hours are
counted at {PER_SECOND["tiny"]} pictures a second, at {PER_SECOND["small"]} for the photographs{twin}.{measured} A
network recorded is never trained again, and a run that was cut off goes on.

A claim's sentence and its sign were written into the library before its first run, as for the first series.
Run them yourself: `deit-edu ablate kept_answers --dry-run` says how long one takes here.""")
