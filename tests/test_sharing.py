"""A batch that the cores share teaches what it taught one of them, and the same every time."""

import copy
import dataclasses
import os
import subprocess
import sys

import pytest
import torch
from references import random_deit
from test_runs import stop_at_step
from toy import CPU, toy_config, toy_dataset

from deit_edu.errors import DeiTEduError
from deit_edu.losses import DistillationObjective
from deit_edu.runs import train
from deit_edu.runs.build import build_model
from deit_edu.runs.machine import compiled
from deit_edu.runs.remembered import Remembered
from deit_edu.runs.sharing import Parts, shared_learning
from deit_edu.teachers import FrozenTeacher, create_teacher
from deit_edu.train import World, learn

IMAGES = torch.randn(70, 1, 8, 8, generator=torch.Generator().manual_seed(1))  # three parts are not equal
TARGETS = torch.rand(70, 10, generator=torch.Generator().manual_seed(2)).softmax(dim=-1)


@pytest.fixture
def threads():
    """threads(n) gives PyTorch n threads for one test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


SMALL = dict(image_size=8, patch_size=4, in_channels=1, num_classes=10, embed_dim=16, depth=2, num_heads=2)


def small_deit(distilled=True, seed=0):
    return random_deit(seed, distilled=distilled, **SMALL)


def gradients(student):
    return {name: parameter.grad for name, parameter in student.named_parameters()}


def learned(how, student, teacher, objective):
    student.zero_grad()
    loss = how(student, teacher, objective, IMAGES, TARGETS, CPU)
    return loss, gradients(student)


@pytest.mark.parametrize("parts", [2, 3])
@pytest.mark.parametrize(
    "distillation, tokens", [("none", "class"), ("soft", "class"), ("soft", "both"), ("hard", "both")]
)
def test_the_parts_teach_what_the_batch_does(threads, parts, distillation, tokens, monkeypatch):
    threads(parts)
    monkeypatch.setattr("deit_edu.runs.sharing.SMALLEST_PART", 16)
    student, teacher = small_deit(), FrozenTeacher(small_deit(distilled=False, seed=1))
    objective = DistillationObjective(distillation, tokens)
    loss, alone = learned(learn, student, teacher, objective)
    with shared_learning(student, toy_config(batch_size=70), CPU) as share:
        assert isinstance(share, Parts) and len(share.copies) == parts
        for _ in range(2):  # nothing is left over from the batch before
            its_loss, together = learned(share, student, teacher, objective)
        again = learned(share, student, teacher, objective)[1]
    torch.testing.assert_close(its_loss, loss, rtol=1e-6, atol=0)
    assert {name for name in alone if alone[name] is None} == {name for name in alone if together[name] is None}
    for name in alone:
        if alone[name] is not None:
            torch.testing.assert_close(together[name], alone[name], rtol=1e-4, atol=1e-6, msg=name)
            assert torch.equal(together[name], again[name])  # whoever was ready first


def test_the_parts_follow_the_weights(threads):
    """The copies have the student's weights: after a step, and after others are loaded."""
    threads(2)
    student, objective = small_deit(), DistillationObjective("none", "both")
    with shared_learning(student, toy_config(batch_size=70), CPU) as share:
        learned(share, student, None, objective)
        torch.optim.AdamW(student.parameters(), lr=0.1, fused=True).step()
        stepped = learned(share, student, None, objective)[0]
        torch.testing.assert_close(stepped, learned(learn, student, None, objective)[0])
        student.load_state_dict(small_deit(seed=5).state_dict())
        torch.testing.assert_close(learned(share, student, None, objective)[0],
                                   learned(learn, student, None, objective)[0])  # fmt: skip


def test_a_teacher_that_remembers_what_it_was_asked_is_asked_once_for_the_whole_batch(threads):
    threads(2)
    student, asked = small_deit(), []

    def teacher(images):
        asked.append(len(images))
        return images.mean(dim=(1, 2, 3))[:, None] * torch.arange(10)

    objective = DistillationObjective("hard", "both")
    alone = learned(learn, student, teacher, objective)
    with shared_learning(student, toy_config(batch_size=70), CPU) as share:
        together = learned(share, student, teacher, objective)
    assert asked == [70, 70]
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-6)
    remembered = Remembered(teacher, 10)
    with shared_learning(student, toy_config(batch_size=70), CPU) as share:
        for _ in range(2):
            part_by_part = learned(share, student, remembered, objective)
            torch.testing.assert_close(part_by_part, alone, rtol=1e-4, atol=1e-6)
    assert asked == [70, 70, 35, 35]  # what is known of each picture, each part asks for alone


@pytest.mark.parametrize("distillation, count", [("none", 1), ("soft", 1), ("hard", 2)])
def test_a_batch_in_eight_parts_one_after_the_other_gives_the_same_update(threads, distillation, count, monkeypatch):
    threads(count)
    monkeypatch.setattr("deit_edu.runs.sharing.SMALLEST_PART", 4)
    student, objective = small_deit(), DistillationObjective(distillation, "both")
    network, largest = FrozenTeacher(small_deit(distilled=False, seed=1)), []
    student.register_forward_pre_hook(lambda _, given: largest.append(len(given[0])))
    for teacher in (network, lambda images: network(images)):  # one that is asked by part, one for the whole batch
        loss, alone = learned(learn, student, teacher, objective)
        largest.clear()
        with shared_learning(student, toy_config(batch_size=70, accumulate=8), CPU) as how:
            its_loss, together = learned(how, student, teacher, objective)
        torch.testing.assert_close(its_loss, loss, rtol=1e-6, atol=0)
        for name in alone:
            torch.testing.assert_close(together[name], alone[name], rtol=1e-4, atol=1e-6, msg=name)
        assert sum(largest) == 70 and max(largest) == {1: 9, 2: 5}[count]  # images at a time, of each core


@pytest.mark.parametrize("name", ["convnet_weak", "convnet_light"])
def test_a_convnets_parts_are_learned_from_side_by_side_as_one_after_the_other(threads, name):
    """Its norms see a part at a time either way; gradients, statistics and answers are the same."""
    config, objective = toy_config(model=name, batch_size=70, accumulate=2), DistillationObjective("none", "class")
    torch.manual_seed(0)
    one = create_teacher(name, 1, 10).train()
    other, ends = copy.deepcopy(one), []
    for student, count in ((one, 1), (other, 2)):
        threads(count)
        with shared_learning(student, config, CPU) as how:
            assert isinstance(how, Parts) == (count == 2)
            ends += [[learned(how, student, None, objective)[0] for _ in range(3)]]
    torch.testing.assert_close(*ends, rtol=1e-5, atol=0)
    together = gradients(other)
    for name, gradient in gradients(one).items():
        if gradient is not None:
            torch.testing.assert_close(together[name], gradient, rtol=1e-3, atol=1e-6, msg=name)
    torch.testing.assert_close(other.state_dict(), one.state_dict(), rtol=1e-5, atol=1e-6)
    assert any(value.item() == 6 for name, value in one.state_dict().items() if name.endswith("tracked"))


def test_a_run_that_accumulates_goes_on_without(tmp_path, monkeypatch):
    config = toy_config(accumulate=4)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_at_step(patch, 8)
        train(config, tmp_path / "run", dataset=DATASET, progress=False)
    losses = [
        [line["loss"] for line in train(one, tmp_path / name, resume=True, dataset=DATASET, progress=False)["curve"]]
        for one, name in ((dataclasses.replace(config, accumulate=1), "run"), (toy_config(), "other"))
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_a_convnet_that_accumulates_goes_on_as_it_began(tmp_path, monkeypatch):
    config = toy_config(model="convnet_weak", accumulate=2)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_at_step(patch, 8)
        train(config, tmp_path / "run", dataset=DATASET, progress=False)
    with pytest.raises(DeiTEduError, match="was begun with accumulate=2, not accumulate=1"):  # norms see the parts
        train(dataclasses.replace(config, accumulate=1), tmp_path / "run", True, DATASET, progress=False)


def test_a_batch_has_no_more_parts_than_images():
    with pytest.raises(DeiTEduError, match="accumulate is 17: a batch of 16 has not as many images"):
        toy_config(accumulate=17)


DATASET = toy_dataset()
CUDA = World(torch.device("cuda"), torch.float32)


@pytest.mark.parametrize(
    "why, settings, world, count",
    [
        ("one thread", {}, CPU, 1),
        ("parts too small", {"batch_size": 63}, CPU, 2),
        ("batch norm", {"model": "convnet_weak"}, CPU, 2),
        ("dropout", {"drop_rate": 0.1}, CPU, 2),
        ("stochastic depth", {"drop_path_rate": 0.1}, CPU, 2),
        ("labels are drawn", {"distillation": "drawn"}, CPU, 2),
        ("a GPU", {}, CUDA, 2),
        ("several processes", {}, dataclasses.replace(CPU, size=2), 2),
        ("compiled", {}, CPU, 2),
    ],
)
def test_a_batch_is_not_shared_where_that_would_change_what_it_teaches(threads, why, settings, world, count):
    threads(count)
    config = toy_config(**{"batch_size": 64, **settings})
    student = build_model(config, DATASET)
    student = compiled(student) if why == "compiled" else student
    with shared_learning(student, config, world) as how:
        assert how is learn
    assert torch.get_num_threads() == count


def test_an_error_in_a_part_reaches_whoever_trains_and_the_threads_come_back(threads):
    threads(2)
    student = small_deit()
    with (
        pytest.raises(ZeroDivisionError),
        shared_learning(student, toy_config(batch_size=64), CPU) as share,
    ):
        share(student, None, lambda *answers: 1 / 0, IMAGES, TARGETS, CPU)
    assert torch.get_num_threads() == 2


def test_a_shared_run_that_was_stopped_ends_with_the_same_weights(threads, tmp_path, monkeypatch):
    threads(2)
    config = toy_config(batch_size=64, epochs=3, tokens="both", distillation="none")
    data = toy_dataset(train=192)
    whole = train(config, tmp_path / "whole", dataset=data, progress=False)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_at_step(patch, 5)
        train(config, tmp_path / "stopped", dataset=data, progress=False)
    stopped = train(config, tmp_path / "stopped", resume=True, dataset=data, progress=False)
    assert stopped["checkpoint"] == whole["checkpoint"] and stopped["machine"]["threads"] == 2


@pytest.mark.parametrize(
    "given, then", [({}, "1000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, "")]
)
def test_threads_that_wait_soon_sleep_unless_the_reader_says_otherwise(given, then):
    """Before torch is imported, or it does not count."""
    asked = "import sys, os, deit_edu; print('torch' in sys.modules, os.environ.get('GOMP_SPINCOUNT', ''))"
    without = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    said = subprocess.run(
        [sys.executable, "-c", asked], env=without | given, capture_output=True, text=True, check=True
    )
    assert said.stdout == f"False {then}\n"
