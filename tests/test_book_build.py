"""What the build of the book refuses, and that it never shows old output: tried on a book of one page."""

import os
import re
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
{more}
"""

# A figure, a drawing that is folded, an answer of a cell and words, and a solution of words and a cell.
FOLDS = """
```{code-cell} ipython3
:tags: [hide-input]
fig, ax = plt.subplots()
ax.plot([1, 2])
figures.show(fig, alt="A line that rises from one on the left to two on the right.")
```

*Predict:* what is the answer?

```{code-cell} ipython3
:tags: [answer]
print("forty" + "-two")
```

:::{dropdown} Answer
As the cell says.
:::

Between them.

:::{dropdown} Solution
First the words.
:::

```{code-cell} ipython3
:tags: [solution]
print("then", "the cell")
```

```{code-cell} ipython3
:tags: [answer]
print("a fold of its own")
```
"""
DRAW = """import matplotlib.pyplot as plt
from deit_edu.reading import figures
figures.use_style()"""


@pytest.fixture
def build(tmp_path):
    """build(code) -> (exit status, what the build said, the page), for a book with one page that runs this code.

    build(code, more, builder) has more Markdown under it, and another builder after the first has run.
    """
    if not JUPYTER_BOOK.exists():
        pytest.skip("jupyter-book is not installed here: run `make test`")
    (tmp_path / "deit_edu").mkdir()
    (tmp_path / "book" / "notebooks").mkdir(parents=True)
    shutil.copytree(ROOT / "book" / "_ext", tmp_path / "book" / "_ext")
    shutil.copy(ROOT / "_config.yml", tmp_path)
    (tmp_path / "book" / "_toc.yml").write_text("format: jb-book\nroot: front\nchapters:\n- file: page\n")
    (tmp_path / "book" / "front.md").write_text("# A front page\n")
    (tmp_path / "book" / "references.bib").write_text("")
    (tmp_path / "book" / "notebooks" / "page.ipynb").write_text("{}")

    def run(code, more="", builder="html"):
        (tmp_path / "book" / "page.md").write_text(PAGE.format(code=code, more=more))
        options = ["--builder", builder, "-W", "--keep-going", *(["--all"] if builder == "html" else [])]
        done = subprocess.run(
            [JUPYTER_BOOK, "build", tmp_path / "book", *options],
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


def test_a_warning_an_image_without_words_and_a_stranger_each_fail_the_build(build):
    """In one build, which ends with all of them: with any warning (-W), and with any fault of the built pages."""
    more = "".join(
        f"\n```{{code-cell}} ipython3\n{code}\n```\n"
        for code in (
            "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()",
            "from IPython.display import HTML\nHTML('<img src=https://example.org/x.png alt=picture>')",
        )
    )
    status, said, _page = build("import sys; print('careful', file=sys.stderr)", more)
    faults = said.partition("the built pages have faults:")[2]
    assert status != 0 and "an image has no alt text" in faults and "asks another host" in faults, said
    assert any("WARNING" in line and "stderr was found" in line for line in said.splitlines()), said


def folds_of(page):
    """What the page's folds hold, as text, each with its title first; a fold inside a fold is a fault."""
    found = [re.sub(r"<[^>]+>", " ", part.partition("</details>")[0]) for part in page.split("<details")[1:]]
    assert page.count("<details") == page.count("</details>") == len(found)
    return [" ".join(text.partition(">")[2].split()) for text in found]


def test_every_builder_ends_well_with_one_fold_for_an_answer_and_every_figure(build, tmp_path):
    status, said, page = build(DRAW, FOLDS)
    assert status == 0, said
    drawing, answer, solution, alone = folds_of(page)
    assert drawing.startswith("Show the code that draws this Hide the code that draws this fig")
    assert "<img" not in page.partition("that draws this")[2].partition("</details>")[0]  # the figure is not folded
    assert answer.startswith("Answer") and answer.index("forty-two") < answer.index("As the cell says.")
    assert solution.startswith("Solution") and solution.index("First the words") < solution.index("then the cell")
    assert alone.startswith("Answer") and "a fold of its own" in alone
    out = tmp_path / "_build"
    assert (out / "html" / ".nojekyll").exists()

    for builder, file in [("dirhtml", "page/index.html"), ("singlehtml", "front.html"), ("latex", "")]:
        status, said, _page = build(DRAW, FOLDS, builder)
        assert status == 0, said
        if builder == "latex":
            continue
        front = file.replace("page", "front")
        assert f'url={front}"' in (out / builder / "index.html").read_text("utf8")
        written = out / builder / file
        text = written.read_text("utf8")
        (picture,) = re.findall(r'src="([^"]*widgets/[^"]+png)"', text)
        (notebook,) = re.findall(r'href="([^"]+)" download', text)
        assert (written.parent / picture).is_file() and (written.parent / notebook).is_file()
    (tex,) = (out / "latex").glob("*.tex")
    (picture,) = re.findall(r"includegraphics\[[^]]*\]\{\{(\w+)\}\.png\}", tex.read_text("utf8"))
    assert (out / "latex" / f"{picture}.png").read_bytes().startswith(b"\x89PNG")
