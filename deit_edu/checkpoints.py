"""Weights in and out: safetensors files, and the names that timm, the authors and Hugging Face give them.

A checkpoint is a safetensors file, never a pickle: opening one runs no code.
"""

import hashlib
import json
import math
import os
import re
from dataclasses import replace
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError

from deit_edu.errors import DeiTEduError
from deit_edu.model import DeiT, DeiTConfig
from deit_edu.patches import resize_position_embedding

# ---- files ----


def save(path, tensors, metadata=None, dtype=None):
    """Write tensors and metadata to one safetensors file: whole, or not at all.

    The same tensors and metadata give the same bytes.

    Args:
        path: where; its folder is made if it is missing.
        tensors: {name: tensor}. metadata: anything json can write, for example a config.
        dtype: store floating-point tensors in this type, torch.float16 for files that are shipped.

    Raises:
        DeiTEduError: when the file cannot be written; the old file, if there was one, is still there.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    if dtype is not None:
        tensors = {name: t.to(dtype) if t.is_floating_point() else t for name, t in tensors.items()}
    # One entry, because safetensors does not promise the order of several. The digest is there because
    # safetensors itself notices a file that is cut short, but not one whose numbers have changed.
    entry = json.dumps({"metadata": metadata or {}, "sha256": digest(tensors)})
    write_atomically(path, safetensors.torch.save(tensors, {"deit_edu": entry}))


def load(path):
    """Read a safetensors file, ours or another's: ({name: tensor}, metadata).

    Raises:
        DeiTEduError: when there is no such file, or it is not safetensors, cut short or damaged.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise DeiTEduError(f"no checkpoint {path}: check the path, or train one with deit-edu train") from None
    except OSError as error:
        raise DeiTEduError(f"cannot read checkpoint {path}: {error.strerror}") from None
    damaged = DeiTEduError(f"{path} is damaged or no safetensors file: fetch it again or train it again")
    try:
        tensors = safetensors.torch.load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        entry = json.loads(header.get("__metadata__", {}).get("deit_edu", "{}"))
    except (SafetensorError, ValueError):
        if data[:4] == b"PK\3\4":  # how torch.save begins a file
            raise DeiTEduError(
                f"{path} is a pickle, which can run code when opened: if you trust it, give "
                f"torch.load(path, weights_only=True) to deit_edu.checkpoints.load_state_dict_from"
            ) from None
        raise damaged from None
    if "sha256" in entry and entry["sha256"] != digest(tensors):
        raise damaged
    return tensors, entry.get("metadata", {})


def digest(tensors):
    """sha256 over names, types, shapes and numbers: the same weights have the same digest in any file."""
    sha = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        sha.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        sha.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return sha.hexdigest()


def write_atomically(path, data):
    """Write bytes so that `path` always holds the old file or the new one, never a part of it.

    Raises:
        DeiTEduError: when it cannot be written.
    """
    path = Path(path)
    if not path.name:
        raise DeiTEduError(f"{path} is a folder: give the name of a file")
    temporary = path.with_name(f".{path.name}.tmp")  # the same folder: os.replace does not cross file systems
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(temporary, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())  # on the disk before it takes the name
            os.replace(temporary, path)
        except BaseException:  # a full disk, Ctrl-C
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise DeiTEduError(
            f"could not write {path} ({len(data) / 2**20:.1f} MB): {error.strerror}; "
            f"free some space or choose another folder"
        ) from None


# ---- a whole model in one file ----


def save_model(path, model, metadata=None, dtype=None):
    """Write a DeiT with its config, so that `load_model` needs nothing else; arguments as for `save`."""
    metadata = {"kind": "deit", "config": model.config.to_dict(), **(metadata or {})}
    save(path, model.state_dict(), metadata, dtype)


def load_model(path):
    """Read what `save_model` wrote: a DeiT in float32, in eval mode.

    Raises:
        DeiTEduError: as `load`, and when the file does not hold a DeiT with its config.
    """
    tensors, metadata = load(path)
    if metadata.get("kind") != "deit":
        raise DeiTEduError(
            f"{path} holds {metadata.get('kind', 'weights without a config')}, not a DeiT with its config: load "
            f"a teacher with deit_edu.teachers, other weights with deit_edu.checkpoints.load_state_dict_from"
        )
    try:
        config = DeiTConfig(**metadata["config"])
    except TypeError as error:
        raise DeiTEduError(f"{path} is from another version of deit_edu ({error}): train it again") from None
    return load_state_dict_from(empty_model(config), tensors).eval()


def empty_model(config):
    """A DeiT whose weights are not drawn, only given room: no time lost, and no random number used up."""
    with torch.device("meta"):
        model = DeiT(config)
    return model.to_empty(device="cpu")


def resize_model(model, image_size, mode="bicubic", antialias=False):
    """The same DeiT for another image size, to be fine-tuned there (paper, section 3.2).

    Only the position embedding changes: `deit_edu.patches.resize_position_embedding` explains the modes.

    Args:
        model: a DeiT, left as it is. image_size: new side in pixels; the patch size must divide it.

    Returns:
        A new DeiT, in the mode (train or eval) and on the device of the old one.

    Raises:
        DeiTEduError: for a size that the patch size does not divide, or another mode.
    """
    config = replace(model.config, image_size=image_size)
    state = model.state_dict()
    state["position_embedding"] = resize_position_embedding(
        state["position_embedding"], model.config.grid, config.grid, config.num_prefix_tokens, mode, antialias
    )
    resized = empty_model(config).to(state["position_embedding"])  # device and dtype
    resized.load_state_dict(state)
    return resized.train(model.training)


# ---- other libraries' names ----

# Ours on the left, those of timm and of the authors' code on the right. All else has the same name.
TIMM_NAMES = (
    ("class_token", "cls_token"),
    ("distillation_token", "dist_token"),
    ("position_embedding", "pos_embed"),
    ("patch_embedding.projection", "patch_embed.proj"),
    ("attention.qkv", "attn.qkv"),
    ("attention.projection", "attn.proj"),
    ("class_head", "head"),
    ("distillation_head", "head_dist"),
)

# Hugging Face's on the left, ours on the right, replaced in this order. Its files keep the first names;
# a model in memory, since transformers 5, has the second ones.
HUGGING_FACE_NAMES = (
    ("embeddings.cls_token", "class_token"),
    ("embeddings.distillation_token", "distillation_token"),
    ("embeddings.position_embeddings", "position_embedding"),
    ("embeddings.patch_embeddings.projection", "patch_embedding.projection"),
    ("encoder.layer", "blocks"),
    ("layers", "blocks"),
    ("attention.attention.query", "attention.query"),
    ("attention.attention.key", "attention.key"),
    ("attention.attention.value", "attention.value"),
    ("attention.q_proj", "attention.query"),
    ("attention.k_proj", "attention.key"),
    ("attention.v_proj", "attention.value"),
    ("attention.output.dense", "attention.projection"),
    ("attention.o_proj", "attention.projection"),
    ("intermediate.dense", "mlp.fc1"),
    ("output.dense", "mlp.fc2"),
    ("layernorm_before", "norm1"),
    ("layernorm_after", "norm2"),
    ("layernorm", "norm"),
    ("cls_classifier", "class_head"),
    ("classifier", "class_head"),
    ("distillation_classifier", "distillation_head"),
)


def rename(name, pairs):
    """Replace each old name by its new one, as whole dotted words: "head" is not found in "head_dist"."""
    for old, new in pairs:
        name = re.sub(rf"\b{re.escape(old)}\b", new, name)
    return name


def to_timm_state_dict(model):
    """A DeiT's weights under timm's names, which are the authors' too.

    Args:
        model: a DeiT.

    Returns:
        {name: tensor}, which the timm model of the same shape loads with strict=True.
    """
    return {rename(name, TIMM_NAMES): tensor for name, tensor in model.state_dict().items()}


def to_our_names(state_dict):
    """Weights under the names of timm, the authors, Hugging Face or ours -> the same weights under ours."""
    from_timm = [(timm, ours) for ours, timm in TIMM_NAMES]
    renamed = {}
    for name, tensor in state_dict.items():
        ours = re.sub(r"^(deit|vit)\.", "", name)
        renamed[rename(rename(ours, HUGGING_FACE_NAMES), from_timm)] = tensor
    # Hugging Face keeps three matrices where we keep one.
    for name in [name for name in renamed if ".attention.query." in name]:
        parts = [name.replace(".query.", f".{part}.") for part in ("query", "key", "value")]
        if all(part in renamed for part in parts):
            qkv = torch.cat([renamed.pop(part) for part in parts])  # (3D, D) or (3D,)
            renamed[name.replace(".query.", ".qkv.")] = qkv
    return renamed


def load_state_dict_from(model, state_dict):
    """Fill a DeiT with weights under the names of timm, the authors' code, Hugging Face or our own.

    The number of heads leaves no trace in the shapes: it must be right in the model's config.

    Args:
        model: a DeiT, changed in place.
        state_dict: {name: tensor}, or the authors' {"model": {name: tensor}}.

    Returns:
        The model.

    Raises:
        DeiTEduError: when a tensor is missing, unexpected or of the wrong shape; the model is then unchanged.
    """
    if isinstance(state_dict.get("model"), dict):
        state_dict = state_dict["model"]  # the authors' layout
    if not state_dict or not all(isinstance(tensor, torch.Tensor) for tensor in state_dict.values()):
        raise DeiTEduError(
            f"these are not weights but a dictionary with {first_names(state_dict) or 'nothing in it'}: "
            f"pass the one that maps names to tensors"
        )
    weights, expected = to_our_names(state_dict), model.state_dict()
    missing = [name for name in expected if name not in weights]
    unexpected = [name for name in weights if name not in expected]
    wrong = [name for name in expected if name in weights and weights[name].shape != expected[name].shape]
    if missing or unexpected or wrong:
        wrong = [f"{name} {tuple(weights[name].shape)} for {tuple(expected[name].shape)}" for name in wrong]
        problems = [("missing", missing), ("unexpected", unexpected), ("of the wrong shape", wrong)]
        listed = "; ".join(f"{what}: {first_names(names)}" for what, names in problems if names)
        raise DeiTEduError(f"these weights do not fit the model: {advice(model.config, weights)} ({listed})")
    model.load_state_dict(weights)
    return model


def first_names(names):
    """The first three names, and how many more there are."""
    names = list(names)
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def advice(config, weights):
    """What to do about weights that do not fit: settings leave traces in the shapes."""
    unlike = "they are not those of a DeiT, or some are lost; fetch them again"
    patch, fc1 = "patch_embedding.projection.weight", "blocks.0.mlp.fc1.weight"
    if not {"class_token", "position_embedding", patch, fc1, "class_head.weight"} <= set(weights):
        return unlike
    distilled = "distillation_token" in weights
    if distilled != ("distillation_head.weight" in weights):
        return "a distillation token and its head go together, they have one of the two; choose other weights"
    D, C, P = weights[patch].shape[:3]
    side = math.isqrt(weights["position_embedding"].shape[1] - (2 if distilled else 1))
    found = {
        "image_size": side * P,
        "patch_size": P,
        "in_channels": C,
        "num_classes": weights["class_head.weight"].shape[0],
        "embed_dim": D,
        "depth": len({name.split(".")[1] for name in weights if name.startswith("blocks.")}),
        "mlp_ratio": weights[fc1].shape[0] / D,
        "distilled": distilled,
    }
    differs = [name for name in found if getattr(config, name) != found[name]]
    if not differs:
        return unlike
    theirs = ", ".join(f"{name}={found[name]}" for name in differs)
    ours = ", ".join(f"{name}={getattr(config, name)}" for name in differs)
    then = ", load them, then use deit_edu.checkpoints.resize_model" if "image_size" in differs else ""
    return f"they have {theirs}, the model has {ours}; create the model with {theirs}{then}"
