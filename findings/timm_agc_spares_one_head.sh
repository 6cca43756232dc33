#!/bin/sh
# timm's adaptive gradient clipping leaves the last layer alone, as its paper has it: timm's training script clips
# what task.get_clip_parameters(exclude_head=True) returns. Of a distilled DeiT that spares one head of two: the
# distillation head keeps its gradient, the class head is clipped with the body, so the two, which begin alike and
# learn side by side, get gradients of different size. Heads start from zero, so a thousandth is left to the class
# head at first: all that SGD has to go by; Adam, which divides by the gradient's size, hides most of it. The method
# leaves out whatever two parameters come last: of a distilled LeViT the linear layer of its second head, not that
# head's batch norm, nor the first head. A plain DeiT, with one head, is as it should be. No error, no warning. timm
# 1.0.31, torch 2.14.1. Ends with 0 while that is so.
set -eu
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install -q torch==2.14.1 torchvision==0.29.1 timm==1.0.31 numpy
cd "$here"
cat > seen.py <<'PYTHON'
import sys

import timm
import torch
from timm.task import ClassificationTask, TokenDistillationTask
from timm.utils import dispatch_clip_grad

torch.set_num_threads(1)
torch.manual_seed(0)
CLASSES = 10
small = dict(depth=2, embed_dim=64, num_heads=2, img_size=32, patch_size=8, num_classes=CLASSES)
teacher = timm.create_model("resnet10t", num_classes=CLASSES)
loss = torch.nn.CrossEntropyLoss()
tasks = {
    "plain DeiT": ClassificationTask(timm.create_model("deit_tiny_patch16_224", **small), loss),
    "distilled DeiT": TokenDistillationTask(
        timm.create_model("deit_tiny_distilled_patch16_224", **small), teacher, loss, distill_type="hard", verbose=False
    ),
    "distilled LeViT": TokenDistillationTask(
        timm.create_model("levit_128s", num_classes=CLASSES), teacher, loss, distill_type="hard", verbose=False
    ),
}
found = {}
for name, task in tasks.items():
    size = 224 if "LeViT" in name else 32
    network = task.train().get_trainable_module()
    task(torch.randn(4, 3, size, size), torch.randint(CLASSES, (4,)))["loss"].backward()
    # The layer that makes the logits of each head, its weight's gradient before and after.
    heads = {key: weight for key, weight in network.named_parameters() if "head" in key and weight.ndim == 2}
    before = {key: weight.grad.norm() for key, weight in heads.items()}
    # As timm's train.py does with --clip-mode agc --clip-grad 0.01.
    dispatch_clip_grad(task.get_clip_parameters(exclude_head=True), 0.01, mode="agc")
    found[name] = {key: round((weight.grad.norm() / before[key]).item(), 4) for key, weight in heads.items()}
    print(f"{name}: what is left of each head's gradient: {found[name]}")
plain, deit, levit = found.values()
expected = (
    plain == {"head.weight": 1.0}
    and set(deit) == {"head.weight", "head_dist.weight"}
    and deit["head_dist.weight"] == 1.0
    and deit["head.weight"] < 0.5
    and set(levit) == {"head.linear.weight", "head_dist.linear.weight"}
    and levit["head_dist.linear.weight"] == 1.0
    and levit["head.linear.weight"] < 0.5
)
sys.exit(not expected)
PYTHON
venv/bin/python -W ignore seen.py
