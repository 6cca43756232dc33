"""What the build of the book refuses, that it never shows old output, and how it runs pages: tried on a small book."""

import json
import os
import re
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
    """A book with a front page and a page, and others where a test writes them."""

    def __init__(self, folder):
        self.folder = folder
        (folder / "deit_edu").mkdir()
        (folder / "book" / "notebooks").mkdir(parents=True)
        shutil.copytree(ROOT / "book" / "_ext", folder / "book" / "_ext")
        shutil.copy(ROOT / "_config.yml", folder)
        (folder / "book" / "_toc.yml").write_text("format: jb-book\nroot: front\nchapters:\n")
        (folder / "book" / "front.md").write_text("# A front page\n")
        (folder / "book" / "references.bib").write_text("")

    def write(self, code, more="", name="page"):
        """A page that runs this code, with more Markdown under it."""
        notebook = self.folder / "book" / "notebooks" / f"{name}.ipynb"
        if not notebook.exists():
            notebook.write_text("{}")
            with open(self.folder / "book" / "_toc.yml", "a") as toc:
                toc.write(f"- file: {name}\n")
        (self.folder / "book" / f"{name}.md").write_text(PAGE.format(code=code, more=more))

    def write_counted(self, name, then=""):
        self.write(COUNTED.format(folder=str(self.folder), name=name, then=then), name=name)

    def ran(self):
        """The names of the pages that `write_counted` wrote, sorted, each as often as it ran."""
        return sorted((self.folder / "ran").read_text().split())

    def begin(self, builder="html"):
        """The process of a build; any builder but html goes on from what has been read."""
        options = ["--builder", builder, "-W", "--keep-going", *(["--all"] if builder == "html" else [])]
        return subprocess.Popen(
            [JUPYTER_BOOK, "build", self.folder / "book", *options],
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


@pytest.fixture
def build(book):
    """build(code) -> (exit status, what the build said, the page), for a book with one page that runs this code.

    build(code, more, builder) has more Markdown under it, and another builder after the first has run.
    """

    def run(code, more="", builder="html"):
        book.write(code, more)
        process = book.begin(builder)
        said = process.communicate()[0]
        page = book.folder / "_build" / "html" / "page.html"
        return process.returncode, said, page.read_text("utf8") if page.exists() else ""

    return run


def test_an_edit_of_the_library_runs_the_page_again_and_nothing_else_does(build, book, tmp_path):
    value = tmp_path / "deit_edu" / "value.txt"
    code = f"print('says', open({str(value)!r}).read())"
    code = COUNTED.format(folder=str(tmp_path), name="page", then=code)
    value.write_text("before")
    status, said, first = build(code)
    assert status == 0 and "says before" in first, said
    assert "Using cached" in build(code)[1] and book.ran() == ["page"]
    value.write_text("after")
    status, said, page = build(code)
    assert status == 0 and "says after" in page, said
    assert book.ran() == ["page", "page"]
    assert len(list((tmp_path / "_build" / ".execution_cache").iterdir())) == 1  # the old one is gone
    assert 0 < json.loads((tmp_path / "_build" / "run_times.json").read_text())["page"] < 100  # seconds


def test_pages_run_at_the_same_time_and_a_failing_one_fails_every_build_and_alone_runs_again(book):
    book.write_counted("left", WAITS.format(other="right"))
    book.write_counted("right", WAITS.format(other="left"))
    book.write_counted("worse", "raise RuntimeError('broken' + ' on purpose')")
    for ran in (["left", "right", "worse"], ["left", "right", "worse", "worse"]):
        status, said = book.built()
        assert status != 0 and said.count("worse failed: ") == said.count("broken on purpose") == 1, said
        assert "line 4" in said.partition("worse failed: ")[2], said  # its traceback
        assert book.ran() == ran, said


def test_an_interrupt_ends_every_page_at_once_and_keeps_those_that_have_run(book):
    book.write_counted("long", "import time; time.sleep(100)")
    book.write_counted("short", WAITS.format(other="long"))
    begun = time.monotonic()
    process = book.begin()
    for line in process.stdout:
        if "short ran in" in line:
            break
    process.send_signal(signal.SIGINT)
    said = process.communicate()[0]
    assert process.returncode != 0 and "Interrupted" in said and time.monotonic() - begun < 100, said
    assert book.ran() == ["long", "short"]
    book.write_counted("long")
    status, said = book.built()
    assert status == 0 and book.ran() == ["long", "long", "short"], said


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
