"""Is a layer still PyTorch's own? Where we compute with its numbers in a cheaper order, others' tools must see it."""

import torch
from torch import nn
from torch.nn.modules import module as everywhere
from torch.utils.module_tracker import ModuleTracker

FORWARD = {kind: kind.forward for kind in (nn.Linear, nn.Conv2d)}
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def hooked(layer):
    """Whether a hook waits for this layer, or for every layer; those by which torch counts operations only look on."""
    own = any(getattr(layer, hooks) for hooks in HOOKS)
    of_all = (hook for hooks in HOOKS for hook in getattr(everywhere, f"_global{hooks}").values())
    return own or any(not isinstance(getattr(hook, "__self__", None), ModuleTracker) for hook in of_all)


def untouched(layer):
    """Whether calling a layer does nothing but its product: no adapter, no hook, no quantised or wrapped weight.

    An adapter (peft's LoRA), a parametrisation or torch's dynamic quantisation puts a layer of another class in its
    place, torchao a weight of another class; pruning and what records activations hang hooks on it; accelerate gives
    it another ``forward``.

    Args:
        layer: what stands where an nn.Linear or an nn.Conv2d was built.
    """
    kind = type(layer)
    return (
        kind in FORWARD
        and kind.forward is FORWARD[kind]
        and "forward" not in vars(layer)
        and not hooked(layer)
        and type(layer.weight) in (nn.Parameter, torch.Tensor)
        and type(layer.bias) in (nn.Parameter, torch.Tensor)
    )
