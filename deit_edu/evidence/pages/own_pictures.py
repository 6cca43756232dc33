"""A folder of one's own: what 50, 300 and 3,000 pictures bring, alone, with a teacher, and from a trained student."""

from functools import cache

import matplotlib.pyplot as plt
import numpy as np

from deit_edu.evidence.grids import OWN_SIZES
from deit_edu.evidence.pages.pieces import (
    Text,
    cards,
    differences,
    drawn,
    evidence,
    row_of_terms,
    table,
    taught_right,
    together,
)
from deit_edu.evidence.report import judge, missing
from deit_edu.reading import figures

NAME = "own_pictures"
KINDS = {  # configuration: (head, words, colour, mark and line)
    "convnet": ("class", "convnet", "teacher", "s-"),
    "none": ("class", "from nothing, alone", "plain", "o-"),
    "taught": ("fused", "from nothing, with the convnet", "fused", "D-"),
    "started": ("fused", "from the trained student", "fused", "^--"),
}
QUESTIONS = {  # what a claim's name begins with: the row's label
    "own-convnet-ahead": "convnet − alone",
    "own-teacher-helps": "taught − alone",
    "own-start-helps": "trained start − alone",
    "own-longer-helps": "alone, longer − alone",
}
VERDICTS = {  # our own expectations are judged by the paper's rule, in other words
    "reproduced": "as expected",
    "reversed": "the other way round",
    "not resolved": "not resolved",
    "not run": "still to run",
}


judged_once = cache(judge)


def judged():
    return judged_once(evidence().own)


def accuracy(kind, size):
    """What each seed reaches: (seeds,) in %."""
    ((_, values),) = evidence().own.paired(NAME, ((1, f"{kind}_{size}", KINDS[kind][0]),))
    return values


def mean(kind, size):
    values = accuracy(kind, size)
    return f"{values.mean():.0f} %" if len(values) else "-"


def answer():
    """Right on how many test pictures, for every size and way."""
    columns = ("pictures", *(words for _, words, _, _ in KINDS.values()))
    rows = [(f"{size:,}", *(mean(kind, size) for kind in KINDS)) for size in OWN_SIZES]
    told = cards(columns, {"": rows}, "Right on the test pictures, means over the seeds")
    few, many = OWN_SIZES[0], OWN_SIZES[-1]
    text = f"""From {few} to {many:,} pictures the student that learns alone goes from {mean("none", few)} to
{mean("none", many)}, and the convnet from {mean("convnet", few)} to {mean("convnet", many)}. Who always names the same
class is right on {100 / 5:.0f} %."""
    return together(told, text)


def title():
    """What the figure finds."""
    few, many = accuracy("started", OWN_SIZES[0]), accuracy("none", OWN_SIZES[-1])
    if len(few) and len(many) and few.mean() > many.mean():
        return f"{OWN_SIZES[0]} pictures and a trained start\nbeat {OWN_SIZES[-1]:,} from nothing"
    return "More pictures, more right"


def figure():
    """Accuracy against the number of pictures: every seed a mark, a line through the means."""

    def draw():
        fig, ax = plt.subplots(figsize=(figures.NARROW, 3.6))
        for kind, (_, words, colour, mark) in KINDS.items():
            found = [(size, accuracy(kind, size)) for size in OWN_SIZES]
            found = [(size, values) for size, values in found if len(values)]
            for size, values in found:
                ax.plot([size] * len(values), values, mark[0], color=figures.COLOURS[colour], alpha=0.4, markersize=4)
            means = [values.mean() for _, values in found]
            ax.plot([size for size, _ in found], means, mark, color=figures.COLOURS[colour], label=words)
        ax.set_xscale("log")
        ax.minorticks_off()
        ax.set(xlabel="training pictures", ylabel="right on test pictures, %", xticks=OWN_SIZES)
        ax.set_xticklabels([f"{size:,}" for size in OWN_SIZES])
        ax.set_title(title())
        ax.legend(fontsize=8)
        return fig

    said = "; ".join(
        f"{words}: " + ", ".join(f"{mean(kind, size)} with {size:,}" for size in OWN_SIZES)
        for kind, (_, words, _, _) in KINDS.items()
    )
    return drawn(draw, f"Test accuracy against the number of training pictures, a mark for every seed. Means: {said}.")


def compared():
    """Every expectation as a row: seed by seed, with its interval."""
    rows = []
    for question, label in QUESTIONS.items():
        for size in OWN_SIZES:
            one = judged()[f"{question}-{size}"]
            told, verdict = f"{label}, {size:,}", VERDICTS[one.verdict]
            rows.append(row_of_terms(told, one.claim.experiment, one.claim.terms, of=evidence().own, verdict=verdict))
    return differences(rows)


def expectations(*experiments):
    """What we expected of some experiments before their runs, what came out, and the verdict."""
    cells = [
        (one.claim.sentence, one.ours, one.found.seeds, f'<span class="verdict">{VERDICTS[one.verdict]}</span>')
        for one in judged().values()
        if one.claim.experiment in experiments
    ]
    columns = ("expected", "difference, points", "seeds", "verdict")
    told = cards(columns, {"": cells}, "What we expected, written down before the runs, and what came out")
    lines = [line for name in experiments if (line := missing(evidence().own, name))]
    return together(told, *(f"*Still to run: {line.partition(': ')[2]}.*" for line in lines))


def verdicts(question):
    """How an expectation came out at each size, in words."""
    return "; ".join(f"with {size:,} pictures {points(judged()[f'{question}-{size}'])}" for size in OWN_SIZES)


def points(one):
    """A judged expectation in words."""
    return f"{one.ours} points ({VERDICTS[one.verdict]})" if one.found.seeds else "still to run"


def teacher_right(size):
    """On how many of the pictures that it teaches with the convnet is right, in words."""
    right = taught_right(f"taught_{size}", NAME, evidence().own)
    return "-" if np.isnan(right) else f"{right:.0f} %"


def reading():
    """The four questions one by one, whichever way they came out."""
    config = evidence().own.cell(NAME, "none_50", 0).config
    ahead, helps, start, longer = (verdicts(question) for question in QUESTIONS)
    more, (few, middle, many) = judged()["own-start-helps-few-more"], OWN_SIZES
    return Text(f"""**Convnet or transformer?** Convnet minus the student that learns alone: {ahead}. A convnet knows
from its build that neighbouring pixels belong together; a transformer has to find that in the pictures.

**Does the convnet help as a teacher?** The student with the convnet minus the one alone: {helps}. The teacher has seen
the same pictures and no others. Of those it teaches with it names {teacher_right(few)} rightly where there are {few},
{teacher_right(middle)} of {middle} and {teacher_right(many)} of {many:,}; of the test pictures {mean("convnet", few)},
{mean("convnet", middle)} and {mean("convnet", many)}. Where it has learned its pictures by heart, its answers repeat
the labels. A teacher pays when it knows something that your labels do not say.

**Does a trained start help?** The fine-tuned student minus the one from nothing: {start}. The gain with {few} minus the
gain with {many:,}: {points(more)}. The start is the student that ships. It learned clothes at half size among
clutter, the five kinds of this folder among them and with their names, so it is about as near as a start can be. It is
larger, too, and was fine-tuned for a third of the steps.

**And longer?** All this is after {config.epochs * many:,} pictures shown, seconds of training, and the students from
nothing have hardly begun. (The network above, on fifty, was shown its pictures unchanged and at a higher rate, which
suits fifty and not three hundred; here one recipe serves all.) Seven times as long minus as it was: {longer}. So read
the rows from nothing as: *after so short a time*.""")


def with_teacher():
    """Other classes with a teacher that has learned them, and without."""
    rows = []
    for configuration, words in {
        "none_300": "from nothing, by the labels",
        "started_300": "from the trained student, by the labels",
        "started_taught_300": "from the trained student, by labels and teacher",
    }.items():
        head = "class" if configuration == "none_300" else "fused"
        ((_, values),) = evidence().own.paired("own_classes", ((1, configuration, head),))
        rows.append((words, f"{values.mean():.1f}" if len(values) else "still to run", len(values)))
    return together(table(("300 pictures of five classes", "right, %", "seeds"), rows), told_of_teacher())


def told_of_teacher():
    """What the trained start brings, and the teacher on top of it, in a sentence each."""
    start, teacher = judged()["own-start-helps-300"], judged()["own-start-and-teacher"]
    if "not run" in (start.verdict, teacher.verdict):
        return "*Some of these are still to run.*"
    why = f"""Half of what the student is told comes from a small convnet that has seen the same pictures and no others,
and names {teacher_right(300)} of them rightly."""
    return f"""The trained start brings {start.ours} points over a start from nothing ({VERDICTS[start.verdict]}). With
a teacher of the new classes it stands at {teacher.ours} points against the same start without one
({VERDICTS[teacher.verdict]}). {why if teacher.verdict == "reversed" else ""}"""
