"""The regime of the reruns: what teacher and student of a scale share."""

from deit_edu.runs.recipes import RECIPES

# ---- the regime ----

# What teacher and student of a scale share. The regime was settled on validation: see `regime` and `tuning` below.
TINY = dict(batch_size=64, learning_rate=8e-3, label_smoothing=0.1, crop_padding=2, flip=True, redraw=True)

# Of few pictures: small batches, so that there are steps enough, and a short warm-up.
OWN = dict(batch_size=32, learning_rate=1.6e-2, warmup_epochs=0.5)

BASE = {
    "tiny": dict(
        data="fashion_clutter",
        student=dict(TINY, model="deit_nano_patch7_28", epochs=40, learning_rate=1.6e-2),
        teacher=dict(TINY, model="convnet", epochs=15),
    ),
    "small": dict(
        data="cifar10",
        student=dict(
            model="deit_micro_patch4_32", epochs=8, batch_size=64, learning_rate=8e-3, crop_padding=4, compile=True
        ),
        teacher=RECIPES["small", "cifar10"]["teacher"],
    ),
    # A folder as a reader has one: data_scripts/make_own_pictures.py writes it. Under a minute of one core a network.
    "own": dict(
        data="folder:own_pictures",
        student=dict(OWN, model="deit_nano_patch7_28", epochs=3),
        teacher=dict(OWN, model="convnet_weak", epochs=4),
    ),
}

MIXING = dict(mixup_alpha=0.8, cutmix_alpha=1.0, mix_probability=0.8)

# Items stay in the half of the canvas where they are drawn: neither mirrored nor shifted.
UNMOVED = dict(flip=False, crop_padding=0)

# After so many epochs a convnet of the left half is as good there as the transformer is: `stopping` has the rule, and
# the runs that it looks at come first.
STOPPED_AFTER = 1


def stopped(epochs):
    """A teacher that is to have so few epochs: its rate rises for one of them at most, and for half of them."""
    return dict(epochs=epochs, warmup_epochs=min(1.0, epochs / 2))


# A teacher's settings over the base: "role" says which of the two recipes trains it.
TEACHERS = {
    "convnet": dict(role="teacher"),
    "convnet_wide": dict(role="teacher", model="convnet_wide"),
    "convnet_weak": dict(role="teacher", model="convnet_weak"),
    "transformer": dict(role="student"),  # the student itself, without distillation
    "convnet_mixed": dict(role="teacher", **MIXING),  # sees its images mixed, as the student of `regime` does
    # Of the second series. What a teacher says here of its images stands, whatever its student sees.
    "convnet_left": dict(role="teacher", **UNMOVED),
    "convnet_left_early": dict(role="teacher", **stopped(STOPPED_AFTER), **UNMOVED),
    "transformer_left": dict(role="student", epochs=20, **UNMOVED),
    "convnet_28": dict(role="teacher", image_size=0),  # of the data's own size, where its student sees another
    "convnet_early": dict(role="teacher", epochs=3),
    "convnet_earlier": dict(role="teacher", **stopped(1)),
    "convnet_few": dict(role="teacher", train_images=1000),
}


def convnet(name="convnet", **settings):
    """The settings of a convnet as a configuration of its own: the very run that teaches, where there is one."""
    return {**TEACHERS[name], **settings}


# ---- what the grids change in it, by name ----

NONE = dict()
QUARTER, HALF = dict(epochs=10), dict(epochs=20)  # of a student's epochs, where many cells are compared or tuned
# Short, from the peak down, at the best of the rates that `tuning` compares at 42 pixels.
FINE_TUNING = dict(epochs=5, warmup_epochs=0, learning_rate=1.6e-2)
TOKEN_HARD = dict(teacher=("convnet",), distillation="hard", tokens="both")
TOKEN_SOFT = dict(TOKEN_HARD, distillation="soft")
# The convnet of `cifar10_teacher`: so that its students can be trained where it is not, without training it again.
BY_SHIPPED = dict(teacher=("packaged:cifar10_teacher",))
BY_STRONG = dict(teacher=("packaged:cifar10_strong_teacher",))
# Half the time of float32 on a CPU that has its instructions; what "auto" chooses on a GPU.
BFLOAT16 = dict(precision="bfloat16")
# In SGD the decay is part of the gradient, so rate and momentum enlarge it: there 0.05 pulls much harder than in AdamW.
LIGHT_DECAY = 5e-4
SGD = dict(optimizer="sgd", learning_rate=0.4, weight_decay=LIGHT_DECAY)


def seen_at(side, **settings):
    """The plain student, trained at 28 pixels, at another image size.

    Crops shift by as large a part of the image as whole pixels allow: at 21 pixels by a little more.
    """
    return dict(initial=NONE, image_size=side, crop_padding=round(side / 14)) | settings
