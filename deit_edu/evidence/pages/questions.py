"""Numbers for the page of questions that people ask: what the ledger says, in a sentence each."""

import numpy as np

from deit_edu.evidence.pages.photographs import first_teacher, hours, on_test, parts, strong_teacher
from deit_edu.evidence.pages.pieces import evidence, mean_of, ours, said
from deit_edu.runs.machine import machine_name


def on_cifar10():
    """What our own student of CIFAR-10 reached, and for how long it was trained."""
    records, teachers = parts(), (first_teacher(), strong_teacher())
    epochs = sum(len(record["curve"]) for record in records)
    return said(f"""Ours, of {records[-1]["parameters"] / 1e6:.2f} M numbers, with hard labels and a distillation token,
has {on_test(records[-1])["fused"]:.1f} % of the test images right after {epochs} epochs, {hours(records):.0f} hours on
{machine_name(records[-1]["machine"])}, and {hours(teachers):.0f} more for its two teachers. It has no twin that was
trained as long without a teacher: do not read that number as what distillation brings.""")


def second_token():
    return said(
        f"""Here the second token brings {ours("token-beats-class-token")} points over hard labels on the class token
alone, which settles nothing; hard labels themselves bring {ours("hard-beats-none")}.""",
        token_beats_class_token="not resolved", hard_beats_none="reproduced",
    )  # fmt: skip


def cosines():
    """The student's two tokens before the first block and behind the last one, and two class tokens there."""
    kinds = ("token_hard", "two_class_tokens")
    first, last = ([mean_of("tokens", kind, f"similarity:{place}") for kind in kinds] for place in ("input", "last"))
    return said(f"""Here the two tokens of a student with hard labels begin at {first[0]:.2f} and end at {last[0]:.2f},
two class tokens end at {last[1]:.3f}.""")


def student_against_teacher():
    """How a student with both tokens stands against the teacher it learned from, at scale tiny."""
    results = evidence().results
    found = []
    for seed in results.seeds("distillation"):
        cell = results.cell("distillation", "token_hard", seed)
        student, teacher = (results.ledger.find(one) for one in (cell, cell.teachers[0]))
        if student and teacher:
            found.append(100 * (student["test"]["fused"]["accuracy"] - teacher["test"]["class"]["accuracy"]))
    ahead = sum(gap > 0 for gap in found)
    return said(f"""At this book's scale the students of *ways to distil* stand at {np.mean(found):+.1f} points against
their own teachers, and are ahead in {ahead} of {len(found)} seeds.""")
