"""What a run on the reader's own pictures is given where nobody says: sizes, batch, epochs, a teacher; and how long.

Only what was not asked for is chosen. A choice follows from the pictures and the kind of device alone, so that the same
command chooses the same again, and goes on with what was begun. What cannot be as it was asked for (`fitted`) is said.
"""

import time
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import torch

from deit_edu.data.folders import LARGEST_COMMON, stored_size
from deit_edu.data.names import RESIZABLE
from deit_edu.data.tree import find
from deit_edu.errors import DeiTEduError, counted
from deit_edu.model import MODELS, DeiTConfig
from deit_edu.runs.ahead import made_ahead
from deit_edu.runs.build import build_model, build_objective, open_dataset, open_frozen_teacher
from deit_edu.runs.evaluate import predict
from deit_edu.runs.recipes import RECIPES, recipe
from deit_edu.runs.remembered import share_asked
from deit_edu.runs.sharing import shared_learning
from deit_edu.runs.sources import open_initial
from deit_edu.teachers import CONVNETS, FrozenTeacher, fold_norms
from deit_edu.train import SEEN_BY_BOTH, TrainConfig, batches_of_epoch, make_optimizer, steps_per_epoch, train_epoch

SIDE = {"cpu": 64}  # pixels that photographs are brought to; on a GPU twice as many
PATCHES = 8  # along a side: 64 tokens, enough to see where something is, few enough for a laptop
FIRST = ("image_size", "patch_size", "model", "batch_size", "epochs", "teacher")  # of the options that are told
SIZES = ("patch_size", "embed_dim", "depth", "num_heads")
UNTYPED = ("mlp_ratio", "pool", "registers")  # of a DeiT that was made in Python: no option says them
FEW = 2000  # training pictures: with fewer, a smaller network
VERY_FEW = 128  # and with fewer than these the smallest, alone: a teacher of fifty pictures brings nothing (chapter 8)
BATCHES = (64, 32, 16, 8, 4, 2)
STEPS = 4  # in an epoch at least
SHOWN, EPOCHS = 100_000, (40, 200)  # pictures, over all epochs; the fewest and the most epochs
SHOWN_TUNING, EPOCHS_TUNING = 20_000, (5, 40)  # where it starts from another's weights
FORGOTTEN = 0.01  # what the first weights may still count for in a moving average when the run ends


def is_open(scale, data):
    """Whether nobody has tuned a recipe for these data: then the pictures decide."""
    return scale == "tiny" and (scale, data.partition(":")[0]) not in RECIPES


def is_teacher_name(name):
    """A network that a teacher's recipe trains: a convnet or a timm model that is not a run folder."""
    return name is not None and (name in CONVNETS or name.startswith("timm:"))


def role_of(typed):
    """Whose recipe a network gets: of a convnet or a timm model a teacher's, unless it listens to one itself."""
    listens = typed.get("tokens") == "both" or ("teacher" in typed and "tokens" not in typed)
    return "teacher" if is_teacher_name(typed.get("model")) and not listens else "student"


@dataclass(frozen=True)
class Plan:
    """What is to be trained, and on what."""

    config: TrainConfig
    teacher: TrainConfig | None = None  # is trained first; None: there is none, or config.teacher names a trained one
    dataset: object = None  # an ImageDataset, where it has been read
    chosen: dict | None = None  # {option: value}, what nobody asked for; None where a recipe has said it

    def told(self):
        """What was chosen, in one line, as the options that would say it; empty where all was asked for."""
        options = " ".join(f"--{name.replace('_', '-')} {value:g}" if isinstance(value, float) else
                           f"--{name.replace('_', '-')} {value}" for name, value in self.chosen.items())  # fmt: skip
        taught = counted(self.teacher.epochs, "epoch") if self.teacher and "teacher" in self.chosen else ""
        epochs = f"; its teacher for {taught}" if taught else ""
        pictures = counted(len(self.dataset.train), "training picture")
        return f"chosen for {pictures}: {options}{epochs}" if options else ""


def plan_for(scale, typed, world):
    """Choose what was not typed for data that have no recipe of their own.

    Args:
        scale: as for `recipe`. typed: {field of TrainConfig: value}, `data` among them; `teacher` may be a name that is
            to be trained first. world: a `World`.

    Returns:
        a `Plan`.

    Raises:
        DeiTEduError: as `load_dataset`; for sizes that do not fit each other, with the options that do.
    """
    base = recipe(scale, typed["data"], role_of(typed))
    settings = choose_network(typed)
    settings |= choose_side(typed | settings, world.device)
    dataset = open_dataset(TrainConfig(**base | settings | typed | dict(teacher=None)))
    is_deit = (typed | settings).get("model", "deit").startswith("deit")
    if is_deit:
        settings |= choose_model(typed, settings, dataset, world.device)
    settings |= choose_length(typed, dataset, world.size)
    if teacher := choose_teacher(typed, dataset):
        settings |= {"teacher": teacher}
    sizes = settings.pop("model_settings", {}) | typed.get("model_settings", {})
    taught = dict(distillation="hard", tokens="both") if (settings | typed).get("teacher") else {}
    config = TrainConfig(**base | taught | settings | typed | {"model_settings": sizes})
    chosen = {name: value for name, value in settings.items() if name not in typed and name != "tokens"}
    chosen |= {name: size for name, size in sizes.items() if name not in (*UNTYPED, *typed.get("model_settings", {}))}
    chosen = {name: chosen[name] for name in (*FIRST, *sorted(set(chosen) - set(FIRST))) if name in chosen}
    return Plan(config, teacher_of(scale, config, typed), dataset, chosen)


# ---- one choice each: {field of TrainConfig: value}, of what was not typed ----


def choose_network(typed):
    """Where a run starts from another's weights, it has the other's shape."""
    if "initial" not in typed or "model" in typed:
        return {}
    ours = getattr(open_initial(typed["initial"])[0], "config", None)
    if ours is None:
        return {}  # a convnet: that it cannot be is said when it is built
    alike = (name for name, shape in MODELS.items() if shape["embed_dim"] == ours.embed_dim)
    sizes = {name: getattr(ours, name) for name in SIZES}
    sizes |= {name: getattr(ours, name) for name in UNTYPED if getattr(ours, name) != getattr(DeiTConfig, name)}
    settings = {"model": next(alike, "deit_tiny_patch16_224"), "model_settings": sizes}
    settings |= {"tokens": "both"} if ours.distilled else {}
    return settings | ({"image_size": ours.image_size} if is_resizable(typed["data"]) else {})


def is_resizable(data):
    """Photographs, which come in all sizes."""
    kind = data.partition(":")[0]
    return kind in RESIZABLE and kind != "fashion_clutter"


def choose_side(given, device):
    """The side in pixels that photographs are brought to; nothing where the pictures share a small one."""
    if "image_size" in given or not is_resizable(given["data"]):
        return {}
    model, target = given.get("model", ""), SIDE.get(device.type, 128)
    if model.startswith("timm:") and (fixed := fixed_side(model.removeprefix("timm:"))):
        return {"image_size": fixed}
    patch = given.get("model_settings", {}).get("patch_size")
    shared, typical = sizes_in(given["data"])
    if shared and shared <= 1.5 * target and (patch or good_patch(shared)):
        return {}
    if model in MODELS:
        patch = patch or MODELS[model].get("patch_size", DeiTConfig.patch_size)
    return {"image_size": rounded(min(target, typical or target), patch or PATCHES)}


def rounded(side, patch):
    """The multiple of a patch size that is nearest to a side, from below; at least two patches."""
    return max(2, side // patch) * patch


def sizes_in(data):
    """(the side of squares that all pictures are, or 0; the shorter side that is in the middle) of a folder's."""
    kind, _, path = data.partition(":")
    if kind != "folder":
        return 0, 0
    paths = find(Path(path).expanduser()).parts["train"].paths
    sizes = list(filter(None, map(stored_size, paths[:: max(1, len(paths) // 100)])))
    width, height = sizes[0] if len(set(sizes)) == 1 else (0, 1)
    shared = width if width == height <= LARGEST_COMMON else 0
    return shared, int(median(map(min, sizes))) if sizes else 0


def fixed_side(name):
    """The side in pixels that a timm model insists on; None where it takes any."""
    import timm  # takes seconds: only who asks for one waits

    known = timm.get_pretrained_cfg(name)
    return known.input_size[1] if known and known.fixed_input_size else None


def good_patch(side):
    """The patch size that cuts a side into about `PATCHES`, from 4 to 16; None where none does."""
    fitting = [P for P in range(1, side + 1) if side % P == 0 and 4 <= side // P <= 16]
    return min(fitting, key=lambda P: abs(side // P - PATCHES), default=None)


def choose_model(typed, settings, dataset, device):
    """A DeiT by the number of pictures, and the patch size that cuts them well."""
    name = (typed | settings).get("model") or size_for(len(dataset.train), device)
    sizes = settings.get("model_settings", {}) | typed.get("model_settings", {})
    side = dataset.image_shape[1]
    own = MODELS[name].get("patch_size", DeiTConfig.patch_size) if name in MODELS else None
    if "patch_size" not in sizes and name in MODELS:
        keeps = side % own == 0 and ("model" in typed or 4 <= side // own <= PATCHES)
        sizes = {"patch_size": own if keeps else good_patch(side) or 1} | sizes
    return {"model": name, "model_settings": sizes}


def size_for(n, device):
    """The name of a DeiT that n training pictures can teach something."""
    if n < VERY_FEW:
        return "deit_nano_patch7_28"
    return "deit_micro_patch4_28" if n < FEW and device.type == "cpu" else "deit_micro_patch4_32"


def check_patch(patch, side, data):
    """Refuse a patch size that does not divide the pictures' side, with the options that fit."""
    if not patch or patch < 1 or side % patch == 0:
        return
    divisors = [P for P in range(1, side + 1) if side % P == 0]
    below, above = side // patch * patch, (side // patch + 1) * patch
    sides = f", or --image-size {below or above}" + (f" or {above}" if below else "") if is_resizable(data) else ""
    patches = " or ".join(map(str, divisors))
    raise DeiTEduError(f"patch size {patch} does not divide image side {side}: say --patch-size {patches}{sides}")


def choose_length(typed, dataset, processes):
    """Batch, epochs and warm-up by the number of pictures; shifts by their side."""
    n = len(dataset.train)
    tuned, teacher = "initial" in typed, role_of(typed) == "teacher"
    batch = choose_batch(n // processes)
    shown, (fewest, most) = (SHOWN_TUNING, EPOCHS_TUNING) if tuned else (SHOWN, EPOCHS)
    epochs = min(most, max(fewest, shown // n))
    epochs = max(1, epochs // 2) if teacher else epochs
    length = typed.get("epochs", epochs)
    settings = {"batch_size": batch, "epochs": epochs, "warmup_epochs": min(5.0, length / 10)}
    settings |= {"crop_padding": round(dataset.image_shape[1] / 16)}
    return settings | ({"learning_rate": 1e-3} if tuned else {})  # what is learned is not to be lost


def choose_batch(n):
    """The largest batch with which an epoch of n pictures still has `STEPS` steps."""
    return next((batch for batch in BATCHES if n // batch >= STEPS), max(1, min(2, n)))


def choose_teacher(typed, dataset):
    """The convnet that a student learns from, unless the reader has said what it learns from."""
    said = {"teacher", "distillation", "initial"} & set(typed) or typed.get("tokens") == "class"
    return None if said or role_of(typed) == "teacher" or len(dataset.train) < VERY_FEW else "convnet"


def teacher_of(scale, config, typed):
    """The TrainConfig of a teacher that is to be trained first; None without one, or where its name is a run's."""
    if not (is_teacher_name(config.teacher) or config.teacher in MODELS):
        return None
    base = recipe(scale, config.data, "teacher" if is_teacher_name(config.teacher) else "student")
    shared = {name: typed[name] for name in ("seed", "device", "precision", "compile") if name in typed}
    shared |= {name: getattr(config, name) for name in (*SEEN_BY_BOTH, "batch_size", "crop_padding")}
    epochs = max(1, config.epochs // 2)
    return TrainConfig(**base | shared | dict(model=config.teacher, epochs=epochs, warmup_epochs=min(5.0, epochs / 10)))


# ---- what was asked for and cannot be ----


def fitted(config, dataset, world):
    """A config whose batch, warm-up and moving average fit the data: (config, [a line for each that did not]).

    Args:
        config: TrainConfig. dataset: an ImageDataset. world: a `World`.
    """
    said, n = [], len(dataset.train) // world.size
    if config.model in MODELS:
        own = MODELS[config.model].get("patch_size", DeiTConfig.patch_size)
        check_patch(config.model_settings.get("patch_size", own), dataset.image_shape[1], config.data)
    if config.batch_size > n > 0:
        batch = choose_batch(n)
        said.append(
            f"--batch-size {config.batch_size} is more than the {counted(n, 'training picture')}: {batch} is taken"
        )
        config = replace(config, batch_size=batch)
    if config.epochs and config.warmup_epochs >= config.epochs:
        shorter = config.epochs / 10
        said.append(
            f"--warmup-epochs {config.warmup_epochs:g} with --epochs {config.epochs} leaves the learning rate no time "
            f"to fall: {shorter:g} is taken"
        )
        config = replace(config, warmup_epochs=shorter)
    steps = config.epochs * steps_per_epoch(config, dataset, world)
    if steps and config.ema_decay and config.ema_decay**steps > FORGOTTEN:
        decay = max(0.0, round(1 - 10 / steps, 4))
        remembered = counted(round(1 / max(1e-12, 1 - config.ema_decay)), "step")
        said.append(
            f"--ema-decay {config.ema_decay:g} remembers {remembered}, and the run has {steps:,}: its first weights "
            f"would count for {config.ema_decay**steps:.0%}; "
            + (f"{decay:g} is taken, which remembers {steps / 10:,.0f}" if decay else "no average is taken")
        )
        config = replace(config, ema_decay=decay)
    return config, said


# ---- how long it will take ----


def seconds_of(config, dataset, world, teacher=None):
    """How long a run will take, by its first steps: (seconds, steps that were measured).

    Args:
        config: TrainConfig. dataset: an ImageDataset. world: a `World`. teacher: the TrainConfig of a teacher that is
            not trained yet, which takes as long to ask; None: the one that config.teacher names, if any.
    """
    torch.manual_seed(config.seed)
    student = build_model(config, dataset).to(world.device)
    if teacher:
        asked = FrozenTeacher(fold_norms(build_model(teacher, dataset))).to(world.device)
    else:
        asked = config.teacher and open_frozen_teacher(config, dataset).to(world.device)
    per_step, measured = step_seconds(student, asked or None, config, dataset, world)
    if asked and (share := share_asked(config, dataset, world)) < 1:
        known = torch.zeros(config.batch_size, dataset.num_classes, device=world.device)  # an answer at once
        without, _ = step_seconds(student, lambda images: known[: len(images)], config, dataset, world)
        per_step = share * per_step + (1 - share) * without
    some = torch.arange(min(len(dataset.validation), 256))
    begun = time.perf_counter()
    predict(student, dataset.validation, dataset, indices=some)
    per_image = (time.perf_counter() - begun) / len(some)
    epoch = steps_per_epoch(config, dataset, world) * per_step + len(dataset.validation) * per_image
    return config.epochs * epoch + len(dataset.test) * per_image, measured


def step_seconds(student, teacher, config, dataset, world, steps=8, warm_up=2, at_most=5.0):
    """The median time of a training step: (seconds, steps that it is the median of).

    Args:
        student, teacher: modules on the world's device, or for a teacher any function that answers; the student's
            weights are not to be used afterwards.
        steps: how many are timed, after `warm_up`. at_most: seconds after which fewer are enough.
    """
    times = []

    class Enough(Exception):
        pass

    def on_step(loss, count):
        if world.device.type == "cuda":
            torch.cuda.synchronize(world.device)
        times.append(time.perf_counter())
        long_enough = len(times) > warm_up + 1 and times[-1] - times[0] > at_most
        if len(times) > warm_up + steps or long_enough:
            raise Enough

    objective, optimizer = build_objective(config), make_optimizer(student, config)
    try:
        with shared_learning(student, config, world) as learn, made_ahead(dataset, config) as ahead:
            how = dict(learn=learn, show=ahead or batches_of_epoch)
            while True:
                train_epoch(student, teacher, objective, optimizer, config, dataset, 0, world, on_step, **how)
    except Enough:
        taken = [later - earlier for earlier, later in zip(times[warm_up:-1], times[warm_up + 1 :], strict=True)]
        return median(taken), len(taken)


def in_words(seconds):
    """A time that a reader waits: "40 seconds", "3 minutes", "2.5 hours"."""
    if seconds < 90:
        return f"{max(2, round(seconds))} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
