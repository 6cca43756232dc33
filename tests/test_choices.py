"""What is chosen for the reader's own pictures where she says nothing, and what is said of what cannot be."""

import json
import re
import shlex

import numpy as np
import pytest
import torch
from PIL import Image
from toy import CPU, SMALL_DEIT, toy_config, toy_dataset

from deit_edu.cli import main
from deit_edu.cli import train as train_command
from deit_edu.data import load_dataset
from deit_edu.errors import DeiTEduError
from deit_edu.model import DeiT, DeiTConfig
from deit_edu.runs import choices
from deit_edu.runs.build import build_model
from deit_edu.runs.checkpoints import save_network
from deit_edu.runs.choices import fitted, good_patch, in_words, plan_for, seconds_of
from deit_edu.runs.folders import run_name
from deit_edu.train import TrainConfig


def lay(root, counts, sizes):
    """A folder of photographs: {class: how many}, with (width, height) in turn."""
    rng = np.random.default_rng(0)
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for number in range(count):
            width, height = sizes[number % len(sizes)]
            pixels = rng.integers(0, 200, (height, width, 3), dtype=np.uint8)
            pixels[: height // 2] += 50 * (name == "cats")
            Image.fromarray(pixels).save(root / name / f"{number}.png")
    return f"folder:{root}"


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    return lay(tmp_path_factory.mktemp("photographs"), {"cats": 30, "dogs": 30}, [(90, 70), (70, 100), (80, 80)])


@pytest.fixture(scope="module")
def squares(tmp_path_factory):
    """All of 28 pixels."""
    return lay(tmp_path_factory.mktemp("squares"), {"cats": 30, "dogs": 30}, [(28, 28)])


@pytest.fixture
def enough(monkeypatch):
    """As if the few pictures of the folders here were enough for a teacher: it keeps the tests short."""
    monkeypatch.setattr(choices, "VERY_FEW", 32)


@pytest.fixture(autouse=True)
def runs_here(tmp_path, monkeypatch):
    monkeypatch.setenv("DEIT_EDU_RUNS", str(tmp_path / "runs"))
    monkeypatch.delenv("DEIT_EDU_SCALE", raising=False)
    monkeypatch.chdir(tmp_path)


def deit_edu(line):
    return main(shlex.split(line))


def chosen(data, **typed):
    return plan_for("tiny", {"data": data, **typed}, CPU)


# ---- what is chosen ----


def test_photographs_get_sizes_a_batch_epochs_and_a_teacher_that_fit(photographs, enough):
    plan = chosen(photographs)
    assert plan.dataset.image_shape == (3, 64, 64) and len(plan.dataset.train) == 48
    assert plan.config.image_size == 64 and plan.config.model_settings == {"patch_size": 8}
    assert (plan.config.batch_size, plan.config.epochs, plan.config.warmup_epochs) == (8, 200, 5.0)
    assert (plan.config.distillation, plan.config.tokens) == ("hard", "both")
    assert (plan.teacher.model, plan.teacher.epochs, plan.teacher.batch_size) == ("convnet", 100, 8)
    assert plan.teacher.image_size == 64
    build_model(plan.config, plan.dataset)(torch.zeros(1, 3, 64, 64))


def test_what_was_chosen_is_one_line_of_options_and_typed_again_it_is_the_same_run(photographs, enough):
    plan = chosen(photographs)
    options = (
        "--image-size 64 --patch-size 8 --model deit_micro_patch4_28 --batch-size 8 --epochs 200 --teacher convnet"
    )
    assert plan.told() == (
        f"chosen for 48 training pictures: {options} --crop-padding 4 --warmup-epochs 5; its teacher for 100 epochs"
    )
    typed = dict(image_size=64, model="deit_micro_patch4_28", model_settings={"patch_size": 8}, batch_size=8,
                 epochs=200, teacher="convnet", crop_padding=4, warmup_epochs=5.0)  # fmt: skip
    again = chosen(photographs, **typed)
    assert again.config == plan.config and again.teacher == plan.teacher and again.told() == ""


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (dict(image_size=32), dict(image_size=32, model_settings={"patch_size": 4})),
        (dict(model_settings={"patch_size": 7}), dict(image_size=63)),
        (dict(model_settings={"embed_dim": 32}), dict(model_settings={"patch_size": 8, "embed_dim": 32})),
        (dict(model="deit_tiny_patch16_224"), dict(image_size=64, model_settings={"patch_size": 16})),
        (dict(batch_size=3), dict(batch_size=3)),
        (dict(epochs=7), dict(epochs=7, warmup_epochs=0.7)),
        (dict(distillation="none"), dict(teacher=None, tokens="class")),
        (dict(tokens="class"), dict(teacher=None, tokens="class")),
        (dict(teacher="convnet_weak"), dict(teacher="convnet_weak", distillation="hard", tokens="both")),
        (dict(model="convnet_weak"), dict(teacher=None, epochs=100, model_settings={}, image_size=64)),
    ],
)
def test_every_choice_gives_way_to_what_is_typed(typed, expected, photographs, enough):
    config = chosen(photographs, **typed).config
    assert {name: getattr(config, name) for name in expected} == expected


def test_very_few_pictures_get_the_smallest_network_alone(squares, photographs):
    """As chapter 8 has it: a convnet that has seen fifty pictures brings its student nothing."""
    of_squares, of_photographs = chosen(squares), chosen(photographs)
    assert of_squares.told().startswith(
        "chosen for 48 training pictures: --patch-size 7 --model deit_nano_patch7_28 --batch-size 8 --epochs 200 --crop"
    )
    for plan in (of_squares, of_photographs):
        assert (plan.teacher, plan.config.tokens, plan.config.distillation) == (None, "class", "none")
    assert of_photographs.config.model_settings == {"patch_size": 8}
    assert chosen(photographs, teacher="convnet").config.tokens == "both"
    sizes = {n: choices.size_for(n, CPU.device) for n in (127, 128, 1999, 2000)}
    assert list(sizes.values()) == ["deit_nano_patch7_28", *["deit_micro_patch4_28"] * 2, "deit_micro_patch4_32"]


def test_small_pictures_that_share_a_size_keep_it(squares, tmp_path, enough):
    plan = chosen(squares)
    assert plan.dataset.image_shape == (3, 28, 28) and plan.config.image_size == 0
    assert plan.config.model_settings == {"patch_size": 4}
    odd = chosen(lay(tmp_path / "odd", {"cats": 6, "dogs": 6}, [(29, 29)]))  # a prime: no patch cuts it
    assert (odd.config.image_size, odd.config.model_settings) == (24, {"patch_size": 3})
    assert odd.config.teacher is None  # ten pictures are too few to teach one


def test_a_patch_size_divides_the_side_and_leaves_a_few_patches():
    for side in range(4, 400):
        patch = good_patch(side)
        assert patch is None or (side % patch == 0 and 4 <= side // patch <= 16)
        assert patch or side % 8


@pytest.mark.parametrize(
    ("count", "batch"), [(10_000, 64), (256, 64), (255, 32), (48, 8), (9, 2), (8, 2), (3, 2), (1, 1)]
)
def test_an_epoch_has_a_few_steps(count, batch):
    assert choices.choose_batch(count) == batch


def test_a_run_from_anothers_weights_has_its_shape_and_goes_gently(photographs, tmp_path):
    shape = DeiTConfig(image_size=48, num_classes=5, patch_size=12, embed_dim=24, depth=1, num_heads=2)
    save_network(tmp_path / "theirs.safetensors", DeiT(shape), "deit_nano_patch7_28", (3, 48, 48), 5)
    plan = chosen(photographs, initial=str(tmp_path / "theirs.safetensors"))
    assert plan.config.model_settings == dict(patch_size=12, embed_dim=24, depth=1, num_heads=2)
    assert (plan.config.image_size, plan.config.tokens, plan.config.teacher) == (48, "both", None)
    assert plan.config.epochs == 40 and plan.config.learning_rate < TrainConfig().learning_rate
    build_model(plan.config, plan.dataset)(torch.zeros(1, 3, 48, 48))


def test_data_with_a_recipe_keep_it(capsys, monkeypatch):
    asked = []
    monkeypatch.setattr(train_command, "train", lambda *given, **named: asked.append(given[0]) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        deit_edu("train --quiet")
    assert asked == [TrainConfig(**choices.recipe("tiny"))] and capsys.readouterr().out == ""


# ---- from end to end ----


def test_the_books_line_for_ones_own_pictures_works_as_it_stands(squares, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(choices, "EPOCHS", (2, 2))
    line = f"train --data {squares} --teacher convnet"  # book/06-training.md
    assert deit_edu(line) == 0
    told, how_long, result = capsys.readouterr().out.splitlines()
    assert told.startswith("chosen for 48 training pictures: --patch-size 7 --model")
    assert re.fullmatch(
        r"about \d+ seconds, the teacher \d+ seconds of them, measured over \d of its steps on (cpu|cuda|mps)", how_long
    )
    assert re.match(rf"{tmp_path}/runs/folder-.*: class [\d.]+%, distillation ", result)
    assert deit_edu(f"{line} --resume") == 0
    assert "has finished: nothing is left to train" in capsys.readouterr().out
    assert deit_edu(line) == 2 and "holds a run already" in capsys.readouterr().err
    assert deit_edu(f"{line} --epochs 1 --quiet --seed 0 --out other") == 0
    assert re.search("the teacher is there: .*convnet-seed0, trained for 1 epoch\n", capsys.readouterr().out)
    config = json.loads((tmp_path / "other/config.json").read_text())
    assert config["teacher"].endswith("convnet-seed0") and config["warmup_epochs"] == 0.1


def test_a_teacher_that_was_begun_goes_on_as_it_was_begun(squares, capsys, monkeypatch, tmp_path, enough):
    monkeypatch.setattr(choices, "EPOCHS", (4, 4))
    plan = chosen(squares)
    folder = tmp_path / "runs" / run_name(plan.teacher)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(vars(plan.teacher)))
    asked = []
    monkeypatch.setattr(train_command, "train_pair", lambda teacher, *given: asked.append(teacher) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        deit_edu(f"train --data {squares} --epochs 10 --quiet")
    told = f"the teacher goes on: {folder}, begun for 2 epochs, and not for 5; delete it to begin anew"
    assert told in capsys.readouterr().out and asked == [plan.teacher]


# ---- what cannot be as it was asked for ----


@pytest.mark.parametrize("options", ["", "--image-size 28"])
def test_a_patch_size_that_does_not_divide_is_answered_with_the_options_that_fit(options, squares, capsys):
    assert deit_edu(f"train --data {squares} --patch-size 5 --quiet {options}") == 2
    fits = "say --patch-size 1 or 2 or 4 or 7 or 14 or 28, or --image-size 25 or 30"
    assert capsys.readouterr().err == f"error: patch size 5 does not divide image side 28: {fits}\n"


@pytest.mark.parametrize(
    ("settings", "fits", "line"),
    [
        (
            dict(batch_size=97),
            dict(batch_size=16),
            "--batch-size 97 is more than the 96 training .*: 16 is taken",
        ),
        (
            dict(warmup_epochs=2.0),
            dict(warmup_epochs=0.2),
            "--warmup-epochs 2 with --epochs 2 leaves .* no time to fall: 0.2",
        ),
        (
            dict(warmup_epochs=9.0),
            dict(warmup_epochs=0.2),
            "--warmup-epochs 9 with --epochs 2 leaves .* no time to fall: 0.2",
        ),
        (
            dict(ema_decay=0.99996, epochs=20),
            dict(ema_decay=0.9167),
            "--ema-decay 0.99996 remembers 25,000 steps, and the run has 120: .* for 100%; 0.9167 is taken, .* 12$",
        ),
        (dict(ema_decay=0.9, epochs=1, warmup_epochs=0), dict(ema_decay=0.0), ".* has 6: .* for 53%; no average"),
    ],
)
def test_what_does_not_fit_is_one_line_and_a_sensible_course(settings, fits, line):
    config = toy_config(**settings)
    found, (said,) = fitted(config, toy_dataset(), CPU)
    assert found == TrainConfig(**vars(config) | fits)
    assert re.match(line, said), said
    assert fitted(found, toy_dataset(), CPU) == (found, [])  # and that is the end of it


def test_what_fits_is_left_alone():
    config = toy_config(ema_decay=0.9, epochs=20)
    assert fitted(config, toy_dataset(), CPU) == (config, [])


def test_the_command_says_what_does_not_fit_and_goes_on(squares, capsys, tmp_path):
    quick = "--epochs 1 --embed-dim 16 --depth 1 --num-heads 2 --distill none --quiet --device cpu --out run"
    assert deit_edu(f"train --data {squares} {quick} --batch-size 64 --warmup-epochs 3 --ema-decay 0.9999") == 0
    notes = capsys.readouterr().err.splitlines()
    assert [note.split()[:3] for note in notes] == [
        ["note:", "--batch-size", "64"], ["note:", "--warmup-epochs", "3"], ["note:", "--ema-decay", "0.9999"],
    ]  # fmt: skip
    config = json.loads((tmp_path / "run/config.json").read_text())
    assert (config["batch_size"], config["warmup_epochs"]) == (8, 0.1)


def test_a_python_reader_is_still_refused_a_batch_larger_than_the_data():
    from deit_edu.train import steps_per_epoch

    with pytest.raises(DeiTEduError, match="batch size 97 x 1 does not fit the 96 training images"):
        steps_per_epoch(toy_config(batch_size=97), toy_dataset(), CPU)


# ---- how long it will take ----


def test_the_time_is_measured_and_grows_with_the_epochs():
    dataset, teacher = toy_dataset(), toy_config(model="convnet_weak", epochs=1)
    config = toy_config(epochs=100, distillation="hard", tokens="both", model_settings=SMALL_DEIT)
    seconds, steps = seconds_of(config, dataset, CPU, teacher)
    assert 1 <= steps <= 8 and 0 < seconds < 600
    assert seconds_of(toy_config(epochs=0, initial="x"), dataset, CPU)[0] < seconds


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.2, "2 seconds"), (80, "80 seconds"), (200, "3 minutes"), (9000, "2.5 hours")]
)
def test_a_time_is_told_in_words(seconds, words):
    assert in_words(seconds) == words


def test_more_pictures_get_fewer_epochs(monkeypatch, squares):
    dataset = load_dataset(squares)
    assert choices.choose_length({}, dataset, 1)["epochs"] == 200
    monkeypatch.setattr(choices, "SHOWN", 4800)
    assert choices.choose_length({}, dataset, 1)["epochs"] == 100
