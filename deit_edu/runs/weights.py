"""Weights of a DeiT under other names and at other sizes: timm's and the authors', Hugging Face's, another grid."""

import math
import re
from dataclasses import replace
from itertools import starmap

import torch

from deit_edu.errors import DeiTEduError
from deit_edu.model import DeiT
from deit_edu.patches import resize_position_embedding


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
    if own := getattr(model, "preprocessing", None):
        resized.preprocessing = replace(own, image_shape=(config.in_channels, image_size, image_size))
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


def check_as_others(config):
    """Refuse a DeiT that others would run otherwise: theirs reads the class token, and has no registers.

    Nor has it a distillation token for each of several teachers.
    """
    if config.pool != "token" or config.registers or config.for_several:
        several = f", {config.distillation_tokens} distillation tokens" if config.for_several else ""
        raise DeiTEduError(
            f"this network has pool {config.pool}{several} and {config.registers} registers, which no DeiT of others "
            f"has: it runs in deit_edu only; train one with pool token and no registers to take it elsewhere"
        )


def timm_settings(config):
    """What timm.create_model is told for a DeiT of this shape: (its name there, the settings).

    Args:
        config: DeiTConfig.

    Raises:
        DeiTEduError: for one whose class head reads the mean of the patches, or that has registers.
    """
    check_as_others(config)
    name = "deit_tiny_distilled_patch16_224" if config.distilled else "deit_tiny_patch16_224"
    settings = dict(
        img_size=config.image_size,
        patch_size=config.patch_size,
        in_chans=config.in_channels,
        num_classes=config.num_classes,
        embed_dim=config.embed_dim,
        depth=config.depth,
        num_heads=config.num_heads,
        mlp_ratio=config.mlp_ratio,
    )
    return name, settings


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
        ours = re.sub(r"^((module|_orig_mod)\.)*((deit|vit)\.)?", "", name)  # of DataParallel and torch.compile
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
    if not isinstance(state_dict, dict):
        raise DeiTEduError(f"these are not weights but a {type(state_dict).__name__}: pass {{name: tensor}}")
    if isinstance(state_dict.get("model"), dict):
        state_dict = state_dict["model"]  # the authors' layout
    if isinstance(state_dict.get("state_dict"), dict) and state_dict["state_dict"]:
        state_dict = state_dict["state_dict"]  # what many training scripts write
    if not state_dict or not all(starmap(is_weight, state_dict.items())):
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


def is_weight(name, value):
    """Whether an entry of a file is a tensor under a name; training scripts keep numbers and lists beside them."""
    return isinstance(name, str) and isinstance(value, torch.Tensor)


def first_names(names):
    """The first three names, and how many more there are."""
    names = list(map(str, names))
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def foreign_kind(weights):
    """What weights are that no DeiT of ours can take, in words, or None: names and shapes betray it.

    Args:
        weights: {name: tensor} under our names.
    """
    ends = {name.rpartition("blocks.")[2].partition(".")[2] for name in weights if name.startswith("blocks.")}
    if any(end.endswith((".gamma", "gamma_1", "gamma_2", "lambda1", "layer_scale")) for end in ends):
        positions, patch = weights.get("position_embedding"), weights.get("patch_embedding.projection.weight")
        without = positions is not None and patch is not None and math.isqrt(positions.shape[1]) ** 2 == (
            positions.shape[1]
        )  # fmt: skip
        if without:
            return (
                "these are a DeiT III's: it has LayerScale (ls1, ls2) and no position for its class token, which a "
                "DeiT has not; choose a DeiT's weights, or take it as a teacher: --teacher timm:NAME"
            )
        return "these have LayerScale, which a DeiT has not; choose a DeiT's weights, or take them as a teacher"
    trunk = {"class_token", "position_embedding", "patch_embedding.projection.weight", "blocks.0.mlp.fc1.weight"}
    if trunk <= set(weights) and not any("head" in name for name in weights):
        return (
            "these are the trunk of a ViT without a head: as the start of a training they do, with --initial FILE, "
            "where the heads are drawn anew"
        )
    return None


def advice(config, weights):
    """What to do about weights that do not fit: settings leave traces in the shapes."""
    if kind := foreign_kind(weights):
        return kind
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
    then = ", load them, then use deit_edu.runs.weights.resize_model" if "image_size" in differs else ""
    return f"they have {theirs}, the model has {ours}; create the model with {theirs}{then}"
