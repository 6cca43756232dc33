"""The pair that ships: small, trained by the recipe that is committed, and as good as its record says."""

import json

import pytest
import torch

from deit_edu.data import drawn_pictures, load_dataset, normalise
from deit_edu.errors import DeiTEduError
from deit_edu.evaluate import accuracies, predict
from deit_edu.recipes import recipe
from deit_edu.teachers import CHECKPOINTS, load_network, packaged_path

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


def test_the_teacher_of_cifar10_is_of_the_committed_recipe_and_lost_nothing_to_rounding():
    record = json.loads((CHECKPOINTS / "cifar10.json").read_text())["teacher"]
    for name, value in recipe("small", "folder:cifar10", "teacher").items():
        assert record["config"][name] == value, name
    exact, shipped = record["test"]["class"], record["shipped_test"]["class"]
    assert exact["total"] == shipped["total"] == 10_000
    assert abs(exact["correct"] - shipped["correct"]) <= 10
    assert packaged_path("cifar10_teacher").stat().st_size <= 4e6


def test_the_teacher_of_cifar10_knows_things_in_pictures_it_has_not_seen():
    model, metadata = load_network(packaged_path("cifar10_teacher"))
    pictures, labels = drawn_pictures()
    with torch.no_grad():
        said = model(normalise(pictures, metadata["mean"], metadata["std"])).argmax(dim=1)
    right = [metadata["classes"][answer] == label for answer, label in zip(said.tolist(), labels, strict=True)]
    assert sum(right) >= len(right) / 2


def test_a_name_that_is_not_packaged_is_answered_with_those_that_are():
    with pytest.raises(DeiTEduError, match="cifar10_teacher, fashion_clutter_student, fashion_clutter_teacher"):
        packaged_path("cifar10_student")
