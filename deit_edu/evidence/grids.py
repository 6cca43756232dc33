"""The reruns: which networks are trained for which table of the paper.

Paper: tables 2 to 8 and 10, figure 3, sections 3.2 and 4. `BASE` is the regime, `EXPERIMENTS` says what each
configuration changes in it. What should come out is written in `deit_edu.evidence.claims`.
"""

from deit_edu.evidence.experiment import Experiment
from deit_edu.evidence.regime import (
    BFLOAT16,
    BY_SHIPPED,
    BY_STRONG,
    FINE_TUNING,
    HALF,
    LIGHT_DECAY,
    MIXING,
    NONE,
    QUARTER,
    SGD,
    TOKEN_HARD,
    TOKEN_SOFT,
    convnet,
    seen_at,
)
from deit_edu.evidence.second_grids import SECOND
from deit_edu.runs.recipes import RECIPES

LONG = TOKEN_HARD | BY_SHIPPED | BFLOAT16 | RECIPES["small", "cifar10"]["student"]
LONG_MIXED = LONG | BY_STRONG | MIXING | dict(initial=LONG, epochs=40)
# Half the rate: to lose less of what is learned when it rises again.
LONG_FURTHER = LONG_MIXED | dict(initial=LONG_MIXED, epochs=48, learning_rate=4e-3)
LONG_AUGMENTED = LONG_FURTHER | dict(initial=LONG_FURTHER, epochs=52, rand_augment=True)
# Table 3, a soft row with the token, and the control of section 4. A run with both tokens gives three of the table's
# rows, one for each head and one for the fusion.
SIX_ROWS = {
    "none": NONE,
    "soft_class": dict(TOKEN_SOFT, tokens="class"),
    "hard_class": dict(TOKEN_HARD, tokens="class"),
    "token_soft": TOKEN_SOFT,
    "token_hard": TOKEN_HARD,
    "two_class_tokens": dict(tokens="both"),  # the control of section 4: the same target for both
}

SCHEDULE = {
    f"{kind}_x{times}": dict(settings, epochs=10 * times)
    for times in (1, 2, 4)  # x4 is the others' length
    for kind, settings in {"none": NONE, "token_hard": TOKEN_HARD}.items()
}


def training_sizes(sizes):
    """Convnet, plain and distilled student on fewer images, in equally many steps."""
    kinds = {"convnet": convnet(), "none": HALF, "token_hard": TOKEN_HARD | HALF}
    fewer = {f"{kind}_{n}": dict(settings, train_images=n) for n in sizes for kind, settings in kinds.items()}
    return fewer | {f"{kind}_all": settings for kind, settings in kinds.items()}


# Transfer: from the first five classes to the others, half of all images each.
SOURCE, TARGET = dict(classes="0-4"), dict(classes="5-9")
TRANSFER_RATE = 3.2e-2  # the best of those that `tuning` compares


def transfers(sizes):
    """Students of the other classes, from nothing, from a plain and from a distilled student, in equally many steps."""
    starts = {
        "from_nothing": dict(),
        "from_plain": dict(initial=SOURCE, learning_rate=TRANSFER_RATE),
        # From here on both heads learn the labels: no teacher knows these classes.
        "from_distilled": dict(initial=TOKEN_HARD | SOURCE, tokens="both", learning_rate=TRANSFER_RATE),
        # The control: as many tokens and heads as the distilled one, and no teacher.
        "from_two_class_tokens": dict(initial=dict(SOURCE, tokens="both"), tokens="both", learning_rate=TRANSFER_RATE),
    }
    return {
        f"{start}_{size or 'all'}": dict(settings, **TARGET, **HALF, train_images=size)
        for size in sizes
        for start, settings in starts.items()
    }


# A folder of one's own: so many pictures, in equally many steps, alone, with a teacher, and from a trained student.
OWN_SIZES = (50, 300, 3000)
OWN_CONVNET, BY_OWN = convnet("convnet_weak"), dict(TOKEN_HARD, teacher=("convnet_weak",))
STARTED = dict(
    model="deit_micro_patch4_28", initial="packaged:fashion_clutter_student", tokens="both",
    epochs=1, warmup_epochs=0, learning_rate=FINE_TUNING["learning_rate"],
)  # fmt: skip


def own_pictures(sizes, kinds):
    """Configurations of so many pictures each: {kind: settings} -> {kind_size: settings}."""
    return {f"{kind}_{n}": dict(settings, train_images=n) for n in sizes for kind, settings in kinds.items()}


BEFORE_TUNING = dict(learning_rate=8e-3)  # the regimes came first; `tuning` then found a better rate for the student


def regimes():
    """Plain and distilled student in each of the regimes that were tried: images, epochs, mixing."""
    found = {}
    for images, redraw in {"fixed": False, "redrawn": True}.items():
        for epochs in (10, 20):
            for kind, settings in {"none": NONE, "token_hard": TOKEN_HARD}.items():
                found[f"{images}_{epochs}_{kind}"] = dict(settings, redraw=redraw, epochs=epochs, **BEFORE_TUNING)
        for kind, settings in {"none": NONE, "token_hard": TOKEN_HARD}.items():
            found[f"{images}_20_mixed_{kind}"] = dict(settings, redraw=redraw, epochs=20, **MIXING, **BEFORE_TUNING)
    by_mixed = dict(TOKEN_HARD, teacher=("convnet_mixed",), redraw=True, epochs=20, **MIXING, **BEFORE_TUNING)
    return found | {"redrawn_20_mixed_by_mixed": by_mixed}


EXPERIMENTS = {
    "regime": Experiment(
        "Where distillation has something to say: images, epochs and mixing, explored on validation",
        "ours",
        regimes(),
        seeds=2,
        split="validation",
    ),
    "tuning": Experiment(
        "The recipe of the model without distillation, chosen on validation",
        "table 9",
        {
            **{f"learning_rate_{rate:g}": dict(QUARTER, learning_rate=rate) for rate in (4e-3, 8e-3, 1.6e-2, 3.2e-2)},
            **{
                f"weight_decay_{decay:g}": dict(QUARTER, **BEFORE_TUNING, weight_decay=decay)
                for decay in (0.0, 0.05, 0.3)
            },
            **{f"sgd_{rate:g}": dict(QUARTER, optimizer="sgd", learning_rate=rate) for rate in (0.03, 0.1, 0.3, 1.0)},
            **{
                f"sgd_{rate:g}_decay_{LIGHT_DECAY:g}": dict(
                    QUARTER, optimizer="sgd", weight_decay=LIGHT_DECAY, learning_rate=rate
                )
                for rate in (0.03, 0.1, 0.3, 1.0, 2.0)
            },
            **{
                f"fine_tuning_{rate:g}": seen_at(42, **FINE_TUNING | dict(learning_rate=rate))
                for rate in (1e-3, 4e-3, 1.6e-2, 3.2e-2)
            },
            **{
                f"transfer_{rate:g}": dict(TARGET, **HALF, initial=SOURCE, learning_rate=rate)
                for rate in (1e-3, 4e-3, 1.6e-2, 3.2e-2, 6.4e-2)
            },
        },
        seeds=3,
        split="validation",
        scales=("tiny",),
    ),
    "distillation": Experiment(
        "No, soft and hard distillation, by the class token and by a token of its own",
        "table 3",
        {"convnet": convnet(), **SIX_ROWS},
        keep_predictions=2,
    ),
    "distillation_ten_seeds": Experiment(
        "Ten seeds of the two rows between which five could not decide",
        "table 3",
        {name: SIX_ROWS[name] for name in ("hard_class", "token_hard")},
        seeds=10,
    ),
    "distillation_short": Experiment(
        "The same rows after a quarter of the epochs",
        "table 3",
        {"convnet": convnet(), **{name: settings | QUARTER for name, settings in SIX_ROWS.items()}},
        seeds=3,
    ),
    "distillation_fashion_mnist": Experiment(
        "The same rows on plain Fashion-MNIST at half of the epochs, where the teacher's lead is smaller",
        "table 3",
        {
            "convnet": convnet(data="fashion_mnist_10k"),
            **{name: settings | HALF | dict(data="fashion_mnist_10k") for name, settings in SIX_ROWS.items()},
        },
        seeds=3,
    ),
    "teachers": Experiment(
        "Which teacher teaches best",
        "table 2",
        {
            "none": NONE,
            **{name: convnet(name) for name in ("convnet", "convnet_wide", "convnet_weak")},
            **{
                f"by_{name}": dict(TOKEN_HARD, teacher=(name,))
                for name in ("convnet", "convnet_wide", "convnet_weak", "transformer")
            },
            "by_two_convnets": dict(TOKEN_HARD, teacher=("convnet", "convnet")),
        },
        keep_predictions=2,
    ),
    "agreement": Experiment(
        "Who disagrees with whom",
        "table 4",
        {"convnet": convnet(), "none": NONE, "token_hard": TOKEN_HARD},
        keep_predictions=5,
    ),
    "tokens": Experiment(
        "How alike the two tokens are, and where they look",
        "section 4",
        {"token_hard": TOKEN_HARD, "two_class_tokens": dict(tokens="both")},
    ),
    "tokens_ten_seeds": Experiment(
        "Ten seeds of the control with two class tokens, whose likeness five could not decide",
        "section 4",
        {"two_class_tokens": dict(tokens="both")},
        seeds=10,
    ),
    "schedule": Experiment(
        "Longer training, with and without distillation",
        "figure 3",
        SCHEDULE,
    ),
    "schedule_ten_seeds": Experiment(
        "Ten seeds of the rows of the schedule whose difference five could not decide",
        "figure 3",
        {name: SCHEDULE[name] for name in ("none_x1", "token_hard_x1", "none_x4", "token_hard_x4")},
        seeds=10,
    ),
    "recipe": Experiment(
        "Each ingredient of the recipe put in or taken out, without distillation",
        "table 8",
        {
            "base": HALF,
            "sgd": dict(HALF, optimizer="sgd", weight_decay=LIGHT_DECAY, learning_rate=1.0),
            "sgd_decay_0.05": dict(HALF, optimizer="sgd", learning_rate=0.1),  # the decay that was tuned for AdamW
            "rand_augment": dict(HALF, rand_augment=True),
            "auto_augment": dict(HALF, auto_augment=True),
            "mixup": dict(HALF, mixup_alpha=0.8),
            "cutmix": dict(HALF, cutmix_alpha=1.0),
            "mixup_and_cutmix": dict(HALF, mixup_alpha=0.8, cutmix_alpha=1.0),
            "erasing": dict(HALF, erasing=0.25),
            "stochastic_depth": dict(HALF, drop_path_rate=0.1),
            "repeated_augmentation": dict(HALF, repeats=3),
            "dropout": dict(HALF, drop_rate=0.1),
            "moving_average": dict(HALF, ema_decay=0.999),  # the authors' 0.99996 remembers more steps than a run has
            "no_label_smoothing": dict(HALF, label_smoothing=0.0),
        },
    ),
    "resolution": Experiment(
        "Trained at 28 pixels, tested and fine-tuned at others; bicubic where nothing else is said",
        "table 10, section 3.2",
        {
            "none": NONE,
            **{f"tested_at_{side}": seen_at(side, epochs=0) for side in (21, 42, 56)},
            **{f"tuned_at_{side}": seen_at(side, **FINE_TUNING) for side in (21, 28, 42, 56)},
            **{
                f"{what}_at_56_{how}": seen_at(56, **settings, interpolation=how)
                for how in ("bilinear", "antialias")
                for what, settings in {"tested": dict(epochs=0), "tuned": FINE_TUNING}.items()
            },
        },
        scales=("tiny",),
    ),
    "transfer": Experiment(
        "From five classes to the other five: few images of them, and all",
        "tables 6 and 7",
        {
            "source_plain": SOURCE,
            "source_distilled": TOKEN_HARD | SOURCE,
            "source_two_class_tokens": dict(SOURCE, tokens="both"),
            **transfers((250, 0)),
        },
        scales=("tiny",),
    ),
    "baselines": Experiment(
        "Accuracy against size and speed, beside two convnets of timm that are trained as ours are",
        "table 5",
        {
            "none": NONE,
            "token_hard": TOKEN_HARD,
            **{name: convnet(name) for name in ("convnet", "convnet_wide", "convnet_weak")},
            **{name: dict(role="teacher", model=f"timm:{name}") for name in ("regnety_002", "resnet10t")},
        },
        seeds=3,
    ),
    "data_efficiency": Experiment(
        "Fewer training images at equal steps", "ours", training_sizes((500, 1000, 2000, 5000)), seeds=3
    ),
    "own_pictures": Experiment(
        "A folder of 50, 300 and 3,000 pictures: alone, with a teacher of the same pictures, from a trained student",
        "ours",
        own_pictures(OWN_SIZES, {"convnet": OWN_CONVNET, "none": NONE, "taught": BY_OWN, "started": STARTED}),
        scales=("own",),
    ),
    "own_longer": Experiment(
        "The student that learns alone, for seven times as long",
        "ours",
        own_pictures(OWN_SIZES, {"none": NONE, "longer": dict(epochs=21)}),
        scales=("own",),
    ),
    "own_classes": Experiment(
        "From the classes of the student that ships to those of a folder, with a teacher of the folder and without",
        "ours",
        own_pictures((300,), {"none": NONE, "started": STARTED, "started_taught": STARTED | BY_OWN}),
        scales=("own",),
    ),
    "soft_loss": Experiment(
        "Forms of the soft loss and of label smoothing",
        "equation 2 and the authors' code",
        {
            "token_soft": TOKEN_SOFT | HALF,  # temperature 3, weight 0.1, batchmean
            "official": dict(TOKEN_SOFT, **HALF, soft_reduction="official"),
            **{f"temperature_{tau:g}": dict(TOKEN_SOFT, **HALF, temperature=tau) for tau in (1.0, 5.0)},
            **{f"weight_{lam:g}": dict(TOKEN_SOFT, **HALF, distillation_weight=lam) for lam in (0.5, 0.9)},
            "smoothing_over_all": dict(TOKEN_SOFT, **HALF, smoothing_over="all"),
        },
        seeds=3,
    ),
    "cifar10_teacher_tuning": Experiment(
        "The optimiser of the convnet that teaches on CIFAR-10, chosen on validation",
        "section 4",
        {
            "adamw": convnet(epochs=3, warmup_epochs=1, learning_rate=1.6e-2),
            "sgd": convnet(epochs=3, warmup_epochs=1, **SGD),
            "sgd_whole": convnet(**SGD, **BFLOAT16),  # as many epochs as the teacher that AdamW trained
        },
        seeds=1,
        split="validation",
        scales=("small",),
    ),
    "cifar10_strong_teacher": Experiment(
        "The convnet that teaches the student of CIFAR-10 that the book shows",
        "section 4",
        {"convnet": convnet(model="convnet_whitening", **SGD, **BFLOAT16)},
        seeds=1,
        scales=("small",),
        keep_predictions=1,
    ),
    "cifar10_tuning": Experiment(
        "The learning rate of the model without distillation on CIFAR-10, chosen on validation",
        "table 9",
        {f"learning_rate_{rate:g}": dict(epochs=3, learning_rate=rate) for rate in (4e-3, 8e-3, 1.6e-2)},
        seeds=1,
        split="validation",
        scales=("small",),
    ),
    "cifar10_teacher": Experiment(
        "The convnet that teaches on CIFAR-10, and that ships with the library",
        "section 4",
        {"convnet": convnet()},
        seeds=1,
        scales=("small",),
        keep_predictions=1,
    ),
    "cifar10": Experiment(
        "No, soft and hard distillation on CIFAR-10",
        "table 3",
        {"none": NONE, "token_soft": TOKEN_SOFT | BY_SHIPPED, "token_hard": TOKEN_HARD | BY_SHIPPED},
        seeds=2,
        scales=("small",),
        keep_predictions=1,
    ),
    "flagship": Experiment(
        "One student of CIFAR-10, trained for longer: the one that the book shows",
        "section 4",
        # each goes on from the weights of the one before
        {
            "flagship": LONG,
            "mixed": LONG_MIXED,
            "further": LONG_FURTHER,
            "augmented": LONG_AUGMENTED,
        },
        seeds=1,
        scales=("small",),
        keep_predictions=1,
    ),
} | SECOND
