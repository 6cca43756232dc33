"""The commands that fill the ledger, as far as they get without a browser and a training."""

import contextlib
import sys
from types import SimpleNamespace

import pytest
from test_experiments import made_up_records, write

from deit_edu.cli import ablate, main
from deit_edu.evidence.races import CONDITIONS, Races
from deit_edu.runs import machine
from deit_edu.widgets import races
from deit_edu.widgets.races import SHOWN

# ---- deit-edu ablate ----


def test_ablate_says_which_runs_came_out_otherwise(tmp_path, monkeypatch, capsys):
    write(tmp_path, made_up_records())
    monkeypatch.setenv("DEIT_EDU_LEDGER", str(tmp_path))
    answers = [("one", True, "equal to the last bit"), ("two", False, "1.50 points apart")]
    monkeypatch.setattr(ablate, "verify", lambda cells, ledger, number, jobs, progress: answers[:number])
    assert main("ablate distillation --verify 1".split()) == 0
    assert capsys.readouterr().out == "same   one: equal to the last bit\n"
    assert main("ablate distillation --verify 2".split()) == 2
    said = capsys.readouterr()
    assert said.out.endswith("OTHER  two: 1.50 points apart\n")
    assert said.err == "error: 1 of 2 runs came out differently\n"


def test_ablate_runs_the_cells_it_was_asked_for_and_says_where_they_are(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DEIT_EDU_LEDGER", str(tmp_path))
    monkeypatch.setattr(ablate, "run_cells", lambda cells, ledger, jobs, progress: cells[: jobs if not progress else 0])
    assert main("ablate distillation --seeds 1 --jobs 3 --quiet".split()) == 0
    assert capsys.readouterr().out == (
        f"distillation: 3 runs done now, all recorded in {tmp_path / 'runs.jsonl'}; see deit-edu report\n"
    )


# ---- the races ----


def record_of(name, seed):
    shares = {"class": 0.5} | dict.fromkeys(("distillation", "fused"), None if name == "none" else 0.25)
    measured = {"accuracy": shares, "agreement": shares, "cosine": 0.5}
    return {"configuration": name, "seed": seed, "points": [{"measured": measured}]}


@pytest.fixture
def no_browser(monkeypatch):
    """The command with all but the browser: what a student is asked, and a record for an answer."""
    asked = []
    page = SimpleNamespace(goto=lambda address: None)
    chromium = SimpleNamespace(launch=lambda **settings: SimpleNamespace(new_page=lambda: page, close=lambda: None))
    started = SimpleNamespace(chromium=chromium)
    monkeypatch.setattr("playwright.sync_api.sync_playwright", lambda: contextlib.nullcontext(started))
    monkeypatch.setattr(races.shutil, "which", lambda name: f"/usr/bin/{name}")

    def run_student(page, name, seed, shown):
        asked.append((name, seed, len(shown)))
        return record_of(name, seed) | CONDITIONS

    monkeypatch.setattr(races, "run_student", run_student)
    return asked


def test_the_command_runs_what_has_no_record_and_goes_on_where_it_was_stopped(no_browser, tmp_path, capsys):
    line = ["--folder", str(tmp_path / "new"), "--only", "none", "hard"]
    assert races.main([*line, "--seeds", "1"]) == 0
    assert no_browser == [("none", 0, SHOWN), ("hard", 0, SHOWN)]
    assert "2/2 hard, seed 0: class 50.0 %, distillation 25.0 %, fused 25.0 %, 0 s" in capsys.readouterr().out
    assert races.main([*line, "--seeds", "2"]) == 0 and races.main([*line, "--seeds", "2"]) == 0
    assert no_browser[2:] == [("none", 1, 0), ("hard", 1, 0)]  # what a figure shows first is kept once
    assert len(Races(tmp_path / "new").records) == 4
    assert ": no seed has been run\n" in capsys.readouterr().out  # of other students


def test_the_command_is_stopped_or_fails_in_one_line(no_browser, tmp_path, capsys, monkeypatch):
    line = ["--folder", str(tmp_path), "--seeds", "1"]

    def interrupted(*given):
        raise KeyboardInterrupt

    monkeypatch.setattr(races, "run_student", interrupted)
    assert races.main(line) == 130
    assert capsys.readouterr().err == "stopped; the same command goes on from here\n"
    monkeypatch.setattr(races.shutil, "which", lambda name: None)
    assert races.main(line) == 2
    assert capsys.readouterr().err.startswith("error: races run in Chromium, which is missing: install it")
    monkeypatch.setitem(sys.modules, "playwright.sync_api", None)
    assert races.main(line) == 2
    assert capsys.readouterr().err == (
        "error: races need Playwright to ask the browser: pip install 'deit-edu[races]'\n"
    )


# ---- what a record says of the machine ----


def test_a_record_names_the_graphics_card_or_what_the_system_calls_the_processor(monkeypatch):
    monkeypatch.setattr(machine.torch.cuda, "get_device_name", lambda device: f"a card, {device}")
    world = SimpleNamespace(device=machine.torch.device("cuda:0"), size=2, precision=machine.torch.bfloat16)
    said = machine.machine(world)
    assert (said["processor"], said["processes"], said["precision"]) == ("a card, cuda:0", 2, "bfloat16")
    monkeypatch.setattr(machine, "Path", lambda path: SimpleNamespace(read_text=lambda: "vendor_id : X\n"))
    monkeypatch.setattr(machine.platform, "processor", lambda: "")
    monkeypatch.setattr(machine.platform, "machine", lambda: "arm64")
    assert machine.processor_name() == "arm64"  # as on a Mac


@pytest.mark.parametrize(("there", "able"), [({"g++"}, True), ({"clang++"}, True), ({"cc"}, False)])
def test_without_a_compiler_nothing_is_compiled(there, able, monkeypatch, tmp_path):
    (tmp_path / "Python.h").touch()
    monkeypatch.setattr(machine.sysconfig, "get_path", lambda name: str(tmp_path))
    monkeypatch.setattr(machine.shutil, "which", lambda name: name if name in there else None)
    assert machine.can_compile() is able
    (tmp_path / "Python.h").unlink()
    assert machine.can_compile() is False
