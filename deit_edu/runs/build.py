"""From a config's names to what a run works with: data, network, teacher, loss, the weights it starts from."""

import math
import warnings
from functools import partial
from pathlib import Path

import torch

from deit_edu.data.names import RESIZABLE, load_dataset
from deit_edu.data.splits import normalise
from deit_edu.distil import DistilledViT, add_distillation
from deit_edu.errors import DeiTEduError, did_you_mean
from deit_edu.losses import DistillationObjective
from deit_edu.model import MODELS, DeiT, create_model
from deit_edu.patches import resize_position_embedding
from deit_edu.runs.checkpoints import load_teacher
from deit_edu.runs.folders import check_same_data, data_of_run, find_run, read_json
from deit_edu.runs.machine import can_compile, compiled
from deit_edu.runs.preprocess import Preprocessing, for_network, prepared
from deit_edu.runs.sources import open_initial, open_timm
from deit_edu.runs.weights import resize_model
from deit_edu.teachers import (
    CONVNETS,
    Ensemble,
    FrozenTeacher,
    SideBySide,
    WhiteningConvNet,
    create_teacher,
    fold_norms,
)


def open_dataset(config, load=load_dataset):
    """The data a config names, at its image size, of its classes."""
    return load(config.data, image_size=config.image_size or None, classes=config.classes)


def build_model(config, dataset):
    """The network a config names, fitted to the data's image size, channels and classes.

    Raises:
        DeiTEduError: for a name nobody knows, images that are not square, tokens that the network does not have.
    """
    C, H, W = dataset.image_shape
    if config.model in MODELS:
        if H != W:
            raise DeiTEduError(f"{dataset.name} has images of {H}x{W}: DeiT needs square ones, give an image size")
        fitted = dict(image_size=H, in_channels=C, num_classes=dataset.num_classes)
        rates = dict(drop_rate=config.drop_rate, drop_path_rate=config.drop_path_rate)
        several = dict(distillation_tokens=len(several_teachers(config))) if config.tokens == "each" else {}
        return create_model(
            config.model, config.tokens != "class", **fitted, **rates, **several, **config.model_settings
        )
    if config.model not in CONVNETS and not config.model.startswith("timm:"):
        known, near = ", ".join([*MODELS, *CONVNETS]), did_you_mean(config.model, [*MODELS, *CONVNETS])
        raise DeiTEduError(f"unknown model {config.model!r}: choose one of {known}, or timm:NAME{near}")
    if config.tokens == "each":
        raise DeiTEduError(f"{config.model} cannot have a token for each teacher: a DeiT can, or choose --tokens both")
    if not 0 <= config.drop_path_rate < 1:
        raise DeiTEduError(f"drop_path_rate is {config.drop_path_rate}: it must lie in [0, 1)")
    model = create_teacher(config.model, C, dataset.num_classes, False, H, config.drop_path_rate)
    check_norms(model, config)
    convnet = config.model in CONVNETS
    if config.model_settings or config.drop_rate or (convnet and (config.tokens == "both" or config.drop_path_rate)):
        lacks = "no distillation token, no size and no dropout" if convnet else "no size and no dropout"
        raise DeiTEduError(f"{config.model} has {lacks} to set: a DeiT has")
    if config.tokens == "both":
        try:
            model = add_distillation(model, dataset.num_classes)
        except DeiTEduError as error:
            raise DeiTEduError(f"{config.model}: {error}, or --tokens class") from None
    check_sees(model, config.model, dataset)
    if isinstance(model, WhiteningConvNet):
        some = torch.arange(0, len(dataset.train), max(1, len(dataset.train) // 5000))  # of all classes, in any order
        images = dataset.train.batch(some, torch.Generator().manual_seed(config.seed))
        model.whiten(normalise(images, dataset.mean, dataset.std))
    return model.train()


def check_norms(model, config):
    """Refuse to show batch norms one picture at a time: they compare pictures."""
    if config.batch_size // config.accumulate > 1:
        return
    if any(isinstance(part, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d) for part in model.modules()):
        fewer = " or a smaller --accumulate" if config.accumulate > 1 else ""
        raise DeiTEduError(
            f"{config.model} has batch norms, which need two images or more: give a larger --batch-size{fewer}"
        )


def check_sees(model, name, dataset):
    """Refuse a network that cannot take this data's images; timm's models may want a size of their own."""
    C, H, W = dataset.image_shape
    try:
        check_patches(model, H, W)
        model.eval()(torch.zeros(1, *dataset.image_shape))
    except (RuntimeError, AssertionError, ValueError, ArithmeticError) as error:
        reason = str(error).split("\n")[0]
        sizes = dataset.name.partition(":")[0] in RESIZABLE
        hint = "another model, or another --image-size" if sizes else "another model"
        raise DeiTEduError(f"{name} cannot see images of {C}x{H}x{W} ({reason}): choose {hint}") from None


def check_patches(model, height, width):
    """Raise ValueError where the patches of a ViT of timm's would leave out a rest of the picture; timm cuts it off."""
    patches = getattr(getattr(model, "model", model), "patch_embed", None)
    if patches is None:
        return
    from timm.layers import PatchEmbed  # who has patches of timm's has waited for timm

    if not isinstance(patches, PatchEmbed):
        return  # convolutions of that name, which overlap
    P = patches.patch_size
    if height % P[0] or width % P[1]:
        raise ValueError(f"patches of {P[0]} x {P[1]} pixels do not divide it")


def wrap(model, config, world):
    """Compile a network where the config says so and it can be, and join it to its copies in other processes."""
    if model is None:
        return None
    if config.compile and can_compile():
        model = compiled(model)
    if world.size > 1 and any(parameter.requires_grad for parameter in model.parameters()):
        for parameter in filter(lambda one: one.requires_grad, model.parameters()):
            parameter.register_hook(partial(in_strides_of, parameter))
        model = torch.nn.parallel.DistributedDataParallel(model)
    return model


def in_strides_of(parameter, gradient):
    """A gradient that lies in memory as its parameter does: DistributedDataParallel warns of others."""
    if gradient.stride() == parameter.stride():
        return gradient
    return torch.empty_like(parameter).copy_(gradient)


INTERPOLATIONS = {"bicubic": ("bicubic", False), "bilinear": ("bilinear", False), "antialias": ("bicubic", True)}

SHAPE = ("patch_size", "in_channels", "embed_dim", "depth", "num_heads", "mlp_ratio", "distilled", "pool", "registers")
SHAPE += ("distillation_tokens",)


def start_from(student, config, dataset):
    """Give a student the weights of the run that `TrainConfig.initial` names, to be fine-tuned.

    Paper: section 3.2, another resolution, and table 7, other classes. The position embedding is resized where the
    image sizes differ. Heads that were trained on other classes are left behind: the student keeps those it drew.
    Where the student listens to a teacher and the weights have one head, `add_distillation` gives them a second token.

    Returns:
        {"before": , "resized": }: the mean l2 norm of the patches' position embeddings before and after; None for a
        network of timm's.

    Raises:
        DeiTEduError: when the two networks are not of one shape.
    """
    if config.model.startswith("timm:"):
        return start_timm(student, config, dataset)
    model, metadata = open_initial(config.initial, getattr(getattr(student, "config", None), "num_heads", None))
    if not (isinstance(model, DeiT) and isinstance(student, DeiT)):
        which = config.initial if isinstance(student, DeiT) else config.model
        raise DeiTEduError(f"only a DeiT starts from another's weights, and {which} is none: choose a DeiT for both")
    if student.config.distilled and not model.config.distilled:
        model = with_second_token(config, model, metadata["num_classes"])
        metadata = metadata | {"heads": [head for head in metadata["heads"] if head == "class_head"]}
    shapes = {name: (getattr(model.config, name), getattr(student.config, name)) for name in SHAPE}
    if differs := [f"{name} {theirs}, not {ours}" for name, (theirs, ours) in shapes.items() if theirs != ours]:
        tokens = "both" if model.config.distilled else "class"
        sizes = [f"--{name.replace('_', '-')} {theirs}" for name, (theirs, ours) in shapes.items()
                 if theirs != ours and name in ("patch_size", "embed_dim", "depth", "num_heads")]  # fmt: skip
        hint = f", with --tokens {tokens}" if model.config.distilled != student.config.distilled else ""
        raise DeiTEduError(
            f"{config.initial} has {', '.join(differs)}: start from a network of the same shape{hint}"
            + (f", or say {' '.join(sizes)}" if sizes else "")
        )
    before = position_norm(model)
    model = resize_model(model, student.config.image_size, *INTERPOLATIONS[config.interpolation])
    kept = metadata["heads"] if same_classes(metadata, dataset) else []
    drawn = student.state_dict()
    heads = {name: drawn[name] for name in drawn if "_head." in name and name.partition(".")[0] not in kept}
    student.load_state_dict(model.state_dict() | heads)
    return {"before": before, "resized": position_norm(student)}


def with_second_token(config, model, num_classes):
    """A network of one head, given a distillation token for its training; that is said in one line."""
    warnings.warn(
        f"{config.initial} has no distillation token: it begins as a copy of the class token, its head is drawn anew",
        stacklevel=2,
    )
    own = getattr(model, "preprocessing", None)
    model = add_distillation(model, num_classes)
    model.preprocessing = own
    return model


def same_classes(metadata, dataset):
    """Whether a network knows these classes: by their names, or where its file names none, by their number."""
    known = metadata.get("classes")
    return metadata["num_classes"] == dataset.num_classes if known is None else known == list(dataset.classes)


def start_timm(student, config, dataset):
    """`start_from` for a network of timm's: its own weights, or those of a run of the same network."""
    model, metadata = open_timm(config.initial, config.model)
    if isinstance(model, DistilledViT) and not isinstance(student, DistilledViT):
        raise DeiTEduError(f"{config.initial} has a distillation token: start from it with --tokens both")
    if isinstance(student, DistilledViT) and not isinstance(model, DistilledViT):
        model = with_second_token(config, model, dataset.num_classes)
    drawn, state = student.state_dict(), model.state_dict()
    positions = next((name for name in drawn if name.endswith("pos_embed")), None)
    if positions and state[positions].shape != drawn[positions].shape:
        trunk = getattr(student, "model", student)
        state[positions] = resize_timms_positions(config, trunk, state[positions], drawn[positions])
    same = same_classes(metadata, dataset)
    state |= {name: drawn[name] for name in head_names(student) if not same or name not in state}
    try:
        student.load_state_dict(state)
    except RuntimeError as error:
        reason = str(error).split("\n")[1].strip()[:100]
        raise DeiTEduError(
            f"{config.initial} does not fit {config.model} here ({reason}): start from its own, with images of its own "
            f"size"
        ) from None


def resize_timms_positions(config, trunk, theirs, ours):
    """The position embedding of a network of timm's, (1, T, D), brought to the size of another, (1, T', D).

    Some leave out the class token and the registers, which not all of them say; the patches are a square.
    """
    for prefix in (0, getattr(trunk, "num_prefix_tokens", 0)):
        grids = [2 * (math.isqrt(max(0, positions.shape[1] - prefix)),) for positions in (theirs, ours)]
        if [(1, prefix + math.prod(grid), theirs.shape[-1]) for grid in grids] == [theirs.shape, ours.shape]:
            return resize_position_embedding(theirs, *grids, prefix, *INTERPOLATIONS[config.interpolation])
    raise DeiTEduError(
        f"{config.initial} has positions for another image size, {tuple(theirs.shape)}, which cannot be resized to "
        f"{tuple(ours.shape)}: start from it with images of its own size, or choose another model"
    )


def head_names(model):
    """The names of the weights by which a network of timm's tells its classes apart."""
    if isinstance(model, DistilledViT):
        return [name for name in model.state_dict() if "_head." in name]
    heads = model.get_classifier()
    heads = heads if isinstance(heads, tuple) else (heads,)  # some have a second one for distillation
    paths = tuple(f"{path}." for path, module in model.named_modules() if any(module is head for head in heads))
    return [name for name in model.state_dict() if name.startswith(paths)]


def as_initial_sees(config, dataset):
    """The data as the network that `TrainConfig.initial` names was trained to see them: its channels and statistics.

    Data of ours keep their own at another size or of other classes: they are the same pictures. Not so for a run that
    itself began with another's weights: it learned by the other's statistics, which its file says.
    """
    if not config.initial:
        return dataset
    if config.interpolation not in INTERPOLATIONS:
        known = ", ".join(INTERPOLATIONS)
        raise DeiTEduError(f"unknown interpolation {config.interpolation!r}: choose one of {known}")
    timms = config.model.startswith("timm:")
    model, metadata = open_timm(config.initial, config.model) if timms else open_initial(config.initial)
    own = getattr(model, "preprocessing", None)
    same = metadata.get("data") == dataset.name and ":" not in dataset.name and not began_with_anothers(config.initial)
    return dataset if own is None or same else for_network(dataset, own)


def began_with_anothers(name):
    """Whether a run began with another's weights."""
    config = find_run(name) / "config.json"
    return config.is_file() and bool(read_json(config).get("initial"))


def position_norm(model):
    """The mean l2 norm of the patches' position embeddings of a DeiT."""
    return model.position_embedding[0, model.config.num_prefix_tokens :].norm(dim=-1).mean().item()


def build_teacher(config, dataset):
    """The frozen teacher a config names, or None. Raises DeiTEduError when it does not fit the data."""
    if config.distillation == "none":
        return None
    if config.teacher is None:
        raise DeiTEduError(f"{config.distillation} distillation needs a teacher: name a run folder or a model")
    check_teachers_data(config.teacher, dataset)
    return open_frozen_teacher(config, dataset)


def open_frozen_teacher(config, dataset):
    """The network, or the networks, that answer while a student of this config learns."""
    if config.tokens != "each":
        return FrozenTeacher(fold_norms(open_teacher(config.teacher, dataset)))
    unkept = {"keep_answers": config.keep_answers == 0, "ask_about": config.ask_about == "pictures"}
    if refused := [name for name, off in unkept.items() if not off]:
        raise DeiTEduError(f'tokens "each" ask the teachers about every picture: leave out {", ".join(refused)}')
    return FrozenTeacher(SideBySide([fold_norms(open_teacher(name, dataset)) for name in several_teachers(config)]))


def several_teachers(config):
    """The names of the teachers that are to have a token each. Raises DeiTEduError when there are not several."""
    names = teacher_names(config.teacher or "")
    if len(names) < 2:
        raise DeiTEduError('tokens "each" need several teachers: name them as A+B, or choose tokens "both"')
    return names


def teacher_names(name):
    """The teachers that `TrainConfig.teacher` names: several are joined by +, which may stand in a folder's name."""
    return [name] if "+" not in name or find_run(name).is_dir() else name.split("+")


def check_teachers_data(name, dataset):
    """Refuse a teacher of these data as they were: it would go on teaching labels that were put right since.

    A teacher of other data, of another size or none of ours may teach what it knows; its classes are checked, and that
    the data are others is said.
    """
    if len(names := teacher_names(name)) > 1:
        for part in names:
            check_teachers_data(part, dataset)
        return
    seen = data_of_run(find_run(name)) if ":" not in name else None
    if seen is None:
        return
    if place_of(seen["name"]) != place_of(dataset.name):
        if seen["checksum"] != dataset.checksum:
            warnings.warn(
                f"teacher {name} was trained on other data, {seen['name']} ({seen['checksum'][:12]}), not on "
                f"{dataset.name} ({dataset.checksum[:12]}): it teaches what it knows of those",
                stacklevel=2,
            )
        return
    shape = seen.get("image_shape", list(dataset.image_shape))
    if shape[1:] != list(dataset.image_shape[1:]):
        if ":" not in dataset.name:
            return  # data of ours at another size: they do not change
        dataset = load_dataset(dataset.name, image_size=shape[1])
    check_same_data(f"teacher {name}", seen, dataset, f"delete {find_run(name)} and train it again")


def say_if_changed(name, metadata, dataset):
    """Say that the data a network was trained on are no longer what they were: its test may hold what it has seen.

    Args:
        name: of the network, for the reader. metadata: of its file. dataset: an ImageDataset.
    """
    before, kind = metadata.get("checksum"), place_of(metadata.get("data") or "")
    if before and kind == place_of(dataset.name) and before != dataset.checksum:
        warnings.warn(
            f"{dataset.name} has changed since {name} was trained on it: its checksum was {before[:12]} and is "
            f"{dataset.checksum[:12]} now; what is tested may have been seen in training",
            stacklevel=2,
        )


def place_of(name):
    """A data set's name with its folder written out, so that one folder under two names is one."""
    kind, _, path = name.partition(":")
    return (kind, str(Path(path).expanduser().resolve())) if path else (kind, "")


def open_teacher(name, dataset):
    """The network that `TrainConfig.teacher` names; names joined by + are an ensemble.

    Raises DeiTEduError when it does not fit the data.
    """
    if len(names := teacher_names(name)) > 1:
        return Ensemble([open_teacher(part, dataset) for part in names])
    path = name if ":" in name else str(find_run(name))
    model, trained_on = load_teacher(path, dataset.image_shape[0], dataset.num_classes)
    check_trained_on(f"teacher {name}", trained_on, dataset, model)
    model = prepared(model, dataset)
    check_sees(model, name, dataset)
    return model


def check_trained_on(name, metadata, dataset, model):
    """Refuse a network of other classes, by what its file says: its labels would be wrong here.

    Images of another size or other channels are brought to what it takes, unless its file is one of 0.1, which does
    not say how it was normalised, and these are other data than its own.
    """
    shape = ("image_shape", list(dataset.image_shape))
    if getattr(model, "preprocessing", None) is None and metadata.get("data", dataset.name) != dataset.name:
        recall_statistics(model, metadata)
    known = getattr(model, "preprocessing", None) is not None
    for what, here in (*([] if known else [shape]), ("num_classes", dataset.num_classes)):
        if metadata.get(what, here) != here:
            raise DeiTEduError(
                f"{name} was trained with {what} {metadata[what]}, but {dataset.name} has {here}: "
                f"train a network on this data"
            )
    known = metadata.get("classes")
    if known is not None and known != list(dataset.classes):
        raise DeiTEduError(
            f"{name} was trained on the classes {', '.join(known[:5])}, not on "
            f"{', '.join(dataset.classes[:5])}: train a network on these"
        )


def recall_statistics(model, metadata):
    """Where a file of 0.1 does not say mean and deviation, ask the data it was trained on, if they are here."""
    name, side = metadata["data"], metadata.get("image_size")
    try:
        model.preprocessing = Preprocessing.of_dataset(load_dataset(name, image_size=side))
    except DeiTEduError as error:
        raise DeiTEduError(
            f"it was trained on {name}, by a version that kept no mean and deviation, and these cannot be asked "
            f"({error}): train it again"
        ) from None


def build_objective(config):
    """The loss a config names. Raises DeiTEduError for settings that cannot be."""
    return DistillationObjective(
        config.distillation, config.tokens, config.temperature, config.distillation_weight, config.soft_reduction
    )
