"""Show the library's own source in a chapter, with the way to the file and to the test that holds it."""

import importlib.metadata
import inspect
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
    blocks, links = [], []
    for shown in objects:
        shown = inspect.unwrap(shown)  # a decorator such as torch.no_grad stands around some methods
        try:
            lines, first = inspect.getsourcelines(shown)
            file = Path(PACKAGE.name, Path(inspect.getsourcefile(shown)).resolve().relative_to(PACKAGE)).as_posix()
        except (TypeError, ValueError, OSError):
            raise DeiTEduError(
                f"{shown!r} has no source in deit_edu: show_source takes functions, classes and methods of the library"
            ) from None
        last = first + len(lines) - 1
        blocks.append(f"```python\n{wrap_source(textwrap.dedent(''.join(lines)), COLUMNS)}\n```")
        links.append(f"[{file}, lines {first} to {last}]({_link(file)}#L{first}-L{last})")
    held = f"[{test}]({_link(test.partition('::')[0])})"
    return Source("\n\n".join(blocks) + f"\n\nSource: {', '.join(links)}. Held by {held}.\n")


def _link(path):
    return f"{repository_url()}/blob/main/{path}"
