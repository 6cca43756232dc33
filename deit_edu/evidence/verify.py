"""Do recorded runs come out the same again?"""

import json
import random
import tempfile
from pathlib import Path

import numpy as np
from scipy.stats import t

from deit_edu.errors import DeiTEduError
from deit_edu.evidence.cells import unique_runs
from deit_edu.evidence.ledger import settings_of
from deit_edu.evidence.runner import run_cells

FEWEST_FREEDOM = 4  # degrees, of one configuration with five seeds: fewer do not know their own spread


def verify(cells, ledger, number, jobs=None, progress=True):
    """Run recorded cells again, chosen at random, in a folder that is thrown away, and compare.

    Each is computed with as many threads as its record says, for one more would round otherwise.

    Args:
        cells: [Cell] to choose from. ledger: a Ledger. number: how many. jobs, progress: as for `run_cells`.

    Returns:
        [(cell, whether it came out the same, a sentence)].

    Raises:
        DeiTEduError: when nothing is recorded.
    """
    recorded = [cell for cell in unique_runs(cells) if ledger.find(cell)]
    if not recorded:
        raise DeiTEduError(f"nothing to verify: {ledger.path} holds no record of these cells")
    chosen = random.sample(recorded, min(number, len(recorded)))
    threads = {key: record["machine"]["threads"] for key, record in ledger.records.items()}
    with tempfile.TemporaryDirectory() as root:
        again = run_cells(chosen, ledger, jobs, Path(root), record=False, progress=progress, threads=threads)
    noise = {cell.experiment: noise_of_experiment(ledger, cells, cell.experiment) for cell in chosen}
    return [(cell, *compare(ledger.find(cell), again[cell.key], noise[cell.experiment])) for cell in chosen]


def main_accuracy(record):
    """Test accuracy of the fusion, or of the only head, in points."""
    heads = record["test"]
    return 100 * heads.get("fused", heads["class"])["accuracy"]


def seed_noise(ledger):
    """How much seeds of one configuration differ: (standard deviation in points, degrees of freedom), pooled."""
    groups = {}
    for record in ledger.records.values():
        group = (record["experiment"], record["configuration"], json.dumps(settings_of(record), sort_keys=True))
        groups.setdefault(group, []).append(main_accuracy(record))
    return pooled(groups)


def noise_of_experiment(ledger, cells, experiment):
    """The same of one experiment's configurations; of the whole ledger where its runs are too few to say.

    The whole ledger has rates that break training among its runs, and where these differ by ten points, an experiment's
    do by one.

    Args:
        ledger: a Ledger. cells: [Cell], of this experiment and maybe of others. experiment: its name.
    """
    groups = {}
    for cell in unique_runs(cells):
        if cell.experiment == experiment and (record := ledger.find(cell)):
            groups.setdefault(cell.configuration, []).append(main_accuracy(record))
    own = pooled(groups)
    return own if own[1] >= FEWEST_FREEDOM else seed_noise(ledger)


def pooled(groups):
    """{configuration: accuracies of its seeds} -> their standard deviation, and its degrees of freedom."""
    squares = sum(np.var(group) * len(group) for group in groups.values())
    freedom = sum(len(group) - 1 for group in groups.values())
    return (squares / freedom) ** 0.5 if freedom else 0.0, freedom


def bound_of(noise):
    """How far apart two seeds of one configuration are at most, 99 times in 100, from `seed_noise`: points."""
    deviation, freedom = noise
    return t.ppf(0.995, freedom) * deviation * 2**0.5


def compare(record, again, noise):
    """The same run twice: (whether it agrees, a sentence).

    On the same type of machine (processor, instruction set, threads, precision, versions of torch and Python)
    weights, accuracies and curve must be equal to the last bit. On another one, where rounding differs, training takes
    another course. So it does under a teacher that another one trained, and in a run that was stopped and went on on
    another one. There the test accuracies must differ by no more than two seeds of one configuration do, 99 times in
    100, with the standard deviation pooled over their experiment (`bound_of`). The oldest records do not name the
    instruction set: then the type is taken for another one where it makes a difference.

    Args:
        record, again: the recorded run and the new one. noise: from `noise_of_experiment`.
    """
    exact = ("checkpoint", "validation", "test", "curve", "teachers", "parameters")
    differ = [name for name in exact if record[name] != again[name]]
    if not differ:
        return True, "equal to the last bit"
    apart = {
        "another type of machine": record["machine"] != again["machine"],
        "it was stopped, and went on on another type of machine or with other code": "earlier" in record,
        "another teacher, or another start": any(
            record.get(name) != again.get(name) for name in ("teachers", "initial")
        ),
    }
    if not any(apart.values()):
        same_code = record["library"]["source"] == again["library"]["source"]
        why = "the same code" if same_code else "other code: the library has changed since"
        return False, f"on the same type of machine, with {why}, these differ: {', '.join(differ)}"
    difference = main_accuracy(again) - main_accuracy(record)
    reasons = "; ".join(reason for reason, holds in apart.items() if holds)
    told = f"{reasons}, test accuracy differs by {difference:+.2f} points"
    if not noise[1]:
        return False, f"{told}; no configuration has two seeds, so the seed noise is unknown"
    bound = bound_of(noise)
    return bool(abs(difference) <= bound), f"{told}, seeds differ by up to {bound:.2f}"


# What decides which images a teacher was asked about: `deit_edu.runs.record.ask_teacher`.
ASKED_BY = ("data", "train_images", "classes", "image_size", "redraw", "epochs", "seed")


def trained_twice(ledger):
    """Teachers that the ledger knows in two trainings, both asked about the very same images.

    Where a teacher's weights were gone it was trained again, with its settings and its seed, and on another type of
    machine it came out different. Its students' records say how often the one and the other was right.

    Returns:
        [(record of the teacher, epochs of the students, accuracy of the recorded one, of the other)], in per cent.
    """
    asked = {}
    for record in ledger.records.values():
        if "teacher_on_train" in record and len(record["teachers"]) == 1:
            ((key, weights),) = record["teachers"].items()
            settings = settings_of(record) | {"seed": record["config"]["seed"]}
            images = (key, *(settings[name] for name in ASKED_BY))
            asked.setdefault(images, {})[weights] = 100 * record["teacher_on_train"]["accuracy"]
    found = []
    for (key, *images), right in asked.items():
        teacher = ledger.records.get(key)
        if teacher and teacher["checkpoint"] in right:
            recorded = right[teacher["checkpoint"]]
            epochs = images[ASKED_BY.index("epochs")]
            others = [other for weights, other in right.items() if weights != teacher["checkpoint"]]
            found += [(teacher, epochs, recorded, other) for other in others]
    return found
