#!/bin/sh
# Repeated augmentation shows every image three times, and DeiT's recipe mixes what it shows. timm's RepeatAugSampler
# leaves the three copies side by side when one process trains (two of three go to the same one of two processes);
# torchvision's v2.MixUp and v2.CutMix mix each image with its neighbour in the batch (roll by one; its documentation
# asks for a shuffled batch, and the sampler's images are shuffled, its copies are not). Together, two of three images
# are mixed with another crop of themselves: same label, so the target stays one-hot, and mixing is off for most of the
# batch without a word. timm's own Mixup reads the batch backwards and is hardly touched. timm 1.0.31, torchvision
# 0.29.1, torch 2.14.1. Ends with 0 while that is so.
set -eu
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install -q torch==2.14.1 torchvision==0.29.1 timm==1.0.31 numpy
cd "$here"
cat > seen.py <<'PYTHON'
import sys

import numpy as np
import torch
from timm.data.distributed_sampler import RepeatAugSampler
from timm.data.mixup import Mixup
from torch.utils.data import DataLoader, TensorDataset
from torchvision.transforms import v2

images = 4096  # each of a class of its own, so that a target says who was mixed with whom
dataset = TensorDataset(torch.zeros(images, 3, 8, 8), torch.arange(images))


def never_mixed(sampler, mix):
    """The share of an epoch's images whose target is still one class, in batches of 128."""
    torch.manual_seed(0)
    np.random.seed(0)
    alone = shown = 0
    for pictures, labels in DataLoader(dataset, 128, sampler=sampler, drop_last=True):
        _, targets = mix(pictures, labels)
        alone += int((targets.max(dim=1).values > 1 - 1e-6).sum())
        shown += len(targets)
    return alone / shown


ways = {
    "torchvision MixUp": v2.MixUp(alpha=0.8, num_classes=images),
    "torchvision CutMix": v2.CutMix(alpha=1.0, num_classes=images),
    "timm Mixup": Mixup(mixup_alpha=0.8, label_smoothing=0.0, num_classes=images),
}
found = {}
for processes in (1, 2):
    sampler = RepeatAugSampler(dataset, num_replicas=processes, rank=0)
    for name, mix in ways.items():
        found[name, processes] = never_mixed(sampler, mix)
        print(f"{name}, repeated augmentation, {processes} process(es): {found[name, processes]:.0%} not mixed")
print(f"torchvision MixUp, shuffled: {never_mixed(torch.utils.data.RandomSampler(dataset), ways['torchvision MixUp']):.0%}")
expected = (
    0.6 < found["torchvision MixUp", 1] < 0.75
    and found["torchvision CutMix", 1] > 0.6
    and 0.25 < found["torchvision MixUp", 2] < 0.45
    and found["timm Mixup", 1] < 0.1
)
sys.exit(not expected)
PYTHON
venv/bin/python -W ignore seen.py
