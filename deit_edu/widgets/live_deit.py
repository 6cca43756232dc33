"""Live DeiT: the trained student and its teacher inside the page, asked about any picture."""

import matplotlib.pyplot as plt
import numpy as np
import torch
import traitlets

from deit_edu.data.names import load_dataset
from deit_edu.data.packaged import drawn_pictures
from deit_edu.data.splits import normalise
from deit_edu.errors import DeiTEduError
from deit_edu.inspect import attention_rollout
from deit_edu.model import DeiT, fuse
from deit_edu.reading.figures import COLOURS, NARROW, STYLE
from deit_edu.runs.checkpoints import load_network, packaged_path
from deit_edu.teachers import as_head_logits
from deit_edu.widgets.figure import Figure, packed
from deit_edu.widgets.network import export


class LiveDeiT(Figure):
    """Draw, upload or choose an image: both heads, both fusions and the teacher answer, and the attention follows.

    The networks run in the reader's browser (network.js). Their weights are fetched when they are first needed;
    until then the page shows what Python computed for the first image.

    Args:
        student: a DeiT with the distillation token. teacher: a DeiT or one of our ConvNets.
        images: (n, C, H, W) uint8, to choose from. labels: n classes. class_names: K words.
        mean, std: of the training images, C numbers each.
        kind: what the stored images are, as in "test image".

    Raises:
        DeiTEduError: when they do not fit together.
    """

    on_use = ("student_weights", "teacher_weights")

    student = traitlets.Dict().tag(sync=True)  # manifests of deit_edu.widgets.network.export
    teacher = traitlets.Dict().tag(sync=True)
    student_weights = traitlets.Bytes().tag(sync=True)
    teacher_weights = traitlets.Bytes().tag(sync=True)
    images = traitlets.Bytes().tag(sync=True)
    image_shape = traitlets.List().tag(sync=True)
    labels = traitlets.List().tag(sync=True)
    kind = traitlets.Unicode().tag(sync=True)
    class_names = traitlets.List().tag(sync=True)
    mean = traitlets.List().tag(sync=True)
    std = traitlets.List().tag(sync=True)
    image = traitlets.Int(0).tag(sync=True)  # which of the stored images is asked about; -1: the reader's own
    brightness = traitlets.Float(1.0).tag(sync=True)  # what its pixels are multiplied by
    attention = traitlets.Enum(["last", "rollout"], "last").tag(sync=True)  # of the last layer, or rolled out
    answers = traitlets.Dict().tag(sync=True)  # logits {class, distillation, teacher}: (K,) each, of what is shown
    maps = traitlets.Dict().tag(sync=True)  # the first image's attention {last, rollout}: {token: (N,)}

    def __init__(self, student, teacher, images, labels, class_names, mean, std, kind="test image"):
        if not (isinstance(student, DeiT) and student.config.distilled):
            raise DeiTEduError(
                "the live figure needs a DeiT with both tokens: train one with --tokens both and a --teacher"
            )
        sizes = (student.config.in_channels, student.config.image_size, student.config.image_size)
        if tuple(images.shape[1:]) != sizes or len(images) != len(labels) or not len(images):
            raise DeiTEduError(
                f"{tuple(images.shape)} images and {len(labels)} labels do not fit a student of {sizes}: "
                f"give one label for each image, and images of its size"
            )
        if student.config.num_classes != len(class_names):
            raise DeiTEduError(f"{len(class_names)} class names for {student.config.num_classes} classes: give all")
        first = normalise(images[:1], mean, std)
        with torch.no_grad():
            heads, taught = student.eval()(first), fuse(as_head_logits(teacher.eval()(first)))
            layers = student.attention_maps(first)  # (L, 1, h, T, T)
        answers = {"class": heads.class_logits, "distillation": heads.distillation_logits, "teacher": taught}
        mixed = {"last": layers[-1, 0].mean(0), "rollout": attention_rollout(layers)[0]}  # (T, T)
        manifests = {role: export(network) for role, network in {"student": student, "teacher": teacher}.items()}
        super().__init__(
            student=manifests["student"][0], student_weights=manifests["student"][1],
            teacher=manifests["teacher"][0], teacher_weights=manifests["teacher"][1],
            images=packed(images, "u1"), image_shape=list(sizes), labels=[int(label) for label in labels],
            kind=kind, class_names=list(class_names), mean=list(mean), std=list(std),
            answers={name: logits[0].tolist() for name, logits in answers.items()},
            maps={
                name: {"class": weights[0, 2:].tolist(), "distillation": weights[1, 2:].tolist()}
                for name, weights in mixed.items()
            },
        )  # fmt: skip

    @classmethod
    def packaged(cls, pair="fashion_clutter", count=24):
        """The student that ships under this name with the teacher that taught it last, and what to ask them about.

        That is `count` test images of fashion_clutter, the classes in turn. No image of CIFAR-10 may be shipped: its
        pair is asked about drawings and a photo.
        """
        student, seen = load_network(packaged_path(f"{pair}_student"))
        teacher, _ = load_network(packaged_path(seen["teacher"]))
        if pair == "cifar10":
            images, names = drawn_pictures()
            labels = [seen["classes"].index(name) for name in names]
            return cls(student, teacher, images, labels, seen["classes"], seen["mean"], seen["std"], kind="picture")
        dataset = load_dataset(pair)
        labels = dataset.test.labels
        of_class = [(labels == label).nonzero()[:, 0] for label in range(dataset.num_classes)]
        chosen = [of_class[n % len(of_class)][n // len(of_class)].item() for n in range(count)]
        images, names = dataset.test.images[chosen], dataset.classes
        return cls(student, teacher, images, labels[chosen], names, dataset.mean, dataset.std)

    def shares(self):
        """Probabilities of the answers as they stand: {class, distillation, fused, teacher}: (K,) tensors."""
        shares = {name: torch.tensor(logits).softmax(0) for name, logits in self.answers.items()}
        return shares | {"fused": (shares["class"] + shares["distillation"]) / 2}

    def picture(self):
        C, H, W = self.image_shape
        pixels = np.frombuffer(self.images, np.uint8)[: C * H * W].reshape(C, H, W)
        side = H // self.student["patch_size"]
        with plt.rc_context(STYLE):
            fig, axes = plt.subplots(1, 4, figsize=(NARROW * 1.5, 2.1), width_ratios=(1, 1, 1, 1.5))
            axes[0].imshow(pixels.transpose(1, 2, 0).squeeze(), cmap="gray")
            for ax, token in zip(axes[1:], ("class", "distillation"), strict=False):
                ax.imshow(np.reshape(self.maps["last"][token], (side, side)))
                ax.set_title(token, color=COLOURS[token])
            for ax in axes[:3]:
                ax.set(xticks=[], yticks=[])
            shares = self.shares()
            top = shares["fused"].topk(3).indices.flip(0).tolist()
            for offset, name in enumerate(("teacher", "distillation", "class")):
                places = [place + 0.25 * offset for place in range(3)]
                axes[3].barh(places, shares[name][top].numpy(), 0.23, color=COLOURS[name])
            axes[3].set(yticks=[0.25, 1.25, 2.25], yticklabels=[self.class_names[k] for k in top], xlim=(0, 1))
        return fig

    def caption(self):
        best = {name: (share.max().item(), self.class_names[share.argmax()]) for name, share in self.shares().items()}
        said = ", ".join(f"{name} {word} ({share:.0%})" for name, (share, word) in best.items())
        shown = self.class_names[self.labels[0]]
        return f"""A {self.kind} ({shown}), what the class token and the distillation token attend to in the last layer,
        and the answers: {said}."""
