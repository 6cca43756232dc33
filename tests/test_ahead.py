"""Pictures that are read while the network learns: the same ones, in the same order, and hardly any waiting."""

import dataclasses
import json
import os
import re
import threading
import time

import numpy as np
import pytest
import torch
from PIL import Image
from test_runs import stop_at_step
from toy import CPU, toy_config

from deit_edu.cli import main
from deit_edu.cli import train as train_command
from deit_edu.data import imagenet as lazy
from deit_edu.data import load_dataset
from deit_edu.runs import run as runs
from deit_edu.runs import train
from deit_edu.runs.ahead import BATCHES, made_ahead, read_ahead
from deit_edu.runs.build import build_model
from deit_edu.runs.choices import step_seconds
from deit_edu.train import batches_of_epoch, steps_per_epoch

DAMAGED = "train/n01/7.JPEG"


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """ImageNet's folders: 150 small photographs, of which one for training is damaged."""
    root, noise = tmp_path_factory.mktemp("photographs"), np.random.RandomState(0)
    for part, count in (("train", 72), ("val", 3)):
        for name in ("n01", "n02"):
            (root / part / name).mkdir(parents=True)
            for index in range(count):
                pixels = noise.randint(0, 256, (24, 32, 3)).astype(np.uint8)
                Image.fromarray(pixels).save(root / part / name / f"{index}.JPEG")
    (root / DAMAGED).write_bytes(b"no picture")
    return root


@pytest.fixture(scope="module", params=["imagenet", "folder"])
def dataset(request, photographs, tmp_path_factory):
    """Decoded by every batch, or once to a file on the disk."""
    with pytest.warns(UserWarning) if request.param == "folder" else open(os.devnull):
        kept = {"on_disk": True, "root": tmp_path_factory.mktemp("data")} if request.param == "folder" else {}
        return load_dataset(f"{request.param}:{photographs}", image_size=8, **kept)


CONFIG = toy_config(rand_augment=True, erasing=0.25, mixup_alpha=0.8, drop_rate=0.1)


def not_ahead(monkeypatch):
    """Batches are made when the step asks for them, as those of pictures in memory are."""
    monkeypatch.setattr(runs, "made_ahead", lambda dataset, config: runs.nullcontext())


def of_the_pool():
    return [thread for thread in threading.enumerate() if thread.name.startswith("ahead")]


@pytest.mark.filterwarnings("ignore:.*cannot be decoded")
@pytest.mark.parametrize("repeats", [1, 3])
def test_the_batches_are_those_that_the_step_would_have_waited_for(dataset, repeats):
    config = dataclasses.replace(CONFIG, repeats=repeats)
    assert dataset.train.on_disk
    with made_ahead(dataset, config) as ahead:
        for epoch in (0, 1, 0):
            waited_for = list(batches_of_epoch(config, dataset, epoch, CPU))[: steps_per_epoch(config, dataset, CPU)]
            made = list(ahead(config, dataset, epoch, CPU))
            assert len(made) == len(waited_for) > BATCHES
            for one, other in zip(made, waited_for, strict=True):
                assert all(torch.equal(part, its) for part, its in zip(one, other, strict=True))
    assert not of_the_pool()


@pytest.mark.filterwarnings("ignore:.*cannot be decoded")
def test_a_run_ends_with_the_same_weights_stopped_or_not(dataset, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        not_ahead(patch)
        waited = train(CONFIG, tmp_path / "waited", dataset=dataset, progress=False)
    whole = train(CONFIG, tmp_path / "whole", dataset=dataset, progress=False)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_at_step(patch, steps_per_epoch(CONFIG, dataset, CPU) + 2)
        train(CONFIG, tmp_path / "stopped", dataset=dataset, progress=False)
    assert not of_the_pool()  # Ctrl-C leaves nothing at work
    stopped = train(CONFIG, tmp_path / "stopped", dataset=dataset, resume=True, progress=False)
    assert whole["checkpoint"] == waited["checkpoint"] == stopped["checkpoint"]
    assert "waiting" not in waited and 0 <= whole["waiting"] <= 1


@pytest.mark.filterwarnings("ignore:.*cannot be decoded")
def test_auto_augment_draws_nothing_that_the_step_would_have_drawn(dataset, tmp_path, monkeypatch):
    config = dataclasses.replace(CONFIG, auto_augment=True, rand_augment=False, drop_path_rate=0.5)
    with monkeypatch.context() as patch:
        not_ahead(patch)
        waited = train(config, tmp_path / "waited", dataset=dataset, progress=False)
    assert train(config, tmp_path / "run", dataset=dataset, progress=False)["checkpoint"] == waited["checkpoint"]
    with made_ahead(dataset, config) as ahead:
        assert ahead is None  # it would draw from the generator that dropout draws from


def test_a_damaged_file_is_said_in_the_same_line(photographs, tmp_path, monkeypatch):
    dataset, said = load_dataset(f"imagenet:{photographs}", image_size=8), []
    for name in ("ahead", "waited"):
        with monkeypatch.context() as patch, pytest.warns(UserWarning, match="cannot be decoded") as warned:
            if name == "waited":
                not_ahead(patch)
            train(toy_config(epochs=1), tmp_path / name, dataset=dataset, progress=False)
        said.append({str(one.message) for one in warned})
    assert said[0] == said[1] == {f"{photographs / DAMAGED} cannot be decoded: a black image takes its place"}


def test_what_goes_wrong_while_reading_stops_the_run(dataset, tmp_path, monkeypatch):
    def fails(*arguments):
        raise ZeroDivisionError

    monkeypatch.setattr(type(dataset.train), "batch", fails)
    with pytest.raises(ZeroDivisionError):
        train(CONFIG, tmp_path / "run", dataset=dataset, progress=False)
    assert not of_the_pool() and not (tmp_path / "run").exists()


@pytest.mark.filterwarnings("ignore:.*cannot be decoded")
def test_a_slow_network_waits_for_one_twentieth_at_most(photographs, tmp_path, monkeypatch):
    """On a clock that goes on where a batch is read, by 1, and where one is learned, by 10, and nowhere else.

    While a step learns the next batch is read, as it would be long before ten times as much time is over.
    """
    dataset = load_dataset(f"imagenet:{photographs}", image_size=8)
    config = toy_config(epochs=3, batch_size=4)
    steps, clock, count = steps_per_epoch(config, dataset, CPU), [0.0], [0]
    learning, read = threading.Semaphore(0), threading.Semaphore(0)
    original = lazy.LazySplit.batch

    def batch(split, indices, generator=None):
        images = original(split, indices, generator)
        if generator is not None:  # for training
            first = count[0] % steps == 0  # of an epoch: nothing is learned meanwhile
            count[0] += 1
            if not first:
                learning.acquire()
            clock[0] += 1.0
            if not first:
                read.release()
        return images

    def on_images(done):
        clock[0] += 10.0
        if (done // config.batch_size) % steps:
            learning.release()
            read.acquire()

    monkeypatch.setattr(lazy.LazySplit, "batch", batch)
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    record = train(config, tmp_path / "run", dataset=dataset, progress=False, on_images=on_images)
    shares = [json.loads(line)["waiting"] for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert len(shares) == 3 and min(shares) > 0  # the first batch of an epoch is waited for
    assert min(shares) <= record["waiting"] <= max(shares) <= 0.05


@pytest.mark.filterwarnings("ignore:.*cannot be decoded")
def test_much_waiting_is_said_with_what_to_do(photographs, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(train_command, "WAITS", -1.0)
    sizes = "--image-size 8 --patch-size 4 --embed-dim 16 --depth 1 --num-heads 2 --batch-size 16 --epochs 1"
    line = f"train --quiet --device cpu --tokens class {sizes} --data imagenet:{photographs} --out {tmp_path}/run"
    assert main(line.split()) == 0
    assert re.search(
        r"  \d+% of the time the network waited for pictures: folder:PATH decodes", capsys.readouterr().out
    )


def test_a_dry_run_is_timed_with_batches_made_ahead(dataset, monkeypatch):
    seen = []
    monkeypatch.setattr("deit_edu.runs.choices.train_epoch", lambda *given, show, **more: seen.append(show) or stop())

    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        step_seconds(build_model(CONFIG, dataset), None, CONFIG, dataset, CPU)
    assert seen[0] is not batches_of_epoch and not of_the_pool()


@pytest.mark.filterwarnings("ignore:.*cannot be decoded")
def test_an_evaluation_reads_the_next_pictures_while_it_looks_at_these(dataset, monkeypatch):
    whole, read = dataset.train.batch(torch.arange(len(dataset.train))), []
    batch = type(dataset.train).batch
    monkeypatch.setattr(type(dataset.train), "batch", lambda self, part: read.append(len(part)) or batch(self, part))
    seen = []
    for images in read_ahead(dataset.train, torch.arange(len(dataset.train)).split(50)):
        seen.append(images)
        if len(seen) == 1:
            while len(read) < 2:  # nobody has asked for the second yet
                time.sleep(0.01)
    assert torch.equal(torch.cat(seen), whole) and read[0] == 50 and not of_the_pool()
    assert not list(read_ahead(dataset.train, ()))


@pytest.mark.filterwarnings("ignore:.*cannot be decoded")
def test_an_evaluation_that_is_left_reads_no_further(dataset):
    pictures = read_ahead(dataset.train, torch.arange(len(dataset.train)).split(10))
    next(pictures)
    pictures.close()
    assert not of_the_pool()
