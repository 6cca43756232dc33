"""Fusion and disagreement: who takes which class for which, when the two heads part, and what fusing them is worth."""

from itertools import combinations

import matplotlib.pyplot as plt
import numpy as np
import torch
import traitlets

from deit_edu.data.names import load_dataset
from deit_edu.errors import DeiTEduError
from deit_edu.evidence.grids import EXPERIMENTS
from deit_edu.evidence.ledger import Ledger
from deit_edu.evidence.report import Results
from deit_edu.model import HeadLogits, fuse
from deit_edu.reading.figures import COLOURS, NARROW, STYLE, literal
from deit_edu.runs.checkpoints import load
from deit_edu.runs.evaluate import decisions, load_decisions
from deit_edu.runs.folders import find_run, read_json
from deit_edu.widgets.figure import Figure, data_to_show, packed

HEADS = ("class", "distillation")  # of the student
OTHERS = ("teacher", "plain")  # with one answer each, and not always there
DECIDERS = (*HEADS, "fused", "fused_logits", *OTHERS)
WITH_BARS = (*HEADS, "teacher")  # whose logits of the gallery are here; the page fuses the heads itself
WEIGHTS = [n / 20 for n in range(21)]  # of the class head in a fusion; one half is both heads alike
# A fusion with these weights is a decider of its own: its decisions are kept, before the logits were rounded.
KNOWN = {0.0: ("distillation", "distillation"), 0.5: ("fused", "fused_logits"), 1.0: ("class", "class")}
GALLERY = 720_000  # bytes of images at most
PLAIN = 3  # of a cell, images that are there because they are like the others in it
MOST_CLASSES = 20  # a larger table cannot be read


class FusionExplorer(Figure):
    """Choose two deciders and see which classes they take for each other; weigh the heads and see what fusing gives.

    Paper: section 4 and table 4. `FusionExplorer.from_ledger()` shows the book's own students, `from_run` yours.

    Args:
        logits: {seed: {"class": (n, K), "distillation": (n, K), "teacher": (n, K), "plain": (n, K)}} of n test images;
            teacher and plain may be missing, of a seed or of all.
        labels: (n,). images: (n, C, H, W) uint8. class_names: K words.
        decided: {seed: {decider: (n,)}} where decisions are known better than from rounded logits.
        left_out: one sentence about what is not here, for the reader; empty where nothing is missing.

    Raises:
        DeiTEduError: when there is nothing to show, or the sizes do not fit together.
    """

    on_use = ("gallery", "gallery_logits")

    rows_of = traitlets.Dict().tag(sync=True)  # {seed: {decider: its row of `decided`}}
    decided = traitlets.Bytes().tag(sync=True)  # (rows, n) uint8; row 0 is the truth
    count = traitlets.Int().tag(sync=True)  # n
    # Logits of the images on which the two heads part, seed by seed, (images, 2, K) float16. Where they agree, so does
    # every mean of theirs, of probabilities and of logits: no weight changes anything there.
    parting = traitlets.Bytes().tag(sync=True)
    gallery = traitlets.Bytes().tag(sync=True)  # (m, C, H, W) uint8
    gallery_index = traitlets.List().tag(sync=True)  # which test images they are, from `worth_showing`
    gallery_logits = traitlets.Bytes().tag(sync=True)  # (m, K) float16 of every seed and everyone in `answering`
    answering = traitlets.Dict().tag(sync=True)  # {seed: those of WITH_BARS that are there}
    weights = traitlets.List(WEIGHTS).tag(sync=True)
    image_shape = traitlets.List().tag(sync=True)
    class_names = traitlets.List().tag(sync=True)
    seeds = traitlets.List().tag(sync=True)
    left_out = traitlets.Unicode().tag(sync=True)
    place = traitlets.Int(0).tag(sync=True)  # which of the seeds
    one = traitlets.Unicode("class").tag(sync=True)  # the decider of the rows, or "truth"
    other = traitlets.Unicode("distillation").tag(sync=True)  # and of the columns
    unit = traitlets.Enum(["images", "rates"], "images").tag(sync=True)  # what a cell shows
    cell = traitlets.List().tag(sync=True)  # [row, column]; empty: where the two part most often
    weight = traitlets.Float(0.5, min=0, max=1).tag(sync=True)
    way = traitlets.Enum(["probabilities", "logits"], "probabilities").tag(sync=True)

    def __init__(self, logits, labels, images, class_names, decided=None, left_out=""):
        labels, images, names = torch.as_tensor(labels).long(), torch.as_tensor(images), list(class_names)
        logits = {
            seed: {who: torch.as_tensor(given).float() for who, given in said.items()} for seed, said in logits.items()
        }
        check(logits, labels, images, len(names))
        rows, rows_of, parting, self.curves = [labels], {}, [], {}
        for seed, said in logits.items():
            found = decisions(HeadLogits(said["class"], said["distillation"]))
            found |= {who: said[who].argmax(dim=-1) for who in OTHERS if who in said}
            found |= (decided or {}).get(seed, {})
            here = [who for who in DECIDERS if who in found]
            rows_of[str(seed)] = {who: len(rows) + place for place, who in enumerate(here)}
            rows += [torch.as_tensor(found[who]).long() for who in here]
            apart = found["class"] != found["distillation"]
            parting.append(torch.stack([said[head][apart] for head in HEADS], dim=1).half())  # (images, 2, K)
            self.curves[str(seed)] = fusions(parting[-1], found, labels)
        rows = torch.stack(rows)
        shown = worth_showing(rows, rows_of, len(names), GALLERY // images[0].numel())
        answering = {str(seed): [who for who in WITH_BARS if who in said] for seed, said in logits.items()}
        kept = [said[who][shown] for seed, said in logits.items() for who in answering[str(seed)]]
        super().__init__(
            rows_of=rows_of, decided=packed(rows, "u1"), count=len(labels), parting=packed(torch.cat(parting), "f2"),
            gallery=packed(images[shown], "u1"), gallery_index=shown.tolist(), answering=answering,
            gallery_logits=packed(torch.stack(kept), "f2"), image_shape=list(images.shape[1:]), class_names=names,
            seeds=[int(seed) for seed in logits], left_out=left_out,
        )  # fmt: skip

    @classmethod
    def from_ledger(cls, ledger=None):
        """The experiment `agreement`: every seed whose student's predictions are kept, with whom else is kept."""
        results = Results(ledger or Ledger())
        logits, decided, missing = {}, {}, []
        for seed in results.seeds("agreement"):
            student = results.cell("agreement", "token_hard", seed)
            cells = {
                "student": student,
                "teacher": student.teachers[0],
                "plain": results.cell("agreement", "none", seed),
            }
            paths = {who: results.ledger.predictions(cell.key) for who, cell in cells.items()}
            if seed < EXPERIMENTS["agreement"].keep_predictions:
                missing += [f"{who}, seed {seed}" for who, path in paths.items() if not path.exists()]
            paths = {who: path for who, path in paths.items() if path.exists()}
            if "student" in paths:
                logits[seed], decided[seed] = kept_answers(paths)
        data = load_dataset(results.grid.data)
        left_out = f"Not kept, so not here: {'; '.join(missing)}. deit-edu ablate agreement keeps them."
        return cls(
            logits, data.test.labels, data.test.images, data.classes, decided, left_out=left_out if missing else ""
        )

    @classmethod
    def from_run(cls, folder):
        """A run of your own, a student with both tokens, and its teacher where that has a folder too.

        Raises:
            DeiTEduError: for a folder that holds no finished run, a student with one head, or data that are decoded
                batch by batch.
        """
        folder = find_run(str(folder))
        record = read_json(folder / "result.json")
        paths, left_out = {"student": folder / "predictions.safetensors"}, ""
        if name := record["config"]["teacher"]:
            teacher = find_run(name) / "predictions.safetensors"
            if teacher.exists():
                paths["teacher"] = teacher
            else:
                left_out = f"The teacher, {name}, is left out: it is no run folder with predictions of its own."
        data = data_to_show(record["config"])
        seed = record["config"]["seed"]
        logits, decided = kept_answers(paths)
        return cls({seed: logits}, data.test.labels, data.test.images, data.classes, {seed: decided}, left_out=left_out)

    def confusions(self):
        """How often the rows' decider says one class and the columns' another, at the chosen seed: (K, K)."""
        rows = np.frombuffer(self.decided, np.uint8).reshape(-1, self.count).astype(int)
        places = {"truth": 0} | self.rows_of[str(self.seeds[self.place])]
        K = len(self.class_names)
        return np.bincount(K * rows[places[self.one]] + rows[places[self.other]], minlength=K * K).reshape(K, K)

    def picture(self):
        apart = self.confusions().astype(float)
        np.fill_diagonal(apart, np.nan)
        curves = self.curves[str(self.seeds[self.place])]
        with plt.rc_context(STYLE):
            fig, (left, right) = plt.subplots(1, 2, figsize=(NARROW * 1.5, 3.4), width_ratios=(1.3, 1))
            left.imshow(apart, cmap="Greys")
            ticks, names = range(len(self.class_names)), [*map(literal, self.class_names)]
            left.set(xticks=ticks, yticks=ticks, yticklabels=names, xlabel="distillation head",
                     ylabel="class head")  # fmt: skip
            left.set_xticklabels(names, rotation=90)
            for way, style in {"probabilities": "-", "logits": ":"}.items():
                right.plot(WEIGHTS, curves[way], style, color=COLOURS["fused"], label=way)
            right.set(xlabel="weight of the class head", ylabel="test accuracy, %")
            right.legend()
        return fig

    def caption(self):
        found = self.confusions()
        apart = found.sum() - found.trace()
        np.fill_diagonal(found, 0)
        row, column = np.unravel_index(found.argmax(), found.shape)
        curve = self.curves[str(self.seeds[self.place])]["probabilities"]
        return f"""Which classes class head and distillation head take for each other: they part on {apart} of
        {self.count} test images, most often where one says {self.class_names[row]} and the other
        {self.class_names[column]} ({found[row, column]} images). Beside it, the accuracy of the two heads fused, from
        the distillation head alone, {curve[0]:.2f} %, to the class head alone, {curve[-1]:.2f} %."""


def check(logits, labels, images, K):
    """Raise DeiTEduError for what `FusionExplorer` cannot show."""
    n = len(labels)
    if not logits:
        raise DeiTEduError("there are no predictions to show: deit-edu ablate agreement makes the book's")
    if not 2 <= K <= MOST_CLASSES:
        raise DeiTEduError(f"{K} classes: the table of who takes what for what has room for 2 to {MOST_CLASSES}")
    for seed, said in logits.items():
        if not set(HEADS) <= set(said):
            raise DeiTEduError("the figure needs both heads of a student: train one with --tokens both")
        for who, given in said.items():
            if who not in (*HEADS, *OTHERS):
                raise DeiTEduError(f"seed {seed}: nobody is called {who!r}: choose of {', '.join((*HEADS, *OTHERS))}")
            if tuple(given.shape) != (n, K):
                raise DeiTEduError(f"seed {seed}, {who}: logits of shape {tuple(given.shape)}, not {(n, K)}")
    if len(images) != n:
        raise DeiTEduError(f"{len(images)} images for {n} labels: give one for each")
    if labels.min() < 0 or labels.max() >= K:
        raise DeiTEduError(f"labels {labels.min()} to {labels.max()} do not fit {K} class names: give all")


def kept_answers(paths):
    """({who: logits (n, K)}, {who: decisions (n,)}) of a student, its teacher and a plain student, from their files."""
    logits, decided = {}, {}
    for who, path in paths.items():
        tensors, _ = load(path)
        heads = {head: tensors[f"logits.{head}"].float() for head in HEADS if f"logits.{head}" in tensors}
        said = load_decisions(path)
        if who == "student":
            logits |= heads
            decided |= said
        else:  # a teacher with two heads teaches with both
            logits[who] = fuse(HeadLogits(heads["class"], heads.get("distillation")))
            decided[who] = said.get("fused", said["class"])
    return logits, decided


def fusions(parting, decided, labels):
    """The heads fused with each of `WEIGHTS` for the class head, by probabilities and by logits.

    Args:
        parting: (images, 2, K), logits of both heads where they part. decided: {decider: (n,)}. labels: (n,).

    Returns:
        {"probabilities": accuracies, "logits": accuracies, in per cent of all n images, "apart": on how many images
        the two ways part, "right": on how many of those each is right, [probabilities, logits]}, a number for every
        weight.
    """
    apart = decided["class"] != decided["distillation"]  # (n,)
    agreed = (~apart & (decided["class"] == labels)).sum().item()  # right with any weight
    truth = labels[apart]
    one, other = parting.float().unbind(dim=1)  # (images, K) each
    pairs = [(one.softmax(dim=-1), other.softmax(dim=-1)), (one, other)]  # by probabilities, by logits
    found = {"probabilities": [], "logits": [], "apart": [], "right": []}
    for weight in WEIGHTS:
        if weight in KNOWN:
            chosen = [decided[who][apart] for who in KNOWN[weight]]
        else:
            chosen = [(weight * p + (1 - weight) * q).argmax(dim=-1) for p, q in pairs]  # (images,)
        right, differ = [answer == truth for answer in chosen], chosen[0] != chosen[1]
        for way, correct in zip(("probabilities", "logits"), right, strict=True):
            found[way].append(100 * (agreed + correct.sum().item()) / len(labels))
        found["apart"].append(differ.sum().item())
        found["right"].append([(correct & differ).sum().item() for correct in right])
    return found


def worth_showing(rows, rows_of, K, most):
    """Test images for the gallery, so that almost every cell of every table has some: (m,) indices, m <= most.

    An image is rare when few others are in its cells, over every seed and every two deciders. First come the `PLAIN`
    least rare ones of every cell of class head against distillation head, then the rarest of all. In the result the
    least rare stands first, and the page shows the first of a cell.
    """
    rare = torch.zeros(rows.shape[1], dtype=torch.float64)
    for places in rows_of.values():
        for one, other in combinations([0, *places.values()], 2):
            cell = K * rows[one] + rows[other]  # (n,)
            rare += 1 / cell.bincount()[cell]
    order, chosen = rare.argsort(stable=True), []
    for places in rows_of.values():
        cell = K * rows[places["class"]][order] + rows[places["distillation"]][order]
        chosen += [image for which in cell.unique() for image in order[cell == which][:PLAIN].tolist()]
    chosen += order.flip(0).tolist()
    kept = torch.tensor(list(dict.fromkeys(chosen))[: max(most, 1)])
    return kept[rare[kept].argsort(stable=True)]
