"""What befalls a run from outside: kill -9, a full disk, a folder nobody may write to, a second run, a clock."""

import errno
import itertools
import json
import os
import random
import resource
import shlex
import signal
import time

import forked
import pytest
import torch
import tqdm
from toy import toy_config, toy_dataset

from deit_edu.cli import main
from deit_edu.data.written import write_folder
from deit_edu.errors import DeiTEduError
from deit_edu.evidence.ledger import ledger_for_writing
from deit_edu.runs import checkpoints, train
from deit_edu.runs.folders import held, read_json

DATASET = toy_dataset(train=48)  # three steps an epoch
CONFIG = toy_config(epochs=6, drop_rate=0.1, ema_decay=0.9, mixup_alpha=0.8)
RECORDS = ("checkpoint", "curve", "test", "validation")
FINISHED = {"config.json", "metrics.jsonl", "model.safetensors", "predictions.safetensors", "result.json"}
KILLS = 20
MOMENTS = ("a step", "half a file", "before its name", "after its name", "any time")


def files(folder):
    return {path.name for path in folder.iterdir()}


# ---- kill -9 ----


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def die_at(moment, number):
    """The process kills itself at its `number`-th step or file; what `train` is to call after each step."""
    count = itertools.count(1)
    fsync, replace = os.fsync, os.replace

    def half_a_file(file):
        if next(count) == number:
            os.ftruncate(file, os.fstat(file).st_size // 2)
            die()
        fsync(file)

    def its_name(temporary, path):
        last = next(count) == number
        if last and moment == "before its name":
            die()
        replace(temporary, path)
        if last:
            die()

    if moment == "half a file":
        os.fsync = half_a_file
    elif moment.endswith("its name"):
        os.replace = its_name
    return (lambda images: next(count) == number and die()) if moment == "a step" else None


def train_until(moment, number, config, folder):
    torch.set_num_threads(1)
    train(config, folder, resume=True, dataset=DATASET, progress=False, on_images=die_at(moment, number))
    os._exit(0)


def ended(process, patience=None):
    """Whether a process has ended as a run does, by itself; False when it was killed, by itself or now."""
    process.join(patience)
    if process.is_alive():
        process.kill()
        process.join()
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode == 0


def undisturbed(config, folder):
    assert ended(forked.start(train_until, "any time", 0, config, folder))
    return read_json(folder / "result.json")


def assert_same(folder, whole):
    record = read_json(folder / "result.json")
    assert {part: record[part] for part in RECORDS} == {part: whole[part] for part in RECORDS}
    assert files(folder) == FINISHED
    epochs = [json.loads(line)["epoch"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert epochs == [line["epoch"] for line in whole["curve"]]


def test_a_run_killed_twenty_times_ends_as_one_that_nobody_disturbed(tmp_path):
    """At random moments, each kind four times; a run that is done before the twentieth kill gives way to another."""
    draw, kills, runs_done = random.Random(0), 0, 0
    moments, whole = draw.sample(MOMENTS * 4, KILLS), undisturbed(CONFIG, tmp_path / "whole")
    while kills < KILLS:
        folder, moment = tmp_path / f"run {runs_done}", moments[kills]
        process = forked.start(train_until, moment, draw.randint(1, 6), CONFIG, folder)
        if ended(process, draw.uniform(0, whole["seconds"]) if moment == "any time" else None):
            assert_same(folder, whole)
            runs_done += 1
        else:
            kills += 1
    undisturbed(CONFIG, folder)
    assert_same(folder, whole)


@pytest.mark.parametrize("moment", MOMENTS[1:4])
def test_a_run_killed_at_each_file_of_its_end_still_ends(moment, tmp_path):
    """The network, its predictions, its record: the run is killed at one after the other."""
    config = toy_config(epochs=1)
    whole = undisturbed(config, tmp_path / "whole")
    written = 3  # config.json, resume.safetensors, metrics.jsonl
    for number in range(written + 1, written + 4):
        folder = tmp_path / f"run {number}"
        assert not ended(forked.start(train_until, moment, number, config, folder))
        undisturbed(config, folder)
        assert_same(folder, whole)


# ---- the disk, the folder, another run, the clock: one line, status 2, nothing lost ----


@pytest.fixture
def line(tmp_path, monkeypatch):
    """A command that trains for three epochs on a folder of pictures, in tmp_path/run."""
    monkeypatch.delenv("DEIT_EDU_SCALE", raising=False)
    write_folder(DATASET, tmp_path / "toy", train=16, validation=4, test=4)
    sizes = "--patch-size 4 --embed-dim 16 --depth 1 --num-heads 2 --batch-size 16 --epochs 3 --tokens class"
    return f"train --quiet --resume --device cpu {sizes} --data folder:{tmp_path}/toy --out {tmp_path}/run"


def answer(line, capsys):
    """What the command says when it fails: one line."""
    assert main(shlex.split(line)) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.endswith("\n") and said.count("\n") == 1, said
    return said


def largest_file(size):
    """The process may write so many bytes to a file and no more; None: as many as before."""
    most = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (most if size is None else size, most))


def test_a_file_that_may_not_grow_is_one_line_and_the_same_line_goes_on(line, tmp_path, capsys):
    assert main(shlex.split(line.replace("/run", "/whole"))) == 0
    try:
        largest_file(4096)  # bytes: config.json fits
        assert "resume.safetensors" in (said := answer(line, capsys)) and os.strerror(errno.EFBIG) in said
    finally:
        largest_file(None)
    assert not (tmp_path / "run").exists()  # no epoch was whole
    assert main(shlex.split(line)) == 0
    records = [read_json(tmp_path / name / "result.json") for name in ("whole", "run")]
    assert records[0]["checkpoint"] == records[1]["checkpoint"]


def refuse(number):
    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def test_a_folder_that_nobody_may_write_to_is_one_line(line, tmp_path, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "open", lambda path, mode: refuse(path), raising=False)
        said = answer(line, capsys)
    assert "could not write" in said and "Permission denied" in said and "choose another folder" in said
    assert not (tmp_path / "run").exists()
    (tmp_path / "run").write_text("a file where the folder should be")
    assert "could not make" in answer(line, capsys)
    assert (tmp_path / "run").read_text() == "a file where the folder should be"


def test_a_second_run_in_a_folder_is_one_line_and_the_first_goes_on(line, tmp_path, capsys):
    with held(tmp_path / "run"):
        assert "another process is training in" in answer(line, capsys)
    assert main(shlex.split(line)) == 0


def test_a_record_for_which_there_is_no_room_leaves_the_ledger_as_it_was(tmp_path):
    with ledger_for_writing(tmp_path) as ledger:
        ledger.append({"key": "first"})
        before = ledger.path.read_bytes()
        try:
            largest_file(len(before) + 9)  # bytes: a part of the next record
            with pytest.raises(DeiTEduError, match="could not write .*: No space left .*the same command goes on"):
                ledger.append({"key": "second"})
        finally:
            largest_file(None)
        assert ledger.path.read_bytes() == before
        ledger.append({"key": "second"})
    assert [json.loads(line)["key"] for line in ledger.path.read_text().splitlines()] == ["first", "second"]


@pytest.mark.parametrize("tick", [-3600.0, 0.0, 1e9], ids=["backwards", "stands still", "leaps"])
def test_a_clock_that_jumps_changes_nothing_but_times(tick, tmp_path, monkeypatch):
    config = toy_config(drop_rate=0.1)
    whole = train(config, tmp_path / "whole", dataset=DATASET, progress=False)
    now = itertools.count(time.time(), tick)
    for clock in ("time", "perf_counter"):
        monkeypatch.setattr(time, clock, lambda: next(now))
    monkeypatch.setattr(tqdm.std, "time", time.time)
    record = train(config, tmp_path / "run", dataset=DATASET, progress=True)
    assert {part: record[part] for part in RECORDS} == {part: whole[part] for part in RECORDS}
    assert record["images_per_second"] > 0 and record["seconds"] >= 0
