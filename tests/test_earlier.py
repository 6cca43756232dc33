"""Answers to earlier pictures: an image has its own answer back, a stopped run the same; epochs shown again."""

import pytest
import torch
from test_runs import stop_at_step
from toy import CPU, toy_config, toy_dataset

from deit_edu.errors import DeiTEduError
from deit_edu.runs.build import build_teacher
from deit_edu.runs.earlier import EarlierAnswers, check_asks, epochs_asked
from deit_edu.runs.evaluate import predict
from deit_edu.runs.run import prepare, train
from deit_edu.teachers import FrozenTeacher
from deit_edu.train import batches_of_epoch, shown_epoch, shown_order

DATA = toy_dataset(100)  # no whole number of batches: some images are left over in an epoch


@pytest.fixture(scope="module")
def teacher_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("taught") / "teacher"
    train(toy_config(model="convnet_weak", epochs=1), folder, dataset=DATA, progress=False)
    return str(folder)


def config_of(teacher_folder, **settings):
    return toy_config(**dict(teacher=teacher_folder, distillation="hard", tokens="both", epochs=3) | settings)


def answers_in(config, epoch, answers):
    """What the loop is told in an epoch: {index of an image: its logits}."""
    order = shown_order(DATA.train.labels, config, epoch)
    told = {}
    with answers.of_epoch(epoch):
        for indices in order.split(config.batch_size)[:6]:  # the whole batches
            told |= dict(zip(indices.tolist(), answers(torch.zeros(len(indices))), strict=True))
    return told


def test_an_image_has_the_answer_to_itself_in_every_epoch(teacher_folder):
    config = config_of(teacher_folder, ask_about="image")
    teacher = build_teacher(config, DATA)
    answers, expected = EarlierAnswers(teacher, config, DATA, CPU), predict(teacher, DATA.train, DATA).class_logits
    for epoch in range(2):
        told = answers_in(config, epoch, answers)
        assert len(told) == 96 and all(torch.equal(said, expected[index]) for index, said in told.items())


def test_an_image_has_the_answers_to_its_pictures_of_the_first_epochs_in_turn(teacher_folder):
    config = config_of(teacher_folder, ask_about="2")
    teacher = build_teacher(config, DATA)
    said = []
    for epoch in range(2):  # what it says of those pictures
        pictures = batches_of_epoch(config, DATA, epoch, CPU)
        said.append({i: one for where, images, _ in pictures for i, one in zip(where.tolist(), teacher(images))})  # noqa: B905
    answers = EarlierAnswers(teacher, config, DATA, CPU)
    for epoch in range(4):
        told = answers_in(config, epoch, answers)
        assert all(torch.equal(one, said[epoch % 2][index]) for index, one in told.items())
    assert any(not torch.equal(said[0][index], said[1][index]) for index in said[0])  # the pictures differ
    told = answers.to_dict()
    assert told.pop("asking_seconds") > 0 and told == {"asked": 14, "reused": 24}


def test_while_all_its_pictures_are_asked_about_a_run_is_the_one_that_asks_anew(tmp_path, teacher_folder):
    runs = [
        train(config_of(teacher_folder, ask_about=asked), tmp_path / asked, dataset=DATA, progress=False)
        for asked in ("pictures", "3", "1")
    ]
    anew, all_three, first = (run["checkpoint"] for run in runs)
    assert anew == all_three != first


def test_a_run_that_was_stopped_goes_on_with_the_same_answers(tmp_path, teacher_folder, monkeypatch):
    config = config_of(teacher_folder, ask_about="1")
    whole = train(config, tmp_path / "whole", dataset=DATA, progress=False)
    with monkeypatch.context() as stopped, pytest.raises(KeyboardInterrupt):
        stop_at_step(stopped, 15)
        train(config, tmp_path / "part", dataset=DATA, progress=False)
    part = train(config, tmp_path / "part", resume=True, dataset=DATA, progress=False)
    assert part["curve"] == whole["curve"]


def test_epochs_that_are_shown_again_are_the_same_and_their_answers_are_found(tmp_path, teacher_folder, monkeypatch):
    monkeypatch.setenv("DEIT_EDU_RUNS", str(tmp_path / "runs"))
    config = config_of(teacher_folder, replay=2, keep_answers=1)
    assert [shown_epoch(config, epoch) for epoch in range(5)] == [0, 1, 0, 1, 0]
    assert shown_epoch(config_of(teacher_folder), 4) == 4
    asked, forward = [], FrozenTeacher.forward
    monkeypatch.setattr(FrozenTeacher, "forward", lambda self, images: asked.append(1) or forward(self, images))
    record = train(config, tmp_path / "kept", dataset=DATA, progress=False)
    kept = record["kept_answers"]
    assert kept.pop("asking_seconds") > 0 and kept == {"classes": 1, "bytes": 2 * 96, "asked": 12, "reused": 6}
    assert len(asked) == 12 + 1  # the record asks how often the teacher is right


def test_what_cannot_be_asked_is_said():
    assert [epochs_asked(said) for said in ("pictures", "image", "5")] == [None, 0, 5]
    for said in ("0", "-1", "1.5", "images", ""):
        with pytest.raises(DeiTEduError, match="say pictures, image, or a number of epochs"):
            epochs_asked(said)
    with pytest.raises(DeiTEduError, match="ask_about is about a teacher's answers: name a teacher"):
        prepare(toy_config(ask_about="2"), DATA, CPU)
    check_asks(toy_config(mixup_alpha=0.8), CPU)
    with pytest.raises(DeiTEduError, match="alone: leave out mixup_alpha, repeats$"):
        check_asks(toy_config(ask_about="1", mixup_alpha=0.8, repeats=3), CPU)
