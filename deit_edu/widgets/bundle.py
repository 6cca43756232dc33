"""JavaScript modules and all that they import as one text.

A page opened from a disk cannot fetch modules, and a worker made from a Blob can import nothing.
"""

import base64
import functools
import json
import re
from pathlib import Path

FOLDER = Path(__file__).parent

# import { names } from "./x.js";   import NAME from "./x.js?text";   import NAME from "./x.wasm?base64";
IMPORT = re.compile(r'^import (?:\{[^}]*\}|(\w+)) from "(\.[^"?]+)(?:\?(text|base64))?";\n', re.M)
EXPORT = re.compile(r"^export (?!default)", re.M)


@functools.cache
def bundled(*paths):
    """Modules and all that they import, each once and after what it needs; of what they export, a default is left.

    Without one the text is a classic script as well: a worker's.

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
            return f"const {name} = {json.dumps(bundled(path.resolve()))};\n"
        visit(path.resolve())
        return ""

    for path in paths:
        visit(Path(path).resolve())
    return "".join(texts.values())
