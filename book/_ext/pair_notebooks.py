"""Write book/notebooks/NN-name.ipynb from each chapter book/NN-name.md: the same cells, in plain Markdown.

    python book/_ext/pair_notebooks.py                    write all notebooks
    python book/_ext/pair_notebooks.py --run 02-attention   run one chapter in a temporary folder and say what is wrong

What only Jupyter Book understands becomes plain Markdown: notes become quotations, folds become <details>,
references become text and links. A directive or role that is not listed here stops the script, with its line.
"""

import argparse
import re
import sys
import tempfile
import tomllib
from pathlib import Path

import jupytext
import nbformat
import yaml
from pybtex.database import parse_file

from deit_edu import widgets

BOOK = Path(__file__).resolve().parents[1]
NOTEBOOKS = BOOK / "notebooks"

INSTALL = """\
# Installs the library where it is missing, as on Colab; does nothing where it is there.
try:
    import deit_edu
except ImportError:
    import importlib
    import os
    import sys
    from pathlib import Path

    here = Path.cwd()
    projects = [folder / "pyproject.toml" for folder in (here, *here.parents)]
    checkout = [file.parent for file in projects if file.is_file() and 'name = "deit-edu"' in file.read_text("utf8")]
    package = "-e ." if checkout else "git+{repository}"
    os.chdir(checkout[0] if checkout else here)  # its name may hold anything: the line below need not say it
    %pip install -q {package}
    os.chdir(here)
    sys.path += map(str, checkout[:1])  # a running Python does not hear of a folder that was installed since
    importlib.invalidate_caches()
    import deit_edu"""

TITLES = {"note": "Note", "tip": "Tip", "important": "Important", "warning": "Warning"}
FENCE = re.compile(r"^(`{3,}|~{3,})")
DIRECTIVE = re.compile(r"^:::\{(\w+)\}\s*(.*)$")
LABEL = re.compile(r"^\(([\w-]+)\)=$")
EQUATION_LABEL = re.compile(r"\$\$\s*\(([\w-]+)\)\s*$")
ROLE = re.compile(r"\{([\w:]+)\}`([^`]+)`")
LINK = re.compile(r"\]\(([\w-]+)\.md(?:#[\w-]+)?\)")
CLASS = re.compile(r"<?(?:\w+\.)*(\w+)")  # of a widget's repr: "Name(...)" or "<package.module.Name object at ...>"
UNKNOWN = re.compile(r"^\s*(?:[`:~]{3,}\{|%\s|\+\+\+)|\{[\w:-]+\}`|<img|!\[")


class ChapterError(ValueError):
    """A line of a chapter that cannot be put into plain Markdown."""


def chapters():
    """The chapters with cells, in the order of the table of contents: "01-patches", ..."""
    toc = yaml.safe_load((BOOK / "_toc.yml").read_text("utf8"))
    names = [chapter["file"] for part in toc["parts"] for chapter in part["chapters"]]
    return [name for name in names if "{code-cell}" in (BOOK / f"{name}.md").read_text("utf8")]


def repository():
    return tomllib.loads((BOOK.parent / "pyproject.toml").read_text("utf8"))["project"]["urls"]["Repository"]


class References:
    """What the labels and citation keys of the whole book stand for."""

    def __init__(self):
        self.labels = {}  # label -> (page, the heading under it)
        self.equations = {}  # label -> (page, the number that the book gives it)
        self.entries = parse_file(str(BOOK / "references.bib"), "bibtex").entries
        for path in sorted(BOOK.glob("*.md")):
            self._read(path.stem, path.read_text("utf8").splitlines())

    def _read(self, page, lines):
        pending, number = [], 0
        for line in lines:
            if match := LABEL.match(line):
                pending.append(match[1])
            elif match := re.match(r"^#+ (.*)$", line):
                self.labels.update({label: (page, match[1]) for label in pending})
                pending = []
            elif match := EQUATION_LABEL.search(line):
                number += 1
                self.equations[match[1]] = (page, number)

    def cite(self, key, in_text):
        entry = self.entries[key]
        names = [" ".join(person.prelast_names + person.last_names) for person in entry.persons["author"]]
        names = [re.sub(r"[{}]|\\['`^\"]", "", name) for name in names]
        who = names[0] if len(names) == 1 else " and ".join(names) if len(names) == 2 else f"{names[0]} et al."
        text = f"{who} ({entry.fields['year']})" if in_text else f"{who}, {entry.fields['year']}"
        return f"[{text}]({entry.fields['url']})" if "url" in entry.fields else text

    def page(self, page):
        """Where a notebook finds another page: a chapter beside it, anything else in the repository."""
        return f"{page}.ipynb" if page in chapters() else f"{repository()}/blob/main/book/{page}.md"

    def role(self, kind, text, here):
        """The plain Markdown of {kind}`text` in a chapter."""
        words, label = re.fullmatch(r"(?:(.*?)\s*<)?([^<>]+?)>?", text).groups()
        if kind == "cite:t":
            return ", ".join(self.cite(key.strip(), in_text=True) for key in label.split(","))
        if kind == "cite:p":
            return "(" + "; ".join(self.cite(key.strip(), in_text=False) for key in label.split(",")) + ")"
        if kind == "eq":
            page, number = self.equations[label]
            words = words or f"({number})"
        elif kind == "ref":
            page, title = self.labels[label]
            words = words or title
        else:
            raise KeyError(kind)
        return words if page == here else f"[{words}]({self.page(page)})"


def plain_markdown(text, page, references):
    """One Markdown cell of a chapter in Markdown that every Jupyter shows."""
    out, fence, inside = [], None, None  # inside: "quote" or "details"

    def put(line):
        out.append(f"> {line}".rstrip() if inside == "quote" else line)

    for line in text.splitlines():
        if fence:
            put(line)
            fence = None if line.strip() == fence else fence
            continue
        try:
            if match := DIRECTIVE.match(line):
                kind, title = match.groups()
                if inside:
                    raise KeyError("a block inside a block")
                if kind == "dropdown":
                    inside = "details"
                    out += [f"<details><summary>{title or 'Solution'}</summary>", ""]
                else:
                    inside = "quote"
                    put(f"**{title if kind == 'admonition' else TITLES[kind]}**")
                    put("")
                continue
            if line.strip() == ":::" and inside:
                out += ["", "</details>"] if inside == "details" else []
                inside = None
                continue
            if LABEL.match(line):
                continue
            if match := EQUATION_LABEL.search(line):
                number = references.equations[match[1]][1]
                line = line[: match.start()] + rf"\tag{{{number}}} $$"
            line = ROLE.sub(lambda match: references.role(match[1], match[2], page), line)
            line = LINK.sub(lambda match: f"]({references.page(match[1])})", line)
        except KeyError as error:
            raise ChapterError(f"{page}: {line!r} names {error}, which a notebook has no words for") from None
        if UNKNOWN.search(line):
            raise ChapterError(f"{page}: {line!r} is not in the list of what a notebook can show (CONTRIBUTING.md)")
        if match := FENCE.match(line):
            fence = match[1]
        put(line)
    if inside or fence:
        raise ChapterError(f"{page}: a block is not closed in the cell that starts with {text[:60]!r}")
    return "\n".join(out)


def pair(page, references):
    """The notebook of one chapter, without outputs."""
    source = jupytext.read(BOOK / f"{page}.md", fmt={"extension": ".md", "format_name": "myst"})
    cells = [nbformat.v4.new_code_cell(INSTALL.replace("{repository}", repository()))]
    for cell in source.cells:
        if cell.cell_type == "markdown":
            cells.append(nbformat.v4.new_markdown_cell(plain_markdown(cell.source, page, references)))
        else:
            tags = cell.metadata.get("tags", [])
            if "solution" in tags:
                cell.metadata["jupyter"] = {"source_hidden": True, "outputs_hidden": True}  # folded in JupyterLab
            elif "hide-input" in tags:  # an answer needs no fold: a reader who runs its cell asks for it
                cell.metadata["jupyter"] = {"source_hidden": True}
            cells.append(nbformat.v4.new_code_cell(cell.source, metadata=cell.metadata))
    for number, cell in enumerate(cells):
        cell.id = f"{page}-{number}"
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel, "language_info": {"name": "python"}})


def notebook_text(page, references):
    return nbformat.writes(pair(page, references)) + "\n"


def run(page):
    """Run a chapter's notebook in a temporary folder; return what is wrong with its outputs, a line each."""
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError

    notebook = pair(page, References())
    with tempfile.TemporaryDirectory() as folder:
        try:
            NotebookClient(notebook, timeout=600, resources={"metadata": {"path": folder}}).execute()
        except CellExecutionError as error:
            return [str(error)]
    wrong = []
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            start = cell.source[:60]
            if output.get("name") == "stderr":
                wrong.append(f"stderr of the cell {start!r}: {output.text[:300]}")
            data = output.get("data", {})
            if any(kind.startswith("image/") for kind in data):
                wrong.append(f"a figure without alt text in the cell {start!r}: show it with figures.show")
            shown = CLASS.match(data.get("text/plain", ""))
            if "application/vnd.jupyter.widget-view+json" in data and (not shown or shown[1] not in widgets.__all__):
                wrong.append(f"a widget in the cell {start!r} that is none of deit_edu.widgets")
    return wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", metavar="CHAPTER", choices=chapters(), help="run this one and write nothing")
    args = parser.parse_args()
    if args.run:
        wrong = run(args.run)
        print("\n".join(wrong) or f"{args.run} runs, and every figure has alt text")
        return int(bool(wrong))
    NOTEBOOKS.mkdir(exist_ok=True)
    references = References()
    texts = {page: notebook_text(page, references) for page in chapters()}
    for old in NOTEBOOKS.glob("*.ipynb"):
        if old.stem not in texts:
            old.unlink()
    for page, text in texts.items():
        (NOTEBOOKS / f"{page}.ipynb").write_text(text, "utf8")
        print(f"book/notebooks/{page}.ipynb")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ChapterError as error:
        sys.exit(f"error: {error}")
