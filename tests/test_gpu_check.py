"""The script that tries on a GPU what is claimed of one: its parts run at toy size, and without one it says so."""

import sys
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from conftest import ROOT

from deit_edu.data import packaged
from deit_edu.errors import DeiTEduError

sys.path.insert(0, str(ROOT / "book" / "_ext"))
import gpu_check  # noqa: E402

TOY = dict(image_size=32, patch_size=8, num_classes=10, embed_dim=32, depth=2, num_heads=2)
ALL_PARTS = {part.__name__ for part in gpu_check.Check.PARTS}
LIGHT = "import sys; print('ready', flush=True); sys.stdin.readline(); print(0.5)"


@pytest.fixture(scope="module")
def check():
    once = partial(gpu_check.in_turn, rounds=2, steps=1)
    return gpu_check.Check(torch.device("cpu"), TOY, batch=4, measure=once)


def test_without_a_gpu_it_is_one_line_and_status_2(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu_check.main() == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith("error: no CUDA here: run it on") and said.err.count("\n") == 1


@pytest.mark.parametrize(
    ("part", "lines"), [("bfloat16", 2), ("compile", 2), ("pinned", 1), ("peers", 8), ("looking", 1), ("distance", 2)]
)
def test_a_part_gives_its_ratios(part, lines, check, monkeypatch):
    monkeypatch.setattr(gpu_check, "can_compile", lambda: True)
    monkeypatch.setattr(gpu_check, "compiled", lambda model: model)  # it takes half a minute
    rows = list(getattr(check, part)())
    assert len(rows) == lines and all(0 < row["low"] <= row["ratio"] <= row["high"] for row in rows)
    assert all(gpu_check.line(row).endswith(f"wanted {row['wanted']}") for row in rows)


def test_bfloat16_begins_where_float32_does(check):
    assert [row["ratio"] for row in check.bfloat16()][1] == pytest.approx(1, abs=0.02)


def test_several_runs_at_once_are_timed_from_one_moment(check):
    (row,) = check.at_once(count=3, run=LIGHT)
    assert row["ratio"] == pytest.approx(3)
    with pytest.raises(DeiTEduError, match="did not begin"):
        gpu_check.run_together(2, "raise SystemExit(1)")


def test_a_part_that_cannot_be_tried_is_named_and_the_others_go_on(check, monkeypatch):
    monkeypatch.setattr(gpu_check, "can_compile", lambda: False)
    rows = list(check.table((gpu_check.Check.compile, gpu_check.Check.pinned)))
    assert "failed" in rows[0] and "failed" not in rows[1]
    assert "could not be tried: torch.compile needs a C++ compiler" in gpu_check.line(rows[0])


def test_the_table_is_printed_line_by_line(check, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a card")
    of_one_part = SimpleNamespace(table=partial(check.table, (gpu_check.Check.pinned,)))
    monkeypatch.setattr(gpu_check, "Check", lambda device: of_one_part)
    assert gpu_check.main() == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("a card, torch ") and second.startswith("copying a batch to the card")


def test_all_parts_are_in_the_table():
    assert ALL_PARTS == {"bfloat16", "compile", "pinned", "peers", "looking", "distance", "at_once"}


def test_a_run_of_several_at_once_is_one_that_can_be(monkeypatch):
    """What a process is told to do, with fewer images and without a card."""
    few = [(images[:200], labels[:200]) for images, labels in packaged.packaged_splits()]
    monkeypatch.setattr(packaged, "packaged_splits", lambda: few)
    said = []
    monkeypatch.setattr(sys, "stdin", type("Line", (), {"readline": lambda self: said.append("begun")})())
    exec(gpu_check.RUN.replace('"cuda"', '"cpu"').replace("epochs=2", "epochs=1"), {})
    assert said == ["begun"]
