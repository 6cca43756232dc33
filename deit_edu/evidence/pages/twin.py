"""What to expect of CIFAR-10 for so many core-hours: what was measured, what others report, and the plain twin."""

from dataclasses import dataclass

import matplotlib
import matplotlib.pyplot as plt
import numpy as np

from deit_edu.errors import counted
from deit_edu.evidence.grids import EXPERIMENTS
from deit_edu.evidence.pages.after import SMALL
from deit_edu.evidence.pages.photographs import (
    PARTS,
    config,
    first_teacher,
    on_test,
    parts,
    recorded,
    strong_teacher,
)
from deit_edu.evidence.pages.pieces import Text, cards, drawn, evidence, said, together
from deit_edu.evidence.pages.running import cells_of, hours, named, question_table, to_do
from deit_edu.reading import figures

BUDGETS = (1, 5, 20)  # hours of one core
TWIN = {"none": "plain, whole recipe", "hard_class": "hard labels, class token", "hard_token": "hard labels, token"}
SHORT = {"none": "plain, 8 epochs", "token_soft": "soft labels, 8 epochs", "token_hard": "hard labels, 8 epochs"}


@dataclass(frozen=True)
class Point:
    """A network of CIFAR-10 that was measured here."""

    label: str
    kind: str  # a key of figures.COLOURS
    epochs: int
    own: float  # hours of one core, of its training and of asking its teacher
    teachers: float  # hours of one core, of training these
    right: float  # of the test images, %, by both heads where there are two

    @property
    def whole(self):
        return self.own + self.teachers


def core_hours(records):
    """What runs took, in hours of one core."""
    return sum(record["seconds"] * record["machine"]["threads"] for record in records) / 3600


def with_asking(experiment, record, seed):
    """What a run took in hours of one core, as if it had asked for the answers that another run had kept for it."""
    kept = record.get("kept_answers") or record.get("shared_answers") or {}
    own = core_hours([record])
    if not kept.get("reused"):
        return own
    others = (recorded(experiment, name, seed) for name in EXPERIMENTS[experiment].configurations)
    asked = [other for other in others if other and other.get("kept_answers", {}).get("asking_seconds")]
    batches = sum(other["kept_answers"]["asked"] for other in asked)
    took = sum(other["kept_answers"]["asking_seconds"] * other["machine"]["threads"] for other in asked)
    return own + kept["reused"] * took / batches / 3600 if batches else own


def right_of(record):
    found = on_test(record)
    return found.get("fused", found["class"])


def long_student():
    """The student in four parts, after each of them, all that came before counted."""
    found = []
    for done in range(1, len(PARTS) + 1):
        records = parts()[:done]
        taught_by = [first_teacher(), strong_teacher()][: 1 + (done > 1)]
        epochs = sum(len(record["curve"]) for record in records)
        label = f"hard labels, {epochs} epochs in {done} part{'s' * (done > 1)}"
        found.append(Point(label, "fused", epochs, core_hours(records), core_hours(taught_by), right_of(records[-1])))
    return found


def mean_point(experiment, name, label):
    """A configuration's seeds as one point, their means; None where no seed is recorded."""
    of = evidence().photos
    found = {seed: record for seed in of.seeds(experiment) if (record := recorded(experiment, name, seed))}
    if not found:
        return None
    first = next(iter(found.values()))
    taught = core_hours([first_teacher()]) if first["teachers"] else 0.0
    kind = "plain" if not first["teachers"] else "fused" if config(experiment, name).tokens == "both" else "class"
    own = np.mean([with_asking(experiment, record, seed) for seed, record in found.items()])
    right = np.mean([right_of(record) for record in found.values()])
    named = f"{label}, {counted(len(found), 'seed')}"
    return Point(named, kind, len(first["curve"]), float(own), taught, float(right))


def points():
    """Everything measured on CIFAR-10 that a reader could train, the twin's three once they are recorded."""
    short = [mean_point("cifar10", name, label) for name, label in SHORT.items()]
    twin = [mean_point("twin", name, label) for name, label in TWIN.items()]
    convnets = {"the first teacher": first_teacher(), "the better teacher": strong_teacher()}
    teachers = [
        Point(label, "teacher", len(record["curve"]), core_hours([record]), 0.0, right_of(record))
        for label, record in convnets.items()
    ]
    return [*teachers, *filter(None, [*short, *twin]), *long_student()]


def published():
    """What others report where they say the epochs: [(who, millions of parameters or None, epochs, %, source)]."""
    return [
        (who, size, int(epochs), float(right), source) for who, size, epochs, right, source in SMALL if epochs.isdigit()
    ]


def answer():
    """The best that fits each budget, its teacher's training counted."""
    told = []
    for budget in BUDGETS:
        best = best_within(budget)
        told.append(f"{best.right:.1f} % for {budget}" if best else f"nothing that we measured for {budget}")
    return said(f"""Of a transformer of this size, its teacher's training counted, in core-hours: {", ".join(told)}.""")


def best_within(budget, taught=True):
    """The best student whose hours fit; None where none does. taught: its teachers' training counts."""
    fits = [one for one in points() if one.kind != "teacher" and (one.whole if taught else one.own) <= budget]
    return max(fits, key=lambda one: one.right, default=None)


def budgets():
    """The best for each budget, its teacher trained for it or at hand."""
    rows = []
    for budget in BUDGETS:
        trained, at_hand = (best_within(budget, taught) for taught in (True, False))
        shown = (f"{best.right:.1f} % ({best.label})" if best else "nothing that we measured"
                 for best in (trained, at_hand))  # fmt: skip
        rows.append((budget, *shown))
    columns = ("core-hours", "with its teacher's training", "with a teacher at hand")
    return cards(columns, {"": rows}, "The best student of CIFAR-10 that was measured here and fits")


def figure():
    """Accuracy against core-hours and against epochs; what others report stands where its epochs are known."""
    measured, others = points(), published()
    marks = {"teacher": "^", "plain": "o", "class": "D", "fused": "s"}
    words = {"teacher": "convnet", "plain": "plain", "class": "hard labels, class token", "fused": "two tokens, both"}

    def draw():
        fig, axes = plt.subplots(2, figsize=(figures.NARROW, 6.2))
        for ax, cost in zip(axes, ("whole", "epochs"), strict=True):
            for kind in marks:
                of_kind = [one for one in measured if one.kind == kind]
                if of_kind:
                    ax.plot([getattr(one, cost) for one in of_kind], [one.right for one in of_kind], marks[kind],
                            color=figures.COLOURS[kind], linestyle="none", label=words[kind])  # fmt: skip
            path = [one for one in measured if one in long_student()]
            ax.plot([getattr(one, cost) for one in path], [one.right for one in path], "-",
                    color=figures.COLOURS["fused"], linewidth=1)  # fmt: skip
            ax.set(xscale="log", ylabel="test accuracy, %")
            ax.xaxis.set_major_formatter(matplotlib.ticker.StrMethodFormatter("{x:g}"))
            ax.grid(alpha=0.3)
        axes[1].plot([one[2] for one in others], [one[3] for one in others], "x", color=figures.COLOURS["truth"],
                     linestyle="none", label="published, others' recipes")  # fmt: skip
        axes[0].set(xlabel="hours of one core, its teachers' training counted")
        axes[1].set(xlabel="epochs")
        axes[0].set_xticks([*BUDGETS, 2, 10])
        axes[1].legend(fontsize=8, loc="lower right")
        return fig

    told = "; ".join(f"{one.label}: {one.right:.1f} % for {one.whole:.1f} core-hours" for one in measured)
    cited = "; ".join(f"{who}, {epochs} epochs: {right:g} %" for who, _, epochs, right, _ in others)
    alt = f"""Two charts of test accuracy on CIFAR-10. Above, against hours of one core: {told}. Below, against epochs,
        with what others report: {cited}."""
    return drawn(draw, alt)


def sources():
    """Who reports the crosses of the figure."""
    rows = [(who, f"{size:g}" if size else "-", epochs, f"{right:g}", source)
            for who, size, epochs, right, source in published()]  # fmt: skip
    return cards(
        ("network", "parameters, M", "epochs", "test, %", "source"), {"": rows},
        "The crosses of the lower chart: single runs, other recipes. Hours of a core are not published",
    )  # fmt: skip


def reading():
    """Why the last number is not what distillation brings."""
    (first, *_, last), (who, size, epochs, right, _) = long_student(), nearest()
    convnets = first_teacher(), strong_teacher()
    reach = " and ".join(f"{right_of(one):.1f}" for one in convnets)
    took = " and ".join(f"{core_hours([one]):.1f}" for one in convnets)
    return said(f"""*{last.right:.1f} % is not what distillation brings.* That student had {last.epochs} epochs in
{len(PARTS)} parts, two teachers, and no plain twin that had the same. Others report {right:g} % for a plain network
({who}) of {size:g} M parameters after {epochs} epochs, and ours has {parts()[-1]["parameters"] / 1e6:.2f} M. The two
recipes differ, and each is one run, so the distance between them says nothing of a teacher either.

From {first.whole:.1f} to {last.whole:.1f} core-hours the student gained {last.right - first.right:.1f} points. The two
convnets have {reach} % after {took} core-hours: who only wants accuracy on images this small takes the teacher. Hours
are of several machines with other work beside, in float32 and in bfloat16, so read them to a factor of two.""")


def nearest():
    """The published plain network that is nearest to ours in size."""
    ours = parts()[-1]["parameters"] / 1e6
    return min((one for one in published() if one[1]), key=lambda one: abs(np.log(one[1] / ours)))


def twin():
    """The three networks that are to say what distillation brings: what is expected, and what is there."""
    question = named("twin")
    wanted, missing = len(cells_of(question)), len(to_do(question))
    table = question_table(question)
    if not missing:
        return table
    epochs = config("twin", "none").epochs
    return together(
        Text(f"""*Not run yet: {missing} of {wanted} networks, about {hours(question):.0f} hours of one core. Each
trains for {epochs} epochs with RandAugment and mixing from the start; the two that are taught share one teacher, the
first of the page on photographs.*"""),
        table,
    )  # fmt: skip
