"""What the build of the book refuses, and that it never shows old output: tried on a book of one page.

Every build takes 10 seconds of a core, so the tests share seven. What the page does follows a word in a file of "the
library", so that its cells stay as they are.
"""

import os
import re
import shutil
import sys
from types import SimpleNamespace

import forked
import pytest
from conftest import ROOT

PAGE = """---
jupytext: {{text_representation: {{extension: .md, format_name: myst}}}}
kernelspec: {{display_name: Python 3, language: python, name: python3}}
---

# A page

```{{code-cell}} ipython3
import sys
word = open({word!r}).read()
print("says", word)
if word == "broken":
    raise RuntimeError(word + " on purpose")
if word == "careless":
    print("careful", file=sys.stderr)
import matplotlib.pyplot as plt
from deit_edu.reading import figures
from IPython.display import HTML
figures.use_style()
```
{folds}
```{{code-cell}} ipython3
if word == "careless":
    plt.plot([1, 2])
    plt.show()
    display(HTML("<img src=https://example.org/x.png alt=picture>"))
```
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


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    """A book with one page, and build(word, builder) -> its exit status, what it said, and the page of HTML."""
    pytest.importorskip("jupyter_book", reason="jupyter-book is not installed here: run `make test`")
    folder = tmp_path_factory.mktemp("book")
    word = folder / "deit_edu" / "word.txt"
    word.parent.mkdir()
    (folder / "book" / "notebooks").mkdir(parents=True)
    shutil.copytree(ROOT / "book" / "_ext", folder / "book" / "_ext")
    shutil.copy(ROOT / "_config.yml", folder)
    (folder / "book" / "_toc.yml").write_text("format: jb-book\nroot: front\nchapters:\n- file: page\n")
    (folder / "book" / "front.md").write_text("# A front page\n")
    (folder / "book" / "page.md").write_text(PAGE.format(word=str(word), folds=FOLDS))
    (folder / "book" / "references.bib").write_text("")
    (folder / "book" / "notebooks" / "page.ipynb").write_text("{}")

    def build(said, builder="html"):
        word.write_text(said)
        log, page = folder / "log.txt", folder / "_build" / "html" / "page.html"
        options = ["--builder", builder, "-W", "--keep-going", *(["--all"] if builder in ("html", "dirhtml") else [])]
        process = forked.start(jupyter_book, ["build", str(folder / "book"), *options], log)
        process.join()
        return SimpleNamespace(status=process.exitcode, said=log.read_text(), page=page.read_text("utf8"))

    return SimpleNamespace(out=folder / "_build", build=build)


def jupyter_book(arguments, log):
    """The command, in a process that has the library already; `make test` runs it by its name, on the whole book."""
    os.environ["NO_COLOR"] = "1"
    sys.path[:] = [path for path in sys.path if not path.startswith(str(ROOT / "book"))]  # other tests' way to its _ext
    with open(log, "wb") as said:
        os.dup2(said.fileno(), 1)
        os.dup2(said.fileno(), 2)
    from jupyter_book.cli.main import main

    main(arguments)


@pytest.fixture(scope="module")
def whole(book):
    """{builder: what it made} of one page that is well."""
    return {builder: book.build("before", builder) for builder in ("html", "dirhtml", "singlehtml", "latex")}


@pytest.fixture(scope="module")
def broken(book, whole):
    """Two builds after an edit of the library, which breaks the page."""
    return [book.build("broken") for _ in range(2)]


@pytest.fixture(scope="module")
def careless(book, broken):
    """A build after one more edit: all cells run, and three things are not as they should be."""
    return book.build("careless")


def test_a_page_is_run_once_for_every_builder(whole):
    for built in whole.values():
        assert built.status == 0, built.said
    assert "says before" in whole["html"].page
    assert ["page ran in" in built.said for built in whole.values()] == [True, False, False, False]
    assert "Using cached" in whole["dirhtml"].said  # the page was read anew


def test_an_edit_of_the_library_runs_the_page_again(book, broken, careless):
    assert "broken on purpose" in broken[0].said
    assert "says careless" in careless.page
    assert len(list((book.out / ".execution_cache").iterdir())) == 1  # the old ones are gone


def test_a_failing_cell_fails_every_build(broken):
    for built in broken:  # the second one too: nothing of a failed run may be kept
        assert built.status != 0 and "broken on purpose" in built.said


def test_a_warning_an_image_without_words_and_a_stranger_each_fail_the_build(careless):
    """In one build, which ends with all of them: with any warning (-W), and with any fault of the built pages."""
    said = careless.said
    faults = said.partition("the built pages have faults:")[2]
    assert careless.status != 0 and "an image has no alt text" in faults and "asks another host" in faults, said
    assert any("WARNING" in line and "stderr was found" in line for line in said.splitlines()), said


def folds_of(page):
    """What the page's folds hold, as text, each with its title first; a fold inside a fold is a fault."""
    found = [re.sub(r"<[^>]+>", " ", part.partition("</details>")[0]) for part in page.split("<details")[1:]]
    assert page.count("<details") == page.count("</details>") == len(found)
    return [" ".join(text.partition(">")[2].split()) for text in found]


def test_answers_and_solutions_are_one_fold_each_and_the_code_that_draws_is_folded(whole):
    page = whole["html"].page
    drawing, answer, solution, alone = folds_of(page)
    assert drawing.startswith("Show the code that draws this Hide the code that draws this fig")
    assert "<img" not in page.partition("that draws this")[2].partition("</details>")[0]  # the figure is not folded
    assert answer.startswith("Answer") and answer.index("forty-two") < answer.index("As the cell says.")
    assert solution.startswith("Solution") and solution.index("First the words") < solution.index("then the cell")
    assert alone.startswith("Answer") and "a fold of its own" in alone


@pytest.mark.parametrize(("builder", "file"), [("dirhtml", "page/index.html"), ("singlehtml", "front.html")])
def test_every_builder_of_pages_has_a_front_door_and_every_figure_and_notebook(book, whole, builder, file):
    front, written = file.replace("page", "front"), book.out / builder / file
    assert f'url={front}"' in (book.out / builder / "index.html").read_text("utf8")
    text = written.read_text("utf8")
    (picture,) = re.findall(r'src="([^"]*widgets/[^"]+png)"', text)
    (notebook,) = re.findall(r'href="([^"]+)" download', text)
    assert (written.parent / picture).is_file() and (written.parent / notebook).is_file()


def test_a_branch_published_as_it_is_keeps_its_static_files(book, whole):
    assert (book.out / "html" / ".nojekyll").exists()


def test_latex_has_every_figure(book, whole):
    (tex,) = (book.out / "latex").glob("*.tex")
    (picture,) = re.findall(r"includegraphics\[[^]]*\]\{\{(\w+)\}\.png\}", tex.read_text("utf8"))
    assert (book.out / "latex" / f"{picture}.png").read_bytes().startswith(b"\x89PNG")
