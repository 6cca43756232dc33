"""Teacher comparison: what students of two teachers learned, from the ledger or from your own runs."""

from dataclasses import dataclass, field

import matplotlib.pyplot as plt
import numpy as np
import torch
import traitlets

from deit_edu.data.names import load_dataset
from deit_edu.errors import DeiTEduError
from deit_edu.evidence.ledger import Ledger
from deit_edu.evidence.report import Results
from deit_edu.evidence.verdicts import paired_difference
from deit_edu.reading.figures import COLOURS, NARROW, STYLE, literal
from deit_edu.runs.evaluate import load_decisions
from deit_edu.runs.folders import find_run, read_json
from deit_edu.widgets.figure import Figure, data_to_show, packed

LISTENS = {"both": "own token", "class": "class token", "each": "a token each"}  # by a config's `tokens`
STUDENTS = {  # (teacher, kind): where the ledger has it
    ("none", ""): ("distillation", "none"),
    ("convnet", "hard, own token"): ("distillation", "token_hard"),
    ("convnet", "soft, own token"): ("distillation", "token_soft"),
    ("convnet", "hard, class token"): ("distillation", "hard_class"),
    ("convnet", "soft, class token"): ("distillation", "soft_class"),
    ("larger convnet", "hard, own token"): ("teachers", "by_convnet_wide"),
    ("weak convnet", "hard, own token"): ("teachers", "by_convnet_weak"),
    ("transformer", "hard, own token"): ("teachers", "by_transformer"),
}
HEADS = ("class", "distillation", "fused")
GALLERY = 120  # images at most


@dataclass
class Student:
    """All runs of one teacher and one kind of distillation."""

    teacher: str
    kind: str
    seeds: list = field(default_factory=list)
    accuracy: dict = field(default_factory=dict)  # {head or "teacher": (seeds,) per cent of the test images}
    curves: list = field(default_factory=list)  # per seed, validation accuracy after each epoch
    decisions: dict = field(default_factory=dict)  # {seed: {head or "teacher": (n,)}} where predictions are kept

    def add(self, record, decided, taught=None):
        """One run: its record, its decisions, and (record, decisions) of its teacher; decisions may be None."""
        self.seeds.append(record["seed"])
        found = {head: score["accuracy"] for head, score in record["test"].items() if head in HEADS}
        if taught:
            found["teacher"] = taught[0]["test"].get("fused", taught[0]["test"]["class"])["accuracy"]
        for who, accuracy in found.items():
            self.accuracy.setdefault(who, []).append(100 * accuracy)
        best = "fused" if "fused" in record["test"] else "class"
        self.curves.append([round(100 * epoch[best], 2) for epoch in record["curve"]])
        if decided:
            said = {head: decided[head] for head in HEADS if head in decided}
            if taught and taught[1]:
                said["teacher"] = taught[1].get("fused", taught[1]["class"])
            self.decisions[record["seed"]] = said


class TeacherComparison(Figure):
    """Choose two teachers and a kind of distillation; see what their students learned, with every seed.

    `TeacherComparison.from_ledger()` shows the book's own runs, `TeacherComparison.from_runs([...])` yours.

    Args:
        students: [Student]. labels: (n,) of the test images. images: (n, C, H, W) uint8. class_names: K words.

    Raises:
        DeiTEduError: when there are no students.
    """

    students = traitlets.List().tag(sync=True)
    rows = traitlets.Bytes().tag(sync=True)  # decisions (rows, n) uint8; row 0 is the truth
    count = traitlets.Int().tag(sync=True)  # n
    gallery = traitlets.Bytes().tag(sync=True)  # (m, C, H, W) uint8
    gallery_index = traitlets.List().tag(sync=True)  # which test images they are
    image_shape = traitlets.List().tag(sync=True)
    class_names = traitlets.List().tag(sync=True)
    kinds = traitlets.List().tag(sync=True)
    one = traitlets.Unicode().tag(sync=True)  # the teachers compared
    other = traitlets.Unicode().tag(sync=True)
    kind = traitlets.Unicode().tag(sync=True)
    seed = traitlets.Int(0).tag(sync=True)  # whose answers the matrix and the gallery show

    def __init__(self, students, labels, images, class_names):
        students = [student for student in students if student.seeds]
        if not students:
            raise DeiTEduError("there are no students to compare: deit-edu ablate distillation trains the book's")
        rows, told = [np.asarray(labels)], []
        for student in students:
            places = {}
            for seed, said in sorted(student.decisions.items()):
                places[str(seed)] = {}
                for who, decided in said.items():
                    places[str(seed)][who] = len(rows)
                    rows.append(np.asarray(decided))
            told.append(describe(student, places))
        shown = worth_showing(students, len(labels))
        names = list(dict.fromkeys(student.teacher for student in students))
        with_teacher = [student for student in students if student.kind] or students
        super().__init__(
            students=told, rows=packed(np.stack(rows), "u1"), count=len(labels), class_names=list(class_names),
            gallery=packed(images[shown], "u1"), gallery_index=[int(index) for index in shown],
            image_shape=list(images.shape[1:]), kinds=list(dict.fromkeys(s.kind for s in with_teacher)),
            one=names[0], other=with_teacher[0].teacher if with_teacher[0].teacher != names[0] else names[-1],
            kind=with_teacher[0].kind, seed=min(s for student in students for s in student.decisions or student.seeds),
        )  # fmt: skip

    @classmethod
    def from_ledger(cls, ledger=None):
        """The runs of the experiments `distillation` and `teachers`, as far as they are recorded."""
        results = Results(ledger or Ledger())
        students = []
        for (teacher, kind), (experiment, configuration) in STUDENTS.items():
            students.append(student := Student(teacher, kind))
            for seed in results.seeds(experiment):
                cell = results.cell(experiment, configuration, seed)
                if record := results.ledger.find(cell):
                    taught = [(results.ledger.find(t), kept(results.ledger, t)) for t in cell.teachers]
                    student.add(record, kept(results.ledger, cell), next((t for t in taught if t[0]), None))
        data = load_dataset(results.grid.data)
        return cls(students, data.test.labels, data.test.images, data.classes)

    @classmethod
    def from_runs(cls, folders):
        """Your own runs: folders, or names of runs, of `deit-edu train`, all on the same data.

        Raises:
            DeiTEduError: for a folder that holds no finished run, runs on different data, images or classes, or data
                that are decoded batch by batch.
        """
        students, seen = {}, {}
        for name in folders:
            folder = find_run(str(name))
            record = read_json(folder / "result.json")
            config = record["config"]
            seen.setdefault((config["data"], config["image_size"], config["classes"]), config)
            teacher = config["teacher"] or ("none, two class tokens" if config["tokens"] == "both" else "none")
            kind = f"{config['distillation']}, {LISTENS[config['tokens']]}" if config["teacher"] else ""
            student = students.setdefault((teacher, kind), Student(teacher, kind))
            taught = None
            if config["teacher"] and (there := find_run(config["teacher"])).joinpath("result.json").exists():
                taught = read_json(there / "result.json"), load_decisions(there / "predictions.safetensors")
            student.add(record | {"seed": config["seed"]}, load_decisions(folder / "predictions.safetensors"), taught)
        if len(seen) != 1:
            found = ", ".join(sorted(" ".join(str(part) for part in one if part) for one in seen)) or "no data"
            raise DeiTEduError(f"these runs are on {found}: compare runs on one data set, its images and classes alike")
        data = data_to_show(seen.popitem()[1])
        return cls(list(students.values()), data.test.labels, data.test.images, data.classes)

    def shown(self):
        """The two students that the figure opens with, as `describe` gives them; one may be missing."""
        found = [
            next((s for s in self.students if s["teacher"] == teacher and s["kind"] in ("", self.kind)), None)
            for teacher in (self.one, self.other)
        ]
        return [student for student in found if student]

    def picture(self):
        rows = [(f"{s['teacher']}: {who}", who, found) for s in self.shown() for who, found in s["accuracy"].items()]
        with plt.rc_context(STYLE):
            fig, ax = plt.subplots(figsize=(NARROW, 0.7 + 0.3 * len(rows)))
            for y, (_, who, found) in enumerate(rows):
                ax.plot(found["values"], [y] * len(found["values"]), "o", color=COLOURS[who], alpha=0.6)
                ax.plot([found["mean"]], [y], "|", color=COLOURS[who], markersize=14)
            ax.set(yticks=range(len(rows)), yticklabels=[literal(row[0]) for row in rows], xlabel="test accuracy, %")
            ax.invert_yaxis()
        return fig

    def caption(self):
        means = "; ".join(
            f"teacher {s['teacher']}, {who}: {found['mean']:.1f} %"
            for s in self.shown()
            for who, found in s["accuracy"].items()
        )
        return f"""Test accuracy of two students and their teachers, every seed a dot, with {self.kind} where there is a
        teacher. Means: {means}."""


def kept(ledger, cell):
    path = ledger.predictions(cell.key)
    return load_decisions(path) if path.exists() else None


def describe(student, places):
    """A Student as the page gets it: accuracies with their intervals, curves, and the rows of its decisions."""
    accuracy = {}
    for who, values in student.accuracy.items():
        found = paired_difference(((1, values),))
        low, high = (found.low, found.high) if np.isfinite(found.low) else (found.mean, found.mean)
        accuracy[who] = {"values": [round(v, 2) for v in values], "mean": found.mean, "low": low, "high": high}
    return {"teacher": student.teacher, "kind": student.kind, "seeds": student.seeds, "accuracy": accuracy,
            "curves": student.curves, "rows": places}  # fmt: skip


def worth_showing(students, count):
    """Test images on which teachers, or where there is one teacher students, disagree: (m,) indices, m <= GALLERY."""
    said = [d for s in students for d in list(s.decisions.values())[:1]]
    best = [np.asarray(d.get("teacher", d.get("fused", d["class"]))) for d in said]
    if not best:
        return torch.arange(min(12, count))
    differ = np.any(np.stack(best) != best[0], axis=0)
    return torch.from_numpy(np.flatnonzero(differ)[:GALLERY])
