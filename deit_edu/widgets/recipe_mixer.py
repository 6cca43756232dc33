"""Recipe mixer: what augmentation makes of an image, of its label, and of the teacher's answer."""

import matplotlib.pyplot as plt
import numpy as np
import torch
import traitlets

from deit_edu import augment
from deit_edu.data.names import load_dataset
from deit_edu.data.splits import denormalise, nested_subset, normalise
from deit_edu.errors import DeiTEduError
from deit_edu.losses import smooth_labels
from deit_edu.reading.figures import COLOURS, NARROW, STYLE
from deit_edu.runs.preprocess import Preprocessing
from deit_edu.runs.recipes import PAPER
from deit_edu.train import seeded_generator
from deit_edu.widgets.figure import Figure, packed
from deit_edu.widgets.network import asked_as_in_the_page, export, packaged_pair, preparation

DRAWS = 4  # of RandAugment, that the reader can choose from
# What the mixed image follows from: these traits.
CHOICES = ("image", "partner", "rand_augment", "erasing", "hole", "mixing", "lam", "centre")


class RecipeMixer(Figure):
    """Mix two images as the loop does: the image that both networks see, the label, and what the teacher says of it.

    Paper: section 6 and table 9. The order is that of `deit_edu.train.augmented_batch`. The teacher runs in the
    reader's browser (network.js); until something changes, the page shows what Python computed.

    Args:
        images: (n, C, H, W) uint8, square. labels: n classes. class_names: K words.
        mean, std: of the training images, C numbers each: what the loop normalises with before it mixes.
        teacher: a DeiT or one of our ConvNets; it sees the result at its own size and in its own statistics.
        image, partner: which two are mixed at first.

    Raises:
        DeiTEduError: when they do not fit together.
    """

    on_use = ("teacher_weights", "draws")

    teacher = traitlets.Dict().tag(sync=True)  # manifest of deit_edu.widgets.network.export
    teacher_weights = traitlets.Bytes().tag(sync=True)
    images = traitlets.Bytes().tag(sync=True)
    draws = traitlets.Bytes().tag(sync=True)  # every image RandAugmented: (DRAWS, n, C, H, W) uint8
    num_draws = traitlets.Int(DRAWS).tag(sync=True)
    noise = traitlets.Bytes().tag(sync=True)  # what erasing fills with: (C, H, W) float16
    beta = traitlets.Dict().tag(sync=True)  # {mixing: {alpha, density}}: where lambda is drawn from, table 9
    image_shape = traitlets.List().tag(sync=True)
    labels = traitlets.List().tag(sync=True)
    class_names = traitlets.List().tag(sync=True)
    mean = traitlets.List().tag(sync=True)
    std = traitlets.List().tag(sync=True)
    image = traitlets.Int(0).tag(sync=True)  # A
    partner = traitlets.Int(1).tag(sync=True)  # B
    rand_augment = traitlets.Int(0).tag(sync=True)  # which of the draws; 0: none
    erasing = traitlets.Bool(False).tag(sync=True)  # of A
    hole = traitlets.List([0.5, 0.5, 0.3, 0.6]).tag(sync=True)  # uniform draws: area, aspect, y, x of what is erased
    mixing = traitlets.Enum(["none", "mixup", "cutmix"], "mixup").tag(sync=True)
    lam = traitlets.Float(0.6, min=0, max=1).tag(sync=True)  # lambda: the share that A keeps
    centre = traitlets.List([0.5, 0.5]).tag(sync=True)  # uniform draws: y, x of CutMix's rectangle
    label_smoothing = traitlets.Float(0.1).tag(sync=True)  # epsilon
    smoothing_over = traitlets.Enum(["others", "all"], "others").tag(sync=True)
    temperature = traitlets.Float(3.0).tag(sync=True)  # of the teacher's soft answer
    answer = traitlets.List().tag(sync=True)  # the teacher's logits of the mixed image, (K,)
    answered = traitlets.Dict().tag(sync=True)  # {choice: its value} when the teacher was asked

    def __init__(self, images, labels, class_names, mean, std, teacher, image=0, partner=1):
        images = torch.as_tensor(images)
        labels, names = [int(label) for label in labels], list(class_names)
        n, *shape = images.shape
        if len(shape) != 3 or shape[1] != shape[2] or images.dtype != torch.uint8 or not len(labels) == n > 0:
            raise DeiTEduError(
                f"{len(labels)} labels for {images.dtype} images of shape {tuple(images.shape)}: give square uint8 "
                f"images (n, C, H, H), and one label for each"
            )
        if min(labels) < 0 or max(labels) >= len(names):
            raise DeiTEduError(f"labels {min(labels)} to {max(labels)} do not fit {len(names)} class names: give all")
        if not 0 <= min(image, partner) <= max(image, partner) < n:
            raise DeiTEduError(f"images {image} and {partner} cannot be mixed: choose two of 0 to {n - 1}")
        given = Preprocessing(tuple(shape), tuple(mean), tuple(std))
        own = preparation(teacher, given)
        manifest, weights = export(teacher, own)
        pair = images[[image, partner]]
        pair_labels = torch.tensor([labels[image], labels[partner]])
        targets = smooth_labels(pair_labels, len(names), self.label_smoothing, self.smoothing_over)  # (2, K)
        mixed, targets = augment.mixup(normalise(pair, mean, std), targets, self.lam)
        logits = asked_as_in_the_page(teacher, own, given)(mixed[:1])[0]  # (K,)
        if len(logits) != len(names):
            raise DeiTEduError(f"{len(names)} class names for the {len(logits)} classes of the teacher: give all")
        self.opened = pair, mixed[0], targets[0]  # for the picture: (2, C, H, W), (C, H, W), (K,)
        draws = [augment.rand_augment(images, mean, seeded_generator(seed)) for seed in range(DRAWS)]
        first = {name: getattr(self, name) for name in CHOICES} | {"image": image, "partner": partner}
        super().__init__(
            teacher=manifest, teacher_weights=weights, images=packed(images, "u1"), image_shape=shape,
            draws=packed(torch.stack(draws), "u1"),
            noise=packed(torch.randn(shape, generator=seeded_generator(0)), "f2"),
            beta={kind: beta(PAPER[f"{kind}_alpha"]) for kind in ("mixup", "cutmix")},
            labels=labels, class_names=names, mean=list(mean), std=list(std),
            image=image, partner=partner, answer=logits.tolist(), answered=first,
        )  # fmt: skip

    @classmethod
    def packaged(cls, count=12):
        """The teacher that ships, and `count` training images as a student sees them, the classes in turn."""
        pair, split = packaged_pair("fashion_clutter"), load_dataset("fashion_clutter").redraw(0, 1)
        chosen = nested_subset(split.labels, count)
        images, labels = split.images[chosen], split.labels[chosen]
        shown = dict(image=1 % count, partner=7 % count)  # trousers and a sneaker
        return cls(images, labels, pair.classes, pair.mean, pair.std, pair.teacher, **shown)

    def picture(self):
        pair, mixed, target = self.opened
        pixels = [*pair / 255, denormalise(mixed, self.mean, self.std)]
        soft = (torch.tensor(self.answer) / self.temperature).softmax(0)
        rows = torch.maximum(target, soft).topk(min(5, len(soft))).indices
        places = np.arange(len(rows))
        with plt.rc_context(STYLE):
            fig, axes = plt.subplots(1, 4, figsize=(NARROW * 1.5, 2.1), width_ratios=(1, 1, 1, 1.6))
            for ax, image, title in zip(axes, pixels, ("A", "B", "result"), strict=False):
                ax.imshow(image.permute(1, 2, 0).squeeze(-1).numpy(), cmap="gray", vmin=0, vmax=1)
                ax.set(title=title, xticks=[], yticks=[])
            for offset, (who, values) in enumerate({"truth": target, "teacher": soft}.items()):
                axes[3].barh(places + 0.38 * offset, values[rows].numpy(), 0.36, color=COLOURS[who])
            axes[3].set(title="label, teacher", xlim=(0, 1), yticks=places + 0.19,
                        yticklabels=[self.class_names[k] for k in rows])  # fmt: skip
            axes[3].invert_yaxis()
        return fig

    def caption(self):
        target, answer = self.opened[2], torch.tensor(self.answer)
        pair = [self.labels[self.answered[who]] for who in ("image", "partner")]
        a, b = (self.class_names[label] for label in pair)
        weights = " and ".join(f"{target[label]:.2f} {self.class_names[label]}" for label in dict.fromkeys(pair))
        hard = self.class_names[answer.argmax()]
        soft = (answer / self.temperature).softmax(0).max().item()
        return f"""A training image (A, {a}), its partner (B, {b}), and their Mixup, of which A is
        {self.answered["lam"]:.0%}. The class head learns the mixed and smoothed label (black), {weights}. The teacher
        (green), asked about the result, decides for {hard} ({soft:.2f} at temperature {self.temperature:g})."""


def beta(alpha):
    """Beta(alpha, alpha) for the page: its parameter, and its density at 0.02, 0.04, ..., 0.98."""
    places = torch.arange(1, 50) / 50
    density = torch.distributions.Beta(alpha, alpha).log_prob(places).exp()
    return {"alpha": alpha, "density": [round(value, 4) for value in density.tolist()]}
