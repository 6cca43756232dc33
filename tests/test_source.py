"""show_source shows what is installed, and leads to the file and to the test."""

import ast
import inspect
import json
import sys
import tomllib

import pytest
import torch
from conftest import ROOT

from deit_edu.attention import MultiHeadSelfAttention
from deit_edu.errors import DeiTEduError
from deit_edu.model import DeiT, create_model
from deit_edu.patches import patchify, unpatchify
from deit_edu.reading.source import COLUMNS, follow, repository_url, show_difference, show_source
from deit_edu.reading.wrap import wrap_source

sys.path.insert(0, str(ROOT / "book" / "_ext"))
TEST = "tests/test_patches.py::test_something"


def blocks(shown):
    """The code blocks of what show_source shows."""
    return [part.partition("```")[0] for part in shown._repr_markdown_().split("```python\n")[1:]]


def meaning(source):
    """The syntax tree of a source, but for how the words of its docstrings are spread over lines."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            node.value.value = " ".join(node.value.value.split())
    return ast.dump(tree)


def test_the_source_shown_is_the_source_that_runs():
    shown = blocks(show_source(patchify, unpatchify, test=TEST))
    assert [meaning(block) for block in shown] == [meaning(inspect.getsource(f)) for f in (patchify, unpatchify)]
    short = "    grid = grid.permute(0, 2, 4, 3, 5, 1)  # (B, rows, columns, P, P, C)\n"
    assert short in inspect.getsource(patchify) and short in shown[0]  # what fits is shown as it is written


@pytest.mark.parametrize("path", sorted((ROOT / "deit_edu").glob("*.py")), ids=lambda path: path.stem)
def test_wrapping_keeps_what_a_program_does(path):
    source = path.read_text("utf8")
    wrapped = wrap_source(source, COLUMNS)
    assert meaning(wrapped) == meaning(source)
    assert wrap_source(wrapped, COLUMNS) == wrapped


def shown_in_chapters():
    """(chapter, what is shown, the names that the chapter has imported) for each object of each show_source."""
    import pair_notebooks as pairing

    for chapter in pairing.chapters():
        names = {}
        for cell in pairing.pair(chapter, pairing.References()).cells[1:]:
            if cell.cell_type != "code":
                continue
            tree = ast.parse(cell.source)
            for node in tree.body:
                if isinstance(node, ast.ImportFrom) and node.module.startswith("deit_edu"):
                    exec(ast.unparse(node), names)
            for call in ast.walk(tree):
                if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "show_source":
                    for shown in call.args:
                        yield chapter, ast.unparse(shown), names


@pytest.mark.parametrize(
    "chapter, name, names",
    [pytest.param(*shown, id=f"{shown[0]}-{shown[1]}") for shown in shown_in_chapters()],
)
def test_a_shown_line_fits_the_page(chapter, name, names):
    (shown,) = blocks(show_source(eval(name, names), test=TEST))
    assert not [line for line in shown.splitlines() if len(line) > COLUMNS]
    compile(shown, name, "exec")


@pytest.mark.parametrize(
    "written, shown",
    [
        ("x = first(second)  # (B, T, D), the tokens", "# (B, T, D), the tokens\nx = first(second)"),
        ("call(one, two, three, go=4)", "call(\n    one, two, three, go=4\n)"),
        ("call(\n    one, two, three, four=4\n)", "call(\n    one, two, three,\n    four=4\n)"),
        ('call(\n    f"a {b} and more words"\n)', 'call(\n    f"a {b} and more "\n    f"words"\n)'),
        ("# one two three four five six", "# one two three four five\n# six"),
        ("# one two three four five six\n# seven", "# one two three four five\n# six seven"),
        ('call("""\nsome (data that) is too long\n""")', 'call("""\nsome (data that) is too long\n""")'),
        ("a_name_that_is_far_too_long_to_wrap", "a_name_that_is_far_too_long_to_wrap"),
    ],
)
def test_a_line_that_is_too_long_is_wrapped_where_a_reader_would(written, shown):
    assert wrap_source(written, 25) == shown


def test_a_docstring_is_wrapped_as_prose_and_its_arguments_hang():
    written = '''def f(a):
    """One two three four five six.

    Args:
        a: one two three four five
            six.
    """'''
    shown = '''def f(a):
    """One two three four
    five six.

    Args:
        a: one two three
            four five six.
    """'''
    assert wrap_source(written, 26) == shown


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


def added(shown):
    """The lines that a difference adds, without their mark."""
    rows = [row for row in shown._repr_markdown_().splitlines() if row.startswith("+")]
    assert rows and all(row.endswith("  # new") for row in rows)
    return [row[1:].removesuffix("  # new").strip() for row in rows]


def test_the_difference_of_the_distilled_model_is_a_token_its_place_its_start_and_its_head():
    shown = show_difference(DeiT.__init__, DeiT.initialise, DeiT.embed, DeiT.forward, switch="distilled", test=TEST)
    assert added(shown) == [
        "self.distillation_token = nn.Parameter(torch.zeros(1, 1, D))",
        "self.distillation_head = nn.Linear(D, K)",
        "nn.init.trunc_normal_(self.distillation_token, std=0.02)",
        "prefix.append(self.distillation_token.expand(B, -1, -1))",
        "return HeadLogits(class_logits, self.distillation_head(tokens[:, 1]))",
    ]


@pytest.mark.parametrize("distilled", [False, True])
def test_both_sides_of_the_difference_run_and_are_the_model(distilled):
    written = follow(inspect.getsource(DeiT), "distilled", distilled)
    assert ".distilled" not in written
    namespace = dict(vars(sys.modules["deit_edu.model"]))
    exec(written, namespace)  # the library's own source
    real = create_model("deit_nano_patch7_28", distilled=distilled).eval()
    built = namespace["DeiT"](real.config).eval()
    built.load_state_dict(real.state_dict())
    images = torch.randn(2, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    for ours, theirs in zip(built(images), real(images), strict=True):
        assert (ours is None and theirs is None) or torch.equal(ours, theirs)


ASKS = """def asks(on):
    value = 1 if on else 2
    if not on:
        return value  # early

    if value and on:
        value += 1
    if on:
        value += 2
    else:
        value += 4
    return value"""


def test_a_switch_is_followed_through_every_form_of_question():
    assert follow(ASKS, "on", False) == "def asks(on):\n    value = 2\n    return value  # early"
    assert follow(ASKS, "on", True) == (
        "def asks(on):\n    value = 1\n\n    if value and on:\n        value += 1\n    value += 2\n    return value"
    )


def test_a_switch_that_is_not_asked_for_is_named():
    with pytest.raises(DeiTEduError, match="patchify is the same with and without 'distilled'"):
        show_difference(patchify, switch="distilled", test=TEST)
    with pytest.raises(DeiTEduError, match="no source in deit_edu"):
        show_difference(ast.parse, switch="distilled", test=TEST)
