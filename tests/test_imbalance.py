"""Classes of unequal sizes: shown equally often, or weighed, when that is asked for."""

import dataclasses

import pytest
import torch
from toy import toy_config, toy_dataset

from deit_edu.data import Split, class_counts, class_weights
from deit_edu.runs.build import build_model, build_objective
from deit_edu.train import World, make_optimizer, shown_order, train_epoch, weights_of_classes

CPU = World(torch.device("cpu"), torch.float32)


@pytest.fixture(scope="module")
def uneven():
    """A toy whose first class has nine of ten training images."""
    toy = toy_dataset()
    labels = torch.zeros_like(toy.train.labels)
    labels[::10] = torch.arange(len(labels[::10])) % (toy.num_classes - 1) + 1
    return dataclasses.replace(toy, train=Split(toy.train.images, labels))


def test_balanced_epochs_show_every_class_equally_often_and_begin_anew(uneven):
    labels = uneven.train.labels
    first, second = (shown_order(labels, toy_config(balanced=True), epoch) for epoch in (0, 1))
    assert len(first) == len(labels) and not torch.equal(first, second)
    shown = torch.bincount(labels[first], minlength=uneven.num_classes)
    assert shown.max() - shown.min() <= 1
    assert torch.equal(first, shown_order(labels, toy_config(balanced=True), 0))


def test_without_asking_every_image_is_shown_once(uneven):
    assert shown_order(uneven.train.labels, toy_config(), 0).sort().values.tolist() == list(range(len(uneven.train)))


def test_repeats_and_balance_go_together(uneven):
    labels = uneven.train.labels
    order = shown_order(labels, toy_config(balanced=True, repeats=3), 0)
    assert len(order) == len(labels) and torch.equal(order[0::3][: len(order) // 3], order[1::3][: len(order) // 3])


@pytest.mark.parametrize("settings", [{}, {"train_images": 60}, {"balanced": True}, {"repeats": 3}])
def test_all_classes_of_what_is_shown_weigh_the_same_together(uneven, settings):
    config, labels = toy_config(class_weights=True, **settings), uneven.train.labels
    weights, mass = weights_of_classes(config, uneven), torch.zeros(uneven.num_classes)
    for epoch in range(30):  # repeats choose others in every epoch
        mass += torch.bincount(labels[shown_order(labels, config, epoch)], minlength=uneven.num_classes) * weights
    torch.testing.assert_close(mass / mass.sum(), torch.full_like(mass, 1 / len(mass)), atol=0.03, rtol=0)


def loss_of(dataset, **settings):
    """The loss of one batch of all training images, before anything is learned."""
    config = toy_config(batch_size=len(dataset.train), label_smoothing=0.0, **settings)
    torch.manual_seed(0)
    student = build_model(config, dataset)
    seen = []
    train_epoch(
        student, None, build_objective(config), make_optimizer(student, config), config, dataset, 0, CPU,
        lambda loss, count: seen.append(loss.item()),
    )  # fmt: skip
    return seen[0]


def test_class_weights_are_those_of_torchs_cross_entropy(uneven):
    config = toy_config(crop_padding=0, flip=False)
    torch.manual_seed(0)
    student = build_model(config, uneven)
    from deit_edu.data import normalise

    images = normalise(uneven.train.images, uneven.mean, uneven.std)
    logits = student(images).class_logits.detach()
    weights = class_weights(class_counts(uneven.train, uneven.num_classes))
    expected = torch.nn.functional.cross_entropy(logits, uneven.train.labels, weights)
    still = dict(crop_padding=0, flip=False, mixup_alpha=0.0, cutmix_alpha=0.0)
    assert loss_of(uneven, class_weights=True, **still) == pytest.approx(expected.item(), rel=1e-4)
    assert loss_of(uneven, **still) != pytest.approx(expected.item(), rel=1e-3)
