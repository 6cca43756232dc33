"""Distil in the page: two students that learn while the reader watches, with a teacher and without."""

import matplotlib.pyplot as plt
import numpy as np
import torch
import traitlets

from deit_edu.errors import DeiTEduError, counted
from deit_edu.evidence.races import (
    CONFIGURATIONS,
    REGIME,
    STUDENT,
    TEACHERS,
    Races,
    check_settings,
    race_data,
    race_items,
    race_teacher,
    score,
    settings,
)
from deit_edu.model import DeiT, DeiTConfig
from deit_edu.reading.figures import COLOURS, NARROW, STYLE
from deit_edu.runs.weights import check_as_others
from deit_edu.widgets.bootstrap import resampling
from deit_edu.widgets.figure import Figure, packed
from deit_edu.widgets.network import export

MOST_SEEDS = 200  # for which the page knows the interval's width: LIMIT of distil_in_page.js
SIDES = (28, 64)  # of images of one's own, in pixels
ASIDE = 500  # at most so many of them are kept aside
MOST_CLASSES = 256  # a label is a byte


class DistilInPage(Figure):
    """Two students race on the same scenes from the same seed: choose the teacher of each, press Run, and look.

    They are trained in the reader's browser (kernels/). The first view is a finished race from the library's records
    (`deit_edu.evidence.races`), and so is every pair that has one.

    Args:
        student: a DeiTConfig, or a DeiT to go on from; by default the one of the records. Without dropout, registers
            and the like: the page trains a plain DeiT.
        teacher: a DeiT or one of our ConvNets, or {name: network}; by default those of the records. Without images of
            one's own it must know the classes of the records. One that was trained on other statistics of the same
            images sees them in its own.
        images: (n, C, H, H) uint8, 28 to 64 pixels; a fifth of them, at most 500, is kept aside. labels: (n,).
        class_names: K words, at most 256. mean, std: of the images, C numbers each; by default computed.
        a, b: what the two learn from, as `deit_edu.evidence.races.settings` makes it.
        regime: what to change of `deit_edu.evidence.races.REGIME`.

    Raises:
        DeiTEduError: when they do not fit together.
    """

    on_use = ("items", "teacher_weights", "student_weights")

    student = traitlets.Dict().tag(sync=True)  # a DeiTConfig
    student_weights = traitlets.Bytes().tag(sync=True)  # float32, to begin with, in the order that the next one says
    student_weights_given = traitlets.Any().tag(sync=True)  # [[name, count]]; None: the seed draws them
    teachers = traitlets.Dict().tag(sync=True)  # {name: manifest of deit_edu.widgets.network.export}
    teacher_names = traitlets.Dict().tag(sync=True)  # {name: words}
    teacher_weights = traitlets.Bytes().tag(sync=True)  # of all, one after the other
    items = traitlets.Bytes().tag(sync=True)  # (n, 14, 14) for scenes, else (n, C, S, S)
    item_labels = traitlets.Bytes().tag(sync=True)
    learnt = traitlets.Int().tag(sync=True)  # so many are learnt from, the others are kept aside
    scenes = traitlets.Bool().tag(sync=True)
    image_shape = traitlets.List().tag(sync=True)
    class_names = traitlets.List().tag(sync=True)
    mean = traitlets.List().tag(sync=True)
    std = traitlets.List().tag(sync=True)
    regime = traitlets.Dict().tag(sync=True)
    recorded = traitlets.Dict().tag(sync=True)  # {a student in a word: {scores, points and maps of seed 0}}
    recorded_pair = traitlets.Bool().tag(sync=True)  # whether it is the figure of the records
    shown_scenes = traitlets.List().tag(sync=True)  # [{pixels, label}] of the first scenes kept aside
    bootstrap = traitlets.Dict().tag(sync=True)  # what the page needs to draw as NumPy does
    a = traitlets.Dict().tag(sync=True)
    b = traitlets.Dict().tag(sync=True)
    seed = traitlets.Int(0, min=0).tag(sync=True)
    running = traitlets.Bool(False).tag(sync=True)
    step = traitlets.Int(0, min=0).tag(sync=True)  # which is shown
    scene = traitlets.Int(0, min=0).tag(sync=True)  # in which the tokens' attention is shown
    points = traitlets.List().tag(sync=True)  # of the race that the page runs: [{a, b}]
    results = traitlets.List().tag(sync=True)  # of the races that the page has run: [{seed, words, a, b}]
    difference = traitlets.Dict().tag(sync=True)  # B minus A in points: mean, low, high, seeds, verdict

    def __init__(
        self, student=None, teacher=None, images=None, labels=None, class_names=None, mean=None, std=None,
        a=None, b=None, regime=None,
    ):  # fmt: skip
        own = [student, teacher, images, regime]
        teachers = teachers_of(teacher)
        data = scenes_data() if images is None else images_data(images, labels, class_names, mean, std)
        config, given, weights = student_of(student, data)
        regime = REGIME | (regime or {})
        if unknown := set(regime) - set(REGIME):
            raise DeiTEduError(f"a race's regime has no {', '.join(sorted(unknown))}: it has {', '.join(REGIME)}")
        if data["learnt"] < regime["batch"]:
            raise DeiTEduError(f"{data['learnt']} images to learn from do not fill a batch of {regime['batch']}")
        exported = {name: export(one, getattr(one, "preprocessing", None)) for name, one in teachers.items()}
        for name, (manifest, _) in exported.items():
            check_teacher(name, manifest, config)
        first = next(iter(teachers))
        hard = settings(first, "hard", "both" if config.distilled else "class")
        pair = {"a": a or settings(), "b": b or hard}
        for one in pair.values():
            check_settings(one, teachers)
            if given and not config.distilled and one["tokens"] == "both":
                raise DeiTEduError("the student to go on from has one token: give settings with tokens='class'")
        recorded, shown = records()
        if any(one is not None for one in own):
            recorded = {}
        if not data["scenes"]:
            shown = first_images(data)
        self.first = pair
        super().__init__(
            student=config.to_dict(), student_weights=weights, student_weights_given=given,
            teachers={name: manifest for name, (manifest, _) in exported.items()},
            teacher_weights=b"".join(weights for _, weights in exported.values()),
            teacher_names={name: TEACHERS.get(name, name) for name in teachers}, regime=regime, recorded=recorded,
            recorded_pair=bool(recorded), shown_scenes=shown, step=regime["steps"],
            bootstrap=resampling(MOST_SEEDS), **pair, **data,
        )  # fmt: skip

    def racing(self):
        """The accuracies of both students at the end of the first record: ((A's, B's) by step, steps), or None."""
        both = [self.recorded.get(word_of(self.first[side])) for side in ("a", "b")]
        if not all(both):
            return None
        steps = [point["step"] for point in both[0]["points"]]
        return [[score(point) for point in one["points"]] for one in both], steps

    def picture(self):
        found = self.racing()
        with plt.rc_context(STYLE):
            fig, ax = plt.subplots(figsize=(NARROW, 2.6))
            if found:
                (one, other), steps = found
                ax.plot(steps, [100 * value for value in one], color=COLOURS["plain"], linestyle="--", label="A")
                ax.plot(steps, [100 * value for value in other], color=COLOURS["fused"], label="B")
                ax.legend()
            ax.set(xlabel="step", ylabel="accuracy (%)", title="Two students on scenes kept aside")
        return fig

    def caption(self):
        said = "Two students, A and B, that learn in this page."
        if found := self.racing():
            (one, other), steps = found
            said += f""" In the recorded race of seed 0, after {steps[-1]} steps, A, {in_words(self.first["a"])}, is
            right on {one[-1]:.1%} of the scenes kept aside, and B, {in_words(self.first["b"])}, on {other[-1]:.1%}."""
        return said


# ---- what the figure is made from ----


def teachers_of(teacher):
    """{name: network} of what the reader gave, or of the records."""
    if teacher is None:
        return {name: race_teacher(name)[0] for name in TEACHERS}
    if not isinstance(teacher, dict):
        return {"teacher": teacher}
    if not teacher:
        raise DeiTEduError("an empty dictionary names no teacher: give at least one, or none at all")
    if bad := [name for name in teacher if not str(name).isalnum() or name in ("none", "shuffled")]:
        raise DeiTEduError(f"a teacher cannot be called {bad[0]!r}: use letters and digits, as in 'convnet'")
    return teacher


def scenes_data():
    """The traits that say what is learnt: the items of the records, of which the page draws scenes."""
    items, labels, learnt = race_items()
    data = race_data()
    return dict(
        items=items.tobytes(), item_labels=labels.tobytes(), learnt=learnt, scenes=True, mean=list(data.mean),
        std=list(data.std), class_names=list(data.classes), image_shape=[1, STUDENT.image_size, STUDENT.image_size],
    )  # fmt: skip


def images_data(images, labels, class_names, mean, std):
    """The same of images of the reader's own, shuffled by a fixed seed. Raises DeiTEduError when they do not fit."""
    images = torch.as_tensor(images)
    n, *shape = images.shape
    if len(shape) != 3 or shape[1] != shape[2] or shape[0] not in (1, 3) or images.dtype != torch.uint8:
        raise DeiTEduError(f"{images.dtype} images {tuple(images.shape)}: give uint8 images (n, 1 or 3, H, H)")
    if not SIDES[0] <= shape[1] <= SIDES[1]:
        raise DeiTEduError(f"images of {shape[1]} pixels a side: resize them to {SIDES[0]} to {SIDES[1]}")
    if labels is None or class_names is None or len(labels) != n:
        raise DeiTEduError(f"{n} images need a label each, and class_names: give both")
    if len(class_names) > MOST_CLASSES:
        raise DeiTEduError(f"{len(class_names)} classes: the page holds {MOST_CLASSES} at most, so choose among them")
    labels = np.asarray(labels)
    if labels.min() < 0 or labels.max() >= len(class_names):
        raise DeiTEduError(f"labels {labels.min()} to {labels.max()} do not fit {len(class_names)} class names")
    order = np.random.RandomState(0).permutation(n)
    aside = min(ASIDE, n // 5)
    images, labels = images[order], labels[order]
    learnt = images[: n - aside].float() / 255
    mean = of_channels(learnt.mean(dim=(0, 2, 3)) if mean is None else mean, shape[0])
    std = of_channels(learnt.std(dim=(0, 2, 3)) if std is None else std, shape[0])
    return dict(
        items=packed(images, "u1"), item_labels=packed(labels, "u1"), learnt=n - aside, scenes=False, mean=mean,
        std=std, class_names=list(class_names), image_shape=shape,
    )  # fmt: skip


def of_channels(values, channels):
    """A mean or a deviation as the page gets it."""
    numbers = np.ravel(values).tolist()
    if len(numbers) != channels:
        raise DeiTEduError(f"images of {counted(channels, 'channel')}: give a mean and a std for each, and no more")
    return numbers


def student_of(student, data):
    """(its DeiTConfig, [[name, count]] and the bytes of the weights to begin with, or None and b"")."""
    config = student.config if isinstance(student, DeiT) else student or STUDENT
    if not isinstance(config, DeiTConfig):
        raise DeiTEduError(f"a student is a DeiTConfig or a DeiT, not {type(student).__name__}")
    check_as_others(config)
    if config.drop_rate or config.drop_path_rate:
        raise DeiTEduError("a student in the page learns without dropout: give drop_rate=0 and drop_path_rate=0")
    sees = [config.in_channels, config.image_size, config.image_size]
    if sees != data["image_shape"] or config.num_classes != len(data["class_names"]):
        raise DeiTEduError(
            f"a student of {config.num_classes} classes that sees {tuple(sees)} does not fit images of "
            f"{tuple(data['image_shape'])} and {len(data['class_names'])} classes: change the one or the other"
        )
    if not isinstance(student, DeiT):
        return config, None, b""
    weights = [(name, parameter.detach()) for name, parameter in student.named_parameters()]
    numbers = torch.cat([parameter.flatten() for _, parameter in weights])
    return config, [[name, parameter.numel()] for name, parameter in weights], packed(numbers, "f4")


def check_teacher(name, manifest, config):
    """Refuse a teacher of other classes or other images than the student's."""
    shapes = dict(manifest["tensors"])
    classes = shapes.get("head.bias", shapes.get("class_head.bias"))[0]
    if classes != config.num_classes:
        raise DeiTEduError(
            f"the teacher {name} knows {classes} classes, the student {config.num_classes}: give both the same"
        )
    size = manifest.get("image_size", config.image_size)
    shapes = [[manifest["in_channels"], size, size], manifest.get("preprocessing", {}).get("image_shape")]
    if any(shape not in (None, [config.in_channels, config.image_size, config.image_size]) for shape in shapes):
        raise DeiTEduError(f"the teacher {name} sees other images than the student: give one trained on the same")


# ---- what the records show ----


def records():
    """(the trait `recorded`, the trait `shown_scenes`), from the records of races."""
    races = Races()
    recorded = {}
    shown = []
    for name, one in CONFIGURATIONS.items():
        seeds = races.seeds(name)
        if 0 not in seeds:
            continue
        first = races.records[name, 0]
        scores = {str(seed): score(races.records[name, seed]["points"][-1]) for seed in seeds}
        maps = [prefix_maps(looked["attention"], one["tokens"]) for looked in first["looked"]]
        recorded[word_of(one)] = {"scores": scores, "points": first["points"], "maps": maps}
        shown = shown or [{"pixels": looked["pixels"], "label": looked["label"]} for looked in first["looked"]]
    return recorded, shown


def prefix_maps(attention, tokens):
    """What each prefix token takes from every patch in the last layer, the mean over heads: lists (Q, N)."""
    prefix = 2 if tokens == "both" else 1
    maps = np.reshape(attention, (STUDENT.depth, STUDENT.num_heads, prefix, -1))
    return np.round(maps[-1].mean(0)[:, prefix:], 4).tolist()


def first_images(data, count=10):
    """The trait `shown_scenes` of images of one's own."""
    size = int(np.prod(data["image_shape"]))
    kept = np.frombuffer(data["items"], np.uint8).reshape(-1, size)[data["learnt"] :][:count]
    labels = data["item_labels"][data["learnt"] :]
    return [{"pixels": image.tolist(), "label": label} for image, label in zip(kept, labels, strict=False)]


def word_of(one):
    """A student in a word: `wordOf` of race_settings.js."""
    if one["distillation"] == "none":
        return f"none_{one['tokens']}"
    weight = {"soft": 0.1, "hard": 0.5}[one["distillation"]] if one["weight"] is None else one["weight"]
    tau = one["temperature"] if one["distillation"] == "soft" else 0
    who = f"shuffled_{one['teacher']}" if one["shuffled"] else one["teacher"]
    return f"{who}_{one['distillation']}_{one['tokens']}_{tau:g}_{weight:g}"


def in_words(one):
    """As in "taught by a convnet (hard)": `inWords` of race_settings.js."""
    if one["distillation"] == "none":
        return "two class tokens, no teacher" if one["tokens"] == "both" else "without a teacher"
    answers = " whose answers are shuffled" if one["shuffled"] else ""
    return f"taught by {TEACHERS.get(one['teacher'], one['teacher'])}{answers} ({one['distillation']})"
