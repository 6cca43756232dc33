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
from contextlib import redirect_stderr, redirect_stdout

import forked
import pytest
import torch
from toy import toy_config, toy_dataset

from deit_edu.cli import main
from deit_edu.data.written import write_folder
from deit_edu.errors import DeiTEduError
from deit_edu.evidence.ledger import ledger_for_writing
from deit_edu.runs import checkpoints, train
from deit_edu.runs import run as runs
from deit_edu.runs.folders import read_json

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
