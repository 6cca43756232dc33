"""Show the library's own source in a chapter, with the way to the file and to the test that holds it."""

import ast
import difflib
import importlib.metadata
import inspect
import itertools
import os
import textwrap
from pathlib import Path

import deit_edu
from deit_edu.errors import DeiTEduError
from deit_edu.reading.wrap import wrap_source

COLUMNS = 90  # of a shown line: what a page has room for
PACKAGE = Path(deit_edu.__file__).resolve().parent


def repository_url():
    """Where the project lives: DEIT_EDU_REPOSITORY for a fork, else pyproject.toml's Repository."""
    if url := os.environ.get("DEIT_EDU_REPOSITORY"):
        return url
    urls = dict(line.split(", ") for line in importlib.metadata.metadata("deit-edu").get_all("Project-URL"))
    return urls["Repository"]


class Source:
    """Markdown that Jupyter and the book show as highlighted code and a line of links."""

    def __init__(self, markdown):
        self.markdown = markdown

    def _repr_markdown_(self):
        return self.markdown

    def __repr__(self):
        return self.markdown


def show_source(*objects, test):
    """Show the source of functions or classes of the library, as it is installed, in lines of at most 90 columns.

    Args:
        objects: functions, classes or methods of deit_edu.
        test: the test that holds what is shown, as pytest names it: "tests/test_patches.py::test_name".

    Raises:
        DeiTEduError: when an object is not from deit_edu or has no source of its own.
    """
    if not objects:
        raise DeiTEduError("show_source got nothing to show: name at least one function or class of deit_edu")
    sources = [_source(shown) for shown in objects]
    blocks = [f"```python\n{wrap_source(source, COLUMNS)}\n```" for source, _link_to_it in sources]
    return Source("\n\n".join(blocks) + _where([link for _source, link in sources], test))


def show_difference(*objects, switch, test):
    """Show what a switch of the library changes: the source with it off against the source with it on.

    Each `if` that asks for the switch is followed both ways, and the two are compared line by line. Lines that only
    the second has are marked `# new`.

    Args:
        objects: functions or methods of deit_edu. switch: the name they ask for, such as "distilled", alone or as an
            attribute. test: as for `show_source`.

    Raises:
        DeiTEduError: when an object is not from deit_edu, or asks for no such switch.
    """
    blocks, links = [], []
    for shown in objects:
        source, link = _source(shown)
        off, on = (follow(source, switch, value).splitlines() for value in (False, True))
        changed = list(difflib.unified_diff(off, on, n=1, lineterm=""))[2:]  # without the names of two files
        if not changed:
            raise DeiTEduError(f"{shown.__qualname__} is the same with and without {switch!r}: name another switch")
        rows = [f"@@ {shown.__qualname__} @@" if row.startswith("@@") else row for row in changed]
        rows = [f"{row.partition('  # ')[0]}  # new" if row.startswith("+") else row for row in rows]
        blocks.append("```diff\n" + "\n".join(rows) + "\n```")
        links.append(link)
    return Source("\n\n".join(blocks) + _where(links, test))


def follow(source, switch, value):
    """Python source with every question for a switch answered: what would run if it always had this value."""
    while question := next(filter(None, (_answer(node, switch, value) for node in ast.walk(ast.parse(source)))), None):
        node, kept = question
        lines = source.splitlines()
        if isinstance(node, ast.IfExp):
            row, start, end = node.lineno - 1, node.col_offset, node.end_col_offset
            lines[row] = lines[row][:start] + ast.get_source_segment(source, kept[0]) + lines[row][end:]
        else:
            inside = lines[kept[0].lineno - 1 : kept[-1].end_lineno] if kept else []
            indent = lines[node.lineno - 1][: node.col_offset]
            inside = textwrap.indent(textwrap.dedent("\n".join(inside)), indent).splitlines()
            if kept and isinstance(kept[-1], ast.Return):  # what stands below it would never run
                below = lines[node.end_lineno :]
                dead = itertools.takewhile(lambda row: row.startswith(indent) or not row.strip(), below)  # noqa: B023
                del lines[node.end_lineno : node.end_lineno + len(list(dead))]
            lines[node.lineno - 1 : node.end_lineno] = inside
        source = "\n".join(lines)
    return source


def _answer(node, switch, value):
    """(an `if` that asks for the switch, the nodes of the branch that it takes), or None for any other node."""
    if not isinstance(node, ast.If | ast.IfExp):
        return None
    asked, negated = node.test, isinstance(node.test, ast.UnaryOp) and isinstance(node.test.op, ast.Not)
    asked = asked.operand if negated else asked
    if switch not in (getattr(asked, "attr", None), getattr(asked, "id", None)):
        return None
    kept = node.body if value != negated else node.orelse
    return node, kept if isinstance(kept, list) else [kept]


def _source(shown):
    """The source of an object of the library, without its indentation, and a link to it."""
    shown = inspect.unwrap(shown)  # a decorator such as torch.no_grad stands around some methods
    try:
        lines, first = inspect.getsourcelines(shown)
        file = Path(PACKAGE.name, Path(inspect.getsourcefile(shown)).resolve().relative_to(PACKAGE)).as_posix()
    except (TypeError, ValueError, OSError):
        raise DeiTEduError(
            f"{shown!r} has no source in deit_edu: show_source takes functions, classes and methods of the library"
        ) from None
    last = first + len(lines) - 1
    link = f"[{file}, lines {first} to {last}]({_link(file)}#L{first}-L{last})"
    return textwrap.dedent("".join(lines)), link


def _where(links, test):
    return f"\n\nSource: {', '.join(links)}. Held by [{test}]({_link(test.partition('::')[0])}).\n"


def _link(path):
    return f"{repository_url()}/blob/main/{path}"
