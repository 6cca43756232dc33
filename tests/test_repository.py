"""The files around the library agree with each other and with what is installed."""

import ast
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from conftest import ROOT
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

sys.path.insert(0, str(ROOT / "book" / "_ext"))
import pair_notebooks as pairing  # noqa: E402
import readme_chapters  # noqa: E402

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf8"))["project"]
README = (ROOT / "README.md").read_text("utf8")
MAKEFILE = (ROOT / "Makefile").read_text("utf8")
ENVIRONMENT = yaml.safe_load((ROOT / "environment.yml").read_text("utf8"))


def pins():
    lines = [line for line in (ROOT / "constraints.txt").read_text("utf8").splitlines() if not line.startswith("#")]
    return {canonicalize_name(name): Version(version) for name, version in (line.split("==") for line in lines)}


def requirements():
    extras = PROJECT["optional-dependencies"]
    return [Requirement(text) for text in [*PROJECT["dependencies"], *extras["book"], *extras["test"]]]


@pytest.mark.parametrize("requirement", requirements(), ids=lambda requirement: requirement.name)
def test_every_dependency_is_pinned_to_a_version_in_its_range(requirement):
    assert pins()[canonicalize_name(requirement.name)] in requirement.specifier


def test_the_dependencies_are_what_the_library_imports():
    trees = [ast.parse(path.read_text("utf8")) for path in (ROOT / "deit_edu").rglob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and not node.level}
    imported = {name.partition(".")[0] for name in names} - set(sys.stdlib_module_names) - {"deit_edu"}
    extras = PROJECT["optional-dependencies"]  # for who exports, wants a table, has a phone's pictures, runs races
    wanted = ("export", "heic", "table", "races")
    texts = [*PROJECT["dependencies"], *(text for name in wanted for text in extras[name])]
    declared = {Requirement(text).name.replace("-", "_") for text in texts}
    assert {"pillow" if name == "PIL" else name for name in imported} == declared


def test_the_pins_fit_other_platforms_too():
    assert not [name for name in pins() if name.startswith(("nvidia", "cuda", "triton"))]
    assert all(version.local is None for version in pins().values())  # no +cu130, no +cpu


def test_conda_users_get_the_same_versions():
    packages = ENVIRONMENT["dependencies"]
    python = next(package for package in packages if isinstance(package, str) and package.startswith("python="))
    assert SpecifierSet(PROJECT["requires-python"]).contains(python.partition("=")[2])
    installed = next(package["pip"] for package in packages if isinstance(package, dict))
    assert installed == ["-c constraints.txt", "-e .[book,test]"]
    assert "-c constraints.txt -e '.[book,test]'" in MAKEFILE  # what `make` installs
    named = [package for package in packages if isinstance(package, str)]
    assert [package.partition("=")[0] for package in named] == ["python", "pip"]  # all the rest comes from the pins


def test_the_version_is_the_same_everywhere():
    import deit_edu

    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf8"))
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text("utf8"), re.M)[1]
    assert {PROJECT["version"], citation["version"], newest, deit_edu.__version__} == {PROJECT["version"]}


def test_the_citation_names_the_repository_and_the_paper():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf8"))
    assert citation["repository-code"] == PROJECT["urls"]["Repository"]
    paper = citation["references"][0]
    assert (paper["year"], paper["volume"], paper["start"], paper["end"]) == (2021, 139, 10347, 10357)


@pytest.mark.parametrize("path", [*(ROOT / ".github/workflows").glob("*.yml"), ROOT / ".ci/run"], ids=lambda p: p.name)
def test_the_machines_that_check_use_the_readers_commands(path):
    text = path.read_text("utf8")
    called = set(re.findall(r"\bmake (\w+)", text))
    assert called and called <= {"book", "test"}
    assert "pytest" not in text and "jupyter-book" not in text


def test_every_make_command_in_the_prose_exists():
    targets = set(re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.M)[1].split())
    for name in ("README.md", "CONTRIBUTING.md"):
        used = set(re.findall(r"(?:`|^)make (\w+)", (ROOT / name).read_text("utf8"), re.M))
        assert used and used <= targets, name


def test_make_alone_says_what_there_is():
    said = subprocess.run(["make", "-C", ROOT], capture_output=True, text=True).stdout
    assert all(f"make {target}" in said for target in ("book", "test", "lab", "clean"))


@pytest.mark.parametrize(("said", "status", "error"), [
    ("No known vulnerabilities found", 0, ""),
    ("Found 2 known vulnerabilities in 1 package", 1, "error: known holes, named above: raise those versions"),
    ("ERROR: torch: Dependency not found on PyPI", 1, "error: PyPI could not be asked about every version"),
    ("requests.exceptions.ConnectionError: Max retries", 1, "error: PyPI could not be asked about every version"),
])  # fmt: skip
def test_an_audit_says_whether_it_found_holes_or_could_not_look(said, status, error, tmp_path):
    for name in ("Makefile", "constraints.txt"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    (tmp_path / "_build").mkdir()
    auditor = tmp_path / "auditor"
    auditor.write_text(f"#!/bin/sh\necho $@ > asked\necho '{said}'\nexit {status}\n")
    auditor.chmod(0o755)
    done = subprocess.run(["make", "-C", tmp_path, "audit", f"AUDITOR={auditor}"], capture_output=True, text=True)
    assert said in done.stdout and (done.returncode == 0) == (status == 0)
    assert done.stderr.startswith(error) and (error or done.stderr == "")
    asked = (tmp_path / "asked").read_text()
    assert "--strict" in asked and "-r constraints.txt" in asked


def test_an_audit_without_a_network_is_one_line(tmp_path):
    for name in ("Makefile", "constraints.txt"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    done = subprocess.run(["make", "-C", tmp_path, "audit", "PYTHON=false"], capture_output=True, text=True)
    assert done.returncode != 0 and "could not be fetched: make audit needs a network\n" in done.stderr


def test_the_lines_that_tests_run_are_counted_in_make_test():
    run, judged = re.search(r"^test: book\n\t(.*)\n\t(.*)$", MAKEFILE, re.M).groups()
    assert "-m slipcover --json --out $(LINES) -m pytest" in run and "-m slipcover --merge $(LINES)" in judged
    assert float(re.search(r"--fail-under (\d+)$", judged)[1]) >= 95
    assert tomllib.loads((ROOT / "pyproject.toml").read_text("utf8"))["tool"]["slipcover"]["source"] == ["deit_edu"]


def test_an_old_python_is_refused_with_one_clear_line(tmp_path):
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    done = subprocess.run(["make", "-C", tmp_path, "install", "PYTHON=false"], capture_output=True, text=True)
    assert done.returncode != 0
    assert "error: false is missing or older than 3.11" in done.stderr
    assert not (tmp_path / ".venv").exists()


def test_the_readme_lists_every_chapter_in_the_order_of_the_book():
    listed = readme_chapters.LISTED.search(README)[0].replace("\n", " ")
    rows = re.findall(r"(\d+\. )?\[([^]]+)\]\(book/(\S+)\.md\)", listed)
    expected = [(*readme_chapters.title(name), name) for name in pairing.chapters()]
    assert rows == expected, "run `make readme`"


def test_the_table_of_contents_has_only_what_jupyter_book_2_can_take_over():
    """Its upgrade drops every page of a table with `options`."""
    assert set(yaml.safe_load((ROOT / "book" / "_toc.yml").read_text("utf8"))) == {"format", "root", "parts"}


def test_a_numbered_chapter_has_its_files_number_in_its_title():
    for path in (ROOT / "book").glob("[0-9]*.md"):
        assert readme_chapters.title(path.stem)[0] == f"{int(path.stem[:2])}. ", path.name


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_every_file_that_the_prose_links_to_is_there(name):
    prose = re.sub(r"`[^`\n]*`", "", (ROOT / name).read_text("utf8"))
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", prose)
    assert links and not [link for link in links if not (ROOT / link).exists()]


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_a_line_of_prose_has_120_columns_at_most_outside_tables(name):
    lines = (ROOT / name).read_text("utf8").splitlines()
    assert not [line for line in lines if len(line) > 120 and not line.startswith("|")]


def shown_sources():
    """(chapter, test) for each show_source in a chapter's cells."""
    for chapter in pairing.chapters():
        for cell in pairing.pair(chapter, pairing.References()).cells[1:]:
            if cell.cell_type != "code" or "show_source" not in cell.source:
                continue
            for call in ast.walk(ast.parse(cell.source)):
                if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "show_source":
                    yield chapter, next(word.value.value for word in call.keywords if word.arg == "test")


def defines(node):
    """Whether the test that pytest would call tests/file.py::name exists."""
    file, _, name = node.partition("::")
    tree = ast.parse((ROOT / file).read_text("utf8"))
    return any(isinstance(f, ast.FunctionDef) and f.name == name and name.startswith("test_") for f in ast.walk(tree))


@pytest.mark.parametrize("chapter, test", list(shown_sources()))
def test_the_test_named_under_a_shown_source_exists(chapter, test):
    assert defines(test), f"{chapter} names {test}"


def test_a_test_that_does_not_exist_is_noticed():
    here = "tests/" + Path(__file__).name
    assert defines(f"{here}::test_a_test_that_does_not_exist_is_noticed")
    assert not defines(f"{here}::test_nowhere") and not defines(f"{here}::defines")


@pytest.mark.parametrize("chapter", pairing.chapters())
def test_a_cell_prints_whole_lines(chapter):
    """myst-nb 1.4 breaks a line where the kernel sent a piece of it: findings/myst_nb_merge_streams_cuts_lines.sh."""
    assert "end=" not in (ROOT / "book" / f"{chapter}.md").read_text("utf8")


@pytest.mark.parametrize("chapter", pairing.chapters())
def test_a_chapter_that_draws_uses_the_books_style(chapter):
    text = (ROOT / "book" / f"{chapter}.md").read_text("utf8")
    assert ("figures.show(" in text) == ("figures.use_style()" in text)
    assert "plt.show()" not in text


# ---- the scripts in the pages ----


WIDGETS = ROOT / "deit_edu" / "widgets"
SCRIPTS = {path.relative_to(WIDGETS).as_posix(): path.read_text("utf8") for path in sorted(WIDGETS.rglob("*.js"))}
FUNCTION = re.compile(r"^export (?:async )?(?:function\*?|class|const(?= \w+ = (?:async )?(?:\(|\w+ =>))) (\w+)", re.M)


def comment_before(text, start):
    """The JSDoc comment that ends where something starts; empty where there is none."""
    before = text[:start]
    return before[before.rfind("/**") :] if before.endswith(" */\n") else ""


def parameters(text, start):
    """The parameters of the function that begins here, as they are written: names, or what is taken apart."""
    first = re.compile(r"\(|\b(\w+) =>").search(text, start)
    return [first[1]] if first[1] else [part for part in parts_in(text, first.start()) if part.strip()]


def parts_in(text, start):
    """What stands in the bracket that opens here, at each comma of its own."""
    found, depth = [""], 1
    for letter in text[start + 1 :]:
        depth += (letter in "([{") - (letter in ")]}")
        if not depth:
            return found
        if letter == "," and depth == 1:
            found.append("")
        else:
            found[-1] += letter


def typed_parameters(comment):
    """The names of which a comment gives the types, without the properties of a name."""
    starts = [found.end() - 1 for found in re.finditer(r"^(?: |/\*)\* @param \{", comment, re.M)]
    ends = [start + len(",".join(parts_in(comment, start))) + 2 for start in starts]
    return [end for end in ends if re.match(r"\s+\[?\w+(?![\w.])", comment[end:])]


def returns_something(text, start):
    """Whether the function that begins here gives back a value."""
    head = text[start:].partition("\n\n")[0]
    arrow = re.match(r"export (?:async )?const (?:.|\n)*?=>\s*(.)", head)
    return arrow[1] != "{" if arrow else bool(re.search(r"\breturn [^;]", text[start:].partition("\n}")[0]))


def untyped(text):
    """The exported functions of a module that do not say their types, and what is missing."""
    (default,) = re.findall(r"^export default \{ (\w+) \};$", text, re.M) or [None]
    places = [(found.start(), found[1]) for found in FUNCTION.finditer(text)]
    if default:
        places.append((text.index(f"function {default}("), default))
    for start, name in places:
        comment = comment_before(text, start)
        if not comment:
            yield f"{name}: no comment"
        elif not text.startswith("export class", start):
            typed, wanted = len(typed_parameters(comment)), len(parameters(text, start))
            if typed != wanted:
                yield f"{name}: {typed} of {wanted} parameters"
            if returns_something(text, start) and "@returns {" not in comment:
                yield f"{name}: no @returns"


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_exported_function_of_a_script_says_its_types(name):
    assert not list(untyped(SCRIPTS[name]))


@pytest.mark.parametrize("name", SCRIPTS)
def test_no_line_of_a_script_is_longer_than_100_characters(name):
    assert not [line for line in SCRIPTS[name].splitlines() if len(line) > 100]


@pytest.mark.parametrize("name", ["controls.js", "drawing.js", "elements.js", "numbers.js"])
def test_what_figures_share_is_used_by_a_figure(name):
    imported = set()
    for other, text in SCRIPTS.items():
        if other != name:
            for names, module in re.findall(r"^import \{([^}]*)\} from \"[./]*([\w/]+\.js)\";$", text, re.M):
                if Path(module).name == Path(name).name:
                    imported |= set(re.findall(r"\w+", names))
    exported = set(re.findall(r"^export (?:async )?(?:function\*?|const|let|class) (\w+)", SCRIPTS[name], re.M))
    assert exported <= imported


@pytest.mark.parametrize("name", [name for name in SCRIPTS if name.endswith("_counting.js")])
def test_what_counts_needs_no_page(name):
    imported = re.findall(r' from "\./(\w+)\.js"', SCRIPTS[name])
    assert all(other == "numbers" or other.endswith("_counting") for other in imported)
    assert not re.search(r"\bdocument\b|\bwindow\b", SCRIPTS[name] + SCRIPTS["numbers.js"])


def test_a_script_without_types_is_noticed():
    typed = "/**\n * Sum.\n * @param {number} a one\n * @returns {number} sum\n */\n"
    function = "export function sum(a, { b, c } = {}) {\n  return a + b;\n}\n"
    assert list(untyped(typed + function)) == ["sum: 1 of 2 parameters"]
    assert list(untyped(function)) == ["sum: no comment"]
    silent = typed.replace(" * @returns {number} sum\n", "")
    assert list(untyped(silent + "export const sum = (a) => a;\n")) == ["sum: no @returns"]
    assert not list(untyped(silent + "export const sum = (a) => {\n  console.log(a);\n};\n"))
    assert list(untyped("function render({ model }) {}\n\nexport default { render };\n")) == ["render: no comment"]
    assert not list(untyped(typed + "export const sum = (a) => a;\n"))


COMMANDS = re.search(r"^lint: .*\n((?:\t.*\n)+)", MAKEFILE, re.M)[1].replace("\t", "").splitlines()
LINT = [command for command in COMMANDS if command.startswith("$(BIN)/")]


@pytest.mark.parametrize("command", LINT, ids=lambda command: command.split()[0].removeprefix("$(BIN)/"))
def test_the_code_is_clean(command):
    program, *arguments = shlex.split(command)
    program = Path(sys.executable).with_name(program.removeprefix("$(BIN)/"))
    done = subprocess.run([program, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_types_of_the_pages_scripts_are_right():
    (line,) = set(COMMANDS) - set(LINT)
    missing, _, command = line.partition(" || ")
    assert missing == "! command -v npx >/dev/null"
    if not shutil.which("npx"):
        pytest.skip("types are checked where Node.js is installed: sudo apt-get install nodejs npm")
    done = subprocess.run(shlex.split(command), cwd=ROOT, capture_output=True, text=True)
    if done.returncode and "npm" in done.stderr and "error TS" not in done.stdout:
        pytest.skip(f"npm could not bring TypeScript: {done.stderr.strip().splitlines()[0]}")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_lint_target_holds_what_contributors_rely_on():
    assert [command.split()[0] for command in LINT] == [
        f"$(BIN)/{tool}" for tool in ("ruff", "oxfmt", "oxlint", "lint-imports", "codespell")
    ]
