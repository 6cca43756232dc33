"""All that the next epoch needs, as tensors by name, so that a run can stop after any epoch and go on."""

import torch


def pack(student, optimizer, average=None):
    """What `unpack` puts back: {name: tensor}.

    Args:
        student: a module. optimizer: of its parameters. average: a `deit_edu.train.MovingAverage` of it, or None.
    """
    tensors = {f"model.{name}": tensor for name, tensor in student.state_dict().items()}
    if average:
        tensors |= {f"average.{name}": tensor for name, tensor in average.state.items()}
    for index, slots in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{slot}": tensor for slot, tensor in slots.items() if tensor is not None}
    return tensors


def unpack(tensors, student, optimizer, average=None):
    """Put back what `pack` gave, in place.

    Raises:
        RuntimeError: when the student is not of the shape that was packed.
    """

    def part(prefix):
        return {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}

    student.load_state_dict(part("model."))
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    if average:
        average.state = {name: tensor.to(parameters[0].device) for name, tensor in part("average.").items()}
    slots = {}
    for name, tensor in part("optimizer.").items():
        index, slot = name.split(".")
        if tensor.shape == parameters[int(index)].shape:
            # In the parameter's own memory layout, channels last for convolutions: PyTorch's fused optimisers
            # pair the numbers as they lie in memory, and would pair wrong ones without a word.
            tensor = torch.empty_like(parameters[int(index)]).copy_(tensor)
        slots.setdefault(int(index), {})[slot] = tensor
    optimizer.load_state_dict({"state": slots, "param_groups": optimizer.state_dict()["param_groups"]})
