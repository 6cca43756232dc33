"""How the book's pages are run: several at a time, each once; what failed or was interrupted alone runs again."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT

JUPYTER_BOOK = Path(sys.executable).parent / "jupyter-book"

PAGE = """---
jupytext: {{text_representation: {{extension: .md, format_name: myst}}}}
kernelspec: {{display_name: Python 3, language: python, name: python3}}
---

# A page

```{{code-cell}} ipython3
{code}
```
"""

# Writes its name where a test can count it, then does what follows.
COUNTED = """from pathlib import Path
with open({folder!r} + "/ran", "a") as ran:
    ran.write({name!r} + " ")
{then}"""
# Ends once the other of two pages has begun.
WAITS = """import time
begun = time.monotonic()
while {other!r} not in Path(ran.name).read_text():
    assert time.monotonic() - begun < 60, "the other page has not begun"
    time.sleep(0.05)"""


class SmallBook:
    """A book with a front page, and others where a test writes them."""

    def __init__(self, folder):
        self.folder = folder
        (folder / "deit_edu").mkdir()
        (folder / "book" / "notebooks").mkdir(parents=True)
        shutil.copytree(ROOT / "book" / "_ext", folder / "book" / "_ext")
        shutil.copy(ROOT / "_config.yml", folder)
        (folder / "book" / "_toc.yml").write_text("format: jb-book\nroot: front\nchapters:\n")
        (folder / "book" / "front.md").write_text("# A front page\n")
        (folder / "book" / "references.bib").write_text("")

    def write(self, name, then=""):
        """A page that says that it runs, and then runs this code."""
        code = COUNTED.format(folder=str(self.folder), name=name, then=then)
        notebook = self.folder / "book" / "notebooks" / f"{name}.ipynb"
        if not notebook.exists():
            notebook.write_text("{}")
            with open(self.folder / "book" / "_toc.yml", "a") as toc:
                toc.write(f"- file: {name}\n")
        (self.folder / "book" / f"{name}.md").write_text(PAGE.format(code=code))

    def ran(self):
        """The names of the pages, sorted, each as often as it ran."""
        return sorted((self.folder / "ran").read_text().split())

    def begin(self):
        """The process of a build."""
        return subprocess.Popen(
            [JUPYTER_BOOK, "build", self.folder / "book", "--all", "-W", "--keep-going"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "NO_COLOR": "1"},
        )

    def built(self):
        process = self.begin()
        said = process.communicate()[0]
        return process.returncode, said


@pytest.fixture
def book(tmp_path):
    if not JUPYTER_BOOK.exists():
        pytest.skip("jupyter-book is not installed here: run `make test`")
    return SmallBook(tmp_path)


def test_pages_run_at_the_same_time_and_a_failing_one_fails_every_build_and_alone_runs_again(book):
    book.write("left", WAITS.format(other="right"))
    book.write("right", WAITS.format(other="left"))
    book.write("worse", "raise RuntimeError('broken' + ' on purpose')")
    for ran in (["left", "right", "worse"], ["left", "right", "worse", "worse"]):
        status, said = book.built()
        assert status != 0 and said.count("worse failed: ") == said.count("broken on purpose") == 1, said
        assert "line 4" in said.partition("worse failed: ")[2], said  # its traceback
        assert book.ran() == ran, said
        assert "IPKernelApp" not in said


def test_an_interrupt_ends_every_page_at_once_and_keeps_those_that_have_run(book):
    book.write("long", "import time; time.sleep(100)")
    book.write("short", WAITS.format(other="long"))
    begun = time.monotonic()
    process = book.begin()
    for line in process.stdout:
        if "short ran in" in line:
            break
    process.send_signal(signal.SIGINT)
    said = process.communicate()[0]
    assert process.returncode != 0 and "Interrupted" in said and time.monotonic() - begun < 100, said
    assert book.ran() == ["long", "short"]
    book.write("long")
    status, said = book.built()
    assert status == 0 and book.ran() == ["long", "long", "short"], said
    times = json.loads((book.folder / "_build" / "run_times.json").read_text())
    assert set(times) == {"long", "short"} and 0 < max(times.values()) < 100  # seconds
