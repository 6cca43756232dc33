"""The command line, as a newcomer meets it: what works, and what each mistake is answered with."""

import importlib.util
import json
import re
import shlex
import shutil
import subprocess
import sys
import warnings
from dataclasses import fields
from importlib.metadata import entry_points
from pathlib import Path

import pytest
import timm
import torch
from conftest import ROOT
from PIL import Image
from safetensors.torch import load_file
from toy import toy_dataset

from deit_edu.cli import main
from deit_edu.cli import train as train_command
from deit_edu.data import DATASETS, load_dataset
from deit_edu.inspect import disagreement
from deit_edu.model import DeiT
from deit_edu.runs import recipes
from deit_edu.runs.checkpoints import load, load_network
from deit_edu.runs.evaluate import accuracies, decisions, predict
from deit_edu.train import SEEN_BY_BOTH, TrainConfig

QUICK = "--quiet --device cpu --no-compile --batch-size 9 --epochs 1 --warmup-epochs 0"
SMALL = "--patch-size 4 --embed-dim 16 --depth 1 --num-heads 2"


@pytest.fixture(autouse=True)
def runs_here(tmp_path, monkeypatch):
    """Run folders without --out lie under tmp_path; no scale from outside."""
    monkeypatch.setenv("DEIT_EDU_RUNS", str(tmp_path / "runs"))
    monkeypatch.delenv("DEIT_EDU_SCALE", raising=False)
    monkeypatch.chdir(tmp_path)


def deit_edu(line):
    return main(shlex.split(line))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A data set of one's own: --data folder:PATH, 8x8 grey, three classes."""
    root = tmp_path_factory.mktemp("pictures")
    toy = toy_dataset()
    for part, split in (("train", toy.train), ("validation", toy.validation), ("test", toy.test)):
        for number, (image, label) in enumerate(zip(split.images, split.labels.tolist(), strict=True)):
            path = root / part / toy.classes[label] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image[0].numpy()).save(path)
    return f"folder:{root}"


@pytest.fixture(scope="module")
def folders(pictures, tmp_path_factory):
    """A teacher and the student it taught for one epoch."""
    root = tmp_path_factory.mktemp("trained")
    assert deit_edu(f"train {QUICK} --data {pictures} --model convnet_weak --out {root}/teacher") == 0
    assert deit_edu(f"train {QUICK} {SMALL} --data {pictures} --teacher {root}/teacher --out {root}/student") == 0
    return root


# ---- help ----


def test_the_command_is_installed():
    (command,) = entry_points(group="console_scripts", name="deit-edu")
    assert command.load() is main


def test_the_command_alone_says_what_there_is(capsys):
    assert deit_edu("") == 0
    said, errors = capsys.readouterr()
    assert said.startswith("usage: deit-edu") and errors == ""
    for command in ("data", "train", "evaluate", "predict", "export", "bench"):
        assert re.search(rf"^ +{command}  ", said, re.MULTILINE)
    assert "Begin with: deit-edu train" in said


def test_help_names_every_setting_and_tells_what_it_does(capsys):
    with pytest.raises(SystemExit) as exit:
        deit_edu("train --help")
    said = capsys.readouterr().out
    assert exit.value.code == 0
    options = {"distillation": "distill"}
    for field in fields(TrainConfig):
        if field.name != "model_settings":
            option = options.get(field.name, field.name).replace("_", "-")
            assert re.search(rf"^  --{option}\b.*(  |\n {{20,}})\w", said, re.MULTILINE), f"--{option} has no help"
    assert "--patch-size" in said


# ---- dry runs ----


def test_a_dry_run_says_steps_time_and_memory_and_writes_nothing(pictures, tmp_path, capsys):
    assert deit_edu(f"train {QUICK} {SMALL} --data {pictures} --teacher convnet_weak --dry-run") == 0
    teacher, student, memory = capsys.readouterr().out.splitlines()[-3:]
    took = r"steps \(\d+ epochs? of 10\), about [\d.]+ (seconds|minutes), measured over \d steps"
    assert re.fullmatch(rf"teacher: convnet_weak, \d+ {took}", teacher)
    assert re.fullmatch(rf"student: deit_\w+, 10 {took}", student)
    assert re.fullmatch(r"memory: [\d,]{3,} MB at most so far, on cpu; nothing was written", memory)
    assert not (tmp_path / "runs").exists()


# ---- mistakes ----


@pytest.mark.parametrize(
    "line,message",
    [
        ("trian", "argument COMMAND: invalid choice: 'trian' .*train.*; see deit-edu --help"),
        ("train --epoks 3", "unrecognized arguments: --epoks 3; see deit-edu --help"),
        ("train --epochs many", "argument --epochs: invalid int value: 'many'; see deit-edu train --help"),
        ("train --epochs 0", "epochs is 0: it must be 1 or more, unless initial names the weights"),
        ("train --batch-size 0", "batch_size is 0: it must be a finite number, 1 or more"),
        ("train --seed 5000000000", "seed is 5000000000: it must be between 0 and 4294967295"),
        ("ablate --verify 3", "name an experiment, or all: deit-edu ablate --list names them"),
        ("ablate --dry-run --jobs 2", "name an experiment, or all"),
        ("ablate --seeds 3", "name an experiment, or all"),
        ("report --data nonsense", "unknown data set 'nonsense'"),
        ("train --learning-rate inf", "learning_rate is inf: it must be a finite number, 0 or more"),
        ("train --learning-rate nan", "learning_rate is nan: it must be a finite number, 0 or more"),
        ("train --label-smoothing 1", r"label smoothing 1.0 must lie in \[0, 1\)"),
        ("train --smoothing-over some", "unknown smoothing 'some': choose 'others' .* or 'all'"),
        ("train --drop-rate 1.5", r"drop_rate is 1.5: it must lie in \[0, 1\)"),
        ("train --distill medium", "argument --distill: invalid choice: 'medium' .*none.*soft.*hard"),
        ("train --distill soft", "soft distillation needs a teacher: name a run folder or a model"),
        ("train --distill none --teacher convnet", "--distill none learns nothing from --teacher: leave one"),
        ("train --tokens patches", "argument --tokens: invalid choice: 'patches'"),
        ("train --teacher nobody", "teacher .*nobody is not a run folder: train it first with deit-edu train"),
        ("train --teacher packaged:nobody", "no packaged network 'nobody': choose one of cifar10_strong_teacher, "),
        (
            "train --teacher convnet --temperature 0 --distill soft --patch-size 3",
            "patch size 3 does not divide image s",
        ),
        ("train --model deit_huge", "unknown model 'deit_huge': choose one of deit_tiny_patch16_224, .*timm:NAME"),
        ("train --model timm:resnet18000", "timm has no model 'resnet18000'; did you mean .*resnet"),
        ("train --model timm:vit_tiny_patch16_224", r"cannot see images of 1x28x28 .*: choose another model"),
        ("train --model convnet --tokens both", "convnet has no distillation token"),
        ("train --model convnet --depth 3", "convnet has no distillation token, no size"),
        ("train --patch-size 5", "patch size 5 does not divide image side 28: say --patch-size 1 or 2 or 4 or "),
        ("train --patch-size 0", "patch_size is 0: it must be 1 or more"),
        ("train --num-heads 5", "5 heads do not divide width 64: try embed_dim="),
        ("train --data fashion", "unknown data set 'fashion': did you mean fashion_mnist"),
        ("train --data folder:/nowhere", "there is no folder /nowhere"),
        ("train --scale huge", r"unknown scale 'huge' \(--scale or DEIT_EDU_SCALE\): choose one of tiny, small, paper"),
        ("train --scale paper", "ImageNet is yours to bring: say --data imagenet:PATH"),
        ("train --scale paper --data imagenet:/nowhere", "there is no folder /nowhere"),
        ("train --device tpu", "device 'tpu' is not here: choose auto or one of .*cpu"),
        ("train --precision float8", "unknown precision 'float8': choose auto, float32 or bfloat16"),
        ("train --optimizer lion", "unknown optimiser 'lion': choose"),
        ("train --seed -1", "seed is -1: it must be between 0 and 4294967295"),
        ("data cifar", "unknown data set 'cifar': did you mean cifar10"),
        ("evaluate", "the following arguments are required: RUN; see deit-edu evaluate --help"),
        ("evaluate nobody", "no run nobody: give a run folder"),
        ("evaluate packaged:nobody", "no packaged network 'nobody': choose one of"),
        ("export nobody file.safetensors", "no run nobody: give a run folder"),
        ("bench --steps 0", "bench needs at least 1 step"),
    ],
)
def test_a_mistake_is_answered_in_one_line(line, message, capsys, tmp_path):
    assert deit_edu(line + (" --quiet" if line.startswith("train ") else "")) == 2
    said, errors = capsys.readouterr()
    assert said == "" or line.startswith("bench")
    assert re.fullmatch(rf"error: .*{message}.*\n", errors), errors
    assert not [path for path in tmp_path.rglob("*") if path.is_file()], "something half-written is left"


def test_a_scale_from_the_environment_is_checked_too(capsys, monkeypatch):
    monkeypatch.setenv("DEIT_EDU_SCALE", "huge")
    assert deit_edu("train") == 2
    assert capsys.readouterr().err.startswith("error: unknown scale 'huge' (--scale or DEIT_EDU_SCALE)")
    monkeypatch.setenv("DEIT_EDU_SCALE", "paper")
    assert deit_edu("train") == 2
    assert "ImageNet is yours to bring" in capsys.readouterr().err


def test_a_loss_that_diverges_stops_with_advice_and_leaves_nothing(pictures, capsys, tmp_path):
    settings = f"{QUICK} {SMALL} --distill none --learning-rate 1e6 --optimizer sgd"
    assert deit_edu(f"train {settings} --data {pictures} --out run") == 2
    advice = r"error: the loss .* by step \d+ at learning rate .*: try a tenth of the learning rate, .*\n"
    assert re.fullmatch(advice, capsys.readouterr().err)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "error,message",
    [
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"), "the memory is full: try half the --batch"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "the memory is full: try half the --batch"),
        (MemoryError(), "the memory is full: try half the --batch"),
        (PermissionError(13, "Permission denied", "/secret"), "/secret: Permission denied"),
    ],
)  # fmt: skip
def test_what_the_machine_refuses_is_one_line(error, message, capsys, monkeypatch):
    def refuse(*arguments, **named):
        raise error

    monkeypatch.setattr(train_command, "train", refuse)
    assert deit_edu("train") == 2
    assert capsys.readouterr().err.startswith(f"error: {message}")


def test_an_error_of_ours_is_not_hidden(monkeypatch):
    def broken(*arguments, **named):
        raise RuntimeError("size mismatch")

    monkeypatch.setattr(train_command, "train", broken)
    with pytest.raises(RuntimeError, match="size mismatch"):
        deit_edu("train")


def test_ctrl_c_is_one_line_and_status_130(capsys, monkeypatch):
    def interrupted(*arguments, **named):
        raise KeyboardInterrupt

    monkeypatch.setattr(train_command, "train", interrupted)
    assert deit_edu("train") == 130
    assert re.fullmatch(r"\nstopped; .* --resume.*\n", capsys.readouterr().err)


def test_a_reader_who_has_seen_enough_is_no_error():
    script = "import sys; from deit_edu.cli import main; sys.exit(main(['data']))"
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    assert process.stderr.read() == b"" and process.wait(60) == 0


# ---- data ----


def test_data_lists_what_there_is(capsys):
    assert deit_edu("data") == 0
    said = capsys.readouterr().out
    assert [line.split()[0] for line in said.splitlines()] == list(DATASETS)


def test_data_says_what_is_in_one(capsys):
    assert deit_edu("data fashion_mnist_10k") == 0
    said = capsys.readouterr().out
    assert "1x28x28, 10 classes: T-shirt/top" in said
    assert re.findall(r"([\d,]+) images", said) == ["10,000", "2,000", "10,000"]
    assert load_dataset("fashion_mnist_10k").checksum in said


# ---- train ----


def test_train_says_where_the_run_lies_and_how_good_it_is(pictures, folders, capsys):
    assert deit_edu(f"train {QUICK} {SMALL} --data {pictures} --teacher {folders}/teacher --out again --seed 3") == 0
    said, errors = capsys.readouterr()
    record = json.loads(open("again/result.json").read())
    scores = ", ".join(f"{head} {score['accuracy']:.2%}" for head, score in record["test"].items())
    assert re.fullmatch(f"chosen for 96 .*\nagain: {re.escape(scores)} on test\n", said) and errors == ""
    assert list(record["test"]) == ["class", "distillation", "fused", "fused_logits"]
    assert record["config"]["distillation"] == "hard" and record["config"]["tokens"] == "both"
    assert record["config"]["seed"] == 3 and record["config"]["epochs"] == 1
    assert record["config"]["model_settings"] == {"patch_size": 4, "embed_dim": 16, "depth": 1, "num_heads": 2}


def test_resume_takes_the_settings_from_the_folder_and_refuses_others(pictures, folders, capsys):
    before = (folders / "student/result.json").read_bytes()
    for line in (
        f"train --resume --out {folders}/student",
        f"train --resume {QUICK} {SMALL} --data {pictures} --teacher {folders}/teacher --out {folders}/student",
        f"train --resume --out {folders}/student --depth 1",
    ):
        assert deit_edu(line) == 0
        said = capsys.readouterr().out
        assert f"{folders}/student has finished: nothing is left to train\n" in said
        assert "on test" in said
    for line, differs in (
        ("--epochs 7 --flip", "epochs=1, not epochs=7"),
        ("--depth 2", "model_settings=.*'depth': 1.*, not model_settings=.*'depth': 2"),
        ("--seed 5", "seed=0, not seed=5"),
        ("--distill soft", "distillation=hard, not distillation=soft"),
        ("--scale tiny --quiet", f"epochs=1, .*, not .*epochs={recipes.recipe('tiny')['epochs']}"),
    ):
        assert deit_edu(f"train --resume --out {folders}/student {line}") == 2
        said = capsys.readouterr().err
        assert re.fullmatch(rf"error: .*student was begun with .*{differs}.*: choose another --out.*\n", said), said
    assert deit_edu(f"train {QUICK} --out {folders}/student") == 2
    assert "holds a run already: go on with --resume" in capsys.readouterr().err
    assert (folders / "student/result.json").read_bytes() == before


def test_settings_of_another_version_are_named(folders, capsys, tmp_path):
    stored = json.loads((folders / "student/config.json").read_text())
    (tmp_path / "old").mkdir()
    (tmp_path / "old/config.json").write_text(json.dumps(stored | {"colour": "red"}))
    assert deit_edu("train --resume --out old") == 2
    assert re.fullmatch("error: old/config.json is of another version .*colour.*\n", capsys.readouterr().err)


def test_a_teachers_name_trains_the_teacher_first(pictures, capsys, tmp_path):
    line = f"train {QUICK} {SMALL} --data {pictures} --teacher convnet_weak --distill soft --tokens class"
    assert deit_edu(line) == 0
    name = pictures.replace(":", "-").replace("/", "-")
    teacher, student = (
        tmp_path / "runs" / f"{name}-{model}-seed0" for model in ("convnet_weak", "deit_nano_patch7_28-soft")
    )
    assert capsys.readouterr().out.splitlines()[-1].startswith(f"{student}: class ")
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == [teacher.name, student.name]
    assert json.loads((teacher / "config.json").read_text())["device"] == "cpu"
    config = json.loads((student / "config.json").read_text())
    assert (config["teacher"], config["distillation"], config["tokens"]) == (teacher.name, "soft", "class")
    assert deit_edu(f"{line} --temperature 2 --out other") == 0
    assert f"the teacher is there: {teacher}, trained for 1 epoch" in capsys.readouterr().out
    assert deit_edu(line) == 2 and "holds a run already" in capsys.readouterr().err


def test_a_teacher_of_a_recipe_is_the_one_that_the_recipe_trains(capsys, tmp_path):
    teacher = tmp_path / "runs/fashion_mnist_10k-convnet-seed0"
    teacher.mkdir(parents=True)
    (teacher / "result.json").write_text("{}")
    config = TrainConfig(**recipes.recipe("tiny", role="teacher") | dict(epochs=3))
    (teacher / "config.json").write_text(json.dumps(vars(config)))
    assert deit_edu("train --teacher convnet --quiet") == 2
    own = recipes.recipe("tiny", role="teacher")["epochs"]
    taken = (
        f"its teacher: {teacher} was begun with epochs=3, not epochs={own}: .* take what is there: --teacher {teacher}"
    )
    assert re.fullmatch(f"error: {taken}\n", capsys.readouterr().err)


def test_a_batch_of_ones_own_is_not_learned_from_in_the_recipes_parts(monkeypatch):
    asked = []
    monkeypatch.setattr(train_command, "train", lambda *given, **named: asked.append(given[0]) or 1 / 0)
    monkeypatch.setattr(train_command, "train_pair", lambda *given, **named: asked.append(given[0]) or 1 / 0)
    for line in ("--model convnet", "--model convnet --batch-size 2", "--teacher convnet --batch-size 2"):
        with pytest.raises(ZeroDivisionError):
            deit_edu(f"train --quiet {line}")
    assert [(one.batch_size, one.accumulate) for one in asked] == [(128, 2), (2, 1), (2, 1)]


# ---- evaluate ----


def numbers(line):
    return [float(number) for number in re.findall(r"\d+\.\d+", line)]


def test_evaluate_prints_accuracies_with_intervals_and_who_disagrees(pictures, folders, capsys):
    assert deit_edu(f"evaluate {folders}/student --split validation") == 0
    first, *lines = capsys.readouterr().out.splitlines()
    assert first == f"{folders}/student on 30 validation images of {pictures}, 95 % Wilson intervals"
    data = load_dataset(pictures)
    student, _ = load_network(folders / "student/model.safetensors")
    teacher, _ = load_network(folders / "teacher/model.safetensors")
    said = predict(student, data.validation, data)
    for line, (head, score) in zip(lines, accuracies(said, data.validation.labels).items(), strict=False):
        assert line.split()[0] == head
        assert numbers(line) == pytest.approx([100 * share for share in (score.value, *score.interval)], abs=0.006)
    taught = decisions(predict(teacher, data.validation, data))["class"]
    deciders = {"truth": data.validation.labels, "teacher": taught} | decisions(said)
    at = lines.index("share of images on which two disagree")
    assert lines[at + 1].split() == list(deciders)
    for line, name, row in zip(lines[at + 2 :], deciders, disagreement(deciders), strict=True):
        assert line.split()[0] == name and numbers(line) == pytest.approx(list(row), abs=6e-5)


def test_evaluate_without_its_teacher_says_so(folders, capsys, tmp_path):
    (tmp_path / "alone").mkdir()
    for name in ("config.json", "model.safetensors"):
        (tmp_path / "alone" / name).write_bytes((folders / "student" / name).read_bytes())
    config = json.loads((tmp_path / "alone/config.json").read_text())
    (tmp_path / "alone/config.json").write_text(json.dumps(config | {"teacher": "gone"}))
    assert deit_edu("evaluate alone --split validation") == 0
    said = capsys.readouterr().out
    assert re.search("its teacher is left out: teacher .*gone is not a run folder", said)
    assert "truth" in said and " teacher " not in said.split("disagree")[1]


def test_the_packaged_pair_can_be_evaluated(capsys):
    assert deit_edu("evaluate packaged:fashion_clutter_student --split validation") == 0
    said = capsys.readouterr().out
    assert "2,000 validation images of fashion_clutter" in said and " teacher " in said


def test_a_run_that_cannot_be_evaluated_is_named(folders, capsys, tmp_path):
    (tmp_path / "runs/half").mkdir(parents=True)
    (tmp_path / "runs/half/config.json").write_text("{}")
    (tmp_path / "runs/done").mkdir()
    for name in ("config.json", "result.json"):
        (tmp_path / "runs/done" / name).write_text("{}")
    (tmp_path / "cut").mkdir()
    for name in ("config.json", "model.safetensors"):
        (tmp_path / "cut" / name).write_bytes((folders / "student" / name).read_bytes()[:-20])
    for line, message in (
        ("nobody", "no run nobody: give a run folder, or one of done"),
        ("half", "half has not finished: deit-edu train --out .*half --resume goes on with it"),
        ("done", ".*done has a record, but its network is gone: delete the folder and train it again"),
        ("cut", "cut/config.json is damaged"),
        (f"{folders}/teacher --data fashion_mnist_10", "unknown data set 'fashion_mnist_10'"),
        (f"{folders}/teacher --split train", "argument --split: invalid choice: 'train'"),
    ):
        assert deit_edu(f"evaluate {line}") == 2
        said, errors = capsys.readouterr()
        assert said == "" and re.fullmatch(f"error: {message}.*\n", errors), errors
    (tmp_path / "cut/config.json").write_bytes((folders / "student/config.json").read_bytes())
    assert deit_edu("evaluate cut") == 2
    assert "model.safetensors is damaged or no safetensors file" in capsys.readouterr().err


def test_data_of_another_number_of_classes_are_refused(folders, capsys):
    assert deit_edu(f"evaluate {folders}/student --data fashion_mnist_10k") == 2
    shapes = "num_classes 3, but fashion_mnist_10k has 10: train a network on this data"
    assert re.fullmatch(f"error: .*student was trained with {shapes}\n", capsys.readouterr().err)


def test_pictures_of_another_size_and_colour_are_brought_to_the_network(folders, pictures, capsys, tmp_path):
    for path in (root := Path(pictures.removeprefix("folder:"))).rglob("*.png"):
        copy = tmp_path / "large" / path.relative_to(root)
        copy.parent.mkdir(parents=True, exist_ok=True)
        Image.open(path).convert("RGB").resize((24, 24), Image.Resampling.NEAREST).save(copy)
    said = []
    for data in (pictures, f"folder:{tmp_path}/large"):
        assert deit_edu(f"evaluate {folders}/teacher --data {data}") == 0
        said.append(numbers(capsys.readouterr().out.splitlines()[1])[0])
    assert said[0] == pytest.approx(said[1], abs=15)


def test_recall_and_the_largest_class_stand_beside_accuracy_where_classes_differ(folders, pictures, capsys, tmp_path):
    shutil.copytree(pictures.removeprefix("folder:"), tmp_path / "uneven")
    for path in sorted((tmp_path / "uneven/test/top").iterdir())[2:]:
        path.unlink()
    assert deit_edu(f"evaluate {folders}/teacher --data folder:{tmp_path}/uneven") == 0
    said = capsys.readouterr().out
    assert re.search(r"balanced accuracy [\d.]+%; always saying bottom would be right on 47.62%", said)
    assert re.search(r"recall: bottom [\d.]+% of 20, middle [\d.]+% of 20, top [\d.]+% of 2\n", said)


@pytest.fixture(scope="module")
def uneven(pictures, tmp_path_factory):
    """A copy of the pictures whose test has two of the top class, and a teacher trained on it: (folder, run)."""
    root = tmp_path_factory.mktemp("uneven")
    shutil.copytree(pictures.removeprefix("folder:"), root / "pictures")
    for path in sorted((root / "pictures/test/top").iterdir())[2:]:
        path.unlink()
    return root / "pictures", root / "run"


def test_training_ends_with_recall_and_the_largest_class_where_classes_differ(uneven, folders, capsys):
    data, run = uneven
    assert deit_edu(f"train {QUICK} --data folder:{data} --model convnet_weak --out {run}") == 0
    said = capsys.readouterr().out
    assert re.search(r"on test\n  balanced accuracy [\d.]+%; always saying bottom would be right on 47.62%\n", said)
    assert re.search(r"\n  recall: bottom [\d.]+% of 20, middle [\d.]+% of 20, top [\d.]+% of 2\n$", said)
    assert deit_edu(f"train --resume --quiet --out {folders}/teacher") == 0
    assert "recall" not in capsys.readouterr().out


def test_data_that_have_changed_since_training_are_said_with_both_checksums(uneven):
    data, run = uneven
    with warnings.catch_warnings(action="error"):
        assert deit_edu(f"evaluate {run}") == 0
    before = load(run / "model.safetensors")[1]["checksum"]
    (data / "test/top").joinpath(sorted(path.name for path in (data / "test/top").iterdir())[0]).unlink()
    after = load_dataset(f"folder:{data}").checksum
    told = f"has changed since {run} was trained on it: its checksum was {before[:12]} and is {after[:12]} now"
    with pytest.warns(UserWarning, match=re.escape(told)):
        assert deit_edu(f"evaluate {run}") == 0


def test_a_teacher_of_other_data_is_said_with_both_names_and_checksums(uneven, folders, pictures):
    taught = f"train {QUICK} {SMALL} --data folder:{uneven[0]} --teacher {folders}/teacher"
    theirs, ours = (load_dataset(name).checksum[:12] for name in (pictures, f"folder:{uneven[0]}"))
    told = f"was trained on other data, {pictures} ({theirs}), not on folder:{uneven[0]} ({ours}): it teaches what"
    with pytest.warns(UserWarning, match=re.escape(told)):
        assert deit_edu(taught) == 0


def test_kept_answers_say_their_size_place_and_what_they_lose(folders, pictures, capsys, tmp_path):
    line = f"train {QUICK} {SMALL} --data {pictures} --teacher {folders}/teacher --distill soft --keep-answers 2"
    assert deit_edu(line.replace("--quiet ", "")) == 0
    said, errors = capsys.readouterr()
    assert re.search(rf"the teacher's answers, 0.0 MB, are kept in {tmp_path}/runs/answers/\w{{16}}\n", errors)
    assert re.search(r"\n  the kept answers are \d\.\de-\d+ nats from the teacher's, \d\.\de-\d+ at most\n", said)


def test_another_projects_folder_of_the_same_name_is_not_taken_for_this_one(pictures, capsys, tmp_path, monkeypatch):
    for project, others in (("first", "top"), ("second", "middle")):
        shutil.copytree(pictures.removeprefix("folder:"), tmp_path / project / "pictures")
        next((tmp_path / project / "pictures/train" / others).iterdir()).unlink()
    line = f"train {QUICK} --data folder:pictures --model convnet_weak"
    monkeypatch.chdir(tmp_path / "first")
    assert deit_edu(line) == 0
    monkeypatch.chdir(tmp_path / "second")
    capsys.readouterr()
    assert deit_edu(f"{line} --resume") == 2
    said = capsys.readouterr()
    told = r"seed0 was trained on folder:pictures with checksum \w{12}, but folder:pictures is \w{12} now: .*; choose"
    assert re.fullmatch(rf"error: .*{told} another --out, or delete the folder\n", said.err)
    assert deit_edu(line) == 2
    assert "holds a run already: go on with --resume, choose another --out" in capsys.readouterr().err


def test_data_of_other_classes_are_refused(folders, pictures, capsys, tmp_path):
    others = tmp_path / "others"
    shutil.copytree(pictures.removeprefix("folder:"), others)
    for part in others.iterdir():
        (part / "top").rename(part / "aloft")  # sorted by name, the labels are others
    assert deit_edu(f"evaluate {folders}/student --data folder:{others}") == 2
    said, errors = capsys.readouterr()
    known = "bottom, middle, top, not on aloft, bottom, middle: train a network on these"
    assert said == "" and re.fullmatch(f"error: .*student was trained on the classes {known}\n", errors)


# ---- export ----


def test_an_exported_file_opens_in_timm_as_the_line_says(folders, capsys):
    assert deit_edu(f"export {folders}/student exported.safetensors") == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "exported.safetensors has timm's names. To open it:"
    theirs = eval(said[1], {"timm": timm}).eval()
    ours, _ = load_network(folders / "student/model.safetensors")
    assert isinstance(ours, DeiT) and set(theirs.state_dict()) == set(load_file("exported.safetensors"))
    images = torch.randn(4, 1, 8, 8)
    with torch.no_grad():
        expected = sum(ours(images)) / 2  # timm answers with the mean of the two heads
        torch.testing.assert_close(theirs(images), expected, atol=1e-5, rtol=1e-5)


def test_an_export_has_timms_ending_and_replaces_nothing(folders, capsys, tmp_path):
    assert deit_edu(f"export {folders}/student exported.pth") == 2
    assert "exported.pth must end in .safetensors" in capsys.readouterr().err
    own = folders / "student/model.safetensors"
    before = own.read_bytes()
    assert deit_edu(f"export {folders}/student {own}") == 2
    assert "is there already: delete it, or choose another name" in capsys.readouterr().err
    assert own.read_bytes() == before


def test_only_a_deit_can_be_exported(folders, capsys, tmp_path):
    assert deit_edu(f"export {folders}/teacher teacher.safetensors") == 2
    assert "is not a DeiT: only those have names in timm" in capsys.readouterr().err
    assert not (tmp_path / "teacher.safetensors").exists()


@pytest.mark.parametrize(("there", "batch_size"), [(False, 9), (True, 32)])
def test_a_typed_batch_size_is_the_teachers_too_unless_it_is_trained_already(there, batch_size, tmp_path, monkeypatch):
    if there:
        folder = tmp_path / "runs" / "fashion_mnist_10k-convnet-seed0"
        folder.mkdir(parents=True)
        (folder / "result.json").write_text("{}")
        (folder / "config.json").write_text('{"batch_size": 32}')
    asked = []

    def train_pair(teacher, student, *others):
        asked.extend([teacher.batch_size, student.batch_size])
        raise KeyboardInterrupt

    monkeypatch.setattr(train_command, "train_pair", train_pair)
    assert deit_edu("train --teacher convnet --batch-size 9") == 130
    assert asked == [batch_size, 9]


def test_a_teacher_is_trained_on_the_images_of_its_student(monkeypatch):
    asked = []

    def train_pair(teacher, student, *others):
        asked.extend([teacher, student])
        raise KeyboardInterrupt

    monkeypatch.setattr(train_command, "train_pair", train_pair)
    deit_edu("train --data fashion_clutter --teacher convnet --train-images 500 --no-redraw --classes 0-4")
    assert all(getattr(asked[0], name) == getattr(asked[1], name) for name in SEEN_BY_BOTH)
    assert (asked[0].train_images, asked[0].redraw, asked[0].classes) == (500, False, "0-4")


def test_a_transformer_named_as_the_teacher_is_trained_first_without_a_teacher(monkeypatch):
    asked = []

    def train_pair(teacher, student, *others):
        asked.append(teacher)
        raise KeyboardInterrupt

    monkeypatch.setattr(train_command, "train_pair", train_pair)
    deit_edu("train --teacher deit_nano_patch7_28")
    assert asked[0].model == "deit_nano_patch7_28" and asked[0].distillation == "none" and asked[0].tokens == "class"
    assert asked[0].epochs == TrainConfig(**recipes.recipe("tiny", role="student")).epochs


# ---- data_scripts/package_pair.py, which packs what train has made ----


@pytest.fixture
def script():
    spec = importlib.util.spec_from_file_location("package_pair", ROOT / "data_scripts" / "package_pair.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


def test_a_pair_is_packed_with_what_a_page_needs_and_without_the_folder_it_lay_in(
    script, folders, pictures, monkeypatch, tmp_path, capsys
):
    monkeypatch.setattr(script, "CHECKPOINTS", tmp_path)
    trained = {role: str(folders / role) for role in ("teacher", "student")}
    monkeypatch.setattr(script, "runs_of", lambda pair, data: trained)
    monkeypatch.setattr(sys, "argv", ["package_pair.py", "cifar10", "--data", pictures])
    assert script.main() == 0
    student, metadata = load_network(tmp_path / "cifar10_student.safetensors")
    data = load_dataset(pictures)
    assert metadata["classes"] == list(data.classes) and metadata["mean"] == pytest.approx(list(data.mean))
    assert (metadata["data"], metadata["teacher"]) == ("cifar10", "packaged:cifar10_teacher")
    record = json.loads((tmp_path / "cifar10.json").read_text())["student"]
    assert record["shipped_test"]["fused"]["total"] == len(data.test)
    folder = pictures.removeprefix("folder:")
    assert folder not in json.dumps(metadata) + json.dumps(record)

    monkeypatch.setattr(sys, "argv", ["package_pair.py", "cifar10", "--data", pictures, "--role", "teacher"])
    before = (tmp_path / "cifar10_student.safetensors").stat().st_mtime_ns
    assert script.main() == 0 and (tmp_path / "cifar10_student.safetensors").stat().st_mtime_ns == before
    assert set(json.loads((tmp_path / "cifar10.json").read_text())) == {"teacher", "student"}  # what was there stays

    monkeypatch.setattr(sys, "argv", ["package_pair.py", "cifar10", "--data", pictures, "--role", "strong_teacher"])
    assert script.main() == 2
    assert capsys.readouterr().err == "error: cifar10 has no strong_teacher: choose one of teacher, student\n"
    monkeypatch.setattr(sys, "argv", ["package_pair.py", "cifar10", "--data", pictures, "--role", "teacher"])
    monkeypatch.setattr(script, "runs_of", lambda pair, data: {"teacher": "nowhere"})
    assert script.main() == 2 and capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(("pair", "strong"), [("fashion_clutter", set()), ("cifar10", {"strong_teacher"})])
def test_the_runs_of_a_pair_are_known_by_name(pair, strong, script, pictures):
    assert set(script.runs_of(pair, pictures)) == {"teacher", "student"} | strong
