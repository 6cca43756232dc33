"""Recipes: each can be trained, and the paper's is table 9."""

import pytest

from deit_edu.data import DATASETS
from deit_edu.errors import DeiTEduError
from deit_edu.model import MODELS
from deit_edu.runs.recipes import RECIPES, SCALES, recipe
from deit_edu.teachers import CONVNETS
from deit_edu.train import TrainConfig

EACH = [(scale, data, role) for scale, data in RECIPES for role in ("teacher", "student")]
SEEN = ("crop_padding", "flip", "rand_augment", "erasing", "mixup_alpha", "cutmix_alpha", "repeats")


@pytest.mark.parametrize("scale,data,role", EACH)
def test_a_recipe_is_a_config_of_a_model_that_there_is(scale, data, role):
    config = TrainConfig(**recipe(scale, "imagenet:PATH" if data == "imagenet" else data, role))
    known = MODELS if role == "student" else {**CONVNETS, "timm:regnety_160": None}
    assert config.model in known
    assert scale in SCALES and (data in DATASETS or f"{data}:PATH" in DATASETS)
    assert config.distillation == "none" and config.teacher is None  # how it learns is chosen elsewhere


@pytest.mark.parametrize("scale,data", RECIPES)
def test_a_teacher_is_trained_with_the_augmentation_of_its_student(scale, data):
    teacher, student = (RECIPES[scale, data][role] for role in ("teacher", "student"))
    assert {name: teacher.get(name) for name in SEEN} == {name: student.get(name) for name in SEEN}


def test_the_papers_recipe_is_table_9():
    config = TrainConfig(**recipe("paper", "imagenet:PATH"))
    assert config.model == "deit_base_patch16_224"
    assert (config.epochs, 8 * config.batch_size, config.optimizer) == (300, 1024, "adamw")
    assert (config.learning_rate, config.weight_decay, config.warmup_epochs) == (0.0005, 0.05, 5)
    assert (config.label_smoothing, config.drop_rate, config.drop_path_rate) == (0.1, 0.0, 0.1)
    assert (config.repeats, config.rand_augment) == (3, True)
    assert (config.mixup_alpha, config.cutmix_alpha, config.mix_probability, config.erasing) == (0.8, 1.0, 1.0, 0.25)
    assert config.ema_decay == 0.0
    assert (config.temperature, config.distillation_weight) == (3.0, None)
    assert recipe("paper", "imagenet:PATH", "teacher")["model"] == "timm:regnety_160"


def test_each_scale_has_data_of_its_own():
    assert recipe("tiny")["data"] == "fashion_mnist_10k"
    assert recipe("small")["data"] == "cifar10"
    with pytest.raises(DeiTEduError, match="ImageNet is yours to bring: say --data imagenet:PATH"):
        recipe("paper")


def test_data_without_a_recipe_get_that_of_the_scale_or_one_to_be_fitted_to_them():
    own = recipe("tiny", "fashion_clutter")
    assert own != recipe("tiny") | {"data": "fashion_clutter"}
    folder = recipe("tiny", "folder:/my/pictures")
    assert recipe("tiny", "mnist") == folder | {"data": "mnist"} and "replay" not in folder
    assert recipe("small", "folder:/my/pictures") == recipe("small") | {"data": "folder:/my/pictures"}


def test_an_unknown_scale_is_answered_with_the_known_ones():
    with pytest.raises(DeiTEduError, match=r"unknown scale 'huge' \(--scale or DEIT_EDU_SCALE\): .*tiny, small, paper"):
        recipe("huge")


def test_a_recipe_is_a_copy():
    recipe("tiny")["epochs"] = 999
    assert recipe("tiny")["epochs"] != 999
