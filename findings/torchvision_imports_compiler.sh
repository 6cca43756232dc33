#!/bin/sh
# `import torch` leaves torch's compiler (torch._dynamo) alone until something is compiled, and torchvision's roi_align
# says that its lazy wrapper avoids importing it (pytorch/vision#8436). With torch 2.14.1 neither helps a program that
# compiles nothing: torchvision 0.29.1 imports the compiler when it is imported itself, so it takes longer than torch;
# and so does making, or stepping, any optimiser of torch.optim. It costs seconds, some 150 MB and hundreds of modules,
# sympy among them, in every process that trains. Ends with 0 while that is so.
set -eu
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install -q torch==2.14.1 torchvision==0.29.1 numpy
cd "$here"
cat > seen.py <<'PYTHON'
import os
import sys
import time


def resident():
    with open("/proc/self/statm") as told:
        return int(told.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 2**20


begun = time.perf_counter()
import torch

print(f"torch {torch.__version__}: {time.perf_counter() - begun:.1f} s, {resident()} MB", end="; ")
assert "torch._dynamo" not in sys.modules and "sympy" not in sys.modules
before, begun, modules = resident(), time.perf_counter(), len(sys.modules)
if sys.argv[1] == "torchvision":
    import torchvision
if sys.argv[1] == "make":
    torch.optim.SGD([torch.nn.Parameter(torch.zeros(2))], lr=0.1)
if sys.argv[1] == "none":
    torch.nn.Linear(2, 2)(torch.ones(1, 2)).sum().backward()
what = sorted({"torch._dynamo", "sympy"} & set(sys.modules))
print(f"{sys.argv[1]}: {time.perf_counter() - begun:.1f} s more, {resident() - before} MB, "
      f"{len(sys.modules) - modules} modules, {what}")
sys.exit(what != ([] if sys.argv[1] == "none" else ["sympy", "torch._dynamo"]))
PYTHON
for what in none torchvision make; do venv/bin/python seen.py $what; done
