"""What this book adds to jupyter-book.

* The execution cache is keyed on everything a chapter reads, so that an edit of the library never shows old output.
* Pages are run several at a time (run_pages.py).
* Every chapter says how long it ran, and offers itself as a notebook.
* No page asks another host for anything: MathJax is copied out of a Python package.
* Interactive figures work without a kernel (static_widgets.py), and LaTeX gets the pictures (latex_pictures.py).
* Answers, solutions and the code that draws are folded (folds.py).
* After the build each page is read once more: a figure without alt text or a request to another host fails the build.
"""

import hashlib
import html
import json
import os
import shutil
import sys
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path

import folds
from docutils import nodes
from latex_pictures import LatexPictures
from myst_nb.sphinx_ import NbMetadataCollector
from run_pages import CORES, THREADS, run_pages
from sphinx.errors import ExtensionError
from static_widgets import Files, make_static

from deit_edu.reading.source import repository_url
from deit_edu.widgets.static import HOST, STATIC

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
NOTEBOOKS = HERE.parent / "notebooks"

# index.html. Without an icon of its own a browser asks the server for /favicon.ico, which is not there.
FRONT_DOOR = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>{title}</title>
<link rel="icon" href="_static/favicon.svg">
<meta http-equiv="refresh" content="0; url={first}">
<p><a href="{first}">{title}</a></p>
</html>
"""


def digest_of(paths, root=ROOT):
    """One hash over the names and bytes of all files under paths, and over the Python that runs them."""
    seen = hashlib.sha256(f"{sys.version} {repository_url()}".encode())
    for path in sorted(file for name in paths for file in (root / name, *(root / name).rglob("*"))):
        if path.is_file() and "__pycache__" not in path.parts:
            seen.update(f"{path.relative_to(root).as_posix()} {path.stat().st_size} ".encode() + path.read_bytes())
    return seen.hexdigest()[:16]


def configure(app, config):
    import matplotlib.font_manager  # noqa: F401 - writes its font cache, which on a new machine warns in a cell's stderr

    # jupyter-cache looks at a notebook's own cells alone: give each state of what the cells use a cache of its own.
    caches = Path(app.outdir).parent / ".execution_cache"
    current = caches / digest_of(config.deit_book_reads)
    for old in caches.glob("*"):
        if old != current:
            shutil.rmtree(old)
    config.nb_execution_cache_path = str(current)
    config.nb_ipywidgets_js = {"static_host.js": {}}  # the default is RequireJS and a widget manager from a CDN
    config.html_static_path += [str(HERE / "assets"), str(HOST)]
    os.environ[STATIC] = "1"  # for the kernels: figures bring a picture for readers without JavaScript
    config.mathjax_path = "mathjax/tex-svg.js"


def run_seconds(app, docname):
    """How long the cells of a page ran (kept through cache hits), or None for a page without cells."""
    execution = NbMetadataCollector.get_doc_data(app.env)[docname].get("exec_data")
    return execution["runtime"] if execution else None


def add_chapter_line(app, doctree):
    """Under the title: how long the chapter runs, and where to get it as a notebook."""
    docname = app.env.docname
    seconds = run_seconds(app, docname)
    if seconds is None or docname == app.config.root_doc:  # the front page only draws its picture
        return
    notebook = f"notebooks/{docname}.ipynb"
    colab = repository_url().replace("https://github.com/", "https://colab.research.google.com/github/")
    line = (
        f"Runs in {max(1, round(seconds))} s on {THREADS} of {CORES} CPU cores, measured when this page was built"
        f'<br><a href="{notebook}" download>Download the notebook</a> · '
        f'<a href="{html.escape(colab)}/blob/main/book/{notebook}">Open in Colab</a>'
    )
    title = next(doctree.findall(nodes.title))
    paragraph = nodes.raw("", f'<p class="chapter-line">{line}</p>', format="html")
    title.parent.insert(title.parent.index(title) + 1, paragraph)


def mend_page(app, pagename, templatename, context, doctree):
    """Two things that a page cannot know before it is written.

    docutils gives the entries of a bibliography a role that no longer exists, inside a list without items; and the way
    to the notebooks depends on the builder, since dirhtml puts each page into a folder.
    """
    body = context.get("body", "").replace('role="doc-biblioentry"', 'role="listitem"')
    folder = context["pathto"]("notebooks", resource=True)
    context["body"] = body.replace('<a href="notebooks/', f'<a href="{folder}/')
    if app.builder.name == "singlehtml":  # myst-nb adds the figures' state of the page in hand, here the first one
        there = set(NbMetadataCollector.get_js_files(app.env, pagename))
        for name in sorted(app.env.found_docs - {pagename}):
            for key, (path, kwargs) in NbMetadataCollector.get_js_files(app.env, name).items():
                if key == "ipywidgets_state" or key not in there:  # a state each, static_host.js once
                    app.add_js_file(path, **kwargs)
                there.add(key)


class PageCheck(HTMLParser):
    """Collects what is wrong with one built page."""

    def __init__(self):
        super().__init__()
        self.wrong = []

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        source = attributes.get("src") or ""
        if tag == "img":
            alt = (attributes.get("alt") or "").strip()
            if not alt or alt == source:  # Sphinx writes the file's name where there is no alt text
                self.wrong.append(f"an image has no alt text, show it with figures.show: {source[:60]}")
        if tag == "link" and attributes.get("rel") in ("stylesheet", "preload", "icon", "modulepreload"):
            source = attributes.get("href") or ""
        loads = tag in ("img", "link", "script", "iframe", "source", "video", "audio")
        if loads and source.startswith(("http:", "https:", "//")):
            self.wrong.append(f"<{tag}> asks another host: {source[:100]}")


def check_page(text):
    """Return what is wrong with a built page, a line each."""
    check = PageCheck()
    check.feed(text)
    return check.wrong


def written_pages(app):
    """The files of the pages: one for each, or one for all, which depends on the builder."""
    names = [app.config.root_doc] if app.builder.name == "singlehtml" else sorted(app.env.found_docs)
    return {name: Path(app.builder.get_outfilename(name)) for name in names}


def finish(app, exception):
    if exception or app.builder.format != "html":
        return
    out = Path(app.outdir)
    (out / "_static" / "mathjax").mkdir(parents=True, exist_ok=True)
    shutil.copy(str(files("mathjax") / "static/mathjax/es5/tex-svg.js"), out / "_static" / "mathjax")
    first = written_pages(app)[app.config.root_doc].relative_to(out).as_posix()
    (out / "index.html").write_text(FRONT_DOOR.format(title=html.escape(app.config.html_title), first=first), "utf8")
    pages = app.env.found_docs - {app.config.root_doc}
    chapters = {name: run_seconds(app, name) for name in pages if run_seconds(app, name) is not None}
    (out.parent / "run_times.json").write_text(json.dumps(dict(sorted(chapters.items())), indent=1))
    shutil.rmtree(out / "notebooks", ignore_errors=True)
    (out / "notebooks").mkdir()
    wrong = []
    for name in chapters:
        try:
            shutil.copy(NOTEBOOKS / f"{name}.ipynb", out / "notebooks")
        except FileNotFoundError:
            wrong.append(f"{name}: there is no book/notebooks/{name}.ipynb: run `make notebooks`")
    moved, used = Files(out / "_static" / "widgets"), set()
    for name, path in written_pages(app).items():
        before = path.read_text("utf8")
        page, needed, faults = make_static(before, moved, top="../" * len(path.parent.relative_to(out).parts))
        if page != before:
            path.write_text(page, "utf8")
        used |= needed
        wrong += [f"{name}: {line}" for line in faults + check_page(page)]
    if app.builder.name != "singlehtml":  # pdfhtml writes its one page beside those of html
        moved.remove_others(used)
    if wrong:
        raise ExtensionError("the built pages have faults:\n" + "\n".join(wrong))


def setup(app):
    app.add_config_value("deit_book_reads", [], "env")
    app.add_css_file("deit_book.css")
    app.connect("config-inited", configure)
    app.connect("env-before-read-docs", run_pages)
    app.add_post_transform(LatexPictures)
    app.connect("doctree-read", add_chapter_line)
    app.connect("doctree-read", folds.arrange)
    app.connect("html-page-context", mend_page)
    app.connect("build-finished", finish)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
