"""Kept answers: what is kept is what the teacher says, and a run that uses them is the run that asks."""

import dataclasses
import errno
import json
import os

import pytest
import torch
import torch.nn.functional as F
from toy import CPU, toy_config, toy_dataset

from deit_edu.errors import DeiTEduError
from deit_edu.losses import soft_distillation
from deit_edu.runs import checkpoints
from deit_edu.runs.answers import Answers, answers_key, class_type, pack, unpack
from deit_edu.runs.build import build_teacher
from deit_edu.runs.run import train
from deit_edu.teachers import FrozenTeacher

DATA = toy_dataset()
MIXED = dict(distillation="hard", tokens="both", mixup_alpha=0.8, cutmix_alpha=1.0, rand_augment=True, erasing=0.25)


@pytest.fixture(scope="module")
def teacher_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("taught") / "teacher"
    train(toy_config(model="convnet_weak", epochs=1), folder, dataset=DATA, progress=False)
    return str(folder)


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("DEIT_EDU_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


@pytest.fixture
def questions(monkeypatch):
    """The number of images that teachers were asked about, batch by batch."""
    asked, forward = [], FrozenTeacher.forward

    def counted(self, images):
        asked.append(len(images))
        return forward(self, images)

    monkeypatch.setattr(FrozenTeacher, "forward", counted)
    return asked


def taught(folder, teacher_folder, dataset=DATA, resume=False, on_images=None, **settings):
    config = toy_config(**MIXED | {"teacher": teacher_folder} | settings)
    return train(config, folder, resume=resume, dataset=dataset, progress=False, on_images=on_images)


def test_runs_with_kept_answers_equal_the_run_without_to_the_last_bit_and_ask_once(tmp_path, teacher_folder, questions):
    asks = taught(tmp_path / "asks", teacher_folder)
    steps = len(questions)
    keeps = taught(tmp_path / "keeps", teacher_folder, keep_answers=1)
    assert len(questions) == 2 * steps
    finds = taught(
        tmp_path / "finds",
        teacher_folder,
        keep_answers=1,
        learning_rate=4e-3,
        model_settings={"patch_size": 2, "embed_dim": 16, "depth": 1, "num_heads": 2},
    )  # fmt: skip  another student, the same pictures
    again = taught(tmp_path / "again", teacher_folder, keep_answers=1)
    assert asks["checkpoint"] == keeps["checkpoint"] == again["checkpoint"] != finds["checkpoint"]
    assert asks["curve"] == again["curve"]
    batches = 2 * (len(DATA.train) // 16)
    assert len(questions) == 2 * steps + 2 * (steps - batches)  # the record asks how often the teacher is right
    assert [one["kept_answers"]["reused"] for one in (keeps, finds, again)] == [0, batches, batches]


def test_students_of_a_grid_share_all_that_a_teacher_said_to_the_last_bit(tmp_path, teacher_folder, questions):
    shared, kinds = tmp_path / "shared", {"soft": {}, "hard": {}, "class": {"tokens": "class"}}
    settings = {name: {"distillation": "soft" if name == "soft" else "hard"} | more for name, more in kinds.items()}
    configs = {name: toy_config(**MIXED | {"teacher": teacher_folder} | more) for name, more in settings.items()}
    batches, plain = 2 * (len(DATA.train) // 16), {}
    for name, config in configs.items():
        plain[name] = train(config, tmp_path / name, dataset=DATA, progress=False)
    steps = len(questions)
    for name, config in configs.items():
        record = train(config, tmp_path / f"{name} shared", dataset=DATA, progress=False, shared=shared)
        assert record["checkpoint"] == plain[name]["checkpoint"] and record["curve"] == plain[name]["curve"]
        asked = record["shared_answers"]["asked"], record["shared_answers"]["reused"]
        assert asked == ((batches, 0) if name == "soft" else (0, batches))
        assert set(record) - {"shared_answers"} == set(plain[name])
    assert len(questions) == 2 * steps - 2 * batches  # the second and the third asked nothing
    assert len(list(shared.iterdir())) == 2  # epochs


def in_an_epoch(teacher, answers, images):
    with answers.of_epoch(0):
        return [answers(batch) for batch in images]


def test_a_kept_answer_is_the_answer(teacher_folder, root):
    config = toy_config(teacher=teacher_folder, distillation="hard", keep_answers=1)
    soft = dataclasses.replace(config, distillation="soft", keep_answers=3)
    images = torch.randn(3, 16, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    teacher = build_teacher(config, DATA)
    for settings in (config, soft):
        for _ in range(2):  # asked, then from the disk
            answers = Answers(teacher, answers_key(teacher, settings, DATA, CPU), settings, DATA, CPU)
            for batch, kept in zip(images, in_an_epoch(teacher, answers, images), strict=True):
                said = teacher(batch)
                assert torch.equal(kept.argmax(-1), said.argmax(-1))
                if settings is soft:  # all three classes: what is lost is half precision
                    torch.testing.assert_close((kept / 3).softmax(-1), (said / 3).softmax(-1), atol=1e-3, rtol=2e-3)
        assert (answers.asked, answers.reused) == (0, 3)
    assert len(list((root / "answers").glob("*/epoch0000.safetensors"))) == 2


@pytest.mark.parametrize(("num_classes", "kept"), [(10, 3), (300, 5), (1000, 1000)])
def test_soft_answers_keep_the_likeliest_in_half_precision_and_the_rest_as_its_sum(num_classes, kept):
    logits = 3 * torch.randn(64, num_classes, generator=torch.Generator().manual_seed(0))
    batch = pack(logits, kept, temperature=3.0)
    assert batch["logs"].dtype == torch.float16 and batch["classes"].dtype == class_type(num_classes)
    true, found = (logits / 3).softmax(-1), (unpack(batch, num_classes, 3.0) / 3).softmax(-1)
    top = true.topk(kept, -1).indices
    torch.testing.assert_close(found.gather(1, top), true.gather(1, top), atol=1e-6, rtol=5e-3)
    torch.testing.assert_close(found.sum(-1), torch.ones(64))


def test_what_soft_answers_lose_is_measured_and_recorded(tmp_path, teacher_folder):
    losses = {}
    for kept in (1, 3):
        record = taught(tmp_path / f"{kept}", teacher_folder, distillation="soft", keep_answers=kept, epochs=1)
        losses[kept] = record["kept_answers"]
    assert 0 <= losses[3]["nats"] < 1e-5 < losses[1]["nats"] <= losses[1]["largest_nats"]
    logits = torch.randn(8, 3, generator=torch.Generator().manual_seed(1))
    batch = pack(logits, 1, 3.0)
    answers = object.__new__(Answers)
    answers.temperature, answers.num_classes, answers.far, answers.farthest = 3.0, 3, 0.0, 0.0
    answers.measure(logits, batch)
    expected = soft_distillation(unpack(batch, 3, 3.0), logits, 3.0) / 9  # KL from the teacher to what is kept
    assert answers.far == pytest.approx(expected.item(), rel=1e-4)


CHANGES = [
    {"seed": 1}, {"batch_size": 8}, {"crop_padding": 0}, {"flip": False}, {"mixup_alpha": 0.2}, {"erasing": 0.5},
    {"rand_augment": False}, {"repeats": 3}, {"train_images": 30}, {"balanced": True},
]  # fmt: skip


def test_other_pictures_data_or_teachers_have_answers_of_their_own(teacher_folder):
    config = toy_config(**MIXED, teacher=teacher_folder, keep_answers=1)
    teacher = build_teacher(config, DATA)
    key = answers_key(teacher, config, DATA, CPU)
    same = [{"epochs": 9}, {"learning_rate": 0.1}, {"model": "deit_tiny_patch16_224"}, {"device": "auto"}]
    for settings in same:
        assert answers_key(teacher, dataclasses.replace(config, **settings), DATA, CPU) == key, settings
    others = [answers_key(teacher, dataclasses.replace(config, **settings), DATA, CPU) for settings in CHANGES]
    others.append(answers_key(teacher, config, dataclasses.replace(DATA, checksum="other labels"), CPU))
    others.append(answers_key(teacher, config, dataclasses.replace(DATA, mean=(0.1,)), CPU))
    others.append(answers_key(teacher, config, DATA, dataclasses.replace(CPU, rank=1, size=2)))
    with torch.no_grad():
        next(teacher.parameters()).add_(1e-3)
    others.append(answers_key(teacher, config, DATA, CPU))
    assert len({key, *others}) == 1 + len(others)


def test_answers_to_other_pictures_are_noticed_and_the_teacher_is_asked_anew(teacher_folder):
    config = toy_config(teacher=teacher_folder, distillation="hard", keep_answers=1)
    teacher = build_teacher(config, DATA)
    images = torch.randn(3, 16, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    in_an_epoch(teacher, Answers(teacher, "key", config, DATA, CPU), images)
    images[1, 0, 0, 0, 0] += 1e-6
    answers = Answers(teacher, "key", config, DATA, CPU)
    with pytest.warns(UserWarning, match="the pictures are not those of the answers in .*key"):
        in_an_epoch(teacher, answers, images)
    assert (answers.asked, answers.reused) == (2, 1)
    answers = Answers(teacher, "key", config, DATA, CPU)  # they were kept in place of the others
    in_an_epoch(teacher, answers, images)
    assert (answers.asked, answers.reused) == (0, 3)


def test_a_damaged_file_is_named_and_the_teacher_asked_anew(tmp_path, teacher_folder, root):
    whole = taught(tmp_path / "whole", teacher_folder, keep_answers=1, epochs=1)
    (path,) = (root / "answers").glob("*/epoch0000.safetensors")
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.warns(UserWarning, match="epoch0000.safetensors is damaged .*; the teacher is asked anew"):
        again = taught(tmp_path / "again", teacher_folder, keep_answers=1, epochs=1)
    assert again["checkpoint"] == whole["checkpoint"] and again["kept_answers"]["reused"] == 0


def test_a_full_disk_is_one_line_and_the_run_goes_on(tmp_path, teacher_folder, monkeypatch, root):
    whole, original = taught(tmp_path / "whole", teacher_folder, epochs=2), os.fsync

    def fsync(number):
        if "/answers/" in os.readlink(f"/proc/self/fd/{number}"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        original(number)

    monkeypatch.setattr(checkpoints.os, "fsync", fsync)
    with pytest.warns(UserWarning, match="answers are not kept from here on: could not write .*No space left") as said:
        record = taught(tmp_path / "full", teacher_folder, keep_answers=1, epochs=2)
    assert record["checkpoint"] == whole["checkpoint"] and len(said) == 1
    assert not [path for path in (root / "answers").rglob("*") if path.is_file()]


def test_a_run_that_was_stopped_goes_on_with_its_answers(tmp_path, teacher_folder, questions):
    whole = taught(tmp_path / "whole", teacher_folder, epochs=3)

    def stop(images):
        if images > 96 + 40:  # in the second epoch
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        taught(tmp_path / "cut", teacher_folder, epochs=3, keep_answers=1, on_images=stop)
    record = taught(tmp_path / "cut", teacher_folder, epochs=3, keep_answers=1, resume=True)
    assert record["checkpoint"] == whole["checkpoint"]
    assert record["kept_answers"]["asked"] == 3 * 6 and record["kept_answers"]["reused"] == 0  # both sittings count
    other = taught(tmp_path / "other", teacher_folder, epochs=3, keep_answers=1)
    assert other["kept_answers"]["asked"] == 0 and other["checkpoint"] == whole["checkpoint"]


def test_their_size_is_said_beforehand_and_is_what_they_take(tmp_path, teacher_folder, root, capsys):
    config = toy_config(**MIXED | {"distillation": "soft"}, teacher=teacher_folder, keep_answers=2)
    train(config, tmp_path / "run", dataset=DATA)
    record = json.loads((tmp_path / "run/result.json").read_text())
    assert record["kept_answers"]["bytes"] == 2 * 96 * 2 * (1 + 2)  # epochs, images, classes, number and logarithm
    assert "the teacher's answers, 0.0 MB, are kept in" in capsys.readouterr().err
    config = toy_config(**MIXED | {"distillation": "none"}, keep_answers=2)
    with pytest.raises(DeiTEduError, match="keep_answers is about a teacher's answers: name a teacher"):
        train(config, tmp_path / "alone", dataset=DATA, progress=False)


def test_a_tie_is_decided_as_the_teacher_decides_it():
    logits = torch.tensor([[1.0, 2.0, 2.0], [0.0, 0.0, 0.0]])
    assert torch.equal(unpack(pack(logits, 1), 3).argmax(-1), logits.argmax(-1))
    labels = unpack(pack(logits, 1), 3)
    assert torch.equal(labels, F.one_hot(logits.argmax(-1), 3).float())
