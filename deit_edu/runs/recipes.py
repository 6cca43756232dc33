"""Recipes: what `--scale` stands for. The paper's own is table 9; the others are cut to a laptop and to one GPU.

Those of tiny were chosen on validation images; of small, the teacher's optimiser and the student's learning rate.
"""

from deit_edu.errors import DeiTEduError

# Shared by teacher and student of a scale; RECIPES has what each adds.
TINY = dict(batch_size=64, learning_rate=8e-3, label_smoothing=0.1)
QUICK = dict(TINY, batch_size=128)  # of the packaged images, for the pair of `make book`
CLUTTER = dict(TINY, crop_padding=0)  # the items are drawn at new places every epoch: no need to shift them
SMALL = dict(crop_padding=4)
PAPER = dict(
    epochs=300,
    batch_size=128,  # on each of 8 GPUs, as torchrun starts them: 1024 together
    learning_rate=5e-4,
    warmup_epochs=5,
    drop_path_rate=0.1,
    repeats=3,
    crop_padding=0,  # an ImageNet image is cropped when it is decoded
    rand_augment=True,
    mixup_alpha=0.8,
    cutmix_alpha=1.0,
    erasing=0.25,
)

RECIPES = {
    ("tiny", "fashion_mnist_10k"): dict(
        # Parts that the cores learn from side by side, with batch norms of their own; pictures that come again, with
        # the teacher's decisions of the first time. Too short for compiling to pay.
        teacher=dict(QUICK, model="convnet", epochs=14, accumulate=2),
        student=dict(QUICK, model="deit_nano_patch7_28", epochs=36, learning_rate=1.2e-2, replay=12),
    ),
    ("tiny", "fashion_clutter"): dict(
        teacher=dict(CLUTTER, model="convnet", epochs=60, learning_rate=1.6e-2),
        student=dict(
            CLUTTER, model="deit_micro_patch4_28", epochs=120, learning_rate=1.2e-2, warmup_epochs=5, compile=True
        ),
    ),
    ("small", "cifar10"): dict(
        teacher=dict(SMALL, model="convnet_large", epochs=20, batch_size=128, learning_rate=1.6e-2),
        student=dict(SMALL, model="deit_micro_patch4_32", epochs=42, compile=True),
    ),
    ("paper", "imagenet"): dict(
        teacher=dict(PAPER, model="timm:regnety_160", drop_path_rate=0.0),
        student=dict(PAPER, model="deit_base_patch16_224"),
    ),
}
# For data of scale tiny that nobody has tuned one for; `deit_edu.runs.choices` fits the numbers to the pictures.
UNTUNED = dict(
    teacher=dict(TINY, model="convnet", epochs=15),
    student=dict(TINY, model="deit_nano_patch7_28", epochs=40),
)
SCALES = {"tiny": "fashion_mnist_10k", "small": "cifar10", "paper": "imagenet"}  # and the data each is made for


def recipe(scale, data=None, role="student"):
    """Settings of a TrainConfig for a scale.

    Args:
        scale: "tiny" (two CPU cores, minutes), "small" (one GPU, or an afternoon), "paper" (8 GPUs, ImageNet).
        data: a data set's name; one without a recipe of its own gets `UNTUNED`, or the scale's. None: the scale's own.
        role: "teacher" or "student".

    Returns:
        a dictionary of TrainConfig fields, `data` among them.

    Raises:
        DeiTEduError: for a scale or a role that it does not know.
    """
    if scale not in SCALES:
        raise DeiTEduError(f"unknown scale {scale!r} (--scale or DEIT_EDU_SCALE): choose one of {', '.join(SCALES)}")
    data = data or SCALES[scale]
    if data == "imagenet":
        raise DeiTEduError("ImageNet is yours to bring: say --data imagenet:PATH")
    kind = data.split(":")[0]
    other = UNTUNED if scale == "tiny" else RECIPES[scale, SCALES[scale]]
    chosen = RECIPES.get((scale, kind), other)
    return {**chosen[role], "data": data}
