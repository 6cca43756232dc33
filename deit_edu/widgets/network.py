"""Trained networks for the figures: opened, and as one blob of half-precision weights for a browser to run."""

import copy
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from deit_edu.errors import DeiTEduError
from deit_edu.losses import check_labels
from deit_edu.model import DeiT
from deit_edu.runs.checkpoints import load_network, packaged_path
from deit_edu.runs.preprocess import Prepared, in_channels
from deit_edu.runs.weights import check_as_others
from deit_edu.teachers import ConvNet, FrozenTeacher, PooledStage, ResidualBlock, WhiteningConvNet
from deit_edu.widgets.figure import packed


@dataclass(frozen=True)
class Pair:
    """A student, the teacher that taught it last, and what their files say of them."""

    student: DeiT
    teacher: nn.Module
    classes: list
    mean: list
    std: list


def packaged_pair(name):
    """The pair that ships under a data set's name. Raises DeiTEduError when none does."""
    student, seen = load_network(packaged_path(f"{name}_student"))
    teacher, _ = load_network(packaged_path(seen["teacher"]))
    return Pair(student, teacher, seen["classes"], seen["mean"], seen["std"])


def preparation(model, shown):
    """How pictures are brought to a network: as its file says; where it says nothing, as they are.

    Args:
        model: a DeiT or one of our ConvNets. shown: Preprocessing of the pictures that it is shown.

    Raises:
        DeiTEduError: when it says nothing, and pictures of their shape are not for it.
    """
    check_runs_here(model)
    if own := getattr(model, "preprocessing", None):
        return own
    C, H, W = shown.image_shape
    channels, side = next(model.parameters()).shape[1], H  # a convnet begins with its first convolution
    if isinstance(model, DeiT):
        channels, side = model.config.in_channels, model.config.image_size
    if (channels, side, side) != (C, H, W):
        raise DeiTEduError(
            f"images of {C}x{H}x{W} do not fit a network of {channels}x{side}x{side}: give images as it was trained on"
        )
    return shown


def as_it_takes(images, own):
    """Pictures of a network's size and channels: (n, c, h, w) uint8 -> (n, C, H, W) uint8. own: its Preprocessing."""
    return own.resized(in_channels(images, own.image_shape[0]), 0, 255).to(torch.uint8)


def check_labelled(images, labels, classes):
    """Raises DeiTEduError unless there are images (n, C, H, W), one or more, and a label for each, of these classes."""
    if len(images.shape) != 4 or not len(images) == len(labels) > 0:
        raise DeiTEduError(
            f"{len(labels)} labels do not fit images of shape {tuple(images.shape)}: give images (n, C, H, W), and one "
            f"label for each"
        )
    check_labels(torch.as_tensor(labels).long(), len(classes))


def check_runs_here(model):
    """Raises DeiTEduError for a network that network.js does not know."""
    if not isinstance(model, DeiT | ConvNet | WhiteningConvNet):
        raise DeiTEduError(f"a page runs a DeiT or a convnet of deit_edu.teachers, not {type(model).__name__}")
    if isinstance(model, DeiT):
        check_as_others(model.config)


def asked_as_in_the_page(teacher, own, given):
    """What answers batches that are prepared for another network: a copy of a teacher, in half precision.

    Args:
        teacher: a DeiT or one of our ConvNets. own, given: Preprocessing of the teacher and of the batches.

    Returns:
        A module from (B, C, h, w) to logits (B, K).
    """
    return FrozenTeacher(Prepared(in_half_precision(teacher), own, given))


def in_half_precision(model):
    """The network that the page computes, in torch.

    Args:
        model: a DeiT or one of our ConvNets.

    Returns:
        A copy of it in float32 and eval mode, its weights rounded to float16; batch norms keep their precision.

    Raises:
        DeiTEduError: for any other network.
    """
    check_runs_here(model)
    model = copy.deepcopy(model).eval().float().cpu()
    with torch.no_grad():
        for module in model.modules():
            if not isinstance(module, nn.BatchNorm2d):
                for parameter in module.parameters(recurse=False):
                    parameter.copy_(parameter.half())
    return model


def export(model, own=None):
    """A network for the page.

    Args:
        model: a DeiT or one of our ConvNets. own: its Preprocessing, from `preparation`, for a page that is to bring
            pictures to it.

    Returns:
        (manifest, weights): a dictionary with the network's kind, sizes and [name, shape] of every tensor in order,
        and their float16 numbers as bytes. Convolutions of a ConvNet have their channels last: (out, k, k, in); the
        batch norm after each is in the manifest, as scale and shift, in full precision; so is `own`.
    """
    model = in_half_precision(model)
    if isinstance(model, DeiT):
        tensors = dict(model.named_parameters())
        manifest = {"kind": "deit", **model.config.to_dict()}
    else:
        tensors, norms = {"head.weight": model.head.weight, "head.bias": model.head.bias}, {}
        if isinstance(model, WhiteningConvNet):
            first = model.whitening
            tensors |= {"whitening": first.weight.permute(0, 2, 3, 1), "whitening.bias": first.bias}
            manifest = {"kind": "whitening", "patch_size": first.kernel_size[0]}
        else:
            first = model.stem[0]
            manifest = {"kind": "convnet", "stem_stride": first.stride[0]}
            manifest["strides"] = [block.conv1.stride[0] for block in model.blocks]
        for name, convolution, norm in convolutions(model):
            tensors[name] = convolution.weight.permute(0, 2, 3, 1)
            scale = norm.weight / (norm.running_var + norm.eps).sqrt()
            norms[name] = {"scale": scale.tolist(), "shift": (norm.bias - scale * norm.running_mean).tolist()}
        manifest |= {"in_channels": first.in_channels, "norms": norms}
    if own:
        manifest["preprocessing"] = own.to_dict()
    manifest["tensors"] = [[name, list(tensor.shape)] for name, tensor in tensors.items()]
    numbers = np.concatenate([tensor.detach().contiguous().numpy().ravel() for tensor in tensors.values()])
    return manifest, packed(numbers, "f2")


def convolutions(model):
    """Every convolution of a convnet with the batch norm that follows: (name, Conv2d, BatchNorm2d)."""
    if isinstance(model, ConvNet):
        yield "stem", model.stem[0], model.stem[1]
    for name, module in model.named_modules():
        if isinstance(module, ResidualBlock | PooledStage):
            yield f"{name}.conv1", module.conv1, module.norm1
            yield f"{name}.conv2", module.conv2, module.norm2
        if isinstance(module, ResidualBlock) and isinstance(module.shortcut, nn.Sequential):
            yield f"{name}.shortcut", *module.shortcut
