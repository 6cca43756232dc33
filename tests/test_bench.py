"""The benchmark against timm's student: it times what it says it times."""

import sys

import pytest
import torch
from conftest import ROOT

from deit_edu.errors import DeiTEduError
from deit_edu.model import DeiTConfig, HeadLogits
from deit_edu.runs import bench

sys.path.insert(0, str(ROOT / "book" / "_ext"))
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
