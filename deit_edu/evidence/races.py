"""Races in the page: students small enough to learn while a reader watches, and what ten seeds of them showed.

A race's regime, its configurations and its claims stand here before the first run. `deit_edu.widgets.races` runs them
in a browser; their records lie beside the ledger, in races.jsonl, one student of one seed a line.
"""

import functools
import json
from dataclasses import dataclass

import numpy as np
import torch

from deit_edu.data.clutter import FIXED_DRAW, REDRAW, ClutterSource
from deit_edu.data.packaged import FASHION_CLASSES, packaged_splits
from deit_edu.data.splits import make_dataset
from deit_edu.errors import DeiTEduError
from deit_edu.evidence.claims import Claim, minus
from deit_edu.evidence.ledger import ledger_folder, torn_tail
from deit_edu.evidence.verdicts import paired_difference, verdict
from deit_edu.losses import DistillationObjective
from deit_edu.model import DeiTConfig
from deit_edu.runs.checkpoints import CHECKPOINTS, load_network, packaged_path

CLASSES = (0, 1, 3, 6, 8)  # some that are taken for each other, T-shirt, dress and shirt, and two that are not
LEARNT, ASIDE = 900, 100  # items of each class: of the training split to learn from, of validation to measure on
WRONG = 1 / 3  # share of the items to learn from whose label is another class's: the teachers learned from them, too
STUDENT = DeiTConfig(
    image_size=15, patch_size=5, in_channels=1, num_classes=len(CLASSES), embed_dim=32, depth=2, num_heads=2
)
REGIME = {
    "batch": 64,
    "steps": 700,
    "warmup": 70,  # steps
    "peak": 4e-3,  # the optimiser's highest learning rate
    "weight_decay": 0.05,
    "label_smoothing": 0.1,
    "padding": 2,
    "flip": True,
    "every": 35,  # steps between two looks at the scenes kept aside
}
CONDITIONS = {"regime": REGIME, "student": STUDENT.to_dict(), "wrong": WRONG}  # they stand in every record
TEACHERS = {"convnet": "a convnet", "weak": "a weak convnet", "transformer": "a plain transformer"}
SEEDS = 10

# The regimes that were tried before, all of width 32 and two blocks; where no seeds are said, one, the same for all.
TRIED = (  # (what, images, none, hard, soft): accuracy in % on scenes of validation items, both heads where two
    ("ten, 28 pixels, the shipped convnet; three seeds", 60_000, "37.8 to 42.3", "41.0 to 41.4", "38.0 to 41.6"),
    ("five of tops, 28 pixels, a convnet of 68.9; batch 128", 51_200, "39.1", "37.7", "38.6"),
    ("five of several kinds, from here on; 21 pixels, a convnet of 83.0", 20_480, "44.0", "42.2", "43.6"),
    ("the same, half-way", 10_240, "37.8", "36.8", "41.6"),
    ("16 pixels, patches of 4", 44_800, "60.5", "61.4", ""),
    ("15 pixels, patches of 5, from here on; crops by up to 7 pixels; soft: one token, tau 1, lambda 0.9", 25_600,
     "42.4", "45.8", "41.7"),
    ("half of the labels drawn anew at every look; soft as above", 25_600, "42.6", "51.1", "56.2"),
    ("40 % of the items with a wrong label, a teacher that learned from them", 44_800, "35.4", "63.0", ""),
    ("25 % of them, a teacher that learned from right ones", 44_800, "53.6", "57.6", "61.4"),
    ("a third of them, a teacher that learned from them; this was chosen", 44_800, "50.5", "62.1", "63.6"),
)  # fmt: skip


def settings(teacher=None, distillation="none", tokens="class", temperature=3.0, weight=None, shuffled=False):
    """What one student of a race learns from, in the words of `deit_edu.losses.DistillationObjective`.

    Args:
        teacher: a key of TEACHERS. shuffled: every image gets the teacher's answer to the next one.
    """
    return {"teacher": teacher, "shuffled": shuffled, "distillation": distillation, "tokens": tokens,
            "temperature": temperature, "weight": weight}  # fmt: skip


def check_settings(one, teachers):
    """Refuse what no student can learn from; `teachers` are those that there are."""
    if set(one) != set(settings()):
        raise DeiTEduError(f"a student's settings are {', '.join(settings())}: make them with settings(...)")
    DistillationObjective(one["distillation"], one["tokens"], one["temperature"], one["weight"])
    if (one["teacher"] is None) != (one["distillation"] == "none"):
        raise DeiTEduError("hard and soft distillation need a teacher, and none has none: name both or neither")
    if one["teacher"] is not None and one["teacher"] not in teachers:
        raise DeiTEduError(f"there is no teacher {one['teacher']!r} here: choose one of {', '.join(teachers)}")


CONFIGURATIONS = {
    "none": settings(),
    "soft": settings("convnet", "soft", "both", weight=0.5),
    "hard": settings("convnet", "hard", "both"),
    "shuffled": settings("convnet", "hard", "both", shuffled=True),
    "two_class_tokens": settings(tokens="both"),
    "lambda_one": settings("convnet", "hard", "both", weight=1.0),
}


# ---- the images ----


@functools.cache
def race_items():
    """Items at half size, as the page gets them: (items (n, 14, 14) uint8, labels (n,) uint8, how many are learnt).

    The first are those to learn from, with their wrong labels, the others are kept aside; both class-balanced.
    """
    train, validation, _ = sources()
    items = np.concatenate([train.items, validation.items])
    return items, torch.cat([train.labels, validation.labels]).numpy().astype(np.uint8), len(train.items)


@functools.cache
def sources():
    """Training, validation and test items as a ClutterSource each; of the first, a share of the labels is wrong."""
    counts, wrong = (LEARNT, ASIDE, ASIDE), (WRONG, 0, 0)
    return [of_classes(*split, *how) for split, *how in zip(packaged_splits(), counts, wrong, strict=True)]


def of_classes(images, labels, count, wrong):
    """The first `count` items of each of CLASSES, as a ClutterSource whose labels count from 0."""
    chosen = np.sort(np.concatenate([np.flatnonzero(labels == label)[:count] for label in CLASSES]))
    given = with_wrong_labels(np.searchsorted(CLASSES, labels[chosen]), wrong)
    return ClutterSource(images[chosen], given, canvas=STUDENT.image_size)


def with_wrong_labels(labels, share):
    """Labels (n,) of which a share, drawn by a fixed seed, is another class's: a wrong label stays with its item."""
    random = np.random.RandomState(0)
    chosen = random.permutation(len(labels)) < share * len(labels)
    return (labels + chosen * random.randint(1, len(CLASSES), len(labels), np.int64)) % len(CLASSES)


@functools.cache
def race_data():
    """The same items as an ImageDataset, their scenes drawn by the library: what the teachers learned from."""
    drawn = [source.draw(FIXED_DRAW, index) for index, source in enumerate(sources())]
    names = [FASHION_CLASSES[label] for label in CLASSES]
    return make_dataset("race", names, *drawn, lambda seed, epoch: sources()[0].draw(REDRAW, seed, epoch))


def race_teacher(name):
    """One of TEACHERS, as it ships, with its metadata."""
    return load_network(packaged_path(f"race_{name}"))


def race_teacher_accuracy(name):
    """A teacher's accuracy on validation scenes, as `data_scripts/train_race_teachers.py` measured what ships."""
    record = json.loads((CHECKPOINTS / "race.json").read_text())
    return record[name]["validation"]["accuracy"]


# ---- the claims, and what the records say of them ----


@dataclass(frozen=True)
class RaceClaim(Claim):
    """A claim about races: its verdict is the library's, and in so many of its seeds it should hold."""

    at_least: int = 8  # of SEEDS

    @property
    def unit(self):
        return "in cosine" if self.terms[0][2] == "cosine" else "in points"


def race_claim(name, sentence, where, sign, one, other, at_least=8):
    return RaceClaim(f"race-{name}", "race", sentence, where, sign, minus(one, other), {}, at_least)


# Written down before the first seed under CONDITIONS. Where the paper says nothing, the sign is what we expected.
RACE_CLAIMS = (
    race_claim(
        "hard-beats-none", "Hard distillation with its token, both heads, beats no distillation.",
        "table 3", +1, ("hard", "fused"), ("none", "class"),
    ),
    race_claim(
        "token-beats-second-class-token", "A distillation token beats a second class token, both heads.",
        "section 4", +1, ("hard", "fused"), ("two_class_tokens", "fused"),
    ),
    race_claim(
        "soft-beats-none", "Soft distillation, both heads, beats no distillation.",
        "table 3 has it even", +1, ("soft", "fused"), ("none", "class"),
    ),
    race_claim(
        "hard-beats-soft", "Hard distillation beats soft distillation, both heads.",
        "table 3", +1, ("hard", "fused"), ("soft", "fused"),
    ),
    race_claim(
        "shuffled-hurts", "A teacher whose answers are shuffled makes both heads together worse.",
        "not in the paper", +1, ("hard", "fused"), ("shuffled", "fused"), 10,
    ),
    race_claim(
        "shuffled-class-head", "Shuffled answers make the class head worse, too, which never hears them.",
        "not in the paper", +1, ("hard", "class"), ("shuffled", "class"),
    ),
    race_claim(
        "taught-neighbour", "The class head hears labels only, and does better beside a head that is taught.",
        "not in the paper", +1, ("hard", "class"), ("none", "class"),
    ),
    race_claim(
        "class-tokens-converge-further", "Two class tokens end up more alike than class and distillation token.",
        "section 4", +1, ("two_class_tokens", "cosine"), ("hard", "cosine"),
    ),
    race_claim(
        "lambda-one-hurts", "With two tokens, a lambda of 1 makes both heads together worse.",
        "not in the paper", +1, ("hard", "fused"), ("lambda_one", "fused"),
    ),
)  # fmt: skip


def score(point):
    """A student's accuracy at a point of its record: of both heads where it has two, else of the one."""
    accuracy = point["measured"]["accuracy"]
    return accuracy["class"] if accuracy["fused"] is None else accuracy["fused"]


def conditions(record):
    """CONDITIONS of a record. What a network's config has got since its race stood at its default."""
    return {name: record.get(name) for name in CONDITIONS} | {"student": DeiTConfig(**record["student"]).to_dict()}


class Races:
    """The records of races under CONDITIONS, by (configuration, seed); `earlier` are those under others.

    Args:
        folder: where races.jsonl lies; by default the ledger's.

    Raises:
        DeiTEduError: when a line that is not the last is no record, or two are of one student.
    """

    def __init__(self, folder=None):
        self.path = (folder or ledger_folder()) / "races.jsonl"
        data = self.path.read_bytes() if self.path.exists() else b""
        self.records, self.earlier = {}, []
        for number, line in enumerate(data[: len(data) - len(torn_tail(data))].splitlines(), 1):
            try:
                record = json.loads(line)
                key = (record["configuration"], record["seed"])
                now = conditions(record) == CONDITIONS
                record["points"][-1]["measured"]["accuracy"]["class"] + 0.0
            except (ValueError, KeyError, TypeError, IndexError):
                raise DeiTEduError(f"{self.path}, line {number} is no record: restore the file with git") from None
            if not now:
                self.earlier.append(record)
                continue
            if key in self.records:
                raise DeiTEduError(f"{self.path} holds two records of {key}: keep the first of them")
            self.records[key] = record

    def seeds(self, *configurations):
        """Those that all of these have, in order."""
        return sorted(set.intersection(*({s for name, s in self.records if name == one} for one in configurations)))

    def measure(self, configuration, seed, measure):
        """One number of one student at its end.

        Args:
            measure: a head's name, for its accuracy in points; "agreement:HEAD", with the teacher, in points; or
                "cosine", of the two tokens.
        """
        measured = self.records[configuration, seed]["points"][-1]["measured"]
        kind, _, head = measure.partition(":")
        if kind == "cosine":
            return measured["cosine"]
        return 100 * (measured["agreement"][head] if kind == "agreement" else measured["accuracy"][kind])

    def paired(self, terms):
        """((weight, values), ...) over the seeds that have all terms, for `paired_difference`."""
        seeds = self.seeds(*(configuration for _, configuration, _ in terms))
        return tuple((weight, [self.measure(name, seed, measure) for seed in seeds]) for weight, name, measure in terms)

    def judge(self, claim):
        """(the Difference, the verdict, in how many seeds the claim's sign holds)."""
        terms = self.paired(claim.terms)
        each = sum(weight * np.array(values) for weight, values in terms)
        difference = paired_difference(terms)
        return difference, verdict(difference, claim.sign), int((claim.sign * each > 0).sum())
