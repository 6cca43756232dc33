"""Fusion and disagreement: who takes which class for which, when the two heads part, and what fusing them is worth."""

import matplotlib.pyplot as plt
import numpy as np
import torch
import traitlets

from deit_edu.checkpoints import load
from deit_edu.data import load_dataset
from deit_edu.errors import DeiTEduError
from deit_edu.evaluate import decisions, load_decisions
from deit_edu.figures import NARROW, STYLE
from deit_edu.ledger import Ledger
from deit_edu.model import HeadLogits
from deit_edu.report import Results
from deit_edu.runs import find_run, open_dataset, read_json
from deit_edu.train import TrainConfig
from deit_edu.widgets.figure import Figure, packed

HEADS = ("class", "distillation")  # of the student
OTHERS = ("teacher", "plain")  # with one answer each, and not always there
DECIDERS = (*HEADS, "fused", "fused_logits", *OTHERS)
WEIGHTS = [n / 20 for n in range(21)]  # of the class head in a fusion; one half is both heads alike
GALLERY = 900  # images at most


class FusionExplorer(Figure):
    """Choose two deciders and see which classes they take for each other; weigh the heads and see what fusing gives.

    Paper: section 4 and table 4. `FusionExplorer.from_ledger()` shows the book's own students, `from_run` yours.

    Args:
        logits: {seed: {"class": (n, K), "distillation": (n, K), "teacher": (n, K), "plain": (n, K)}} of n test images;
            teacher and plain may be missing.
        labels: (n,). images: (n, C, H, W) uint8. class_names: K words.
        decided: {seed: {decider: (n,)}} where decisions are known better than from rounded logits.

    Raises:
        DeiTEduError: when there is nothing to show, or the sizes do not fit together.
    """

    on_use = ("gallery", "gallery_logits")

    rows_of = traitlets.Dict().tag(sync=True)  # {seed: {decider: its row of `decided`}}
    decided = traitlets.Bytes().tag(sync=True)  # (rows, n) uint8; row 0 is the truth
    count = traitlets.Int().tag(sync=True)  # n
    gallery = traitlets.Bytes().tag(sync=True)  # (m, C, H, W) uint8
    gallery_index = traitlets.List().tag(sync=True)  # which test images they are
    gallery_logits = traitlets.Bytes().tag(sync=True)  # (seeds, who, m, K) float16, who as in `answering`
    answering = traitlets.List().tag(sync=True)  # heads, teacher, plain: whose logits are here
    curves = traitlets.Dict().tag(sync=True)  # {seed: what `fusions` gives}
    weights = traitlets.List(WEIGHTS).tag(sync=True)
    image_shape = traitlets.List().tag(sync=True)
    class_names = traitlets.List().tag(sync=True)
    seeds = traitlets.List().tag(sync=True)
    place = traitlets.Int(0).tag(sync=True)  # which of the seeds
    one = traitlets.Unicode("class").tag(sync=True)  # the decider of the rows, or "truth"
    other = traitlets.Unicode("distillation").tag(sync=True)  # and of the columns
    cell = traitlets.List().tag(sync=True)  # [row, column]; empty: where the two part most often
    weight = traitlets.Float(0.5).tag(sync=True)
    way = traitlets.Enum(["probabilities", "logits"], "probabilities").tag(sync=True)

    def __init__(self, logits, labels, images, class_names, decided=None):
        labels, names = torch.as_tensor(labels), list(class_names)
        if not logits:
            raise DeiTEduError("there are no predictions to show: deit-edu ablate agreement makes the book's")
        n, K = len(labels), len(names)
        answering = [who for who in (*HEADS, *OTHERS) if all(who in said for said in logits.values())]
        if not set(HEADS) <= set(answering):
            raise DeiTEduError("the figure needs both heads of a student: train one with --tokens both")
        for seed, said in logits.items():
            for who in answering:
                if tuple(said[who].shape) != (n, K):
                    raise DeiTEduError(f"seed {seed}, {who}: logits of shape {tuple(said[who].shape)}, not {(n, K)}")
        if len(images) != n:
            raise DeiTEduError(f"{len(images)} images for {n} labels: give one for each")
        rows, rows_of, curves = [labels], {}, {}
        for seed, said in logits.items():
            found = decisions(HeadLogits(said["class"].float(), said["distillation"].float()))
            found |= {who: said[who].argmax(dim=-1) for who in OTHERS if who in answering}
            found |= (decided or {}).get(seed, {})
            rows_of[str(seed)] = {who: len(rows) + i for i, who in enumerate(who for who in DECIDERS if who in found)}
            rows += [found[who] for who in DECIDERS if who in found]
            curves[str(seed)] = fusions(said, labels)
        rows = torch.stack([torch.as_tensor(row) for row in rows])
        shown = worth_showing(rows, rows_of)
        kept = torch.stack([torch.stack([said[who][shown] for who in answering]) for said in logits.values()])
        super().__init__(
            rows_of=rows_of, decided=packed(rows, "u1"), count=n, gallery=packed(images[shown], "u1"),
            gallery_index=shown.tolist(), gallery_logits=packed(kept, "f2"), answering=answering, curves=curves,
            image_shape=list(images.shape[1:]), class_names=names, seeds=[int(seed) for seed in logits],
        )  # fmt: skip

    @classmethod
    def from_ledger(cls, ledger=None):
        """The experiment `agreement`, every seed whose predictions are kept."""
        results = Results(ledger or Ledger())
        logits, decided = {}, {}
        for seed in results.seeds("agreement"):
            student = results.cell("agreement", "token_hard", seed)
            cells = {
                "student": student,
                "teacher": student.teachers[0],
                "plain": results.cell("agreement", "none", seed),
            }
            paths = {who: results.ledger.predictions(cell.key) for who, cell in cells.items()}
            if all(path.exists() for path in paths.values()):
                logits[seed], decided[seed] = kept_answers(paths)
        data = load_dataset(results.grid.data)
        return cls(logits, data.test.labels, data.test.images, data.classes, decided)

    @classmethod
    def from_run(cls, folder):
        """A run of your own, a student with both tokens, and its teacher where that has a folder too.

        Raises:
            DeiTEduError: for a folder that holds no finished run, or a student with one head.
        """
        folder = find_run(str(folder))
        record = read_json(folder / "result.json")
        paths = {"student": folder / "predictions.safetensors"}
        teacher = find_run(record["config"]["teacher"] or "none") / "predictions.safetensors"
        if teacher.exists():
            paths["teacher"] = teacher
        data = open_dataset(TrainConfig(**record["config"]))
        seed = record["config"]["seed"]
        logits, decided = kept_answers(paths)
        return cls({seed: logits}, data.test.labels, data.test.images, data.classes, {seed: decided})

    def confusions(self):
        """How often the rows' decider says one class and the columns' another, at the first view's seed: (K, K)."""
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
            ticks = range(len(self.class_names))
            left.set(xticks=ticks, yticks=ticks, yticklabels=self.class_names, xlabel="distillation head",
                     ylabel="class head")  # fmt: skip
            left.set_xticklabels(self.class_names, rotation=90)
            for way, style in {"probabilities": "-", "logits": ":"}.items():
                right.plot(WEIGHTS, curves[way], style, color="black", label=way)
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
        the distillation head alone, {curve[0]:.1f} %, to the class head alone, {curve[-1]:.1f} %."""


def kept_answers(paths):
    """({who: logits (n, K)}, {who: decisions (n,)}) of a student, its teacher and a plain student, from their files."""
    logits, decided = {}, {}
    for who, path in paths.items():
        tensors, _ = load(path)
        said = load_decisions(path)
        if who == "student":
            logits |= {head: tensors[f"logits.{head}"].float() for head in HEADS if f"logits.{head}" in tensors}
            decided |= said
        else:  # a teacher with two heads teaches with both
            heads = [tensors[f"logits.{head}"].float().softmax(-1) for head in HEADS if f"logits.{head}" in tensors]
            logits[who], decided[who] = torch.stack(heads).mean(0).log(), said.get("fused", said["class"])
    return logits, decided


def fusions(said, labels):
    """The heads fused with each of `WEIGHTS` for the class head, by probabilities and by logits.

    Args:
        said: {"class": (n, K), "distillation": (n, K)}, logits. labels: (n,).

    Returns:
        {"probabilities": accuracies, "logits": accuracies, in per cent, "apart": on how many images the two ways part,
        "right": on how many of those each is right, [probabilities, logits]}, a number for every weight.
    """
    heads = [said[head].float() for head in HEADS]
    shares = [logits.softmax(dim=-1) for logits in heads]
    found = {"probabilities": [], "logits": [], "apart": [], "right": []}
    for weight in WEIGHTS:
        by_shares, by_logits = (
            (weight * one + (1 - weight) * other).argmax(dim=-1) for one, other in (shares, heads)
        )  # (n,)
        differ = by_shares != by_logits
        right = [by_shares == labels, by_logits == labels]
        found["probabilities"].append(round(100 * right[0].double().mean().item(), 2))
        found["logits"].append(round(100 * right[1].double().mean().item(), 2))
        found["apart"].append(differ.sum().item())
        found["right"].append([(one & differ).sum().item() for one in right])
    return found


def worth_showing(rows, rows_of):
    """Test images for the gallery, (m,) indices, m <= GALLERY: first where heads part, then where anyone does.

    Two of every class on which all agree are among them, so that the diagonal has images too.
    """
    agreed = (rows == rows[0]).all(dim=0)
    chosen = [image for label in rows[0].unique() for image in (agreed & (rows[0] == label)).nonzero()[:2, 0].tolist()]
    for places in rows_of.values():
        chosen += (rows[places["class"]] != rows[places["distillation"]]).nonzero()[:, 0].tolist()
    chosen += (~agreed).nonzero()[:, 0].tolist()
    return torch.tensor(sorted(list(dict.fromkeys(chosen))[:GALLERY]), dtype=torch.long)
