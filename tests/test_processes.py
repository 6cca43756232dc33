"""Several processes, as torchrun starts them, learn what one learns from the same batches."""

import dataclasses
import os
import re
import signal
import socket
import warnings

import forked
import pytest
import torch
import torch.distributed.run
from conftest import ROOT
from toy import toy_config, toy_dataset

from deit_edu.augment import epoch_order
from deit_edu.errors import DeiTEduError
from deit_edu.runs import train
from deit_edu.runs.checkpoints import load
from deit_edu.runs.folders import read_json

STILL = dict(crop_padding=0, flip=False, epochs=4)  # each process augments differently; of six steps an epoch
DATASET = toy_dataset()
TAUGHT = dict(distillation="hard", tokens="both")
LEARNS = {
    "plain": STILL,
    "distilled": STILL | TAUGHT,
    "repeats": dict(STILL, repeats=3),
    "distilled repeats": STILL | TAUGHT | dict(repeats=3),
    "convnet": dict(STILL, epochs=1, model="convnet_weak"),
}


def one_of(rank, size, port, config, folder, killed_after):
    """What torchrun does for a process of its own; with `killed_after` images it gets a kill -9."""
    torch.set_num_threads(1)
    warnings.simplefilter("error")
    with open(log_of(folder, rank), "w") as log:
        os.dup2(log.fileno(), 2)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}

    def on_images(images):
        if images == killed_after:
            os.kill(os.getpid(), signal.SIGKILL)

    train(config, folder, resume=True, dataset=DATASET, progress=False, on_images=on_images)
    torch.distributed.destroy_process_group()


def log_of(folder, rank):
    return folder.with_name(f"{folder.name}.{rank}.log")


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def processes(config, *folders, killed_after=None):
    """A process for each folder, which is the same one unless something is wrong: their statuses, what they said."""
    where = len(folders), free_port(), config
    begun = [forked.start(one_of, rank, *where, folder, killed_after) for rank, folder in enumerate(folders)]
    for process in begun:
        process.join()
    said = [log_of(folder, rank).read_text() for rank, folder in enumerate(folders)]
    return [process.exitcode for process in begun], said


def in_two(config, folder):
    """A run in two processes: its record."""
    statuses, said = processes(config, folder, folder)
    assert statuses == [0, 0], said
    assert "strides" not in "".join(said)
    return read_json(folder / "result.json")


def losses(record):
    return [line["loss"] for line in record["curve"]]


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    folder = tmp_path_factory.mktemp("teacher") / "run"
    train(toy_config(model="convnet_weak"), folder, dataset=DATASET, progress=False)
    return str(folder)


@pytest.mark.parametrize("name", LEARNS)
def test_two_processes_learn_what_one_learns_from_both_batches(name, tmp_path, teacher):
    settings = LEARNS[name] | (dict(teacher=teacher) if "distillation" in LEARNS[name] else {})
    together = in_two(toy_config(**settings, batch_size=8), tmp_path / "two")
    assert together["machine"]["processes"] == 2
    if name == "convnet":  # batch norm: each process sees its own half
        return
    alone = train(toy_config(**settings, batch_size=16), tmp_path / "one", dataset=DATASET, progress=False)
    assert losses(together) == pytest.approx(losses(alone), rel=1e-5) and len(losses(alone)) == 4
    said = [load(tmp_path / count / "predictions.safetensors")[0] for count in ("one", "two")]
    for head in (key for key in said[0] if key.startswith("logits")):
        torch.testing.assert_close(said[1][head].float(), said[0][head].float(), rtol=0, atol=0.01)


@pytest.mark.parametrize("rank", [0, 1])
def test_repeated_augmentation_is_dealt_to_processes_as_the_authors_deal_it(rank):
    """timm's sampler is the authors'; an epoch of 512 images is one that both leave whole."""
    from timm.data.distributed_sampler import RepeatAugSampler  # here: the tests' processes import this file, each anew

    theirs = RepeatAugSampler(range(512), num_replicas=2, rank=rank, num_repeats=3)
    theirs.set_epoch(5)
    assert epoch_order(512, torch.Generator().manual_seed(5), 3)[rank::2].tolist() == list(theirs)


def test_two_processes_that_were_killed_go_on_to_the_same_weights_and_as_two_alone(tmp_path):
    config, folder = toy_config(epochs=3, batch_size=8), tmp_path / "killed"
    whole = in_two(config, tmp_path / "whole")
    statuses, said = processes(config, folder, folder, killed_after=160)  # in the second epoch
    assert -signal.SIGKILL in statuses and 0 not in statuses, said
    assert not (folder / "result.json").exists()
    with pytest.raises(
        DeiTEduError, match="was begun in 2 processes, not in 1: go on with torchrun --nproc-per-node 2"
    ):
        train(config, folder, resume=True, dataset=DATASET, progress=False)
    elsewhere = tmp_path / "elsewhere"  # where a second machine does not see the folder of the first
    statuses, said = processes(config, folder, elsewhere)
    assert statuses == [1, 1]
    for of_one in said:
        assert re.search(r"DeiTEduError: the processes find 0 to 1 whole epochs in .*: give all machines a", of_one)
    assert in_two(config, folder)["checkpoint"] == whole["checkpoint"]


TWO_NODES = """
import os, sys
from test_processes import DATASET, NODES_STUDENT, NODES_TEACHER
from deit_edu.runs import run as runs
from deit_edu.runs.checkpoints import digest

runs.open_dataset = lambda config: DATASET
weights = []
close = runs.Run.close
runs.Run.close = lambda run, *given: (weights.append(digest(run.student.state_dict())), close(run, *given))[1]
runs.train_pair(NODES_TEACHER, NODES_STUDENT, sys.argv[1], progress=False)
open(f"{sys.argv[1]}/weights-{os.environ['RANK']}", "w").write(weights[-1])
"""
NODES_TEACHER = toy_config(**STILL | dict(epochs=1), model="convnet_weak", batch_size=8)
NODES_STUDENT = toy_config(**STILL, **TAUGHT, batch_size=8)


def agent(log, environment, *arguments):
    """The command torchrun on a node of its own."""
    os.environ |= environment
    with open(log, "w") as said:
        os.dup2(said.fileno(), 1)
        os.dup2(said.fileno(), 2)
    torch.distributed.run.main([*map(str, arguments)])


def test_two_nodes_of_torchrun_train_one_pair_as_one_process_does(tmp_path, monkeypatch):
    script, folder = tmp_path / "two.py", tmp_path / "run"
    script.write_text(TWO_NODES)
    environment = {"PYTHONPATH": os.pathsep.join([str(ROOT / "tests"), str(ROOT)]), "OMP_NUM_THREADS": "1"}
    environment |= {"DEIT_EDU_RUNS": str(tmp_path / "runs")}
    where = ["--nnodes", 2, "--nproc-per-node", 1, "--rdzv-backend", "c10d", "--rdzv-id", "toy",
             "--rdzv-endpoint", f"127.0.0.1:{free_port()}", "--local-addr", "127.0.0.1"]  # fmt: skip
    logs = [tmp_path / f"node-{node}.log" for node in range(2)]
    nodes = [forked.start(agent, log, environment, *where, script, folder) for log in logs]
    for node in nodes:
        node.join()
    assert [node.exitcode for node in nodes] == [0, 0], "".join(log.read_text() for log in logs)
    ranks = [(folder / f"weights-{rank}").read_text() for rank in range(2)]
    record = read_json(folder / "result.json")
    assert ranks[0] == ranks[1] == record["checkpoint"] and record["machine"]["processes"] == 2
    assert record["config"]["batch_size"] == 8
    monkeypatch.setenv("DEIT_EDU_RUNS", str(tmp_path / "runs"))  # the teacher that the two have trained
    settings = dataclasses.replace(NODES_STUDENT, teacher=record["config"]["teacher"], batch_size=16)
    alone = train(settings, tmp_path / "one", dataset=DATASET, progress=False)
    assert losses(record) == pytest.approx(losses(alone), rel=1e-5)
