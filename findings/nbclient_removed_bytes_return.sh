#!/bin/sh
# What a widget has taken away is back in the page that is built of it. nbclient 0.11.0 (with it myst-nb, Jupyter Book
# and nbconvert --execute) keeps the bytes of a widget's traits apart from the rest of its state, by their path, and
# forgets none: a trait set to None, a list that became shorter, a dictionary that lost a key. The notebook says
# null beside bytes for the same trait, and a page puts the bytes in last. So readers see the old picture, the removed
# frames, the key that was deleted. Where a dictionary with bytes (as arrays are often sent) became None, putting them
# in raises an error, and the page shows no widget at all, other widgets included. The build gives no warning.
# Computed here as put_buffers of @jupyter-widgets/base does it; a page with html-manager 1.0.15 in Chromium showed the
# same. anywidget 0.11.0, ipywidgets 8.1.9. Ends with 0 while that is so.
set -eu
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install -q nbclient==0.11.0 ipykernel==7.4.0 anywidget==0.11.0 ipywidgets==8.1.9
cd "$here"
cat > seen.py <<'PYTHON'
import base64
import sys

import nbformat
from nbclient import NotebookClient

MAKE = """
import anywidget, traitlets

class Pictures(anywidget.AnyWidget):
    _esm = "export default { render() {} }"
    frames = traitlets.List(traitlets.Bytes()).tag(sync=True)
    named = traitlets.Dict().tag(sync=True)
    picture = traitlets.Bytes(None, allow_none=True).tag(sync=True)
    array = traitlets.Dict(None, allow_none=True).tag(sync=True)

pictures = Pictures(frames=[b"1", b"2", b"3"], named={"old": b"4"}, picture=b"5", array={"shape": [1], "data": b"6"})
"""
CHANGE = """
pictures.frames = pictures.frames[:1]
pictures.named = {"new": b"7"}
pictures.picture = None
"""
EMPTY = "pictures.array = None"


def put(state, path, content):
    """state[path[0]][path[1]]... = content, as in JavaScript: a list becomes as long as it must."""
    for key in path[:-1]:
        state = state[key]
    if isinstance(state, list):
        state.extend([None] * (path[-1] + 1 - len(state)))
    state[path[-1]] = content


def page(*cells):
    """The widget's state as a page gets it from the executed notebook."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    NotebookClient(notebook, kernel_name="python3").execute()
    models = notebook.metadata.widgets["application/vnd.jupyter.widget-state+json"]["state"].values()
    (record,) = (model for model in models if model["model_name"] == "AnyModel")
    state = {name: record["state"].get(name) for name in ("frames", "named", "picture", "array")}
    for buffer in record["buffers"]:
        put(state, buffer["path"], base64.b64decode(buffer["data"]))
    return {name: dict(value) if isinstance(value, dict) else value for name, value in state.items()}


assert page(MAKE)["frames"] == [b"1", b"2", b"3"]
changed = page(MAKE, CHANGE)
print("in the kernel: frames [b'1'], named {'new': b'7'}, picture None")
print("in the page:  ", ", ".join(f"{name} {changed[name]}" for name in ("frames", "named", "picture")))
try:
    page(MAKE, EMPTY)
    error = None
except TypeError as raised:
    error = raised
print("array set to None: the page fails with", repr(error))
expected = {"frames": [b"1", b"2", b"3"], "named": {"old": b"4", "new": b"7"}, "picture": b"5"}
sys.exit(not (error and all(changed[name] == value for name, value in expected.items())))
PYTHON
venv/bin/python -W ignore seen.py 2> log || { cat log; exit 1; }
