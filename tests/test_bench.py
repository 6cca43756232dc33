"""The benchmark against timm's student: it times what it says it times."""

import sys

import pytest
import torch
from conftest import ROOT

from deit_edu.errors import DeiTEduError
from deit_edu.losses import DistillationObjective
from deit_edu.model import DeiTConfig, HeadLogits
from deit_edu.runs import bench
from deit_edu.train import TrainConfig, join_world, learn

sys.path.insert(0, str(ROOT / "book" / "_ext"))
import bench_peers  # noqa: E402
import run_bench  # noqa: E402


def test_timms_student_has_the_same_shape_and_gives_both_heads():
    from deit_edu.model import DeiT

    config = DeiTConfig(28, 7, 1, 10, 64, 4, 4)
    student = bench.TimmStudent(config)
    heads = student(torch.randn(2, 1, 28, 28))
    assert isinstance(heads, HeadLogits) and heads.distillation_logits.shape == (2, 10)
    count = sum(p.numel() for p in student.parameters())
    assert count == sum(p.numel() for p in DeiT(config).parameters())


def test_every_contender_is_timed_once_a_round(monkeypatch, capsys):
    monkeypatch.setattr(bench, "can_compile", lambda: False)  # compiling takes half a minute
    seconds = bench.measure(steps=2, rounds=3)
    assert set(seconds) == {"timm", "ours", "ours, not shared"}
    assert all(len(times) == 3 and min(times) > 0 for times in seconds.values())
    monkeypatch.setattr(bench, "measure", lambda steps, rounds: {"timm": [0.02, 0.03], "ours": [0.01, 0.01]})
    bench.report(2, 2)
    assert "2.50 times timm's speed (2.00 to 3.00)" in capsys.readouterr().out


def test_throughput_is_images_a_second_of_every_network_in_turn(monkeypatch):
    asked = []

    class Takes(torch.nn.Module):
        def __init__(self, seconds):
            super().__init__()
            self.seconds = seconds

        def forward(self, images):
            asked.append((self.seconds, self.training, torch.is_grad_enabled()))
            clock[0] += self.seconds

    clock = [0.0]
    monkeypatch.setattr(bench.time, "perf_counter", lambda: clock[0])
    speeds = bench.throughput({"slow": Takes(0.5), "fast": Takes(0.25)}, torch.zeros(10, 1, 4, 4), rounds=3)
    assert speeds == {"slow": 20, "fast": 40}
    assert asked == [(0.5, False, False), (0.25, False, False)] * 4


@pytest.mark.parametrize(("steps", "rounds", "says"), [(0, 1, "at least 1 step"), (200, 1, "try --steps 40")])
def test_a_benchmark_that_cannot_be_says_why(steps, rounds, says):
    with pytest.raises(DeiTEduError, match=says):
        bench.measure(steps, rounds)


def test_two_trees_are_timed_in_turn_over_a_whole_run():
    seconds, memory = run_bench.in_turn({"before": ROOT, "now": ROOT}, 1, epochs=2, each=1, images=128)
    for name in ("before", "now"):
        assert len(seconds[name]) == 2 and min(seconds[name]) > 0 and memory[name] > 0
    line = run_bench.row("the run", 2.0, [0.2, 0.6], [0.1, 0.1])
    assert (line["ratio"], line["low"], line["high"]) == pytest.approx((4.0, 2.0, 6.0))


def test_a_tree_that_cannot_train_is_named(tmp_path):
    (tmp_path / "deit_edu.py").write_text("raise SystemExit(3)")
    with pytest.raises(RuntimeError, match=f"before: the run in {tmp_path} did not begin"):
        run_bench.in_turn({"before": tmp_path}, 1)


TOY = {
    "tiny": (dict(image_size=8, patch_size=4, in_channels=1, num_classes=3, embed_dim=8, depth=1, num_heads=2), 4, 1)
}
SHAPE = DeiTConfig(**TOY["tiny"][0], distilled=True)


def test_a_record_of_the_bench_has_every_target(monkeypatch, tmp_path, capsys):
    asked = []

    def in_turn(trees, threads, epochs, images, teacher=False):
        asked.append((threads, "teacher" if teacher else "student", tuple(trees)))
        return {"before": [4.0, 4.0], "now": [1.0, 3.0]}, {"before": 10, "now": 8}

    times = {"before": [4.0], "now": [2.0]}
    monkeypatch.setattr(run_bench, "in_turn", in_turn)
    monkeypatch.setattr(run_bench, "pairs", lambda trees, threads, images: times)
    monkeypatch.setattr(run_bench, "starts", lambda trees, rounds: times)
    monkeypatch.setattr(run_bench, "grids", lambda trees: (times, {"before": 10, "now": 9}))
    monkeypatch.setattr(run_bench, "SHAPES", {"depth": [dict(depth=1)]})
    monkeypatch.setitem(sys.modules, "vit_pytorch.distill", None)  # as where it is not installed
    monkeypatch.setattr(run_bench.os, "cpu_count", lambda: 2)
    record = run_bench.measure(tmp_path, images=128, epochs=2, rounds=1, shapes=TOY)
    rows = {one["what"]: one for one in record["rows"]}
    both, now = ("before", "now"), ("now",)
    assert asked == [
        (1, "student", both), (2, "student", both), (2, "teacher", now), (2, "student", both), (2, "teacher", now)
    ]  # fmt: skip
    assert len(rows) == len(record["rows"]) == 18
    assert rows["the tiny run, 1 threads"]["ratio"] == 2 and rows["its memory, now over before"]["ratio"] == 0.8
    assert [one["what"] for one in record["rows"] if one["most"]] == [
        "its memory, now over before", "the start of a run, now over before", "ablate, table 3, now over before",
        "the memory of its runs",
        "attention maps, of a forward pass: deit_nano_patch7_28",
        "attention maps, of a forward pass: deit_tiny_patch16_224",
    ]  # fmt: skip
    assert all(0 < one["low"] <= one["ratio"] <= one["high"] for one in rows.values())
    assert all(set(one["seconds"]) == {"ours", "timm", "transformers"} for one in record["peers"])
    assert "vit-pytorch is left out" in capsys.readouterr().err
    assert record["parts"]["operations"] > 1e9 and record["parts"]["kinds"]["products"] > 0
    assert record["growth"][0]["bytes"] > 0 and record["growth"][0]["depth"] == 1


def test_a_pair_is_counted_with_its_start_and_all_images(monkeypatch):
    monkeypatch.setattr(
        run_bench, "said_by", lambda folder, script, threads, images: ({"a": 2.0, "b": 4.0}[folder], 7.0)
    )
    found = run_bench.pairs({"before": "b", "now": "a"}, 1, images=1000, rounds=2)
    assert found == {"before": [3 + 40.0] * 2, "now": [5 + 20.0] * 2}


def test_a_start_is_timed_in_each_tree_without_its_first_time(monkeypatch):
    told = iter([9.0, 1.0, 2.0, 3.0])
    monkeypatch.setattr(run_bench, "said_by", lambda folder, script, threads: (next(told), 0))
    assert run_bench.starts({"before": "b", "now": "a"}, rounds=1) == {"before": [2.0], "now": [3.0]}


def test_a_grid_is_timed_in_each_tree_whatever_its_modules_are_called(tmp_path):
    ledger = (
        "from contextlib import contextmanager\n@contextmanager\ndef ledger_for_writing(folder):\n    yield folder\n"
    )
    modules = {
        "": "",
        "cells": "class Grid:\n    __init__ = lambda self, scale: None\n    cells = lambda self, name, seeds: name\n",
        "ledger": ledger, "experiments": "BASE = {'tiny': {'student': {}, 'teacher': {}}}\n",
        "runner": "from deit_edu.experiments import BASE\ndef run_cells(cells, ledger, root, progress):\n"
                  "    assert cells == 'distillation' and BASE['tiny']['teacher']['epochs'] == 3\n",
    }  # fmt: skip
    (tmp_path / "deit_edu").mkdir()
    for name, text in modules.items():
        (tmp_path / "deit_edu" / f"{name or '__init__'}.py").write_text(text)
    seconds, memory = run_bench.grids({"before": tmp_path}, epochs=8, rounds=2)
    assert len(seconds["before"]) == 2 and 0 <= max(seconds["before"]) < 5 and memory["before"] >= 0
    (tmp_path / "deit_edu" / "cells.py").write_text("raise SystemExit(3)")
    with pytest.raises(RuntimeError, match=f"{tmp_path}: a run ended with 3"):
        run_bench.grids({"before": tmp_path}, rounds=1)


def test_the_fastest_of_the_others_is_who_ours_is_held_against():
    seconds = {"ours": [1.0, 1.0], "timm": [3.0, 3.0], "transformers": [1.0, 4.0]}
    compared = [{"shape": "tiny", "kind": kind, "threads": 1, "seconds": seconds} for kind in ("training", "answers")]
    training, answers = run_bench.peer_rows([*compared, dict(compared[0], seconds={"ours": [1.0]})])
    assert training["ratio"] == 2.5 and "transformers" in training["what"]
    assert training["target"] == 1.5 and answers["target"] == 1.0


def test_what_a_forward_pass_keeps_grows_with_the_batch_and_is_without_the_weights():
    model = run_bench.create_model("deit_nano_patch7_28", distilled=True)
    one, two = (run_bench.kept_bytes(model, torch.randn(count, 1, 28, 28)) for count in (8, 16))
    assert 1.8 < two / one < 2.2


def test_others_students_have_our_shape_and_both_heads_learn():
    images, targets = torch.randn(4, 1, 8, 8), torch.eye(3)[[0, 1, 2, 0]]
    objective, world = DistillationObjective("hard", "both"), join_world(TrainConfig())
    found = bench_peers.students(SHAPE)  # without those that only make bench fetches
    assert {"ours", "timm", "transformers"} <= set(found)
    ours = sum(parameter.numel() for parameter in found["ours"].parameters())
    for name, student in found.items():
        how = bench_peers.learn_by_wrapper if name == "vit-pytorch" else learn
        assert how(student.train(), lambda images: torch.randn(4, 3), objective, images, targets, world) > 0
        assert [logits.shape for logits in student(images)] == [(4, 3), (4, 3)]
        assert 0.7 < sum(parameter.numel() for parameter in student.parameters()) / ours < 1.4
        assert len([parameter for parameter in student.parameters() if parameter.grad is not None]) > 15
