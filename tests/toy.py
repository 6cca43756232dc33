"""A data set of small images with an easy pattern, and a config that trains on it in a blink."""

import torch

from deit_edu.data import Split, make_dataset
from deit_edu.train import TrainConfig, World

CPU = World(torch.device("cpu"), torch.float32)


def toy_split(count, side, channels, generator):
    """Three classes: the bright stripe is at the top, in the middle or at the bottom; all else is noise."""
    labels = torch.arange(count) % 3
    images = torch.randint(0, 160, (count, channels, side, side), generator=generator, dtype=torch.uint8)
    rows = torch.arange(side) * 3 // side  # (side,): 0, 1 or 2
    bright = (rows == labels[:, None])[:, None, :, None]  # (count, 1, side, 1)
    return Split(images + 90 * bright.to(torch.uint8), labels)


def toy_dataset(train=96, side=8, channels=1, redraw=None):
    generator = torch.Generator().manual_seed(0)
    splits = [toy_split(count, side, channels, generator) for count in (train, 30, 60)]
    return make_dataset("toy", ("top", "middle", "bottom"), *splits, redraw)


SMALL_DEIT = {"patch_size": 4, "embed_dim": 16, "depth": 2, "num_heads": 2}


def toy_config(**settings):
    """A DeiT on the toy data, two epochs; a convnet when `model` names one."""
    defaults = dict(data="toy", epochs=2, batch_size=16, warmup_epochs=1, crop_padding=1, device="cpu")
    if settings.get("model", "deit").startswith("deit"):
        defaults["model_settings"] = SMALL_DEIT
    return TrainConfig(**defaults | settings)


def weights(model):
    """A copy of all parameters and buffers."""
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def changed(before, after):
    """Names of the tensors that differ."""
    return {name for name in before if not torch.equal(before[name], after[name])}
