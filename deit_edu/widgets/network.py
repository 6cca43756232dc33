"""A trained network as one blob of half-precision weights, for network.js to run in a browser."""

import copy

import numpy as np
import torch
from torch import nn

from deit_edu.errors import DeiTEduError
from deit_edu.model import DeiT
from deit_edu.teachers import ConvNet, PooledStage, ResidualBlock, WhiteningConvNet
from deit_edu.widgets.figure import packed


def in_half_precision(model):
    """The network that the page computes, in torch.

    Args:
        model: a DeiT or one of our ConvNets.

    Returns:
        A copy of it in float32 and eval mode, its weights rounded to float16; batch norms keep their precision.

    Raises:
        DeiTEduError: for any other network.
    """
    if not isinstance(model, DeiT | ConvNet | WhiteningConvNet):
        raise DeiTEduError(f"a page runs a DeiT or a convnet of deit_edu.teachers, not {type(model).__name__}")
    model = copy.deepcopy(model).eval().float().cpu()
    with torch.no_grad():
        for module in model.modules():
            if not isinstance(module, nn.BatchNorm2d):
                for parameter in module.parameters(recurse=False):
                    parameter.copy_(parameter.half())
    return model


def export(model):
    """A network for network.js.

    Args:
        model: a DeiT or one of our ConvNets.

    Returns:
        (manifest, weights): a dictionary with the network's kind, sizes and [name, shape] of every tensor in order,
        and their float16 numbers as bytes. Convolutions of a ConvNet have their channels last: (out, k, k, in); the
        batch norm after each is in the manifest, as scale and shift, in full precision.
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
