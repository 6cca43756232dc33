"""The networks that ship: small, trained as is committed, and as good as their record says."""

import dataclasses
import json

import pytest
import torch

from deit_edu.data import drawn_pictures, load_dataset, normalise
from deit_edu.errors import DeiTEduError
from deit_edu.evidence.cells import Grid
from deit_edu.evidence.ledger import Ledger
from deit_edu.model import fuse
from deit_edu.runs.checkpoints import CHECKPOINTS, digest, load_network, packaged_path
from deit_edu.runs.evaluate import accuracies, predict
from deit_edu.runs.recipes import recipe
from deit_edu.teachers import as_head_logits
from deit_edu.train import TrainConfig

ROLES = ("teacher", "student")


@pytest.fixture(scope="module")
def records():
    return json.loads((CHECKPOINTS / "fashion_clutter.json").read_text())


@pytest.fixture(scope="module")
def clutter():
    return load_dataset("fashion_clutter")


def test_both_networks_together_take_at_most_4_megabytes():
    assert 0 < sum(packaged_path(f"fashion_clutter_{role}").stat().st_size for role in ROLES) <= 4e6


@pytest.mark.parametrize("role", ROLES)
def test_the_record_is_of_the_committed_recipe_and_the_same_images(role, records, clutter):
    config = records[role]["config"]
    for name, value in recipe("tiny", "fashion_clutter", role).items():
        if name != "compile":  # how fast, not what
            assert config[name] == value, name
    assert records[role]["data"]["checksum"] == clutter.checksum


@pytest.mark.parametrize(("role", "head", "bar"), [("teacher", "class", 0.85), ("student", "fused", 0.75)])
def test_the_shipped_weights_are_as_good_as_their_record(role, head, bar, records, clutter):
    model, metadata = load_network(packaged_path(f"fashion_clutter_{role}"))
    found = accuracies(predict(model, clutter.test, clutter), clutter.test.labels)[head]
    recorded = records[role]["shipped_test"][head]
    assert abs(found.correct - recorded["correct"]) <= 5  # another machine rounds differently, near a tie
    assert found.value >= bar
    assert metadata["data"] == "fashion_clutter"


# ---- CIFAR-10 ----

CIFAR10 = {  # experiments, of which the last configuration ships
    "teacher": "cifar10_teacher",
    "strong_teacher": "cifar10_strong_teacher",
    "student": "flagship",
}


@pytest.fixture(scope="module")
def photographs():
    return json.loads((CHECKPOINTS / "cifar10.json").read_text())


def cell_of(role, photographs):
    """The cell whose network ships in this role, on the very images that it was trained on."""
    checksum = photographs[role]["data"]["checksum"]
    return Grid("small", "folder:cifar10", lambda name, size: checksum).cells(CIFAR10[role])[-1]


@pytest.mark.parametrize("role", CIFAR10)
def test_the_networks_of_cifar10_are_of_the_committed_experiments(role, photographs):
    cell, record = cell_of(role, photographs), photographs[role]
    recorded_config = dataclasses.asdict(TrainConfig()) | record["config"]  # what came later is at its default
    for name, value in dataclasses.asdict(cell.config).items():
        assert recorded_config[name] == value, name
    recorded = Ledger().find(cell)
    assert recorded["test"] == record["test"]  # what ships is the network that the evidence speaks of
    assert recorded["data"]["checksum"] == record["data"]["checksum"]


@pytest.mark.parametrize("role", CIFAR10)
def test_the_networks_of_cifar10_lost_nothing_to_rounding(role, photographs):
    for head, exact in photographs[role]["test"].items():
        shipped = photographs[role]["shipped_test"][head]
        assert exact["total"] == shipped["total"] == 10_000
        assert abs(exact["correct"] - shipped["correct"]) <= 10


def test_the_student_of_cifar10_and_its_teacher_together_take_at_most_8_megabytes():
    student = packaged_path("cifar10_student")
    _, metadata = load_network(student)
    assert 0 < student.stat().st_size + packaged_path(metadata["teacher"]).stat().st_size <= 8e6


def test_the_teacher_of_cifar10_is_the_one_that_taught_the_student(photographs):
    _, metadata = load_network(packaged_path("cifar10_student"))
    taught_by, _ = load_network(packaged_path(metadata["teacher"]))
    recorded = Ledger().find(cell_of("student", photographs))
    assert recorded["teachers"] == {metadata["teacher"]: digest(taught_by.state_dict())}


@pytest.mark.parametrize("role", CIFAR10)
def test_the_networks_of_cifar10_know_things_in_pictures_they_have_not_seen(role):
    model, metadata = load_network(packaged_path(f"cifar10_{role}"))
    pictures, labels = drawn_pictures()
    with torch.no_grad():
        said = fuse(as_head_logits(model(normalise(pictures, metadata["mean"], metadata["std"])))).argmax(dim=1)
    right = [metadata["classes"][answer] == label for answer, label in zip(said.tolist(), labels, strict=True)]
    assert sum(right) >= len(right) / 2


def test_a_name_that_is_not_packaged_is_answered_with_those_that_are():
    known = "cifar10_strong_teacher, cifar10_student, cifar10_teacher, fashion_clutter_student, fashion_clutter_teacher"
    with pytest.raises(DeiTEduError, match=known):
        packaged_path("cifar100_student")
