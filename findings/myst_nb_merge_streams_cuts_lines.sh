#!/bin/sh
# myst-nb 1.4.0 with nb_merge_streams, which is to make what a cell prints the same at every build, cuts lines in two.
# A kernel sends what is printed in pieces, one a fifth of a second, or one a flush. coalesce_streams takes the white
# space from the end of each piece and puts a line break there, wherever the piece ends. Jupyter shows one line
# "accuracy: 93.41 %"; the page shows three: "accuracy:", "93.4", "1 %". Which lines are cut depends on how fast the
# machine is. Blank lines between pieces are lost (executablebooks/MyST-NB#690 is about these). A progress line that
# ends in "\r", of which the function means to keep the last, is kept whole, one line a step; and "\b" is never used,
# for its loop compares a text with itself. Without the option, the same text comes in several boxes, but complete.
# Ends with 0 while that is so.
set -eu
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install -q myst-nb==1.4.0 myst-parser==3.0.1 sphinx==7.4.7 ipykernel==7.4.0 nbclient==0.11.0 \
  jupyter-cache==1.0.1
cd "$here"
cat > conf.py <<'PYTHON'
extensions = ["myst_nb"]
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_merge_streams = True
PYTHON
cat > index.md <<'MYST'
---
file_format: mystnb
kernelspec: {name: python3, display_name: Python 3}
---
# Printed

```{code-cell} ipython3
:tags: [remove-input]
import sys
for piece in ["accuracy: ", "93.4", "1 %\n", "\n", "loss: 0.21\n"]:
    print(piece, end="", flush=True)
```

```{code-cell} ipython3
:tags: [remove-input]
import time
for step in range(12):  # nothing is flushed here: the kernel does it when a fifth of a second has passed
    print(step, end=" ")
    time.sleep(0.1)
```

```{code-cell} ipython3
:tags: [remove-input]
for step in range(3):
    print("step", step, end="\r", flush=True)
```
MYST
venv/bin/sphinx-build -q -b pseudoxml . page 2> log || { cat log; exit 1; }
venv/bin/python - <<'PYTHON'
import re
import sys
from pathlib import Path

text = Path("page/index.pseudoxml").read_text()
number, slow, progress = (
    [line.strip() for line in block.strip().splitlines()]
    for block in re.findall(r"<literal_block[^>]*stream[^>]*>\n((?: .*\n)+?)(?= *<|\Z)", text)
)
print("printed as one line, a blank one, and a line:", number)
print("printed as one line, slowly:                 ", slow)
print("printed over itself, last 'step 2':          ", progress)
same = " ".join(slow).split() == [str(step) for step in range(12)]
sys.exit(not (
    number == ["accuracy:", "93.4", "1 %", "loss: 0.21"]
    and same and len(slow) > 1
    and progress == ["step 0", "step 1", "step 2"]
))
PYTHON
