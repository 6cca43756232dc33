#!/bin/sh
# timm's distilled DeiT with patch_drop_rate (PatchDropout, which drops patches in training and is to spare the prefix
# tokens) does not spare its distillation token. VisionTransformerDistilled adds the second prefix token after
# VisionTransformer.__init__ has made PatchDropout for one, so the distillation token is one of the patches: dropped as
# often as they are, and if it is kept, then at a place drawn by chance, since the kept tokens are not put in order.
# head_dist reads place 1, so in training it learns from a patch, in all but one of some 200 images at DeiT's own size,
# while in evaluation, where nothing is dropped, it reads the token that was hardly ever trained. No error, no warning;
# the class token is spared. timm 1.0.31, torch 2.14.1. Ends with 0 while that is so.
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

torch.manual_seed(0)
model = timm.create_model("deit_tiny_distilled_patch16_224", depth=1, patch_drop_rate=0.5).train()
model.set_distilled_training(True)
seen = []
model.blocks[0].register_forward_pre_hook(lambda block, inputs: seen.append(inputs[0]))
with torch.no_grad():
    model(torch.randn(128, 3, 224, 224))
tokens = seen[0]  # (B, T, D), as the first block gets them
whole = {"class": (model.cls_token, 0), "distillation": (model.dist_token, 1)}
for name, (token, place) in whole.items():
    there = torch.isclose(tokens, token + model.pos_embed[:, place : place + 1], atol=1e-6).all(dim=-1)  # (B, T)
    whole[name] = there[:, place].float().mean().item(), there.any(dim=1).float().mean().item()
    print(f"{name} token: where its head reads it in {whole[name][0]:.1%} of images, anywhere in {whole[name][1]:.1%}")
spared = model.patch_drop.num_prefix_tokens
print(f"the network has {model.num_prefix_tokens} prefix tokens, its PatchDropout spares {spared}")
expected = (
    whole["class"] == (1, 1)
    and whole["distillation"][0] < 0.05
    and 0.3 < whole["distillation"][1] < 0.7
    and (model.num_prefix_tokens, spared) == (2, 1)
)
sys.exit(not expected)
PYTHON
venv/bin/python -W ignore seen.py
