"""Several processes, as torchrun starts them, learn what one learns from the same batches."""

import os
import socket
import warnings

import forked
import pytest
import torch
from toy import toy_config, toy_dataset

from deit_edu.runs import train
from deit_edu.runs.checkpoints import load
from deit_edu.runs.folders import read_json

STILL = dict(crop_padding=0, flip=False)  # each process augments differently
DATASET = toy_dataset()
LEARNS = {
    "plain": dict(STILL, epochs=4),
    "distilled": dict(STILL, epochs=4, distillation="hard", tokens="both"),
    "repeats": dict(STILL, epochs=4, repeats=3),
    "convnet": dict(STILL, epochs=1, model="convnet_weak"),
}


def one_of(rank, size, port, config, folder):
    """What torchrun does for a process of its own."""
    torch.set_num_threads(1)
    warnings.simplefilter("error")
    with open(f"{folder}.{rank}.log", "w") as log:
        os.dup2(log.fileno(), 2)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    train(config, folder, resume=True, dataset=DATASET, progress=False)
    torch.distributed.destroy_process_group()


def begun(config, folder, size=2):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return [forked.start(one_of, rank, size, port, config, folder) for rank in range(size)]


def in_two(config, folder):
    """A run in two processes: its record."""
    processes = begun(config, folder)
    for process in processes:
        process.join()
    said = "".join(folder.with_name(f"{folder.name}.{rank}.log").read_text() for rank in range(2))
    assert [process.exitcode for process in processes] == [0, 0], said
    assert "strides" not in said
    return read_json(folder / "result.json")


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
    assert len(alone["curve"]) == 4  # of six steps
    said = [load(tmp_path / count / "predictions.safetensors")[0] for count in ("one", "two")]
    for head in (key for key in said[0] if key.startswith("logits")):
        torch.testing.assert_close(said[1][head].float(), said[0][head].float(), rtol=0, atol=0.01)


def test_two_processes_that_were_killed_go_on_to_the_same_weights(tmp_path):
    config = toy_config(epochs=40, batch_size=8)
    whole = in_two(config, tmp_path / "whole")
    processes = begun(config, tmp_path / "killed")
    while not (tmp_path / "killed/resume.safetensors").exists():
        assert all(process.is_alive() for process in processes)
    for process in processes:
        process.kill()
        process.join()
    assert not (tmp_path / "killed/result.json").exists()
    assert in_two(config, tmp_path / "killed")["checkpoint"] == whole["checkpoint"]
