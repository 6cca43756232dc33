"""A run: what it leaves in its folder, and that stopping it loses nothing."""

import dataclasses
import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import forked
import pytest
import torch
from toy import SMALL_DEIT, changed, toy_config, toy_dataset, weights

from deit_edu.cli import main
from deit_edu.data import nested_subset, normalise
from deit_edu.errors import DeiTEduError
from deit_edu.patches import resize_position_embedding
from deit_edu.runs import build, checkpoints, train, train_pair
from deit_edu.runs import run as runs
from deit_edu.runs.build import INTERPOLATIONS, build_model, build_objective, build_teacher
from deit_edu.runs.checkpoints import digest, load_model, load_network, save_network
from deit_edu.runs.evaluate import accuracies, predict
from deit_edu.runs.folders import find_run, held, run_name, runs_root
from deit_edu.runs.machine import machine
from deit_edu.runs.preprocess import Preprocessing
from deit_edu.train import TrainConfig, join_world

DATASET = toy_dataset()
EVERYTHING = dict(  # all that is random, and all that has a state
    drop_rate=0.1, drop_path_rate=0.2, ema_decay=0.9, mixup_alpha=0.8, cutmix_alpha=1.0, erasing=0.25, rand_augment=True
)  # fmt: skip


def toy_train(config, folder, **settings):
    return train(config, folder, dataset=DATASET, progress=False, **settings)


def files(folder):
    return {path.name for path in folder.iterdir()}


@pytest.fixture
def teacher_folder(tmp_path):
    toy_train(toy_config(model="convnet_weak", epochs=1), tmp_path / "teacher")
    return tmp_path / "teacher"


def stop_at_step(monkeypatch, number, error=KeyboardInterrupt):
    """The loop is stopped as it makes its `number`-th batch."""
    original, calls = runs.train_epoch, []

    def train_epoch(*arguments, **settings):
        def on_step(loss, count):
            calls.append(1)
            if len(calls) == number:
                raise error
            arguments[-1](loss, count)

        return original(*arguments[:-1], on_step, **settings)

    monkeypatch.setattr(runs, "train_epoch", train_epoch)


# ---- what a run leaves ----


def test_a_run_leaves_its_config_its_curve_its_network_and_its_record(tmp_path):
    config = toy_config(epochs=3, tokens="both", mixup_alpha=0.8)
    record = toy_train(config, tmp_path / "run")
    assert files(tmp_path / "run") == {
        "config.json", "metrics.jsonl", "model.safetensors", "predictions.safetensors", "result.json"
    }  # fmt: skip
    assert json.loads((tmp_path / "run/config.json").read_text()) == dataclasses.asdict(config)
    assert json.loads((tmp_path / "run/result.json").read_text()) == record

    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    assert all(line["loss"] > 0 and line["seconds"] > 0 and line["images_per_second"] > 0 for line in lines)
    assert [dict(epoch=m["epoch"], loss=m["loss"], **m["validation"]) for m in lines] == record["curve"]

    network, metadata = load_network(tmp_path / "run/model.safetensors")
    assert metadata["image_shape"] == [1, 8, 8] and metadata["num_classes"] == 3
    assert digest(network.state_dict()) == record["checkpoint"]
    assert sum(parameter.numel() for parameter in network.parameters()) == record["parameters"]
    for name in ("validation", "test"):
        split = getattr(DATASET, name)
        scores = accuracies(predict(network, split, DATASET), split.labels)
        assert {head: score.to_dict() for head, score in scores.items()} == record[name]
        assert set(scores) == {"class", "distillation", "fused", "fused_logits"}
    assert record["data"] == {"name": "toy", "checksum": DATASET.checksum}
    assert record["machine"]["device"] == "cpu" and record["machine"]["threads"] == torch.get_num_threads()
    assert record["machine"]["precision"] == "float32" and record["machine"]["torch"] == torch.__version__


def test_a_run_repeats_bit_for_bit_with_its_seed_and_only_with_it(tmp_path):
    digests = [
        toy_train(toy_config(seed=seed, **EVERYTHING), tmp_path / str(turn))["checkpoint"]
        for turn, seed in enumerate((0, 0, 1))
    ]
    assert digests[0] == digests[1] != digests[2]


def test_the_network_that_is_evaluated_and_saved_is_the_moving_average(tmp_path):
    plain = toy_train(toy_config(), tmp_path / "plain")
    at_once = toy_train(toy_config(ema_decay=1e-12), tmp_path / "at once")
    slow = toy_train(toy_config(ema_decay=1.0), tmp_path / "slow")
    torch.manual_seed(0)
    start = build_model(toy_config(), DATASET)
    assert slow["checkpoint"] == digest(start.state_dict())  # an average that never moves
    assert slow["checkpoint"] != plain["checkpoint"]
    one, other = (load_model(tmp_path / name / "model.safetensors") for name in ("plain", "at once"))
    for ours, theirs in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)  # an average that follows at once
    assert [line["loss"] for line in plain["curve"]] == [line["loss"] for line in slow["curve"]]  # it only watches
    assert at_once["validation"] == plain["validation"]


def test_a_run_in_bfloat16_saves_float32(tmp_path):
    record = toy_train(toy_config(precision="bfloat16"), tmp_path / "run")
    assert record["machine"]["precision"] == "bfloat16"
    assert {p.dtype for p in load_model(tmp_path / "run/model.safetensors").parameters()} == {torch.float32}
    assert record["checkpoint"] != toy_train(toy_config(), tmp_path / "float32")["checkpoint"]


def test_compile_is_asked_for_where_it_can_be(tmp_path, monkeypatch, teacher_folder):
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda model, **options: compiled.append(type(model).__name__) or model)
    config = toy_config(compile=True, distillation="hard", tokens="both", teacher=str(teacher_folder), epochs=1)
    monkeypatch.setattr(build, "can_compile", lambda: False)
    without = toy_train(config, tmp_path / "a")
    assert compiled == []
    monkeypatch.setattr(build, "can_compile", lambda: True)
    assert toy_train(config, tmp_path / "b")["checkpoint"] == without["checkpoint"]
    assert sorted(compiled) == ["DeiT", "FrozenTeacher"]


def test_the_bar_shows_loss_and_validation(tmp_path, capsys):
    train(toy_config(epochs=3), tmp_path / "run", dataset=DATASET, progress=True)
    shown = capsys.readouterr().err
    assert re.search(r"100%.*288/288.*img/s, loss=\d\.\d+, validation=\d+\.\d%", shown)
    train(toy_config(epochs=1), tmp_path / "quiet", dataset=DATASET, progress=False)
    assert capsys.readouterr() == ("", "")


# ---- stop and go on ----


@pytest.mark.parametrize(
    "settings",
    [
        {},
        EVERYTHING,
        dict(model="convnet_weak", ema_decay=0.9),
        dict(model="convnet_weak", optimizer="sgd"),
        dict(optimizer="sgd"),
        dict(repeats=3, learning_rate=0.3),
        dict(distillation="soft", tokens="both"),
    ],
    ids=["plain", "everything", "convnet", "convnet-sgd", "sgd", "repeats", "distilled"],
)
@pytest.mark.parametrize("step", [7, 18])  # in the second epoch; at the very end of the third
def test_a_run_that_was_stopped_ends_with_the_same_weights(settings, step, tmp_path, monkeypatch, teacher_folder):
    config = toy_config(epochs=3, **settings)
    if "distillation" in settings:
        config = dataclasses.replace(config, teacher=str(teacher_folder))
    whole = toy_train(config, tmp_path / "whole")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_at_step(patch, step)
        toy_train(config, tmp_path / "stopped")
    assert files(tmp_path / "stopped") == {"config.json", "metrics.jsonl", "resume.safetensors"}
    assert len((tmp_path / "stopped/metrics.jsonl").read_text().splitlines()) == (step - 1) // 6
    stopped = toy_train(config, tmp_path / "stopped", resume=True)
    assert stopped["checkpoint"] == whole["checkpoint"]
    assert stopped["curve"] == whole["curve"] and stopped["test"] == whole["test"] and "earlier" not in stopped
    assert files(tmp_path / "stopped") == files(tmp_path / "whole")


def test_a_run_that_went_on_elsewhere_says_so(tmp_path, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_at_step(patch, 8)
        toy_train(toy_config(epochs=3), tmp_path / "run")
    here, code = machine(join_world(toy_config())), runs.source_digest()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(runs, "source_digest", lambda: "other code")
        stop_at_step(patch, 8)
        toy_train(toy_config(epochs=3), tmp_path / "run", resume=True)
    record = toy_train(toy_config(epochs=3), tmp_path / "run", resume=True)
    assert record["earlier"] == [
        {"epochs": 1, "machine": here, "source": code},
        {"epochs": 2, "machine": here, "source": "other code"},
    ]
    assert record["library"]["source"] == code and record["machine"] == here


def test_a_run_that_was_stopped_after_its_last_epoch_only_writes_its_record(tmp_path, monkeypatch):
    whole = toy_train(toy_config(), tmp_path / "whole")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(runs.Run, "close", lambda self, *_: (_ for _ in ()).throw(KeyboardInterrupt))
        toy_train(toy_config(), tmp_path / "stopped")
    (tmp_path / "stopped/metrics.jsonl").unlink()  # as a kill between the two files would leave it
    monkeypatch.setattr(runs, "train_epoch", None)
    assert toy_train(toy_config(), tmp_path / "stopped", resume=True)["checkpoint"] == whole["checkpoint"]
    assert len((tmp_path / "stopped/metrics.jsonl").read_text().splitlines()) == 2


@pytest.mark.parametrize("error", [KeyboardInterrupt, DeiTEduError("the loss rose"), RuntimeError])
def test_a_run_that_stops_in_its_first_epoch_leaves_nothing(error, tmp_path, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(error if isinstance(error, type) else type(error)):
        stop_at_step(patch, 3, error)
        toy_train(toy_config(), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    (tmp_path / "run").mkdir()
    (tmp_path / "run/notes.txt").write_text("mine")
    with monkeypatch.context() as patch, pytest.raises(error if isinstance(error, type) else type(error)):
        stop_at_step(patch, 3, error)
        toy_train(toy_config(), tmp_path / "run")
    assert files(tmp_path / "run") == {"notes.txt"}


def test_resume_begins_where_nothing_is(tmp_path):
    fresh = toy_train(toy_config(), tmp_path / "fresh")
    (tmp_path / "killed").mkdir()
    (tmp_path / "killed/config.json").write_text(json.dumps({"epochs": 9}))  # a kill in the first epoch leaves this
    assert toy_train(toy_config(), tmp_path / "killed", resume=True)["checkpoint"] == fresh["checkpoint"]
    assert toy_train(toy_config(), tmp_path / "new", resume=True)["checkpoint"] == fresh["checkpoint"]


def test_resume_of_a_finished_run_trains_nothing(tmp_path, monkeypatch):
    record = toy_train(toy_config(), tmp_path / "run")
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "run").iterdir()}
    monkeypatch.setattr(runs, "train_epoch", None)
    assert toy_train(toy_config(), tmp_path / "run", resume=True) == record
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "run").iterdir()} == before


def test_a_folder_in_use_is_not_written_over(tmp_path, monkeypatch):
    toy_train(toy_config(), tmp_path / "finished")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_at_step(patch, 8)
        toy_train(toy_config(), tmp_path / "stopped")
    for name in ("finished", "stopped"):
        before = {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()}
        with pytest.raises(
            DeiTEduError, match=f"{name} holds a run already: go on with --resume, choose another --out"
        ):
            toy_train(toy_config(), tmp_path / name)
        with pytest.raises(DeiTEduError, match="was begun with epochs=2, flip=True, not epochs=3, flip=False: choose"):
            toy_train(toy_config(epochs=3, flip=False), tmp_path / name, resume=True)
        assert {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} == before


def test_two_runs_do_not_train_in_one_folder(tmp_path, monkeypatch):
    second = []
    real = runs.train_epochs

    def and_another(*given):
        with pytest.raises(DeiTEduError, match=f"another process is training in {tmp_path / 'run'}"):
            toy_train(toy_config(epochs=1), tmp_path / "run")
        second.append(files(tmp_path / "run"))
        real(*given)

    monkeypatch.setattr(runs, "train_epochs", and_another)
    toy_train(toy_config(epochs=1), tmp_path / "run")
    assert second == [{"config.json"}]  # the second run took nothing away
    with held(tmp_path / "run"):  # given back at the end
        pass


def test_a_run_may_go_on_elsewhere_and_with_settings_that_came_later(tmp_path):
    record = toy_train(toy_config(), tmp_path / "run")
    stored = json.loads((tmp_path / "run/config.json").read_text())
    del stored["rand_augment"]
    (tmp_path / "run/config.json").write_text(json.dumps(stored))
    assert toy_train(toy_config(device="auto", compile=True), tmp_path / "run", resume=True) == record
    with pytest.raises(DeiTEduError, match="was begun with rand_augment=False, not rand_augment=True"):
        toy_train(toy_config(rand_augment=True), tmp_path / "run", resume=True)


def test_a_run_of_no_epochs_that_was_cut_off_at_its_end_goes_on(tmp_path, monkeypatch):
    toy_train(toy_config(), tmp_path / "first")
    config = toy_config(initial=str(tmp_path / "first"), epochs=0)

    def stop(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(runs, "save_predictions", stop)  # its network is written, its record is not
        toy_train(config, tmp_path / "measured")
    assert (tmp_path / "measured/model.safetensors").exists()
    assert toy_train(config, tmp_path / "measured")["config"]["epochs"] == 0


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
@pytest.mark.parametrize("resume", [True, False])
def test_files_of_the_readers_are_left_alone(name, resume, tmp_path):
    (tmp_path / name).write_text('{"architectures": []}')
    with pytest.raises(DeiTEduError, match="holds files that deit-edu did not write there: choose another --out"):
        toy_train(toy_config(label_smoothing=1.0), tmp_path, resume=resume)
    assert files(tmp_path) == {name} and (tmp_path / name).read_text() == '{"architectures": []}'


def test_a_list_in_a_readers_folder_is_no_config(tmp_path):
    (tmp_path / "config.json").write_text("[]")
    for ask in (lambda: toy_train(toy_config(), tmp_path), lambda: runs.read_json(tmp_path / "config.json")):
        with pytest.raises(DeiTEduError, match="config.json is damaged: delete the folder and train again"):
            ask()


@pytest.mark.parametrize(
    "name,damage,message",
    [
        ("resume.safetensors", lambda path: path.write_bytes(path.read_bytes()[:-100]), "is damaged"),
        ("config.json", lambda path: path.write_text("{"), "config.json is damaged: delete the folder"),
        ("config.json", lambda path: path.write_text("[]"), "config.json is damaged: delete the folder"),
        ("config.json", lambda path: path.unlink(), "has no config.json"),
    ],
)
def test_a_damaged_folder_is_named(name, damage, message, tmp_path, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_at_step(patch, 8)
        toy_train(toy_config(), tmp_path / "run")
    damage(tmp_path / "run" / name)
    with pytest.raises(DeiTEduError, match=message):
        toy_train(toy_config(), tmp_path / "run", resume=True)


def test_a_run_of_another_version_of_the_model_is_named(tmp_path, monkeypatch):
    config = toy_config()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_at_step(patch, 8)
        toy_train(config, tmp_path / "run")
    monkeypatch.setattr(runs, "build_model", lambda config, dataset: build_model(toy_config(tokens="both"), dataset))
    with pytest.raises(DeiTEduError, match="was begun with another version of deit_nano_patch7_28: delete it"):
        toy_train(config, tmp_path / "run", resume=True)


# ---- a disk that is full ----


def fill_the_disk(monkeypatch, after):
    """From the `after`-th file on, writing fails as on a full disk."""
    original, calls = os.fsync, []

    def fsync(number):
        calls.append(1)
        if len(calls) > after:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        original(number)

    monkeypatch.setattr(checkpoints.os, "fsync", fsync)


def test_a_full_disk_is_one_line_and_the_last_epoch_is_kept(tmp_path, monkeypatch):
    whole = toy_train(toy_config(epochs=3), tmp_path / "whole")
    for after, kept in ((0, set()), (1, set()), (3, {"config.json", "metrics.jsonl", "resume.safetensors"})):
        folder = tmp_path / f"after {after}"
        with monkeypatch.context() as patch:
            fill_the_disk(patch, after)
            with pytest.raises(DeiTEduError, match=r"could not write .*: No space left on device; free some space"):
                toy_train(toy_config(epochs=3), folder)
        assert (files(folder) if folder.exists() else set()) == kept
        assert toy_train(toy_config(epochs=3), folder, resume=True)["checkpoint"] == whole["checkpoint"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(DeiTEduError, match="could not make .*file/run: Not a directory; choose another folder"):
        toy_train(toy_config(), tmp_path / "file/run")


# ---- from another run's weights ----

OTHER_CLASSES = dataclasses.replace(DATASET, classes=("left", "centre", "right"))
LARGE = toy_dataset(side=16)


@pytest.fixture
def first_run(tmp_path):
    toy_train(toy_config(tokens="both"), tmp_path / "first")
    return str(tmp_path / "first")


def start(first_run, folder, dataset=DATASET, **settings):
    config = toy_config(**{"initial": str(first_run), "tokens": "both", "epochs": 0} | settings)
    record = train(config, folder, dataset=dataset, progress=False)
    return record, load_model(folder / "model.safetensors")


def test_without_an_epoch_a_run_measures_the_weights_it_starts_from(first_run, tmp_path):
    record, model = start(first_run, tmp_path / "again")
    assert not changed(weights(load_model(Path(first_run) / "model.safetensors")), weights(model))
    first = runs.read_json(Path(first_run) / "result.json")
    assert record["test"] == first["test"] and record["curve"] == [] and record["images_per_second"] is None
    assert len(set(record["position_norm"].values())) == 1


def test_training_goes_on_from_them(first_run, tmp_path):
    record, model = start(first_run, tmp_path / "tuned", epochs=1)
    fresh = toy_train(toy_config(tokens="both", epochs=1), tmp_path / "fresh")
    assert record["curve"][0]["loss"] < fresh["curve"][0]["loss"]
    assert changed(weights(load_model(Path(first_run) / "model.safetensors")), weights(model))


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_position_embeddings_follow_the_image_size(first_run, tmp_path, interpolation):
    record, model = start(first_run, tmp_path / "large", LARGE, interpolation=interpolation)
    first = load_model(Path(first_run) / "model.safetensors")
    expected = resize_position_embedding(
        first.position_embedding, (2, 2), (4, 4), 2, interpolation.replace("antialias", "bicubic"),
        interpolation == "antialias",
    )  # fmt: skip
    torch.testing.assert_close(model.position_embedding, expected)
    assert changed(weights(first), weights(model)) == {"position_embedding"}
    norms = record["position_norm"]
    assert norms["before"] == pytest.approx(first.position_embedding[0, 2:].norm(dim=1).mean().item())
    assert norms["resized"] == norms["trained"] == pytest.approx(expected[0, 2:].norm(dim=1).mean().item())


@pytest.mark.parametrize("kind", ["run", "file"])
def test_a_chain_of_fine_tunings_keeps_the_statistics_of_its_first_network(kind, tmp_path):
    own = dict(mean=[0.1], std=[0.9])  # of other pictures
    first = build_model(toy_config(tokens="both"), DATASET)
    save_network(tmp_path / "first.safetensors", first, "deit_nano_patch7_28", (1, 8, 8), 3, own)
    start(tmp_path / "first.safetensors", tmp_path / "second")
    second = tmp_path / "second" / ("" if kind == "run" else "model.safetensors")
    start(second, tmp_path / "third")
    start(second, tmp_path / "large", LARGE)
    for name in ("second", "third", "large"):
        seen = load_model(tmp_path / name / "model.safetensors").preprocessing
        assert seen == Preprocessing((1, 16, 16) if name == "large" else (1, 8, 8), (0.1,), (0.9,))


def test_other_classes_get_heads_of_their_own(first_run, tmp_path):
    _, model = start(first_run, tmp_path / "other", OTHER_CLASSES)
    torch.manual_seed(toy_config().seed)
    drawn = build_model(toy_config(tokens="both"), OTHER_CLASSES)
    for head in ("class_head", "distillation_head"):
        assert torch.equal(getattr(model, head).weight, getattr(drawn, head).weight)  # those that were drawn
    heads = {f"{head}_head.{part}" for head in ("class", "distillation") for part in ("weight", "bias")}
    differ = changed(weights(load_model(Path(first_run) / "model.safetensors")), weights(model))
    assert differ == {name for name in heads if "weight" in name} or differ == heads  # biases may be 0 in both


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(tokens="class"), r"first has distilled True, not False: start from a network of the same shape"),
        (dict(model_settings=SMALL_DEIT | {"depth": 3}), "first has depth 2, not 3"),
        (dict(model="convnet_weak", tokens="class", model_settings={}), "only a DeiT starts from another's weights"),
        (dict(interpolation="cubic"), "unknown interpolation 'cubic': choose one of bicubic, bilinear, antialias"),
        (dict(initial="nowhere"), "no run nowhere: give a run folder"),
        (dict(initial="packaged:nowhere"), "no packaged network 'nowhere'"),
    ],
)
def test_weights_that_do_not_fit_are_refused(first_run, tmp_path, settings, message):
    with pytest.raises(DeiTEduError, match=message):
        start(first_run, tmp_path / "second", **settings)
    assert not (tmp_path / "second").exists()


def test_without_an_epoch_a_teacher_is_asked_about_the_first(first_run, tmp_path):
    asked = []

    def redraw(seed, epoch):
        asked.append(epoch)
        return DATASET.train

    toy_train(toy_config(model="convnet_weak", model_settings={}), tmp_path / "teacher")
    drawn = dataclasses.replace(DATASET, redraw=redraw)
    settings = dict(teacher=str(tmp_path / "teacher"), distillation="hard")
    record, _ = start(first_run, tmp_path / "measured", drawn, **settings)
    assert asked == [0] and 0 <= record["teacher_on_train"]["accuracy"] <= 1


def test_a_teacher_of_other_classes_is_refused(tmp_path):
    settings = dict(model="convnet_weak", model_settings={}, epochs=1)
    train(toy_config(**settings), tmp_path / "teacher", dataset=OTHER_CLASSES, progress=False)
    config = toy_config(teacher=str(tmp_path / "teacher"), distillation="hard", tokens="both")
    with pytest.raises(DeiTEduError, match="was trained on the classes left, centre, right, not on"):
        toy_train(config, tmp_path / "student")


def test_a_run_that_started_from_anothers_weights_goes_on_without_them(first_run, tmp_path):
    whole, _ = start(first_run, tmp_path / "whole", LARGE, epochs=2)
    config = toy_config(initial=first_run, tokens="both", epochs=2)

    def stop(images):
        if len(list((tmp_path / "cut").glob("resume.safetensors"))):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "cut", dataset=LARGE, progress=False, on_images=stop)
    Path(first_run).rename(tmp_path / "moved")
    again = train(config, tmp_path / "cut", resume=True, dataset=LARGE, progress=False)
    assert again["checkpoint"] == whole["checkpoint"] and again["position_norm"] == whole["position_norm"]


def test_a_config_names_the_size_and_the_classes_of_its_data():
    asked = []
    runs.open_dataset(toy_config(image_size=21, classes="0-4"), lambda *given, **named: asked.append((given, named)))
    assert asked == [(("toy",), {"image_size": 21, "classes": "0-4"})]
    assert run_name(toy_config(image_size=21, classes="0,2")) == run_name(toy_config()).replace(
        "-seed", "-21px-classes0_2-seed"
    )
    assert run_name(toy_config(train_images=500, redraw=False)) == run_name(toy_config()).replace(
        "-seed", "-500images-fixed-seed"
    )


def test_no_epochs_and_no_weights_are_refused():
    with pytest.raises(DeiTEduError, match="initial is '': a name is empty"):
        TrainConfig(epochs=0, initial="")
    with pytest.raises(DeiTEduError, match="epochs is 0: it must be 1 or more, unless initial names the weights"):
        TrainConfig(epochs=0)


# ---- pairs ----


@pytest.fixture
def toy_data(monkeypatch, tmp_path):
    """load_dataset("toy"), and run folders under tmp_path."""
    monkeypatch.setattr(runs, "open_dataset", lambda config: DATASET)
    monkeypatch.setenv("DEIT_EDU_RUNS", str(tmp_path / "runs"))


PAIR = (toy_config(model="convnet_weak", epochs=1), toy_config(distillation="hard", tokens="both"))


def test_a_pair_is_a_teacher_and_the_student_it_taught(toy_data, tmp_path):
    teacher, student = train_pair(*PAIR, progress=False)
    assert (teacher, student) == (
        tmp_path / "runs/toy-convnet_weak-seed0",
        tmp_path / "runs/toy-deit_nano_patch7_28-hard-both-seed0",
    )
    assert json.loads((student / "config.json").read_text())["teacher"] == "toy-convnet_weak-seed0"
    before = (teacher / "result.json").stat().st_mtime_ns
    _, other = train_pair(PAIR[0], dataclasses.replace(PAIR[1], seed=1), tmp_path / "elsewhere", progress=False)
    assert other == tmp_path / "elsewhere" and (other / "result.json").exists()
    assert (teacher / "result.json").stat().st_mtime_ns == before  # the teacher that is there is taken
    assert train_pair(*PAIR, resume=True, progress=False) == (teacher, student)


@pytest.mark.parametrize("train_images", [0, 30])
def test_a_record_says_how_often_the_teacher_was_right_on_what_it_taught(toy_data, train_images):
    teacher, student = (dataclasses.replace(config, train_images=train_images) for config in PAIR)
    folders = train_pair(teacher, student, progress=False)
    network, _ = load_network(folders[0] / "model.safetensors")
    seen = nested_subset(DATASET.train.labels, train_images or len(DATASET.train))
    said = predict(network, DATASET.train, DATASET).class_logits[seen].argmax(dim=1)
    record = json.loads((folders[1] / "result.json").read_text())["teacher_on_train"]
    assert record["total"] == len(seen)
    assert record["correct"] == (said == DATASET.train.labels[seen]).sum()
    assert "teacher_on_train" not in json.loads((folders[0] / "result.json").read_text())  # it had none


@pytest.mark.parametrize(
    "settings,message",
    [
        (dict(model_settings={"patch_size": 3}), "patch size 3 does not divide"),
        (dict(model="deit_giant"), "unknown model 'deit_giant': choose one of deit_tiny_patch16_224, .* or timm:NAME"),
        (dict(tokens="all"), "unknown tokens 'all'"),
        (dict(temperature=0.0, distillation="hardly"), "unknown distillation 'hardly'"),
        (dict(temperature=0.0, distillation="soft"), "temperature 0.0 must be positive"),
        (dict(temperature=float("inf"), distillation="soft"), "temperature inf must be positive and finite"),
        (dict(label_smoothing=2.0), "label smoothing 2.0 must lie in"),
        (dict(model="convnet", batch_size=1), "convnet has batch norms, which need two images or more"),
        (dict(soft_reduction="sum", distillation="soft"), "unknown reduction 'sum'"),
        (dict(optimizer="adam"), "unknown optimiser 'adam'"),
        (dict(batch_size=10_000), "batch size 10000 x 1 does not fit"),
        (dict(train_images=10_000), "cannot take 10000 of"),
        (dict(initial="nowhere"), "no run nowhere"),
        (dict(initial="nowhere", interpolation="cubic"), "unknown interpolation 'cubic'"),
        (dict(train_images=9), "teacher and student differ in train_images: give both the same"),
        (dict(redraw=False), "teacher and student differ in redraw"),
    ],
)
def test_a_student_that_cannot_be_is_refused_before_its_teacher_trains(settings, message, toy_data, tmp_path):
    with pytest.raises(DeiTEduError, match=message):
        train_pair(PAIR[0], dataclasses.replace(PAIR[1], **settings), progress=False)
    assert not (tmp_path / "runs").exists()


def test_a_pair_whose_student_has_begun_needs_its_initial_weights_no_more(toy_data, first_run, tmp_path):
    pair = PAIR[0], dataclasses.replace(PAIR[1], initial=first_run)
    folders = train_pair(*pair, progress=False)
    Path(first_run).rename(tmp_path / "moved")
    assert train_pair(*pair, resume=True, progress=False) == folders


def test_runs_are_found_by_path_and_by_name(tmp_path, monkeypatch):
    monkeypatch.setenv("DEIT_EDU_RUNS", str(tmp_path / "runs"))
    assert runs_root() == tmp_path / "runs"
    (tmp_path / "runs/mine").mkdir(parents=True)
    assert find_run("mine") == tmp_path / "runs/mine"
    assert find_run(str(tmp_path / "runs")) == tmp_path / "runs"
    monkeypatch.delenv("DEIT_EDU_RUNS")
    assert runs_root() == Path(runs.__file__).resolve().parents[2] / "runs"


def test_a_runs_name_tells_what_it_learns_from():
    assert run_name(TrainConfig()) == "fashion_mnist_10k-deit_nano_patch7_28-seed0"
    assert run_name(TrainConfig(distillation="soft", seed=3)) == "fashion_mnist_10k-deit_nano_patch7_28-soft-seed3"
    assert run_name(TrainConfig(tokens="both")) == "fashion_mnist_10k-deit_nano_patch7_28-both-seed0"
    assert run_name(TrainConfig(data="folder:/a/b", model="timm:resnet18")) == "folder--a-b-timm-resnet18-seed0"


# ---- what does not fit ----


def test_a_model_that_cannot_be_is_refused():
    for settings, message in (
        (dict(model="resnet18"), "unknown model 'resnet18': choose one of .*convnet_whitening, or timm:NAME"),
        (dict(model="convnet", tokens="both"), "convnet has no distillation token, no size and no dropout to set"),
        (
            dict(model="convnet", model_settings={"depth": 3}),
            "convnet has no distillation token, no size and no dropout to set",
        ),
        (dict(model="convnet", drop_path_rate=0.1), "convnet has no distillation token, no size and no dropout"),
        (dict(model_settings={"heads": 3}), "unknown model setting 'heads': choose one of .*num_heads"),
        (dict(model="timm:vit_tiny_patch16_224"), "cannot see images of 1x8x8 .*16 x 16.*: choose another model"),
        (dict(model="timm:no_such_model"), "timm has no model 'no_such_model'"),
    ):
        with pytest.raises(DeiTEduError, match=message):
            build_model(toy_config(**settings), DATASET)


def test_a_config_reaches_the_model_and_the_loss():
    model = build_model(toy_config(drop_rate=0.1, drop_path_rate=0.2, tokens="both"), DATASET).config
    assert (model.drop_rate, model.drop_path_rate, model.distilled) == (0.1, 0.2, True)
    assert (model.image_size, model.in_channels, model.num_classes) == (8, 1, 3)
    assert {name: getattr(model, name) for name in SMALL_DEIT} == SMALL_DEIT
    loss = build_objective(toy_config(distillation="soft", tokens="both", temperature=2.0, distillation_weight=0.7,
                                      soft_reduction="official"))  # fmt: skip
    assert (loss.distillation, loss.tokens, loss.temperature, loss.weight) == ("soft", "both", 2.0, 0.7)
    assert loss.reduction == "official"


def test_pictures_that_are_not_square_are_refused():
    wide = dataclasses.replace(DATASET, train=dataclasses.replace(DATASET.train, images=torch.zeros(96, 1, 8, 12)))
    with pytest.raises(DeiTEduError, match="toy has images of 8x12: DeiT needs square ones"):
        build_model(toy_config(), wide)


def taught_by(teacher, distillation="hard"):
    return toy_config(distillation=distillation, tokens="both", teacher=None if teacher is None else str(teacher))


def test_a_teacher_is_frozen_and_answers_as_it_was_trained(teacher_folder):
    teacher = build_teacher(taught_by(teacher_folder), DATASET)
    network, _ = load_network(teacher_folder / "model.safetensors")
    images = torch.randn(5, 1, 8, 8)
    torch.testing.assert_close(teacher.train()(images), network(images))
    assert not teacher.training and not any(module.training for module in teacher.modules())
    assert build_teacher(toy_config(teacher=str(teacher_folder)), DATASET) is None


def test_a_teacher_that_does_not_fit_is_refused(tmp_path, teacher_folder, monkeypatch):
    for dataset, message in (
        (dataclasses.replace(DATASET, classes=("a", "b")), "was trained with num_classes 3, but toy has 2"),
    ):
        with pytest.raises(DeiTEduError, match=message):
            build_teacher(taught_by(teacher_folder), dataset)
    with pytest.raises(DeiTEduError, match="soft distillation needs a teacher"):
        build_teacher(taught_by(None, "soft"), DATASET)
    with pytest.raises(DeiTEduError, match="no-such-run is not a run folder: train it first"):
        build_teacher(taught_by(tmp_path / "no-such-run"), DATASET)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_at_step(patch, 8)
        toy_train(toy_config(model="convnet_weak"), tmp_path / "half")
    with pytest.raises(DeiTEduError, match="half has not finished training"):
        build_teacher(taught_by(tmp_path / "half"), DATASET)
    network = teacher_folder / "model.safetensors"
    network.write_bytes(network.read_bytes()[:-50])
    with pytest.raises(DeiTEduError, match="model.safetensors is damaged or no safetensors file"):
        build_teacher(taught_by(teacher_folder), DATASET)


def relabelled(dataset):
    turned = dataclasses.replace(dataset.train, labels=(dataset.train.labels + 1) % 3)
    return dataclasses.replace(dataset, train=turned, checksum="f" * 64)


def test_a_teacher_of_the_same_data_as_they_were_is_refused(teacher_folder):
    told = r"teacher .* was trained on toy with checksum \w{12}, but toy is f{12} now: .* delete .*teacher and train it"
    with pytest.raises(DeiTEduError, match=told):
        build_teacher(taught_by(teacher_folder), relabelled(DATASET))


def test_a_finished_run_and_half_a_run_of_other_data_are_not_gone_on_with(tmp_path, monkeypatch):
    toy_train(toy_config(epochs=1), tmp_path / "whole")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_at_step(patch, 8)
        toy_train(toy_config(), tmp_path / "half")
    for name, epochs in (("whole", 1), ("half", 2)):
        with pytest.raises(DeiTEduError, match=f"{name} was trained on toy with checksum .* choose another --out"):
            train(toy_config(epochs=epochs), tmp_path / name, True, dataset=relabelled(DATASET), progress=False)


@pytest.mark.parametrize(("side", "channels"), [(8, 1), (16, 1), (8, 3), (16, 3)])
def test_a_teacher_sees_its_students_pictures_as_it_was_trained_to(teacher_folder, side, channels):
    images = torch.randint(0, 256, (5, channels, side, side), dtype=torch.uint8)
    dim = dataclasses.replace(toy_dataset(side=side, channels=channels), name="dim", mean=(0.1,) * channels,
                              std=(0.3,) * channels)  # fmt: skip
    network, _ = load_network(teacher_folder / "model.safetensors")
    teacher = build_teacher(taught_by(teacher_folder), dim)
    given = normalise(images, dim.mean, dim.std)
    expected = network(network.preprocessing.resized(network.preprocessing.again(given, Preprocessing.of_dataset(dim))))
    torch.testing.assert_close(teacher(given), expected)
    torch.testing.assert_close(teacher(given.clone()), expected)  # a batch that does not say how it was made
    if (side, channels) == (8, 1):
        torch.testing.assert_close(teacher(given), network(normalise(images, DATASET.mean, DATASET.std)))


def test_a_network_keeps_its_own_statistics_and_predict_follows_them(tmp_path):
    toy_train(toy_config(epochs=1), tmp_path / "run")
    network, metadata = load_network(tmp_path / "run/model.safetensors")
    expected = dict(image_shape=[1, 8, 8], mean=list(DATASET.mean), std=list(DATASET.std), data="toy",
                    checksum=DATASET.checksum, classes=list(DATASET.classes), num_classes=3)  # fmt: skip
    assert {name: metadata[name] for name in expected} == expected
    dim = dataclasses.replace(DATASET, mean=(0.1,), std=(0.9,))
    for said, again in zip(predict(network, DATASET.test, DATASET), predict(network, DATASET.test, dim), strict=True):
        assert said is again is None or torch.equal(said, again)


def test_a_distilled_deit_may_teach(tmp_path):
    toy_train(toy_config(tokens="both", epochs=1), tmp_path / "teacher")
    record = toy_train(dataclasses.replace(taught_by(tmp_path / "teacher"), epochs=1), tmp_path / "student")
    assert record["config"]["teacher"] == str(tmp_path / "teacher")


# ---- real processes ----

COMMAND = [sys.executable, "-c", "from deit_edu.cli import main; raise SystemExit(main())", "train", "--quiet"]
LONG = [
    *("--device", "cpu", "--no-compile", "--embed-dim", "16", "--depth", "1", "--num-heads", "2"),
    *("--batch-size", "250", "--epochs", "5", "--drop-rate", "0.1", "--drop-path-rate", "0.1", "--ema-decay", "0.9"),
    *("--mixup-alpha", "0.8", "--cutmix-alpha", "1.0", "--erasing", "0.25"),
]  # fmt: skip
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}


def stop_after(epochs, how, folder, *arguments):
    """Begin or resume a run in a process of its own, stop it in the middle of an epoch: (status, what it said)."""
    command = [*COMMAND, *arguments, "--out", folder]
    process = subprocess.Popen(command, env=ONE_THREAD, stderr=subprocess.PIPE, text=True)
    metrics, deadline = folder / "metrics.jsonl", time.monotonic() + 120
    while not metrics.exists() or len(metrics.read_text().splitlines()) < epochs:
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()[1]
        time.sleep(0.01)
    time.sleep(json.loads(metrics.read_text().splitlines()[-1])["seconds"] / 3)
    process.send_signal(how)
    said = process.communicate(timeout=60)[1]
    assert {"config.json", "metrics.jsonl", "resume.safetensors"} <= files(folder)
    assert not (folder / "result.json").exists()
    return process.returncode, said


def command_in_one_thread(*arguments):
    torch.set_num_threads(1)
    raise SystemExit(main(["train", "--quiet", *arguments]))


def run_to_its_end(*arguments):
    """The same command, in a process that is forked, which takes no seconds to start."""
    process = forked.start(command_in_one_thread, *arguments)
    process.join()
    assert process.exitcode == 0


def test_ctrl_c_and_a_kill_lose_nothing(tmp_path):
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    run_to_its_end(*LONG, "--out", str(whole))
    status, said = stop_after(1, signal.SIGINT, stopped, *LONG)
    assert status == 130
    assert re.fullmatch("stopped; a training keeps its whole epochs: the same command .*--resume.*", said.strip())
    assert stop_after(3, signal.SIGKILL, stopped, "--resume")[0] == -signal.SIGKILL
    run_to_its_end("--out", str(stopped), "--resume")
    records = [json.loads((folder / "result.json").read_text()) for folder in (whole, stopped)]
    assert records[0]["checkpoint"] == records[1]["checkpoint"]
    assert records[0]["curve"] == records[1]["curve"] and len(records[0]["curve"]) == 5


@pytest.mark.parametrize("teacher_side", [8, 16])  # at its own size, at the new one
def test_fine_tuning_with_a_teacher_at_another_size_and_on_other_classes(first_run, tmp_path, teacher_side):
    new = dataclasses.replace(LARGE, classes=OTHER_CLASSES.classes, name="other", mean=(0.3,), std=(0.2,))
    seen = new if teacher_side == 16 else dataclasses.replace(OTHER_CLASSES, name="small")
    train(toy_config(model="convnet_weak", epochs=1), tmp_path / "teacher", dataset=seen, progress=False)
    settings = dict(teacher=str(tmp_path / "teacher"), distillation="hard", epochs=1)
    record, model = start(first_run, tmp_path / "tuned", new, **settings)
    assert model.config.image_size == 16 and record["test"]["distillation"]["total"] == 60
    assert model.preprocessing.mean == DATASET.mean  # it goes on seeing as it learned to see
