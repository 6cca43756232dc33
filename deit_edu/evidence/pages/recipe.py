"""The recipe (table 8): each ingredient put in or taken out, without distillation."""

from deit_edu.data import load_dataset
from deit_edu.evidence.grids import EXPERIMENTS
from deit_edu.evidence.pages.pieces import claimed, difference, differences, evidence, fold, mean_of, ours, row, said

BASE = ("base", "class")


def against_base(configuration):
    return difference("recipe", (configuration, "class"), BASE)


def config(name):
    return evidence().results.cell("recipe", name, 0).config


def answer():
    return said(
        f"""They make it worse: RandAugment costs a student this small, trained so briefly,
{ours("rand-augment-helps")} points, mixing {ours("mixing-helps")}, repeated augmentation
{ours("repeated-augmentation-helps")}; but AdamW beats SGD and dropout hurts, as in the paper.""",
        rand_augment_helps="reversed", mixing_helps="reversed", repeated_augmentation_helps="reversed",
        adamw_beats_sgd="reproduced", dropout_hurts="reproduced",
    )  # fmt: skip


def figure():
    def put_in(label, name):
        return row(f"{label} − base", "recipe", (name, "class"), BASE, "class")

    return differences(
        [
            claimed("adamw-beats-sgd", "AdamW − SGD", "class"),
            claimed("rand-augment-helps", "RandAugment − base", "class"),
            claimed("rand-augment-beats-auto-augment", "RandAugment − AutoAugment", "class"),
            claimed("mixing-helps", "Mixup and CutMix − base", "class"),
            put_in("Mixup", "mixup"),
            put_in("CutMix", "cutmix"),
            claimed("mixup-helps", "Mixup beside CutMix − CutMix", "class"),
            claimed("cutmix-helps", "CutMix beside Mixup − Mixup", "class"),
            claimed("repeated-augmentation-helps", "repeated augmentation − base", "class"),
            claimed("dropout-hurts", "dropout − base", "class"),
            put_in("stochastic depth", "stochastic_depth"),
            put_in("erasing", "erasing"),
            put_in("no label smoothing", "no_label_smoothing"),
            put_in("moving average", "moving_average"),
        ]
    )


def reading():
    return said(
        f"""The ingredients make training harder, and a large network may need that, or it learns its images by heart in
so many epochs. Ours has {config("base").epochs} epochs of images drawn anew, and is nowhere near. So what makes
training harder makes it worse. Read *reversed* as: not for a network this small, trained so briefly. Mixing cost in
chapter 7, too. But the student of photographs, on a page of its own, which trained for hours, seems
to gain by mixing and by RandAugment both. A longer training on the canvases we did not try. Of repeated augmentation
the authors say as much themselves: almost no effect for Ti and S (issues 89 and 95 of their repository).

Two more signs are the paper's. RandAugment harms less than AutoAugment. Dropout hurts, and here that is one more thing
that makes training harder.

With Mixup and CutMix together as bad as this, what one of them adds to the other says little, and is not resolved:
Mixup {ours("mixup-helps")}, CutMix {ours("cutmix-helps")}. Alone, each already costs. More seeds would not make that
question a better one, so we ran no more.""",
        mixup_helps="not resolved", cutmix_helps="not resolved", rand_augment_helps="reversed",
        rand_augment_beats_auto_augment="reproduced", mixing_helps="reversed", repeated_augmentation_helps="reversed",
        dropout_hurts="reproduced",
    )  # fmt: skip


def sgd_twice():
    """Why SGD has a weight decay of its own."""
    settings = {name: config(name) for name in ("base", "sgd", "sgd_decay_0.05")}
    light = settings["sgd"].weight_decay
    # What decay takes of a weight in one step, at the peak: SGD's momentum of 0.9 gathers ten of them.
    pull = {
        name: one.learning_rate * one.weight_decay * (10 if one.optimizer == "sgd" else 1)
        for name, one in settings.items()
    }
    tuning = EXPERIMENTS["tuning"].configurations
    rates = [name for name in tuning if name.startswith("sgd") and name.endswith(f"decay_{light:g}")]
    return fold(
        "SGD, run twice",
        said(
            f"""In our first series SGD stood at {against_base("sgd_decay_0.05")} points, and most of that was not the
optimiser's doing. Both had the weight decay {settings["base"].weight_decay:g}, which was tuned for AdamW. In SGD the
decay is a part of the gradient, so the learning rate and the momentum enlarge it: at the peak it shrinks the weights
some {pull["sgd_decay_0.05"] / pull["base"]:.0f} times as hard per step. So we tuned SGD again with a decay of
{light:g}, among {len(rates)} rates on validation images, and ran the row again. Now it stands at
{against_base("sgd")}. A short training may still punish a slow optimiser, which we did not test.""",
            adamw_beats_sgd="reproduced",
        ),
    )


def the_rest():
    """Ingredients for which the paper's numbers are nothing to compare with."""
    steps = len(load_dataset("fashion_clutter").train) // config("base").batch_size
    memory = 1 / (1 - config("moving_average").ema_decay) / steps
    return fold(
        "Erasing, stochastic depth, label smoothing, a moving average",
        f"""A moving average of the weights costs {against_base("moving_average")}: it remembers some {memory:.0f} of
the {config("base").epochs} epochs, and so answers with weights that were not finished yet. The rest is near zero or
below: stochastic depth {against_base("stochastic_depth")}, erasing {against_base("erasing")}, no label smoothing
{against_base("no_label_smoothing")}. The paper's runs without erasing, or without stochastic depth, "did not train
well, possibly because hyper-parameters are not adapted", and its moving average changes nothing beyond its own
spread, so there is nothing to compare. The base stands at {mean_of("recipe", *BASE):.1f} %.""",
    )
