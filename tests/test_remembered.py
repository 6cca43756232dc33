"""What a teacher said of a picture is what it would say again, and it is asked less often."""

from dataclasses import replace

import pytest
import torch
from toy import CPU, toy_config, toy_dataset

from deit_edu.runs import choices, run, train
from deit_edu.runs.remembered import Remembered, picture_numbers, remembering, share_asked
from deit_edu.teachers import FrozenTeacher, create_teacher
from deit_edu.train import World, batches_of_epoch, shown_epoch

HARD = dict(distillation="hard", tokens="both")
DATASET = toy_dataset()


def counting(teacher, shown):
    return lambda images: shown.append(len(images)) or teacher(images)


@pytest.mark.parametrize("most", [0, 4, 1024])
def test_a_remembered_decision_is_the_teachers(most, monkeypatch):
    monkeypatch.setattr("deit_edu.runs.remembered.MOST", most)
    torch.manual_seed(0)
    teacher, shown = FrozenTeacher(create_teacher("convnet_weak", 1, 10)), []
    remembered = Remembered(counting(teacher, shown), 10)
    pictures = torch.randn(12, 1, 8, 8)
    for chosen in torch.randint(12, (9, 5)).unbind() + (torch.arange(1), torch.arange(12), torch.arange(12)):
        said = remembered(pictures[chosen])
        assert torch.equal(said.argmax(-1), teacher(pictures[chosen]).argmax(-1))
        assert set(said.flatten().tolist()) == {0.0, 1.0}
    assert remembered.asked + remembered.known == 9 * 5 + 1 + 12 + 12 and remembered.asked <= sum(shown)
    assert len(remembered.decisions) == min(most, 12)
    if most == 1024:
        assert remembered.asked < 20 and shown[-1] != 1
    assert 1 not in shown  # a picture alone would be summed in another order


def test_pictures_that_differ_in_one_bit_have_other_numbers():
    pictures = torch.zeros(65, 1, 8, 8)
    pictures.view(torch.int32).flatten(1)[torch.arange(64), torch.arange(64)] = 1
    assert len(set(picture_numbers(pictures).tolist())) == 65


def test_who_learns_from_remembered_decisions_learns_the_same(tmp_path, monkeypatch):
    train(toy_config(model="convnet_weak"), tmp_path / "teacher", dataset=DATASET, progress=False)
    config = toy_config(**HARD, teacher=str(tmp_path / "teacher"), epochs=4, warmup_epochs=0)
    made = []
    monkeypatch.setattr(run, "remembering", lambda *given: made.append(remembering(*given)) or made[-1])
    remembered = train(config, tmp_path / "remembered", dataset=DATASET, progress=False)
    monkeypatch.setattr(run, "remembering", lambda teacher, *rest: teacher)
    asked = train(config, tmp_path / "asked", dataset=DATASET, progress=False)
    assert remembered["checkpoint"] == asked["checkpoint"]
    assert made[0].known > 20 and made[0].asked + made[0].known == 4 * len(DATASET.train)


@pytest.mark.parametrize(
    "settings, dataset, world",
    [
        (dict(distillation="soft"), DATASET, CPU),
        (dict(compile=True), DATASET, CPU),
        (dict(erasing=0.1), DATASET, CPU),
        (dict(cutmix_alpha=1.0), DATASET, CPU),
        (dict(rand_augment=True), DATASET, CPU),
        ({}, replace(DATASET, redraw=lambda seed, epoch: DATASET.train), CPU),
        ({}, replace(DATASET, train=object()), CPU),
        ({}, DATASET, World(torch.device("cuda"), torch.float32)),
    ],
    ids=["soft", "compiled", "erased", "mixed", "augmented", "drawn anew", "decoded", "GPU"],
)
def test_a_teacher_is_asked_as_it_is_where_pictures_do_not_come_again(settings, dataset, world):
    teacher = FrozenTeacher(create_teacher("convnet_weak", 1, 3))
    assert remembering(teacher, toy_config(**HARD | settings), dataset, world) is teacher


SEEN = [
    dict(epochs=40),
    dict(epochs=12, replay=3),
    dict(epochs=12, replay=3, rand_augment=True, mixup_alpha=0.8),
    dict(epochs=8, train_images=30),
]


@pytest.mark.parametrize("settings", SEEN)
def test_the_share_of_pictures_that_a_teacher_is_shown_is_what_was_expected(settings):
    config = toy_config(**HARD | settings)
    remembered = remembering(lambda images: torch.zeros(len(images), 3), config, DATASET, CPU)
    for epoch in range(config.epochs):
        for _, images, _ in batches_of_epoch(config, DATASET, shown_epoch(config, epoch), CPU):
            remembered(images)
    share = remembered.asked / (remembered.asked + remembered.known)
    assert share == pytest.approx(share_asked(config, DATASET, CPU), rel=0.03)


def test_of_pictures_that_come_again_an_estimate_of_the_time_asks_the_teacher_less(monkeypatch):
    config = toy_config(**HARD, epochs=12, replay=3)
    asked = []
    monkeypatch.setattr(choices, "step_seconds", lambda student, teacher, *_: (asked.append(teacher) or len(asked), 8))
    seconds, measured = choices.seconds_of(config, DATASET, CPU, toy_config(model="convnet_weak"))
    share, steps = share_asked(config, DATASET, CPU), 6
    assert isinstance(asked[0], FrozenTeacher) and asked[1](torch.zeros(4, 1, 8, 8)).shape == (4, 3)
    assert seconds == pytest.approx(12 * steps * (share * 1 + (1 - share) * 2), rel=0.05) and measured == 8
