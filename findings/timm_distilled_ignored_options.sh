#!/bin/sh
# timm's distilled DeiT takes options of its parent and does not obey them, without an error or a warning:
# - pos_embed="none", DeiT without position embeddings: it has and learns them all the same. Its answers are to the last
#   bit those of the default, so the usual ablation says that positions do not matter.
# - reg_tokens=4: the registers are made, saved and counted among the parameters, but never join the tokens.
# - fc_norm=True: the parent moves the last LayerNorm to the head, and the distilled head does not call it, so the
#   network has none, and its heads start from features some 25 times smaller.
# VisionTransformerDistilled makes pos_embed, the prefix tokens and forward_head anew, for its own case. timm 1.0.31,
# torch 2.14.1. Ends with 0 while that is so.
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
import torch.nn.functional as F

torch.set_num_threads(1)
names = {"plain": "deit_tiny_patch16_224", "distilled": "deit_tiny_distilled_patch16_224"}


def create(kind, **options):
    torch.manual_seed(0)
    return timm.create_model(
        names[kind], depth=2, embed_dim=64, num_heads=2, img_size=32, patch_size=8, num_classes=10, **options
    ).eval()


pictures = torch.randn(8, 3, 32, 32)
patches = F.unfold(pictures, 8, stride=8)  # (8, 192, 16)
shuffled = F.fold(patches[:, :, torch.randperm(16)], 32, 8, stride=8)
found = {}
for kind in names:
    blind, registers, normed = create(kind, pos_embed="none"), create(kind, reg_tokens=4), create(kind, fc_norm=True)
    head = []
    normed.head.register_forward_pre_hook(lambda module, inputs: head.append(inputs[0].std(dim=-1).mean().item()))
    with torch.no_grad():
        answers = blind(pictures)
        same = torch.equal(answers, create(kind)(pictures))
        moved = ((blind(shuffled) - answers).std() / answers.std()).item()
        added = registers.forward_features(pictures).shape[1] - create(kind).forward_features(pictures).shape[1]
        normed(pictures)
    registers(pictures).sum().backward()
    trained = registers.reg_token.grad is not None
    print(f"{kind}, no positions: answers as with positions: {same}, moved by shuffling the patches: {moved > 1e-4}")
    print(f"{kind}, 4 registers: {added} more tokens, with a gradient: {trained}")
    print(f"{kind}, fc_norm: the head's features spread {head[0]:.3f}")
    found[kind] = same, moved > 1e-4, added, trained, head[0] > 0.5
expected = found == {"plain": (False, False, 4, True, True), "distilled": (True, True, 0, False, False)}
sys.exit(not expected)
PYTHON
venv/bin/python -W ignore seen.py
