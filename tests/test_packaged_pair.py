"""The pair that ships: small, trained by the recipe that is committed, and as good as its record says."""

import json

import pytest

from deit_edu.data import load_dataset
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


def test_a_name_that_is_not_packaged_is_answered_with_those_that_are():
    with pytest.raises(DeiTEduError, match="fashion_clutter_student, fashion_clutter_teacher"):
        packaged_path("cifar10_student")
