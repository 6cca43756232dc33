"""A figure in a page that has no kernel: its state without what only Jupyter needs, and its large parts beside it.

`static_host.js` puts them together again in the reader's browser: in the built book, whose parts are files, and in the
page of a run, whose parts lie in the page itself.
"""

import hashlib
import html
import json

from deit_edu.widgets.bundle import FOLDER

# Set while the book is built: then every figure brings a picture for readers without JavaScript.
STATIC = "DEIT_EDU_STATIC"

HOST = FOLDER / "static_host.js"
MIME = "application/vnd.jupyter.widget-"
PRIVATE = ("_esm", "_css", "_picture", "_anywidget_id", "_dom_classes", "layout", "tabbable", "tooltip")


def small_record(record, keep):
    """A figure's record without what its page does not need; what is large is given to `keep`.

    Args:
        record: as ipywidgets embeds it, {"state": , "buffers": [{"path", "data"}]}, data in base64.
        keep: a function from a text, or bytes in base64, to the name under which the page finds it.

    Returns:
        (the record, its picture in base64, its caption).
    """
    state = record["state"]
    moved = {buffer["path"][0]: buffer["data"] for buffer in record.get("buffers", [])}
    picture = moved.pop("_picture", "")
    small = {
        name: value for name, value in state.items() if name not in PRIVATE and not name.startswith(("_model", "_view"))
    }
    caption = small.pop("_caption")
    record = {
        "state": small,
        "files": [{"trait": trait, "name": keep(data)} for trait, data in sorted(moved.items())],
        "esm": keep(state["_esm"]),
        "css": keep(state["_css"]),
    }
    return record, picture, caption


def without_script(address, caption):
    """What readers without JavaScript get in a figure's place. address: of its picture."""
    alt = html.escape(caption)
    shown = f'<img src="{address}" alt="{alt}" style="max-width: 100%; height: auto">'
    note = f"{alt} With JavaScript, this figure is interactive."
    return f'<noscript><figure class="deit-figure">{shown}<figcaption>{note}</figcaption></figure></noscript>'


def part_name(content):
    """The name of a part that is moved out of a page: the digest of what it holds."""
    return hashlib.sha256(content if isinstance(content, bytes) else content.encode()).hexdigest()[:32]


def in_script(value):
    """JSON that can stand between <script> tags."""
    return json.dumps(value, separators=(",", ":")).replace("</", "<\\/").replace("<!--", "<\\u0021--")
