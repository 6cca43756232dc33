"""The recipes and the chapters beside them: every line to copy runs, and what a page says of it was measured."""

import ast
import json
import sys
from dataclasses import replace

import pytest
from conftest import NAN, ROOT

from deit_edu.cli import main
from deit_edu.data import keep_classes, load_dataset
from deit_edu.data.written import write_folder
from deit_edu.errors import DeiTEduError
from deit_edu.evidence.cells import Grid
from deit_edu.evidence.claims import CLAIMS
from deit_edu.evidence.grids import EXPERIMENTS
from deit_edu.evidence.pages import own_pictures, recipes
from deit_edu.evidence.report import Results

sys.path[:0] = [str(ROOT / "book" / "_ext"), str(ROOT / "data_scripts")]
import make_own_pictures  # noqa: E402
import run_recipes  # noqa: E402

PAGE = run_recipes.PAGE.read_text("utf8")
RECIPES = {recipe.name: recipe for recipe in run_recipes.recipes_of(PAGE)}

# At toy size: a step or two of a network of two narrow blocks. What a recipe says itself stays, but for its epochs.
TOY = ["--epochs", "1", "--batch-size", "8", "--quiet", "--device", "cpu"]
NARROW = ["--embed-dim", "16", "--depth", "2", "--num-heads", "2"]
TOY_OFFICIAL = dict(embed_dim=16, depth=2, num_heads=2, num_classes=10)
EACH = 8  # pictures of each of five classes


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    """A reader's folder, with what the recipes take for granted: (folder, places, names of the recipes done)."""
    folder = tmp_path_factory.mktemp("reader")
    return folder, run_recipes.lay_out(folder, EACH, TOY_OFFICIAL), set()


def toy(command):
    """A command at toy size; what starts from another's weights has their size."""
    if command[0] != "train":
        return command
    return [*command, *TOY, *([] if {"--initial", "--model"} & set(command) else NARROW)]


def follow(recipe, reader, monkeypatch):
    """Do what a recipe says, after those before it that make what it may use."""
    folder, places, done = reader
    monkeypatch.chdir(folder)
    monkeypatch.setenv("DEIT_EDU_RUNS", str(folder / "runs"))
    monkeypatch.setenv("DEIT_EDU_DATA", str(folder / "data"))
    for one in RECIPES.values():
        if one.name not in done and (one is recipe or "--out" in one.lines):
            for command in one.commands():
                assert main([run_recipes.filled(word, places) for word in toy(command)]) == 0, command
            if one.language == "python":
                exec(run_recipes.filled(one.lines, places).replace("epochs=5", "epochs=1"), {})
            done.add(one.name)
        if one is recipe:
            return


@pytest.mark.filterwarnings("ignore")  # of a folder so small: what a reader would hear is for the folder's own tests
@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_runs_as_it_stands(name, reader, monkeypatch, capsys):
    follow(RECIPES[name], reader, monkeypatch)
    assert "error" not in capsys.readouterr().err


def test_what_somebody_wants_has_a_recipe():
    wanted = """five-folders stop how-good classify page ready-teacher keep-answers timm-vit trained-start
        other-classes another-size official-weights smaller-batch rare-classes export python any-vit"""
    assert list(RECIPES) == wanted.split()


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=list(RECIPES))
def test_a_recipe_is_a_command_or_ten_lines_and_says_what_comes_out(recipe):
    assert len([line for line in recipe.lines.splitlines() if line.strip()]) <= 10
    if recipe.language == "python":
        ast.parse(recipe.lines)
    assert PAGE.count(f'recipes.came_out("{recipe.name}"') == 1


def test_what_recipes_took_was_measured_with_the_pages_lines():
    measured = recipes.recorded().get("recipes", {})
    assert list(measured) in ([], list(RECIPES)), "run book/_ext/run_recipes.py"
    for name, entry in measured.items():
        assert entry["lines"] == RECIPES[name].lines, "run book/_ext/run_recipes.py"
        assert "/tmp" not in json.dumps(entry)


def test_a_recipe_says_its_time_and_what_it_prints_in_a_fold(monkeypatch):
    entry = {"lines": "", "seconds": 9, "cpu_seconds": 7.6, "said": ["a < b", "done"]}
    record = {"pictures": 40, "machine": {"processor": "A core"}, "recipes": {"one": entry}}
    monkeypatch.setattr(recipes, "recorded", lambda: record)
    told = recipes.came_out("one").markdown
    assert told.startswith("*8 s of one core.*") and "```text\na < b\ndone\n```" in told
    assert "<details" not in recipes.came_out("one", what_comes_out=False).markdown
    assert "40 pictures" in recipes.measured_on().markdown and recipes.came_out("none") is None


def test_what_is_not_measured_is_said(monkeypatch):
    monkeypatch.setattr(recipes, "recorded", dict)
    assert "not measured yet" in recipes.measured_on().markdown


def test_a_page_whose_recipe_has_no_lines_or_two_blocks_is_refused():
    with pytest.raises(ValueError, match="recipe empty has 0 blocks"):
        run_recipes.recipes_of("(recipe-empty)=\n## do nothing\n\nNothing.\n")


def test_a_command_is_read_over_its_line_ends_and_a_program_is_none():
    page = "(recipe-a)=\n## try\n\n```bash\ndeit-edu data \\\n    folder:PATH\n```\n"
    (recipe,) = run_recipes.recipes_of(page)
    assert recipe.commands() == [["data", "folder:PATH"]]
    assert recipe._replace(language="python").commands() == []


# ---- chapter 8: what is measured, and how it is told ----


def test_a_data_set_written_as_files_is_read_back_as_it_was(tmp_path):
    tops = keep_classes(load_dataset("fashion_mnist_10k"), "0,4")
    read = load_dataset(f"folder:{write_folder(tops, tmp_path / 'tops', train=5, validation=3, test=2)}")
    assert read.classes == ("Coat", "T-shirt-top") and len(read.train) == 10 and len(read.test) == 4
    for label, name in enumerate(("Coat", "T-shirt/top")):
        first = (tops.train.labels == tops.classes.index(name)).nonzero()[:5, 0]
        assert read.train.images[read.train.labels == label].equal(tops.train.images[first])


def test_the_folder_of_the_chapter_is_written_once(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(make_own_pictures, "COUNTS", dict(train=2, validation=1, test=1))
    monkeypatch.setattr(sys, "argv", ["make_own_pictures.py", "--output", str(tmp_path / "own")])
    make_own_pictures.main()
    assert "20 pictures" in capsys.readouterr().out and len(list(tmp_path.rglob("*.png"))) == 20
    with pytest.raises(DeiTEduError, match="is there already: delete it"):
        make_own_pictures.main()


def test_all_ways_with_as_many_pictures_take_equal_steps_but_the_fine_tuning():
    grid = Grid("own", checksum=lambda name, side: name)
    cells = {cell.configuration: cell for cell in grid.cells("own_pictures", 1)}
    for size in own_pictures.OWN_SIZES:
        alone, taught, started = (cells[f"{kind}_{size}"].config for kind in ("none", "taught", "started"))
        assert alone.train_images == taught.train_images == started.train_images == size
        assert (alone.epochs, alone.batch_size) == (taught.epochs, taught.batch_size)
        assert started.epochs * 3 == alone.epochs  # "a third of the steps", says the chapter
        (teacher,) = cells[f"taught_{size}"].teachers
        assert teacher.key == cells[f"convnet_{size}"].key  # the teacher is the convnet that is compared
        assert cells[f"started_{size}"].needs == () and started.initial == "packaged:fashion_clutter_student"


def test_what_we_expected_is_judged_beside_the_chapter_and_not_among_the_papers_claims():
    found = own_pictures.judged()
    assert set(found) == {claim.id for claim in CLAIMS if claim.id.startswith("own-")} and len(found) == 14
    assert all(EXPERIMENTS[claim.experiment].scales == ("own",) for claim in CLAIMS if claim.id in found)
    assert not any(name.startswith("own-") for name in own_pictures.evidence().judged)


def test_the_chapter_says_every_verdict_as_the_ledger_has_it():
    told = own_pictures.expectations("own_pictures", "own_longer", "own_classes").markdown
    for one in own_pictures.judged().values():
        assert (
            one.claim.sentence in told and f'<span class="verdict">{own_pictures.VERDICTS[one.verdict]}</span>' in told
        )
    assert not NAN.search(own_pictures.answer().markdown + own_pictures.reading().markdown + told)
    for question in own_pictures.QUESTIONS:
        assert own_pictures.verdicts(question) in own_pictures.reading().markdown


def test_without_runs_the_chapter_says_what_is_still_to_run(monkeypatch):
    class Empty:
        records = {}

        def find(self, cell):
            return None

    known = replace(own_pictures.evidence(), own=Results(Empty(), "own"))
    monkeypatch.setattr(own_pictures, "evidence", lambda: known)
    assert "Still to run: all 60 cells are missing" in own_pictures.expectations("own_pictures").markdown
    assert "still to run" in own_pictures.reading().markdown and not NAN.search(own_pictures.answer().markdown)
