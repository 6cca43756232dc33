"""The loop: teacher and student on the same augmented images, AdamW, warm-up and cosine.

Paper: section 6 and table 9.
"""

import inspect
import math
import os
from dataclasses import dataclass, field, replace
from functools import cache

import numpy as np
import torch
import torch.distributed as dist

from deit_edu import augment
from deit_edu.data.splits import balanced_order, class_weights, nested_subset, normalise
from deit_edu.errors import DeiTEduError
from deit_edu.losses import smooth_labels
from deit_edu.teachers import as_head_logits


@dataclass(frozen=True)
class TrainConfig:
    """One run, completely. The defaults are those of scale "tiny", but for the epochs.

    Raises:
        DeiTEduError: for a number outside `LIMITS`, or no epochs without weights to measure.
    """

    data: str = "fashion_mnist_10k"  # a name for deit_edu.data.load_dataset
    model: str = "deit_nano_patch7_28"  # a DeiT, a convnet or timm:NAME; fitted to the data's size and classes
    model_settings: dict = field(default_factory=dict)  # overrides of DeiTConfig, for example {"patch_size": 4}
    initial: str | None = None  # a run, weights, timm:NAME, a folder of timm or Hugging Face; then epochs may be 0
    interpolation: str = "bicubic"  # of their position embedding to another image_size: bicubic, bilinear or antialias
    # what it learns from
    teacher: str | None = None  # a run folder, packaged:NAME or timm:NAME; several joined by + are an ensemble
    distillation: str = "none"  # none, soft, hard, drawn
    tokens: str = "class"  # class, both; each: a distillation token for each of several teachers
    temperature: float = 3.0  # tau of soft distillation
    distillation_weight: float | None = None  # lambda, the teacher's share; not given: the paper's, 0.1 soft, 0.5 hard
    ask_about: str = "pictures"  # all it shows; image: each as it is, once; N: the pictures of N epochs, in turn
    keep_answers: int = 0  # classes of each teacher answer to keep on disk, for who sees the same pictures; 0 is off
    soft_reduction: str = "batchmean"  # of soft distillation: batchmean, or official as in the authors' code
    label_smoothing: float = 0.1  # epsilon, of true labels only
    smoothing_over: str = "others"  # others, or all as in the authors' code
    # how long and how fast
    epochs: int = 30  # passes over the training images
    batch_size: int = 64  # images in a step of one process
    accumulate: int = 1  # learn from a batch in so many parts, one after the other: the same step in less memory
    learning_rate: float = 8e-3  # per 512 images: the optimiser's is learning_rate * total batch / 512
    warmup_epochs: float = 2.0  # epochs in which the learning rate rises
    weight_decay: float = 0.05  # of matrices
    optimizer: str = "adamw"  # adamw, or sgd
    ema_decay: float = 0.0  # of the weights' moving average; 0 is off; on, the average is what is evaluated and saved
    drop_rate: float = 0.0  # dropout in a DeiT
    drop_path_rate: float = 0.0  # stochastic depth in a DeiT
    # what it sees
    image_size: int = 0  # side in pixels to bring the images to, where the data can; 0 is their own
    classes: str = ""  # only the images of these, by number from 0, as in 0-4 or 0,2,5; empty is all
    train_images: int = 0  # so many of the training images, shown as often as all would be; 0 is all
    balanced: bool = False  # show every class equally often, whatever number of images it has
    class_weights: bool = False  # weigh the label's loss so that all classes weigh the same together
    replay: int = 0  # after so many epochs show their pictures again, the same to the last bit; 0 is new ones always
    redraw: bool = True  # training images anew every epoch, where the data can (fashion_clutter)
    crop_padding: int = 2  # random crops: shifts of at most so many pixels
    flip: bool = True  # mirror half of the images
    rand_augment: bool = False  # RandAugment, magnitude 9, spread 0.5
    auto_augment: bool = False  # AutoAugment, the policy for ImageNet
    erasing: float = 0.0  # random erasing: probability
    mixup_alpha: float = 0.0  # of Mixup's Beta distribution; 0 is off
    cutmix_alpha: float = 0.0  # of CutMix's; 0 is off
    mix_probability: float = 1.0  # of mixing a batch at all
    repeats: int = 1  # 3 is the paper's repeated augmentation
    # where it runs
    seed: int = 0  # what all that is random follows from
    device: str = "auto"  # auto, cpu, cuda, mps
    precision: str = "auto"  # of the matrix products: auto, float32, bfloat16
    compile: bool = False  # torch.compile: slow to begin, faster after

    def __post_init__(self):
        for name in ("data", "model", "teacher", "initial"):
            if getattr(self, name) is not None and "" in getattr(self, name).split("+"):
                raise DeiTEduError(f"{name} is {getattr(self, name)!r}: a name is empty; give one, or leave it out")
        for name, (low, high) in LIMITS.items():
            value, whole = getattr(self, name), self.__dataclass_fields__[name].type is int
            if not isinstance(value, (int, float)) or (whole and not isinstance(value, int)):
                raise DeiTEduError(f"{name} is {value!r}: it must be a {'whole number' if whole else 'number'}")
            if not low <= value <= high or math.isinf(value):
                expected = f"a finite number, {low} or more" if math.isinf(high) else f"between {low} and {high}"
                raise DeiTEduError(f"{name} is {value}: it must be {expected}")
        if self.accumulate > self.batch_size:
            raise DeiTEduError(f"accumulate is {self.accumulate}: a batch of {self.batch_size} has not as many images")
        if self.epochs == 0 and not self.initial:
            raise DeiTEduError("epochs is 0: it must be 1 or more, unless initial names the weights to measure")


# What a teacher shares with its student: it is trained on the student's images (paper, section 4).
SEEN_BY_BOTH = ("data", "image_size", "classes", "train_images", "balanced", "redraw")

LIMITS = {  # the smallest and the largest value that can be; the rooms that use the other settings look at those
    "epochs": (0, math.inf),
    "batch_size": (1, math.inf),
    "accumulate": (1, math.inf),
    "learning_rate": (0, math.inf),
    "warmup_epochs": (0, math.inf),
    "keep_answers": (0, math.inf),
    "replay": (0, math.inf),
    "weight_decay": (0, math.inf),
    "ema_decay": (0, 1),
    "train_images": (0, math.inf),
    "image_size": (0, math.inf),
    "crop_padding": (0, math.inf),
    "erasing": (0, 1),
    "mixup_alpha": (0, math.inf),
    "cutmix_alpha": (0, math.inf),
    "mix_probability": (0, 1),
    "repeats": (1, math.inf),
    "seed": (0, 2**32 - 1),  # what NumPy takes
}


def learning_rate_at(step, total_steps, warmup_steps, peak, start=1e-6, end=1e-5):
    """Linear warm-up, then half a cosine (paper, table 9; start and end are the authors' code's, or a lower peak).

    The authors' code changes the rate once an epoch, and its cosine begins under the warm-up; this one changes it at
    every step, and begins after.
    """
    start, end = min(start, peak), min(end, peak)
    if step < warmup_steps:
        return start + (peak - start) * step / warmup_steps
    progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return end + (peak - end) * 0.5 * (1 + math.cos(math.pi * progress))


TOKENS_AND_POSITIONS = ("token", "position_embedding", "position_embeddings", "pos_embed", "position_embed")


def parameter_groups(model, weight_decay):
    """Matrices decay, vectors do not, as in timm; nor tokens, positions, and what a model of timm's says of itself."""
    spared = {
        f"{place}.{name}".removeprefix(".")
        for place, module in model.named_modules()
        for name in getattr(module, "no_weight_decay", tuple)()
    }
    decay, no_decay = [], []
    for name, parameter in model.named_parameters():
        is_vector = parameter.ndim <= 1 or name.endswith(TOKENS_AND_POSITIONS) or name in spared
        (no_decay if is_vector else decay).append(parameter)
    return [{"params": decay, "weight_decay": weight_decay}, {"params": no_decay, "weight_decay": 0.0}]


def make_optimizer(model, config):
    """AdamW (paper, table 9), or SGD for the ablation of table 8, whose momentum of 0.9 is our choice.

    Raises:
        DeiTEduError: for another optimizer.
    """
    groups = parameter_groups(model, config.weight_decay)
    if config.optimizer == "adamw":
        return without_compiler(torch.optim.AdamW)(groups, lr=0.0, eps=1e-8, fused=True)
    if config.optimizer == "sgd":
        return without_compiler(torch.optim.SGD)(groups, lr=0.0, momentum=0.9, fused=True)
    raise DeiTEduError(f'unknown optimiser {config.optimizer!r}: choose "adamw" or "sgd"')


@cache
def without_compiler(kind):
    """An optimiser of torch, the same but that it leaves torch's compiler where it is.

    In torch 2.14 these methods import torch._dynamo, to say that it need not look at them: seconds and 150 MB, for
    nothing where nothing is compiled.

    Args:
        kind: a class, such as torch.optim.AdamW.
    """
    names = ("add_param_group", "zero_grad", "state_dict", "load_state_dict", "step")
    methods = {name: inspect.unwrap(getattr(kind, name)) for name in names}
    return type(kind.__name__, (kind,), methods | {"step": torch.no_grad()(methods["step"])})


def augmented_batch(images, labels, config, dataset, generator):
    """What teacher and student both see: cropped, flipped, Rand- or AutoAugmented, normalised, erased, mixed.

    Args:
        images: (B, C, H, W) uint8. labels: (B,) int64.

    Returns:
        images (B, C, H, W) float32 and targets (B, K) probabilities.
    """
    images = augment.random_crop(images, config.crop_padding, generator)
    if config.flip:
        images = augment.random_flip(images, generator)
    if config.rand_augment:
        images = augment.rand_augment(images, dataset.mean, generator)
    if config.auto_augment:
        images = augment.auto_augment(images, dataset.mean, generator)
    images = normalise(images, dataset.mean, dataset.std)
    images = augment.random_erasing(images, config.erasing, generator)
    targets = smooth_labels(labels, dataset.num_classes, config.label_smoothing, config.smoothing_over)
    return augment.mix(images, targets, config.mixup_alpha, config.cutmix_alpha, config.mix_probability, generator)


def choose_device(name="auto"):
    """The fastest device there is, or the one named. Raises DeiTEduError when it is not there."""
    available = ["cpu"]
    if torch.backends.mps.is_available():
        available.insert(0, "mps")
    if torch.cuda.is_available():
        available.insert(0, "cuda")
    if name == "auto":
        return torch.device(available[0])
    if name not in available:
        raise DeiTEduError(f"device {name!r} is not here: choose auto or one of {', '.join(available)}")
    return torch.device(name)


def choose_precision(name, device):
    """The type of the matrix products: bfloat16 on a GPU that computes in it, else float32.

    Before Ampere (a T4 is one) torch emulates bfloat16, slower than float32, and still counts it as supported.

    A CPU gains from bfloat16 only where it has instructions for it (avx512_bf16, amx): ask for it by name there.

    Raises:
        DeiTEduError: for another precision.
    """
    types = {"float32": torch.float32, "bfloat16": torch.bfloat16}
    if name == "auto":
        in_hardware = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        name = "bfloat16" if in_hardware else "float32"
    if name not in types:
        raise DeiTEduError(f"unknown precision {name!r}: choose auto, float32 or bfloat16")
    return types[name]


class MovingAverage:
    """An exponential moving average of a model's weights (paper, table 8; the authors' decay is 0.99996).

    Args:
        model: whose weights to follow. decay: what the average keeps at each step.
    """

    def __init__(self, model, decay):
        self.decay = decay
        self.state = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model):
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point():
                self.state[name].lerp_(tensor, 1 - self.decay)
            else:
                self.state[name].copy_(tensor)  # counters of batch norm


def seeded_generator(*numbers):
    """A CPU generator whose stream follows from these whole numbers alone, on every machine."""
    seed = np.random.SeedSequence(numbers).generate_state(1, np.uint64).item()
    return torch.Generator().manual_seed(seed % 2**63)


@dataclass(frozen=True)
class World:
    """Where this process runs, and beside how many others (torchrun starts them; alone by default)."""

    device: torch.device
    precision: torch.dtype
    rank: int = 0
    size: int = 1


def join_world(config):
    """Find device, precision and the other processes, if torchrun started any."""
    size, rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
    device = choose_device(config.device)
    if size > 1:
        if device.type == "cuda":
            device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
            torch.cuda.set_device(device)
        if not dist.is_initialized():
            dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return World(device, choose_precision(config.precision, device), rank, size)


def steps_per_epoch(config, dataset, world):
    """Whole batches only. Raises DeiTEduError when there is not even one."""
    steps = len(dataset.train) // (config.batch_size * world.size)
    if steps < 1:
        raise DeiTEduError(
            f"batch size {config.batch_size} x {world.size} does not fit the {len(dataset.train)} training images: "
            f"try one between 1 and {max(1, len(dataset.train) // world.size)}"
        )
    return steps


class Divergence:
    """Watches the loss: not a number, infinite, or far above where the epoch began.

    Args:
        every: steps between two looks; reading the loss makes a GPU wait for it.
        factor: how far above the epoch's first loss is too far.
    """

    def __init__(self, every=20, factor=4.0):
        self.every, self.factor = every, factor
        self.first = None  # the loss of the first step, before this epoch's learning rates did anything
        self.recent = []
        self.looked = 0

    def check(self, step, loss, learning_rate, last=False):
        """Raises DeiTEduError with the step, the learning rate and what to try; `last` looks whatever the step."""
        self.first = loss if self.first is None else self.first
        self.recent.append(loss)
        self.looked += 1
        if len(self.recent) < self.every and not last:
            return
        mean, first = torch.stack(self.recent).mean().item(), float(self.first)
        self.recent = []
        begun = step - self.looked + 1  # the step of the first look, 0 only in a run's first epoch
        if begun == 0 and not math.isfinite(first):
            raise DeiTEduError(
                "the loss is not a finite number at the first step, before anything was learned: the input is to blame "
                "(a channel that never changes, a teacher's or an initial network's "
                "answer), not the learning rate: look at the data with deit-edu data"
            )
        if not math.isfinite(mean) or mean > self.factor * max(first, 1.0):
            what = f"rose from {first:.3g} to {mean:.3g}" if math.isfinite(mean) else "is not a finite number"
            raise DeiTEduError(
                f"the loss {what} by step {step} at learning rate {learning_rate:.2g}: try a tenth of the learning "
                f"rate, a longer warm-up, or precision float32"
            )


def shown_epoch(config, epoch):
    """The epoch whose pictures an epoch shows: its own, or an earlier one's, again."""
    return epoch % config.replay if config.replay else epoch


def training_split(config, dataset, epoch):
    """The training images of an epoch: drawn anew where the data can and the config says so."""
    return dataset.redraw(config.seed, epoch) if dataset.redraw and config.redraw else dataset.train


def shown_order(labels, config, epoch):
    """Which image an epoch shows when: (n,) indices, for labels (n,) of the training images."""
    order = augment.epoch_order(len(labels), seeded_generator(config.seed, epoch, 0), config.repeats)
    if config.train_images:  # an epoch keeps its length, so that runs on few and on many images take equal steps
        chosen = nested_subset(labels, config.train_images)
    else:
        chosen = torch.arange(len(labels))
    if config.balanced:
        chosen = chosen[balanced_order(labels[chosen], len(labels), seeded_generator(config.seed, epoch, 1 << 32))]
    return chosen[order % len(chosen)]


def weights_of_classes(config, dataset):
    """What each class weighs in the loss, by the images that an epoch shows: (K,)."""
    labels = torch.as_tensor(dataset.train.labels)
    shown = labels[shown_order(labels, replace(config, repeats=1), 0)]  # repeats draw other images in every epoch
    return class_weights(torch.bincount(shown, minlength=dataset.num_classes))


def batches_of_epoch(config, dataset, epoch, world):
    """What an epoch shows, batch by batch; the last may be smaller.

    Everything random in it follows from (seed, epoch), so that a run can stop after any epoch and go on.

    Args:
        config, dataset, world: as for `train_epoch`. epoch: from 0.

    Yields:
        indices (B,) of the training images, images (B, C, H, W) float32, targets (B, K) probabilities.
    """
    generator = seeded_generator(config.seed, epoch, 1 + world.rank)  # each process augments differently
    torch.manual_seed(generator.initial_seed())  # dropout, stochastic depth, labels that are drawn
    split = training_split(config, dataset, epoch)
    order = shown_order(split.labels, config, epoch)
    order = order[world.rank :: world.size]  # with repeats, the copies of an image go to different processes
    for indices in order.split(config.batch_size):
        images, labels = split.batch(indices, generator).to(world.device), split.labels[indices].to(world.device)
        yield indices, *augmented_batch(images, labels, config, dataset, generator)


def in_precision(world):
    """Inside, matrix products are computed in the type that a `World` names."""
    return torch.autocast(world.device.type, world.precision, enabled=world.precision != torch.float32)


def learn(student, teacher, objective, images, targets, world):
    """One batch's gradients, left in the student's parameters: the middle of a step.

    Args:
        student, teacher, objective, world: as for `train_epoch`.
        images: (B, C, H, W), augmented. targets: (B, K) probabilities.

    Returns:
        The loss, a scalar without a gradient.
    """
    with in_precision(world):
        told = None if teacher is None else teacher(images)  # (B, K), of the images that the student sees
        loss = objective(as_head_logits(student(images)), targets, told)
    loss.backward()
    return loss.detach()


def train_epoch(
    student, teacher, objective, optimizer, config, dataset, epoch, world, on_step, learn=learn, show=batches_of_epoch
):
    """One pass over the training images: the loop itself.

    Args:
        student, teacher: modules on one device; teacher is None without distillation.
        objective: a `DistillationObjective`. optimizer: of the student. config: TrainConfig. dataset: an ImageDataset.
        epoch: from 0; it decides the images' order and the learning rate.
        world: a `World`. on_step: called after each step with (loss, number of images).
        learn: how a batch's gradients are found; `deit_edu.runs.sharing` has it on several cores.
        show: what makes the batches; `deit_edu.runs.ahead` has it in a thread.

    Returns:
        The mean loss, over all processes.

    Raises:
        DeiTEduError: when the loss is no finite number any more.
    """
    batches = show(config, dataset, shown_epoch(config, epoch), world)
    steps = steps_per_epoch(config, dataset, world)
    peak = config.learning_rate * config.batch_size * world.size / 512
    divergence, losses = Divergence(), []
    weights = weights_of_classes(config, dataset) if config.class_weights else None  # (K,)
    student.train()
    for step, (indices, images, targets) in zip(range(steps), batches, strict=False):  # whole batches only
        learning_rate = learning_rate_at(
            epoch * steps + step, config.epochs * steps, config.warmup_epochs * steps, peak
        )
        for group in optimizer.param_groups:
            group["lr"] = learning_rate
        if weights is not None:  # cross-entropy is linear in its targets
            targets = targets * weights.to(targets)
        optimizer.zero_grad()
        losses.append(learn(student, teacher, objective, images, targets, world))
        optimizer.step()
        divergence.check(epoch * steps + step, losses[-1], learning_rate, last=step == steps - 1)
        on_step(losses[-1], len(indices))
    return mean_of_processes(torch.stack(losses).mean(), world).item()


def mean_of_processes(loss, world):
    """The mean of what every process has, a scalar: each saw a part of the batch."""
    if world.size > 1:
        dist.all_reduce(loss)
    return loss / world.size
