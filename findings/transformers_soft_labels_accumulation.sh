#!/bin/sh
# transformers' Trainer with gradient accumulation makes the gradient of a DeiT on soft labels (mixup's, a teacher's),
# or on several labels an image, as many times too large as there are steps to accumulate; and with several processes,
# as many times again as there are processes. DeiT's forward takes **kwargs, so the Trainer believes that the model
# divides its loss by num_items_in_batch: it does not divide it by the steps, and multiplies it by the processes. But
# only for whole labels does the model do so; for float labels its loss is BCEWithLogitsLoss (for one label MSELoss), a
# mean over each small batch. The logged loss grows alike, so one batch in parts is another training than the batch in
# one piece: SGD's steps are as much longer. Whole labels are right; for label smoothing the same was mended before
# (huggingface/transformers#47261).
# transformers 5.23.0, accelerate 1.15.0, torch 2.14.1. Ends with 0 while that is so.
set -eu
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install -q torch==2.14.1 transformers==5.23.0 accelerate==1.15.0 numpy
cd "$here"
cat > seen.py <<'PYTHON'
import os
import sys

import torch
from torch.nn.functional import one_hot
from transformers import DeiTConfig, DeiTForImageClassification, Trainer, TrainingArguments
from transformers.trainer_callback import PrinterCallback

processes = int(os.environ.get("WORLD_SIZE", 1))
torch.manual_seed(0)
pictures, labels = torch.randn(32, 3, 16, 16), torch.randint(0, 10, (32,))
targets = {
    "whole labels": labels,
    "soft labels": 0.7 * one_hot(labels, 10).float() + 0.3 * one_hot(labels.flip(0), 10).float(),
}


def one_step(target, batch, accumulate):
    """The logged loss, and the length of one step of SGD at a rate of 1, which is the gradient's norm."""
    torch.manual_seed(1)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = DeiTForImageClassification(DeiTConfig(image_size=16, patch_size=8, num_labels=10, **sizes))
    for token in (model.deit.embeddings.cls_token, model.deit.embeddings.distillation_token):
        torch.nn.init.normal_(token, std=0.02)  # a new one is all zeros, where LayerNorm's gradient is near 1e6
    before = torch.cat([p.detach().flatten() for p in model.parameters()])
    arguments = TrainingArguments(
        "out", per_device_train_batch_size=batch, gradient_accumulation_steps=accumulate, max_steps=1, optim="sgd",
        learning_rate=1.0, lr_scheduler_type="constant", max_grad_norm=0.0, use_cpu=True, logging_steps=1,
        save_strategy="no", report_to="none", disable_tqdm=True, ddp_find_unused_parameters=False,
    )
    data = [{"pixel_values": picture, "labels": label} for picture, label in zip(pictures, target)]
    trainer = Trainer(model, arguments, train_dataset=data)
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    after = torch.cat([p.detach().flatten() for p in model.parameters()])
    return trainer.state.log_history[0]["loss"], (after - before).norm().item()


whole_batch = torch.load("whole_batch.pt") if processes > 1 else {}
expected = True
for name, target in targets.items():
    for accumulate in (1, 4, 8) if processes == 1 else (4,):
        loss, length = one_step(target, 32 // accumulate // processes, accumulate)
        times = length / whole_batch.setdefault(name, length)
        if os.environ.get("RANK", "0") == "0":
            print(f"32 images, {name}, {processes} process(es), {accumulate} step(s): loss {loss:.3f}, "
                  f"gradient {times:.2f} times that of the whole batch", flush=True)
        too_large = accumulate * processes if name == "soft labels" else 1
        expected = expected and abs(times / too_large - 1) < 0.02
if processes == 1:
    torch.save(whole_batch, "whole_batch.pt")
sys.exit(not expected)
PYTHON
venv/bin/python -W ignore seen.py
venv/bin/python -W ignore -m torch.distributed.run --nproc-per-node=2 seen.py
