"""What the build of the book refuses, and that it never shows old output: tried on a book of one page."""

import os
import shutil
import subprocess
import sys
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


@pytest.fixture
def build(tmp_path):
    """build(code) -> (exit status, what the build said, the page), for a book whose one page runs this code."""
    if not JUPYTER_BOOK.exists():
        pytest.skip("jupyter-book is not installed here: run `make test`")
    (tmp_path / "deit_edu").mkdir()
    (tmp_path / "book" / "notebooks").mkdir(parents=True)
    shutil.copytree(ROOT / "book" / "_ext", tmp_path / "book" / "_ext")
    shutil.copy(ROOT / "_config.yml", tmp_path)
    (tmp_path / "book" / "_toc.yml").write_text("format: jb-book\nroot: page\n")
    (tmp_path / "book" / "references.bib").write_text("")
    (tmp_path / "book" / "notebooks" / "page.ipynb").write_text("{}")

    def run(code):
        (tmp_path / "book" / "page.md").write_text(PAGE.format(code=code))
        done = subprocess.run(
            [JUPYTER_BOOK, "build", tmp_path / "book", "--all", "-W", "--keep-going"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "NO_COLOR": "1"},
        )
        page = tmp_path / "_build" / "html" / "page.html"
        return done.returncode, done.stdout, page.read_text("utf8") if page.exists() else ""

    return run


def test_an_edit_of_the_library_runs_the_page_again_and_nothing_else_does(build, tmp_path):
    value = tmp_path / "deit_edu" / "value.txt"
    code = f"print('says', open({str(value)!r}).read())"
    value.write_text("before")
    status, said, first = build(code)
    assert status == 0 and "says before" in first, said
    assert "Using cached" in build(code)[1]
    value.write_text("after")
    status, said, page = build(code)
    assert status == 0 and "says after" in page, said
    assert len(list((tmp_path / "_build" / ".execution_cache").iterdir())) == 1  # the old one is gone


def test_a_failing_cell_fails_every_build(build):
    for _ in range(2):  # the second one too: nothing of a failed run may be kept
        status, said, _page = build("raise RuntimeError('broken on purpose')")
        assert status != 0 and "broken on purpose" in said


def test_a_warning_on_stderr_fails_the_build(build):
    status, said, _page = build("import sys; print('careful', file=sys.stderr)")
    assert status != 0 and "stderr was found" in said


def test_a_figure_without_alt_text_fails_the_build(build):
    status, said, _page = build("import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()")
    assert status != 0 and "an image has no alt text" in said


def test_a_page_that_asks_another_host_fails_the_build(build):
    picture = "<img src=https://example.org/x.png alt=picture>"
    status, said, _page = build(f"from IPython.display import HTML\nHTML({picture!r})")
    assert status != 0 and "asks another host" in said
