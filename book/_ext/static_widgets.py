"""Interactive figures in the built pages: their state made small, their data moved to files that a page loads late.

myst-nb writes the state of every widget into its page. After the build, `make_static` keeps the figures of
deit_edu.widgets alone, and moves their JavaScript, styles and arrays to _static/widgets/<sha>.js, one file for all
pages that share it. `deit_edu/widgets/static_host.js` puts them together again in the reader's browser. The
chapters' pictures, which a notebook holds as text, become files there too.
"""

import base64
import json
import re
from pathlib import Path

from deit_edu.widgets.static import in_script, part_name, small_record, without_script

MIME = r"application/vnd\.jupyter\.widget-"
STATE = re.compile(rf'(<script type="{MIME}state\+json">)(.*?)(</script>)', re.S)
VIEW = re.compile(rf'<script type="{MIME}view\+json">(.*?)</script>', re.S)
FILE = re.compile(r'"(?:esm|css|name)":"([0-9a-f]{32})"|widgets/([0-9a-f]{32})\.png')
PICTURE = re.compile(r'src="data:image/png;base64,([^"]{2000,})"')


class Files:
    """The folder of what was moved out of the pages; a file's name is the digest of what it holds."""

    def __init__(self, folder):
        self.folder = Path(folder)

    def write(self, content):
        """Text, or bytes in base64, as a script that hands itself to the host. Returns its name."""
        return self.put(content, lambda name: f"deitEduFile({json.dumps(name)},{json.dumps(content)})\n".encode(), "js")

    def write_picture(self, data, top=""):
        """A PNG. Returns its address, as a page names it from whose folder `top` leads to the book's."""
        return f"{top}_static/widgets/{self.put(data, lambda name: data, 'png')}.png"

    def put(self, content, wrap, suffix):
        name = part_name(content)
        path = self.folder / f"{name}.{suffix}"
        if not path.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            path.write_bytes(wrap(name))
        return name

    def remove_others(self, used):
        """Delete what no page names any more."""
        for path in self.folder.glob("*.*"):
            if path.stem not in used:
                path.unlink()


def make_static(page, files, top=""):
    """A built page with its figures ready for the static host, and its pictures in files.

    Args:
        page: the text of an HTML page. files: a Files. top: the way from the page's folder to the book's, as "../".

    Returns:
        (the new text, the names of the files that it uses, what is wrong with it, a line each).
    """
    wrong, kept, pictures = [], {}, {}
    page = PICTURE.sub(lambda src: f'src="{files.write_picture(base64.b64decode(src[1]), top)}"', page)
    if not STATE.search(page):
        wrong = ["a widget has no state: build its page again"] if VIEW.search(page) else []
        return page, names_of(page), wrong

    def small_state(found):
        here = {}
        for model_id, record in json.loads(found[2])["state"].items():
            if "esm" in record:  # this page was made static by an earlier build
                here[model_id] = record
            elif record["state"].get("_figure"):
                here[model_id], picture, caption = small_record(record, files.write)
                pictures[model_id] = without_script(files.write_picture(base64.b64decode(picture), top), caption)
        kept.update(here)
        return found[1] + in_script({"state": here}) + found[3]

    def with_picture(view):
        model_id = json.loads(view[1])["model_id"]
        if model_id not in kept:
            wrong.append("a widget needs a kernel and would be invisible here: only figures of deit_edu.widgets")
        return view[0] + pictures.get(model_id, "")

    page = VIEW.sub(with_picture, STATE.sub(small_state, page))
    return page, names_of(page), wrong


def names_of(page):
    """The files that a page uses."""
    return {one or other for one, other in FILE.findall(page)}
