"""Live DeiT: the trained student and its teacher inside the page, asked about any picture."""

import matplotlib.pyplot as plt
import numpy as np
import torch
import traitlets

from deit_edu.data.names import load_dataset
from deit_edu.data.packaged import drawn_pictures
from deit_edu.data.splits import nested_subset
from deit_edu.errors import DeiTEduError
from deit_edu.inspect import attention_rollout
from deit_edu.model import DeiT
from deit_edu.reading.figures import COLOURS, NARROW, STYLE, literal
from deit_edu.runs.checkpoints import PACKAGED, is_packaged
from deit_edu.runs.preprocess import Preprocessing
from deit_edu.widgets.figure import Figure, packed
from deit_edu.widgets.finished_runs import open_for_the_page
from deit_edu.widgets.network import (
    as_it_takes,
    asked_as_in_the_page,
    check_labelled,
    export,
    packaged_pair,
    preparation,
)

TOKENS = ("class", "distillation")
PICTURES = 1.5e6  # bytes: of a run's test images no more are shown than these hold


class LiveDeiT(Figure):
    """Draw, upload or choose an image: both heads, both fusions and the teacher answer, and the attention follows.

    The networks run in the reader's browser. Their weights are fetched when they are first needed; until then the
    page shows what Python computed for the first image.

    Args:
        student: a DeiT, with the distillation token or without. teacher: a DeiT, one of our ConvNets, or None. What
            their files say of their pictures' size and statistics holds.
        images: (n, C, H, W) uint8, to choose from. labels: n classes. class_names: K words.
        mean, std: C numbers each, of the training images, for networks that do not say them.
        kind: what the stored images are, as in "test image". remark: a sentence to stand below the answers.

    Raises:
        DeiTEduError: when they do not fit together.
    """

    on_use = ("student_weights", "teacher_weights")

    student = traitlets.Dict().tag(sync=True)  # manifests of deit_edu.widgets.network.export
    teacher = traitlets.Dict().tag(sync=True)  # empty without one
    student_weights = traitlets.Bytes().tag(sync=True)
    teacher_weights = traitlets.Bytes().tag(sync=True)
    images = traitlets.Bytes().tag(sync=True)
    image_shape = traitlets.List().tag(sync=True)
    labels = traitlets.List().tag(sync=True)
    kind = traitlets.Unicode().tag(sync=True)
    dark = traitlets.Bool(False).tag(sync=True)  # grey photographs on a light ground are turned round: light on dark
    remark = traitlets.Unicode().tag(sync=True)
    class_names = traitlets.List().tag(sync=True)
    image = traitlets.Int(0).tag(sync=True)  # which of the stored images is asked about; -1: the reader's own
    brightness = traitlets.Float(1.0).tag(sync=True)  # what its pixels are multiplied by
    attention = traitlets.Enum(["last", "rollout"], "last").tag(sync=True)  # of the last layer, or rolled out
    answers = traitlets.Dict().tag(sync=True)  # logits {class, distillation, teacher}: (K,) each, of what is shown
    maps = traitlets.Dict().tag(sync=True)  # the first image's attention {last, rollout}: {token: (N,)}

    def __init__(self, student, teacher, images, labels, class_names, mean, std, kind="test image", remark=""):
        if not isinstance(student, DeiT):
            raise DeiTEduError(
                f"the live figure needs a DeiT, whose tokens look at patches, not a {type(student).__name__}"
            )
        if student.config.num_classes != len(class_names):
            raise DeiTEduError(f"{len(class_names)} class names for {student.config.num_classes} classes: give all")
        check_labelled(images, labels, class_names)
        shown = Preprocessing(tuple(images.shape[1:]), tuple(mean), tuple(std))
        own = {"student": preparation(student, shown)}
        images = as_it_takes(images, own["student"])
        first = own["student"](images[:1])
        with torch.no_grad():
            heads, layers = student.eval()(first), student.attention_maps(first)  # layers (L, 1, h, T, T)
        logits = dict(zip(TOKENS, heads, strict=True)) if student.config.distilled else {"class": heads.class_logits}
        if teacher is not None:
            own["teacher"] = preparation(teacher, own["student"])
            logits["teacher"] = asked_as_in_the_page(teacher, own["teacher"], own["student"])(first)
        mixed = {"last": layers[-1, 0].mean(0), "rollout": attention_rollout(layers)[0]}  # (T, T)
        prefix = student.config.num_prefix_tokens
        exported = {role: export({"student": student, "teacher": teacher}[role], own[role]) for role in own}
        super().__init__(
            student=exported["student"][0], student_weights=exported["student"][1],
            teacher=exported.get("teacher", ({}, b""))[0], teacher_weights=exported.get("teacher", ({}, b""))[1],
            images=packed(images, "u1"), image_shape=list(own["student"].image_shape),
            labels=[int(label) for label in labels], kind=kind, remark=remark, class_names=list(class_names),
            answers={name: said[0].tolist() for name, said in logits.items()},
            maps={
                name: {TOKENS[row]: weights[row, prefix:].tolist() for row in range(prefix)}
                for name, weights in mixed.items()
            },
        )  # fmt: skip

    @classmethod
    def packaged(cls, pair="fashion_clutter", count=24):
        """The student that ships under this name with the teacher that taught it last, and what to ask them about.

        That is `count` test images of fashion_clutter, the classes in turn. No image of CIFAR-10 may be shipped: its
        pair is asked about drawings and a photo.
        """
        found = packaged_pair(pair)
        if pair == "cifar10":
            images, names = drawn_pictures()
            labels, kind = [found.classes.index(name) for name in names], "picture"
        else:
            test, kind = load_dataset(pair).test, "test image"
            chosen = nested_subset(test.labels, count)
            images, labels = test.images[chosen], test.labels[chosen]
        figure = cls(found.student, found.teacher, images, labels, found.classes, found.mean, found.std, kind)
        figure.dark = images.shape[1] == 1  # clothes, drawn light on dark
        return figure

    @classmethod
    def from_run(cls, run, count=24):
        """The student of a finished run, its teacher where a page can run it, and test images of its own.

        Args:
            run: a run folder or its name below runs/, or packaged:NAME_student.
            count: how many test images, the classes in turn; of large ones fewer, so that a page stays small.

        Raises:
            DeiTEduError: when there is no such run, it has not finished, its network is none that a page can run, or
                its data are gone or have changed.
        """
        if is_packaged(str(run)):
            return cls.packaged(str(run).removeprefix(PACKAGED).removesuffix("_student"), count)
        found = open_for_the_page(run)
        test = found.data.test
        size = int(np.prod(test.image_shape))
        chosen = nested_subset(test.labels, min(count, len(test), max(4, int(PICTURES / size))))
        images, labels = test.batch(chosen), torch.as_tensor(test.labels)[chosen]
        statistics = found.data.mean, found.data.std
        return cls(found.student, found.teacher, images, labels, found.data.classes, *statistics, remark=found.remark)

    def shares(self):
        """Probabilities of the answers as they stand: {class, distillation, fused, teacher}: (K,) tensors."""
        shares = {name: torch.tensor(logits).softmax(0) for name, logits in self.answers.items()}
        if "distillation" in shares:
            shares["fused"] = (shares["class"] + shares["distillation"]) / 2
        return shares

    def picture(self):
        C, H, W = self.image_shape
        pixels = np.frombuffer(self.images, np.uint8)[: C * H * W].reshape(C, H, W)
        side, tokens, shares = H // self.student["patch_size"], self.maps["last"], self.shares()
        with plt.rc_context(STYLE):
            count = 1 + len(tokens)
            fig, axes = plt.subplots(1, count + 1, figsize=(NARROW * 1.5, 2.1), width_ratios=(*[1] * count, 1.5))
            axes[0].imshow(pixels.transpose(1, 2, 0).squeeze(), cmap="gray", vmin=0, vmax=255)
            for ax, (token, values) in zip(axes[1:], tokens.items(), strict=False):
                ax.imshow(np.reshape(values, (side, side)))
                ax.set_title(token, color=COLOURS[token])
            for ax in axes[:count]:
                ax.set(xticks=[], yticks=[])
            top = shares.get("fused", shares["class"]).topk(min(3, len(self.class_names))).indices.flip(0).tolist()
            bars = [name for name in ("teacher", "distillation", "class") if name in shares]
            for offset, name in enumerate(bars):
                places = [place + 0.25 * offset for place in range(len(top))]
                axes[-1].barh(places, shares[name][top].numpy(), 0.23, color=COLOURS[name])
            names = [literal(self.class_names[k]) for k in top]
            axes[-1].set(yticks=[place + 0.25 for place in range(len(top))], yticklabels=names, xlim=(0, 1))
        return fig

    def caption(self):
        best = {name: (share.max().item(), self.class_names[share.argmax()]) for name, share in self.shares().items()}
        said = ", ".join(f"{name} {word} ({share:.0%})" for name, (share, word) in best.items())
        shown, tokens = (
            self.class_names[self.labels[0]],
            " and ".join(f"the {token} token" for token in self.maps["last"]),
        )
        verb = "attend" if len(self.maps["last"]) > 1 else "attends"
        return f"""A {self.kind} ({shown}), what {tokens} {verb} to in the last layer, and the answers: {said}."""
