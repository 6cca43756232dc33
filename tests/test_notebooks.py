"""The paired notebooks: in step with the chapters, in plain Markdown, and able to install the library themselves."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest
from conftest import ROOT

pytest.importorskip("jupytext")
sys.path.insert(0, str(ROOT / "book" / "_ext"))
import pair_notebooks as pairing  # noqa: E402

REFERENCES = pairing.References()
CHAPTERS = pairing.chapters()


def test_there_is_a_notebook_for_every_chapter_and_no_other():
    assert sorted(path.stem for path in (ROOT / "book" / "notebooks").glob("*.ipynb")) == sorted(CHAPTERS)


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_a_notebook_is_in_step_with_its_chapter(chapter):
    stored = (ROOT / "book" / "notebooks" / f"{chapter}.ipynb").read_text("utf8")
    assert stored == pairing.notebook_text(chapter, REFERENCES), "run `make notebooks`"


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_a_notebook_is_stored_without_outputs(chapter):
    notebook = json.loads((ROOT / "book" / "notebooks" / f"{chapter}.ipynb").read_text("utf8"))
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert code and not any(cell["outputs"] or cell["execution_count"] for cell in code)


# Runs a notebook's first cell in IPython, in a Python from which the installed library is hidden. In place of pip, its
# line and its folder are written down, and the library is laid where pip would lay it.
FIRST_CELL = """
import json, os, sys
from pathlib import Path
from IPython.core.interactiveshell import InteractiveShell

cell, site, hide = Path(sys.argv[1]).read_text(), Path(sys.argv[2]), sys.argv[3] == "hide"
if hide:
    sys.path = [place for place in sys.path if place and not (Path(place) / "deit_edu").exists()]
    sys.meta_path = [finder for finder in sys.meta_path if "editable" not in repr(finder)]
site.mkdir()
sys.path.append(str(site))
asked = []

def pip(line):
    asked.append([line.split(" -m ")[1], os.getcwd()])
    if " -e " in line:
        (site / "deit_edu.pth").write_text(os.getcwd())
    else:
        (site / "deit_edu").mkdir()
        (site / "deit_edu/__init__.py").touch()

shell = InteractiveShell.instance(history_load_length=0)
shell.system = pip
here = os.getcwd()
done = shell.run_cell(cell)
done = done.success and shell.run_cell("import deit_edu; from pathlib import Path; where = deit_edu.__file__")
print(json.dumps([asked, os.path.dirname(os.path.dirname(shell.user_ns["where"])), os.getcwd() == here]))
"""


def after_the_first_cell(there, tmp_path, hide=True):
    """([pip's line, its folder], the folder that the library is imported from, whether the cell left its folder)."""
    notebook = json.loads((ROOT / "book" / "notebooks" / "01-patches.ipynb").read_text("utf8"))
    (tmp_path / "cell.txt").write_text("".join(notebook["cells"][0]["source"]))
    given = [tmp_path / "cell.txt", tmp_path / "site", "hide" if hide else "there"]
    where = {"IPYTHONDIR": str(tmp_path / "ipython"), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", FIRST_CELL, *given], cwd=there, env=os.environ | where, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    asked, place, stayed = json.loads(done.stdout.splitlines()[-1])
    assert stayed
    return asked, place


@pytest.mark.parametrize("name", ["clone", "My Drive/clone", "a 'clone' {of} $HOME"])
def test_after_the_first_cell_a_kernel_in_a_clone_imports_the_library_of_the_clone(name, tmp_path):
    clone = tmp_path / name
    (clone / "book/notebooks").mkdir(parents=True)
    shutil.copy(ROOT / "pyproject.toml", clone)
    (clone / "deit_edu").mkdir()
    (clone / "deit_edu/__init__.py").touch()
    expected = ([["pip install -q -e .", str(clone)]], str(clone))
    assert after_the_first_cell(clone / "book/notebooks", tmp_path) == expected


def test_after_the_first_cell_a_kernel_on_colab_imports_the_library_of_the_repository(tmp_path):
    line = f"pip install -q git+{pairing.repository()}"
    assert after_the_first_cell(tmp_path, tmp_path) == ([[line, str(tmp_path)]], str(tmp_path / "site"))


def test_the_first_cell_installs_nothing_where_the_library_is_there(tmp_path):
    assert after_the_first_cell(tmp_path, tmp_path, hide=False) == ([], str(ROOT))


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_all_notebooks_begin_with_the_same_cell(chapter):
    first = pairing.INSTALL.replace("{repository}", pairing.repository())
    assert pairing.pair(chapter, REFERENCES).cells[0].source == first


def code_cells(chapter):
    """(source, tags, what Jupyter hides) of a chapter's cells, without the one that installs."""
    cells = [cell for cell in pairing.pair(chapter, REFERENCES).cells[1:] if cell.cell_type == "code"]
    return [(cell.source, cell.metadata.get("tags", []), cell.metadata.get("jupyter", {})) for cell in cells]


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_jupyter_folds_solutions_and_the_code_that_draws(chapter):
    for source, tags, hidden in code_cells(chapter):
        assert hidden.get("source_hidden", False) == bool({"solution", "hide-input"} & set(tags)), source
        assert hidden.get("outputs_hidden", False) == ("solution" in tags), source


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_a_page_prints_no_hint_before_the_reader_tries(chapter):
    for source, tags, _ in code_cells(chapter):
        if "exercises.check_" in source:
            assert ("solution" in tags) != ("remove-output" in tags), source


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_a_solution_and_an_answer_have_one_fold(chapter):
    text = (ROOT / "book" / f"{chapter}.md").read_text("utf8")
    assert "hide-cell" not in text and "hide-output" not in text, "tag the cell `answer` or `solution`"
    assert set(re.findall(r"^:::\{dropdown\}(.*)$", text, re.M)) <= {" Answer", " Solution"}


PAGES = sorted((ROOT / "book").glob("*.md"))


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_a_line_of_a_page_has_120_columns_at_most_outside_tables(path):
    lines = path.read_text("utf8").splitlines()
    assert not [line for line in lines if len(line) > 120 and not line.startswith("|")]


def plain(text):
    references = pairing.References()
    references.labels = {"here": ("01-patches", "This heading"), "there": ("02-attention", "That heading")}
    references.equations = {"eq-one": ("01-patches", 1)}
    return pairing.plain_markdown(text, "01-patches", references)


@pytest.mark.parametrize(
    "book, notebook",
    [
        ("{cite:t}`hinton2015distilling`", "[Hinton et al. (2015)](https://arxiv.org/abs/1503.02531)"),
        ("{cite:p}`abnar2020rollout`", "([Abnar and Zuidema, 2020](https://arxiv.org/abs/2005.00928))"),
        ("{eq}`eq-one`", "(1)"),
        ("$$ x $$ (eq-one)", r"$$ x \tag{1} $$"),
        ("{ref}`here`", "This heading"),
        ("{ref}`there`", "[That heading](02-attention.ipynb)"),
        ("{ref}`words <there>`", "[words](02-attention.ipynb)"),
        ("[two](02-attention.md)", "[two](02-attention.ipynb)"),
        ("[n](notation.md)", f"[n]({pairing.repository()}/blob/main/book/notation.md)"),
        ("(label)=\n## Title", "## Title"),
        (":::{note}\nOne.\n\nTwo.\n:::", "> **Note**\n>\n> One.\n>\n> Two."),
        (":::{admonition} In the code\nOne.\n:::", "> **In the code**\n>\n> One."),
        (
            ":::{dropdown} Solution\nOne.\n:::",
            "<details><summary>Solution</summary>\n\nOne.\n\n</details>",
        ),
        ("```python\n:::{x}\n{y}`z`\n```", "```python\n:::{x}\n{y}`z`\n```"),
    ],
)
def test_what_only_the_book_understands_becomes_plain_markdown(book, notebook):
    assert plain(book) == notebook


@pytest.mark.parametrize(
    "text",
    [
        "{unknown}`x`",
        "{eq}`eq-nowhere`",
        "{cite:p}`nobody2000`",
        ":::{figure} x.png\n:::",
        "```{math}\nx\n```",
        ":::{note}\nnever closed",
        ":::{note}\n:::{tip}\n:::\n:::",
        "![picture](x.png)",
    ],
)
def test_what_a_notebook_cannot_show_stops_the_pairing(text):
    with pytest.raises(pairing.ChapterError):
        plain(text)
