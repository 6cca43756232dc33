"""show_source shows what is installed, and leads to the file and to the test."""

import inspect
import json
import tomllib

import pytest
from conftest import ROOT

from deit_edu.attention import MultiHeadSelfAttention
from deit_edu.errors import DeiTEduError
from deit_edu.model import DeiT
from deit_edu.patches import patchify, unpatchify
from deit_edu.reading.source import repository_url, show_source

TEST = "tests/test_patches.py::test_something"


def test_the_source_shown_is_the_source_that_runs():
    shown = show_source(patchify, unpatchify, test=TEST)._repr_markdown_()
    assert shown.count("```python\n") == 2
    assert inspect.getsource(patchify).rstrip() in shown and inspect.getsource(unpatchify).rstrip() in shown


def test_a_method_is_shown_without_its_indentation():
    shown = show_source(MultiHeadSelfAttention.forward, test=TEST)._repr_markdown_()
    assert shown.startswith("```python\ndef forward(self")


def test_a_decorated_method_is_shown_with_its_decorator():
    shown = show_source(DeiT.attention_maps, test=TEST)._repr_markdown_()
    assert shown.startswith("```python\n@torch.no_grad()\ndef attention_maps(")
    assert "deit_edu/model.py" in shown


def test_the_links_lead_to_the_lines_and_to_the_test(monkeypatch):
    monkeypatch.setenv("DEIT_EDU_REPOSITORY", "https://example.org/fork")
    lines, first = inspect.getsourcelines(patchify)
    shown = show_source(patchify, test=TEST)._repr_markdown_()
    last = first + len(lines) - 1
    assert f"(https://example.org/fork/blob/main/deit_edu/patches.py#L{first}-L{last})" in shown
    assert f"[{TEST}](https://example.org/fork/blob/main/tests/test_patches.py)" in shown


def test_the_repository_is_the_one_in_pyproject(monkeypatch):
    monkeypatch.delenv("DEIT_EDU_REPOSITORY", raising=False)
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text("utf8"))["project"]["urls"]
    assert repository_url() == urls["Repository"]


@pytest.mark.parametrize("shown", [json.dumps, len, 3])
def test_what_is_not_of_the_library_is_refused(shown):
    with pytest.raises(DeiTEduError, match="no source in deit_edu"):
        show_source(shown, test=TEST)


def test_nothing_to_show_is_refused():
    with pytest.raises(DeiTEduError, match="at least one"):
        show_source(test=TEST)
