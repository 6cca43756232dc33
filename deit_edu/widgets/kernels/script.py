"""JavaScript modules as one text, for a worker of the page: it is made from a Blob, and there it can import nothing."""

import base64
import functools
import json
import re
from pathlib import Path

from deit_edu.widgets.kernels.build import FOLDER

# import { names } from "./x.js";   import NAME from "./x.js?text";   import NAME from "./x.wasm?base64";
IMPORT = re.compile(r'^import (?:\{[^}]*\}|(\w+)) from "(\.[^"?]+)(?:\?(text|base64))?";\n', re.M)
EXPORT = re.compile(r"^export (?!default)", re.M)


@functools.cache
def joined(*paths):
    """Modules and all that they import, each once and after what it needs, as one classic script.

    Args:
        paths: of the modules. Names at the top of all of them must differ.
    """
    texts = {}  # in the order in which they are complete

    def visit(path):
        if path in texts:
            return
        text = IMPORT.sub(lambda found: inline(path.parent / found[2], found[1], found[3]), path.read_text("utf8"))
        texts[path] = EXPORT.sub("", text)

    def inline(path, name, how):
        if how == "base64":
            return f"const {name} = {json.dumps(base64.b64encode(path.read_bytes()).decode())};\n"
        if how == "text":
            return f"const {name} = {json.dumps(joined(path.resolve()))};\n"
        visit(path.resolve())
        return ""

    for path in paths:
        visit(Path(path).resolve())
    return "".join(texts.values())


def kernels_script(*names):
    """The modules of this folder by their names, and what they import: by default the networks' forward pass."""
    return joined(*(FOLDER / name for name in names or ("kernels.js", "networks_in_page.js")))


def learning_script():
    """The script of a worker in which a student learns: `LearningTeam` of learning_team.js starts it."""
    return kernels_script("learning_worker.js")
