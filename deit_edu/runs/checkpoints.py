"""Weights in and out: safetensors files, whole networks in one, and those that ship with the library.

A checkpoint is a safetensors file, never a pickle: opening one runs no code.
"""

import hashlib
import json
import os
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError

import deit_edu
from deit_edu.distil import DistilledViT, add_distillation
from deit_edu.errors import DeiTEduError
from deit_edu.model import DeiT, DeiTConfig
from deit_edu.runs.preprocess import Preprocessing
from deit_edu.runs.weights import empty_model, load_state_dict_from
from deit_edu.teachers import create_teacher

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
                f"torch.load(path, weights_only=True) to deit_edu.runs.weights.load_state_dict_from"
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
            f"a teacher with deit_edu.teachers, other weights with deit_edu.runs.weights.load_state_dict_from"
        )
    try:
        config = DeiTConfig(**metadata["config"])
    except TypeError as error:
        raise DeiTEduError(f"{path} is from another version of deit_edu ({error}): train it again") from None
    model = load_state_dict_from(empty_model(config), tensors).eval()
    model.preprocessing = Preprocessing.of_metadata(metadata)
    return model


CHECKPOINTS = Path(deit_edu.__file__).resolve().parent / "assets" / "checkpoints"


def save_network(path, model, name, image_shape, num_classes, metadata=None, dtype=None):
    """Write any network of ours, DeiT or teacher, with what it takes to build it again.

    Args:
        path: where. model: a DeiT, or what `create_teacher(name, ...)` gave. name: its name.
        image_shape: (C, H, W) it was trained on. num_classes: K. metadata: anything else worth keeping.
        dtype: as for `deit_edu.runs.checkpoints.save`.
    """
    shape = {"image_shape": list(image_shape), "num_classes": num_classes, **(metadata or {})}
    if isinstance(model, DeiT):
        save_model(path, model, {"name": name, **shape}, dtype)
    else:
        tokens = {"tokens": "both"} if isinstance(model, DistilledViT) else {}
        save(path, model.state_dict(), {"kind": "teacher", "name": name, **tokens, **shape}, dtype)


def load_network(path):
    """Read what `save_network` wrote: (the network in float32 and eval mode, its metadata).

    Where the file says how pictures must be prepared, the network has it as ``preprocessing``, which `predict` and
    whoever else shows it pictures follow.

    Raises:
        DeiTEduError: when the file is missing, damaged or of another kind.
    """
    tensors, metadata = load(path)
    if metadata.get("kind") != "teacher":
        return load_model(path), metadata
    C, H, _ = metadata["image_shape"]
    model = create_teacher(metadata["name"], C, metadata["num_classes"], image_size=H)
    if metadata.get("tokens") == "both":
        model = add_distillation(model, metadata["num_classes"])
    try:
        model.load_state_dict(tensors)
    except RuntimeError:
        raise DeiTEduError(f"{path} does not hold the {metadata['name']} it names: train it again") from None
    model.preprocessing = Preprocessing.of_metadata(metadata)
    return model.eval(), metadata


PACKAGED = "packaged:"  # begins the name of a network that ships with the library


def is_packaged(name):
    return os.fspath(name).startswith(PACKAGED)


def packaged_path(name):
    """Where a shipped network lies: "fashion_clutter_student" or "packaged:fashion_clutter_student".

    Raises:
        DeiTEduError: for a name that does not ship.
    """
    name = os.fspath(name).removeprefix(PACKAGED)
    path = CHECKPOINTS / f"{name}.safetensors"
    if not path.exists():
        known = ", ".join(sorted(file.stem for file in CHECKPOINTS.glob("*.safetensors")))
        raise DeiTEduError(f"no packaged network {name!r}: choose one of {known}")
    return path


def load_teacher(name, in_channels, num_classes):
    """A trained teacher by name, and what it was trained on.

    Args:
        name: a run folder of `deit-edu train`, packaged:NAME, or timm:NAME with timm's own weights.
        in_channels, num_classes: C and K of the data, for timm.

    Returns:
        (network, metadata): metadata has image_shape [C, H, W] and num_classes; timm's has neither.

    Raises:
        DeiTEduError: when there is no such teacher.
    """
    name = os.fspath(name)
    if name.startswith("timm:"):
        model = create_teacher(name, in_channels, num_classes, pretrained=True)
        settings = getattr(model, "pretrained_cfg", None)
        model.preprocessing = Preprocessing.of_timm(settings) if settings else None
        return model, {}
    if is_packaged(name):
        return load_network(packaged_path(name))
    path = Path(name) / "model.safetensors"
    if not path.exists():
        what = "has not finished training" if Path(name).is_dir() else "is not a run folder"
        raise DeiTEduError(f"teacher {name} {what}: train it first with deit-edu train --model convnet --out {name}")
    return load_network(path)
