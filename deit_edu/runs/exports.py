"""A network leaves for other libraries, with how its input must be prepared."""

import json
from pathlib import Path

import safetensors.torch
import torch

from deit_edu.errors import DeiTEduError
from deit_edu.model import fuse, mean_answer
from deit_edu.runs.checkpoints import write_atomically
from deit_edu.runs.preprocess import crop_ratio
from deit_edu.runs.weights import check_as_others, timm_settings, to_our_names, to_timm_state_dict

FORMATS = ("timm", "huggingface", "onnx", "safetensors")


def card(model, metadata):
    """What a network must be told with: {"mean", "std", "image_size", "channels", "crop_ratio", "classes"}.

    The shorter side of a picture is brought to image_size / crop_ratio, then the centre is cut out. A file may not name
    its classes.

    Raises:
        DeiTEduError: for a network that does not know its mean and deviation: others would take ImageNet's.
    """
    own, config = getattr(model, "preprocessing", None), model.config
    if own is None:
        raise DeiTEduError(
            "this network does not say the mean and deviation of its pictures: set its preprocessing, a "
            "deit_edu.runs.preprocess.Preprocessing"
        )
    told = {"image_size": config.image_size, "channels": config.in_channels, "mean": list(own.mean)}
    told |= {"std": list(own.std), "crop_ratio": crop_ratio(metadata)}
    return told | {"classes": list(metadata["classes"])} if "classes" in metadata else told


def pretrained_cfg(model, metadata):
    """timm's own account of it: what `timm.data.resolve_data_config` reads."""
    told = card(model, metadata)
    side, K = model.config.image_size, model.config.num_classes
    found = {"input_size": [told["channels"], side, side], "num_classes": K, "mean": told["mean"],
             "std": told["std"], "crop_pct": told["crop_ratio"], "crop_mode": "center", "interpolation": "bicubic",
             "fixed_input_size": True}  # fmt: skip
    return found | ({"label_names": told["classes"]} if "classes" in told else {})


def check_free(path):
    if Path(path).exists():
        raise DeiTEduError(f"{path} is there already: delete it, or choose another name")


def to_safetensors(model, metadata, path):
    """One file under timm's names; its metadata say how to prepare pictures."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in to_timm_state_dict(model).items()}
    name, settings = timm_settings(model.config)
    told = {key: value if isinstance(value, str) else json.dumps(value) for key, value in card(model, metadata).items()}
    told |= {"architecture": name, "model_args": json.dumps(settings), "format": "pt"}
    told["pretrained_cfg"] = json.dumps(pretrained_cfg(model, metadata))
    write_atomically(path, safetensors.torch.save(tensors, told))


def to_timm(model, metadata, folder):
    """A folder that ``timm.create_model("local-dir:FOLDER", pretrained=True)`` opens."""
    folder = Path(folder)
    to_safetensors(model, metadata, folder / "model.safetensors")
    name, settings = timm_settings(model.config)
    K = settings.pop("num_classes")
    config = {"architecture": name, "num_classes": K, "pretrained_cfg": pretrained_cfg(model, metadata)}
    config |= {"model_args": settings, "label_names": card(model, metadata).get("classes")}
    write_atomically(folder / "config.json", (json.dumps(config, indent=1) + "\n").encode())


def to_huggingface(model, metadata, folder):
    """A folder of transformers: model, configuration and image processor."""
    try:
        import transformers
    except ImportError:
        raise DeiTEduError("Hugging Face's folder needs transformers: pip install transformers") from None
    ours, told = model.config, card(model, metadata)
    check_as_others(ours)
    classes = told.get("classes") or [str(number) for number in range(ours.num_classes)]
    settings = dict(
        image_size=ours.image_size, patch_size=ours.patch_size, num_channels=ours.in_channels,
        hidden_size=ours.embed_dim, num_hidden_layers=ours.depth, num_attention_heads=ours.num_heads,
        intermediate_size=int(ours.embed_dim * ours.mlp_ratio), layer_norm_eps=1e-6, hidden_act="gelu",
        id2label=dict(enumerate(classes)), label2id={name: number for number, name in enumerate(classes)},
    )  # fmt: skip
    kind = "DeiT" if ours.distilled else "ViT"
    theirs = getattr(transformers, f"{kind}ForImageClassification" + ("WithTeacher" if ours.distilled else ""))
    network = theirs(getattr(transformers, f"{kind}Config")(**settings)).eval()
    # Names differ between versions of transformers: theirs are translated to ours, and filled by what they mean.
    state, weights = network.state_dict(), model.state_dict()
    for name in state:
        ours_name = next(iter(to_our_names({name: state[name]})))
        part = next((part for part in ("query", "key", "value") if f".attention.{part}." in ours_name), None)
        if part:
            qkv = weights[ours_name.replace(f".{part}.", ".qkv.")]
            state[name] = qkv.chunk(3)[("query", "key", "value").index(part)].clone()
        else:
            state[name] = weights[ours_name].clone()
    network.load_state_dict(state)
    network.save_pretrained(folder)
    shorter = {"shortest_edge": int(ours.image_size / told["crop_ratio"])}
    # Theirs rounds down where half a pixel is left beside the centre, ours to even: it may be cut out one pixel aside.
    centre = {"height": ours.image_size, "width": ours.image_size}
    processor = dict(do_resize=True, size=shorter, resample=3, do_center_crop=True, crop_size=centre, do_rescale=True,
                     rescale_factor=1 / 255, do_normalize=True)  # fmt: skip
    processor |= dict(image_mean=told["mean"], image_std=told["std"], do_convert_rgb=ours.in_channels == 3)
    processor["image_processor_type"] = f"{kind}ImageProcessor"
    write_atomically(Path(folder) / "preprocessor_config.json", (json.dumps(processor, indent=1) + "\n").encode())


class Answers(torch.nn.Module):
    """What a DeiT says as plain tensors: (B, C, H, W) -> class, distillation, fused, each (B, K); a plain one's class.

    Where several teachers have a head each, distillation is their mean.
    """

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, images):
        said = self.model(images)
        if not self.model.config.distilled:
            return said.class_logits
        return said.class_logits, mean_answer(said.distillation_logits), fuse(said)


def outputs(model):
    """The names of what `Answers` gives."""
    return ["class", "distillation", "fused"] if model.config.distilled else ["class"]


def to_onnx(model, metadata, path):
    """An ONNX file for any number of pictures; ``metadata_props`` say how to prepare them."""
    try:
        import onnx
        import onnxscript  # noqa: F401  torch.onnx writes with it
    except ImportError:
        raise DeiTEduError("ONNX needs two packages: pip install onnx onnxscript") from None
    shape = (2, model.config.in_channels, model.config.image_size, model.config.image_size)
    names = outputs(model)
    program = torch.onnx.export(
        Answers(model).eval(), (torch.zeros(shape),), dynamo=True, input_names=["images"], output_names=names,
        dynamic_shapes=({0: torch.export.Dim("batch")},), verbose=False,
    )  # fmt: skip
    found = program.model_proto
    for key, value in card(model, metadata).items():
        entry = found.metadata_props.add()
        entry.key, entry.value = key, json.dumps(value)
    onnx.checker.check_model(found)
    write_atomically(path, found.SerializeToString())


WRITERS = {"timm": to_timm, "huggingface": to_huggingface, "onnx": to_onnx, "safetensors": to_safetensors}
