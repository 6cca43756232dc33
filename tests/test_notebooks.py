"""The paired notebooks: in step with the chapters, in plain Markdown, and able to install the library themselves."""

import json
import re
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


def installs(chapter, folder, monkeypatch, installed):
    """What the first cell of a notebook in this folder asks pip for, in a Python with or without the library."""
    notebook = json.loads((ROOT / "book" / "notebooks" / f"{chapter}.ipynb").read_text("utf8"))
    first = "".join(notebook["cells"][0]["source"])
    assert first.count("%pip install -q {package}") == 1
    asked = []
    monkeypatch.chdir(folder)
    if not installed:
        monkeypatch.setitem(sys.modules, "deit_edu", None)  # importing it raises ImportError
    exec(first.replace("%pip install -q {package}", "asked.append(package)"), {"asked": asked})
    return asked


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_the_first_cell_installs_the_library_where_it_is_missing(chapter, tmp_path, monkeypatch):
    assert installs(chapter, tmp_path, monkeypatch, installed=True) == []
    assert installs(chapter, tmp_path, monkeypatch, installed=False) == [f"git+{pairing.repository()}"]
    assert installs(chapter, ROOT / "book", monkeypatch, installed=False) == [f"-e {ROOT}"]


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
