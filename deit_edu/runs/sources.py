"""Weights to start from, wherever they come from: a run, a file, timm, a folder of Hugging Face or timm."""

import json
import math
import os
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import safe_open

from deit_edu.data.imagenet import IMAGENET_MEAN, IMAGENET_STD
from deit_edu.errors import DeiTEduError, did_you_mean
from deit_edu.model import DeiT, DeiTConfig
from deit_edu.runs.checkpoints import load, load_model
from deit_edu.runs.folders import open_run, read_json
from deit_edu.runs.preprocess import Preprocessing
from deit_edu.runs.weights import empty_model, foreign_kind, is_weight, to_our_names
from deit_edu.teachers import create_teacher

HEADS = ["class_head", "distillation_head"]  # which a network of ours has all, where it has two
FILES = (".pth", ".pt", ".bin", ".safetensors")


def open_initial(name, num_heads=None):
    """The network that ``--initial`` names, and its metadata.

    Args:
        name: a run folder, packaged:NAME, timm:NAME, a folder of Hugging Face's or timm's, or a file of weights: the
            authors' .pth (read without running what it may hold) or safetensors.
        num_heads: h of a file that does not say it, since it leaves no trace in the shapes; None: width 64 a head.

    Returns:
        (a DeiT, metadata): heads that are missing are not in ``metadata["heads"]``.

    Raises:
        DeiTEduError: when there is nothing of that name, or the weights are not a DeiT's, with what they are.
    """
    name = os.fspath(name)
    path = Path(name).expanduser()
    if name.startswith("timm:"):
        return from_timm(name)
    if path.suffix in FILES or (path.is_file()):
        return from_file(path, num_heads)
    told = read_json(path / "config.json") if (path / "config.json").is_file() else {}
    if "model_type" in told:
        return from_hugging_face(path)
    if "architecture" in told:
        return from_timm_folder(path)
    model, metadata = open_run(name)
    return model, metadata | {"heads": HEADS}


def from_timm(name):
    """A ViT or DeiT of timm with its own weights, fetched where they are not in its cache, as a DeiT of ours."""
    theirs = with_own_weights(name)
    return as_deit(name, theirs.state_dict(), heads_of(theirs), theirs.preprocessing)


def heads_of(theirs):
    """h of a network of timm's, or None for one that is no transformer."""
    blocks = getattr(theirs, "blocks", None)
    return getattr(blocks[0].attn, "num_heads", None) if blocks and hasattr(blocks[0], "attn") else None


def from_timm_folder(folder):
    """A folder of timm's, config.json and weights: as `deit-edu export` and timm's save_for_hf write it."""
    import timm

    try:
        theirs = timm.create_model(f"local-dir:{folder}", pretrained=True)
    except Exception as error:  # whatever a lost file or another shape makes of timm
        reason = str(error).strip().partition("\n")[0][:200]
        raise DeiTEduError(f"timm cannot open {folder} ({reason}): save it there again") from None
    own, names = Preprocessing.of_timm(theirs.pretrained_cfg), theirs.pretrained_cfg.get("label_names")
    model, metadata = as_deit(folder, theirs.state_dict(), heads_of(theirs), own)
    return model, metadata | ({"classes": list(names)} if names else {})


def with_own_weights(name):
    """A network of timm with its own weights and what they take, as it is there."""
    import timm

    known = timm.get_pretrained_cfg(name.removeprefix("timm:"))
    if known is None or not (known.hf_hub_id or known.url or known.file):
        near = did_you_mean(name.removeprefix("timm:"), timm.list_models(pretrained=True))
        raise DeiTEduError(f"timm has no weights for {name!r}: look them up with timm.list_pretrained(){near}")
    theirs = create_teacher(name, 3, known.num_classes, pretrained=True)
    theirs.preprocessing = Preprocessing.of_timm(theirs.pretrained_cfg)
    return theirs


def open_timm(name, model_name):
    """The network that ``--initial`` names for a student that is timm's, and its metadata.

    Args:
        name: timm:NAME for timm's own weights, or a run folder of this network. model_name: the student's.

    Raises:
        DeiTEduError: when there is nothing of that name, or it is a DeiT of ours or a file.
    """
    if name.startswith("timm:"):
        theirs = with_own_weights(name)
        return theirs, {"num_classes": theirs.num_classes}
    path = Path(name).expanduser()
    if path.is_file():
        raise DeiTEduError(f"{model_name} starts from timm:NAME or from a run of its own; a DeiT starts from a file")
    model, metadata = open_run(name)
    if metadata.get("name") != model_name:
        found = metadata.get("name")
        raise DeiTEduError(f"{name} is a {found}, not {model_name}: start from a run of the same network")
    return model, metadata


def from_file(path, num_heads):
    """A file of weights: ours with its config, the authors', or another's safetensors."""
    if path.suffix != ".safetensors":
        return as_deit(path, unpickled(path), num_heads, None)
    tensors, metadata = load(path)
    if metadata.get("kind") == "deit":
        model = load_model(path)
        known = {name: metadata[name] for name in ("classes", "image_shape") if name in metadata}
        return model, known | {"num_classes": model.config.num_classes, "heads": HEADS}
    told = told_by_export(path) | metadata
    model, found = as_deit(path, tensors, told.get("num_heads", num_heads), Preprocessing.of_metadata(told))
    return model, found | {key: told[key] for key in ("classes",) if key in told}


def unpickled(path):
    """What torch.save wrote, read without running what it may hold."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise DeiTEduError(f"no file {path}: check the path") from None
    except OSError:
        raise
    except Exception:  # whatever a file that is no pickle makes of the reader
        told = f"{path} holds more than weights, or is damaged: save its state_dict with torch.save"
        raise DeiTEduError(told) from None


def told_by_export(path):
    """What the header of a file says that `deit-edu export` wrote, under the names of our own files; {} of another."""
    with safe_open(path, "pt") as file:
        header = file.metadata() or {}
    if not {"model_args", "pretrained_cfg"} <= set(header):
        return {}
    settings, told = (json.loads(header[name]) for name in ("model_args", "pretrained_cfg"))
    names = {"image_shape": "input_size", "mean": "mean", "std": "std", "classes": "label_names"}
    found = {ours: told[theirs] for ours, theirs in names.items() if theirs in told}
    return found | {"num_heads": settings["num_heads"]}


def from_hugging_face(folder):
    """What save_pretrained of transformers wrote for a DeiT or a ViT, with its image processor where it is there."""
    config = read_json(folder / "config.json")
    check_computes_alike(folder, config)
    file = next(
        (folder / name for name in ("model.safetensors", "pytorch_model.bin") if (folder / name).exists()), None
    )
    if file is None:
        raise DeiTEduError(f"{folder} has no model.safetensors: save the model there with save_pretrained")
    tensors = load(file)[0] if file.suffix == ".safetensors" else unpickled(file)
    own, processor = None, folder / "preprocessor_config.json"
    if processor.exists():
        told = read_json(processor, "fetch it again, or save it there with save_pretrained")
        if told.get("image_mean") and told.get("image_std"):
            own = Preprocessing(None, tuple(told["image_mean"]), tuple(told["image_std"]))  # the weights say the shape
    model, metadata = as_deit(folder, tensors, config.get("num_attention_heads"), own)
    labels = {int(number): label for number, label in (config.get("id2label") or {}).items()}
    return model, metadata | ({"classes": [labels[number] for number in sorted(labels)]} if labels else {})


def check_computes_alike(folder, config):
    """Refuse a network whose weights fit and whose answers would differ: another activation, another epsilon."""
    act, epsilon = config.get("hidden_act", "gelu"), config.get("layer_norm_eps", 1e-12)
    if act != "gelu" or epsilon > 1e-5:  # ours is 1e-6: up to here the answers are the same
        raise DeiTEduError(
            f"{folder} has hidden_act {act} and layer_norm_eps {epsilon:g}, a DeiT has gelu and 1e-6: its answers "
            f"would differ; choose one that computes as a DeiT does"
        )


def as_deit(name, state_dict, num_heads, own):
    """Weights under anybody's names -> the DeiT they are, heads that they lack drawn, and what is known of it."""
    if not isinstance(state_dict, dict):
        raise DeiTEduError(f"{name} holds a {type(state_dict).__name__}, no weights: save a state_dict with torch.save")
    for wrapper in ("model", "state_dict", "model_ema"):
        if isinstance(state_dict.get(wrapper), dict):
            state_dict = state_dict[wrapper]
    weights = to_our_names({key: tensor for key, tensor in state_dict.items() if is_weight(key, tensor)})
    needed = ("class_token", "position_embedding", "patch_embedding.projection.weight", "blocks.0.mlp.fc1.weight")
    dimensions = dict(zip(needed, (3, 3, 4, 2), strict=True)) | {"class_head.weight": 2, "distillation_head.weight": 2}
    odd = any(weights[key].dim() != count for key, count in dimensions.items() if key in weights)
    there = [head for head in ("class_head", "distillation_head") if f"{head}.weight" in weights]
    kind = foreign_kind(weights) if there else None
    if not there and (told := foreign_kind(weights)) and "LayerScale" in told:
        kind = told
    if kind or odd or not set(needed) <= set(weights):
        raise DeiTEduError(f"{name} is no DeiT: {kind or 'its weights are of another kind of network; choose a DeiT'}")
    D, C, P = weights[needed[2]].shape[:3]
    distilled = "distillation_token" in weights
    side = math.isqrt(weights[needed[1]].shape[1] - (2 if distilled else 1))
    for head in ("class_head", "distillation_head")[: 2 if distilled else 1]:
        if head not in there:  # a trunk, or a DeiT whose second head was left out: they are drawn by who starts from it
            weights |= {f"{head}.weight": torch.zeros(1, D), f"{head}.bias": torch.zeros(1)}
    K = max(len(weights["class_head.weight"]), len(weights.get("distillation_head.weight", [0])))
    for head in ("class_head", "distillation_head")[: 2 if distilled else 1]:
        if len(weights[f"{head}.weight"]) != K:
            weights |= {f"{head}.weight": torch.zeros(K, D), f"{head}.bias": torch.zeros(K)}
    depth = len({key.split(".")[1] for key in weights if key.startswith("blocks.")})
    config = DeiTConfig(
        image_size=side * P, patch_size=P, in_channels=C, num_classes=K, embed_dim=D, depth=depth,
        num_heads=num_heads or max(1, D // 64), mlp_ratio=len(weights[needed[3]]) / D, distilled=distilled,
    )  # fmt: skip
    model: DeiT = empty_model(config)
    expected = model.state_dict()
    wrong = [key for key in {*weights} ^ {*expected}]
    wrong += [key for key in weights if key in expected and weights[key].shape != expected[key].shape]
    if wrong:
        raise DeiTEduError(f"{name} is no DeiT: {', '.join(sorted(wrong)[:3])} do not fit one; choose a DeiT's weights")
    model.load_state_dict(weights)
    if own is None and C == 3:  # the authors' normalise as is usual for ImageNet
        own = Preprocessing((C, side * P, side * P), IMAGENET_MEAN, IMAGENET_STD)
    model.preprocessing = own and replace(own, image_shape=(C, side * P, side * P))
    return model.eval(), {"num_classes": K, "heads": there, "image_shape": [C, side * P, side * P]}
