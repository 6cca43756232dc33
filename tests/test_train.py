"""The loop: what it shows to whom, how fast it learns, what it refuses."""

import copy
import dataclasses
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch
from references import random_deit, timm_name, timm_twin
from timm.optim import param_groups_weight_decay
from timm.scheduler import CosineLRScheduler
from timm.utils import ModelEmaV3
from torch import nn
from toy import CPU, changed, toy_config, toy_dataset, weights

from deit_edu import augment
from deit_edu.data import Split, normalise
from deit_edu.errors import DeiTEduError
from deit_edu.losses import smooth_labels
from deit_edu.model import HeadLogits
from deit_edu.runs.build import build_model, build_objective
from deit_edu.teachers import FrozenTeacher, create_teacher
from deit_edu.train import (
    Divergence,
    MovingAverage,
    TrainConfig,
    World,
    augmented_batch,
    choose_device,
    choose_precision,
    learning_rate_at,
    make_optimizer,
    parameter_groups,
    seeded_generator,
    steps_per_epoch,
    train_epoch,
    without_compiler,
)

DATASET = toy_dataset()
HERE = Path(__file__).resolve().parent
PATHS = os.pathsep.join(map(str, (HERE, HERE.parent)))  # where a process of its own finds toy.py and the library


def one_epoch(config, student=None, teacher=None, dataset=DATASET, epoch=0, world=CPU, on_step=None):
    """Train for one epoch: the student and the mean loss."""
    if student is None:
        torch.manual_seed(config.seed)
        student = build_model(config, dataset)
    loss = train_epoch(
        student,
        teacher,
        build_objective(config),
        make_optimizer(student, config),
        config,
        dataset,
        epoch,
        world,
        on_step or (lambda loss, count: None),
    )
    return student, loss


def toy_teacher(seed=1):
    torch.manual_seed(seed)
    return FrozenTeacher(create_teacher("convnet_weak", 1, 3))


class Spy(nn.Module):
    """Passes on what a network says, and remembers what it saw."""

    def __init__(self, model):
        super().__init__()
        self.model, self.seen, self.modes = model, [], []

    def forward(self, images):
        self.seen.append(images.clone())
        self.modes.append(self.model.training)
        return self.model(images)


# ---- learning rate ----


def test_learning_rate_rises_to_its_peak_and_falls_along_half_a_cosine():
    rate = [learning_rate_at(step, 100, 20, 0.5) for step in range(101)]
    assert rate[0] == 1e-6 and rate[20] == 0.5 and rate[100] == 1e-5  # the ends are the authors' code's
    assert rate[10] == pytest.approx((1e-6 + 0.5) / 2)
    assert rate[60] == pytest.approx((0.5 + 1e-5) / 2)
    assert rate[40] == pytest.approx(1e-5 + (0.5 - 1e-5) * (1 + math.cos(math.pi / 4)) / 2)
    assert rate[:21] == sorted(rate[:21]) and rate[20:] == sorted(rate[20:], reverse=True)


def test_learning_rate_is_timms_schedule():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.5)
    timms = CosineLRScheduler(
        optimizer, t_initial=80, lr_min=1e-5, warmup_t=20, warmup_lr_init=1e-6, warmup_prefix=True
    )
    for step in range(100):
        timms.step(step)
        assert learning_rate_at(step, 100, 20, 0.5) == pytest.approx(optimizer.param_groups[0]["lr"])


@pytest.fixture
def nobody_else(monkeypatch):
    """A process that counts as one of several waits for no other."""
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda loss: None)


@pytest.mark.parametrize("world_size", [1, 2])
def test_learning_rate_is_scaled_by_the_total_batch_over_512(world_size, nobody_else):
    config = toy_config(learning_rate=0.02, epochs=4, warmup_epochs=1)
    student = build_model(config, DATASET)
    optimizer = make_optimizer(student, config)
    used = []
    for epoch in range(4):
        train_epoch(
            student, None, build_objective(config), optimizer, config, DATASET, epoch,
            World(torch.device("cpu"), torch.float32, 0, world_size),
            lambda loss, count: used.append([group["lr"] for group in optimizer.param_groups]),
        )  # fmt: skip
    steps = 96 // (16 * world_size)  # in an epoch
    peak = 0.02 * 16 * world_size / 512
    expected = [learning_rate_at(step, 4 * steps, steps, peak) for step in range(4 * steps)]
    assert used == [[rate, rate] for rate in expected]
    assert max(expected) == peak


# ---- optimiser ----


@pytest.mark.parametrize("name", ["swin_tiny_patch4_window7_224", "crossvit_tiny_240", "levit_128s"])
def test_weight_decay_spares_what_a_network_of_timms_says(name):
    model = timm.create_model(name)
    theirs = param_groups_weight_decay(model, 0.05, no_weight_decay_list=model.no_weight_decay())
    sizes = [{id(parameter) for parameter in group["params"]} for group in parameter_groups(model, 0.05)]
    assert {frozenset(one) for one in sizes} == {frozenset(map(id, group["params"])) for group in theirs}


def test_the_rate_never_exceeds_its_peak():
    for peak in (0.0, 3.9e-6, 1e-3):
        assert max(learning_rate_at(step, 100, 20, peak) for step in range(101)) == pytest.approx(peak, abs=1e-12)


@pytest.mark.parametrize("distilled", [True, False])
def test_weight_decay_spares_what_timm_spares(distilled):
    model = random_deit(image_size=8, patch_size=4, in_channels=1, num_classes=3, embed_dim=16, depth=2, num_heads=2,
                        distilled=distilled)  # fmt: skip
    names = {id(parameter): timm_name(name) for name, parameter in model.named_parameters()}
    twin = timm_twin(model)
    timm_names = {id(parameter): name for name, parameter in twin.named_parameters()}

    def spared(groups, names):
        return {names[id(p)] for group in groups for p in group["params"] if group["weight_decay"] == 0}

    ours = parameter_groups(model, 0.05)
    theirs = param_groups_weight_decay(twin, 0.05, no_weight_decay_list=twin.no_weight_decay())
    assert spared(ours, names) == spared(theirs, timm_names)
    assert {group["weight_decay"] for group in ours} == {0.05, 0.0}
    every = [parameter for group in ours for parameter in group["params"]]
    assert len(every) == len(set(map(id, every))) == len(names)


def test_batch_norms_and_biases_of_a_teacher_do_not_decay():
    model = create_teacher("convnet", 1, 10)
    decaying = parameter_groups(model, 0.05)[0]["params"]
    assert {p.ndim for p in decaying} == {2, 4}
    assert len(decaying) == sum(isinstance(m, (nn.Conv2d, nn.Linear)) for m in model.modules())


def test_optimisers_are_the_papers():
    model = nn.Linear(2, 2)
    adamw = make_optimizer(model, toy_config())
    assert isinstance(adamw, torch.optim.AdamW) and adamw.defaults["eps"] == 1e-8
    assert adamw.defaults["betas"] == (0.9, 0.999)
    sgd = make_optimizer(model, toy_config(optimizer="sgd"))
    assert isinstance(sgd, torch.optim.SGD) and sgd.defaults["momentum"] == 0.9


@pytest.mark.parametrize("kind, settings", [(torch.optim.AdamW, {"fused": True}), (torch.optim.SGD, {"momentum": 0.9})])
def test_without_its_compiler_an_optimiser_steps_as_torchs_own_and_its_state_goes_from_one_to_the_other(kind, settings):
    def steps(model, optimizer):
        for images in torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(1)):
            optimizer.zero_grad()
            model(images).square().sum().backward()
            optimizer.step()

    theirs, ours = nn.Linear(4, 2), nn.Linear(4, 2)
    ours.load_state_dict(theirs.state_dict())
    torchs = kind(theirs.parameters(), lr=0.1, weight_decay=0.05, **settings)
    lean = without_compiler(kind)(ours.parameters(), lr=0.1, weight_decay=0.05, **settings)
    steps(theirs, torchs)
    steps(ours, lean)
    assert not changed(weights(theirs), weights(ours)) and all(weight.requires_grad for weight in ours.parameters())
    torchs.load_state_dict(copy.deepcopy(lean.state_dict()))  # the tensors of a state are taken as they are
    lean.load_state_dict(copy.deepcopy(torchs.state_dict()))
    lean.add_param_group({"params": [nn.Parameter(torch.zeros(2))]})
    steps(theirs, torchs)
    steps(ours, lean)
    assert not changed(weights(theirs), weights(ours))


def test_what_compiles_nothing_imports_neither_the_compiler_nor_what_a_run_does_not_need(tmp_path):
    """torch._dynamo, torchvision (which imports it) and scipy.stats take twice as long to import as torch itself."""
    script = f"""
import sys
from toy import toy_config, toy_dataset
import deit_edu.evidence.runner  # what the processes of a grid are
from deit_edu.runs import train
for model in "convnet_weak", "deit_nano_patch7_28":
    teacher = dict(teacher="{tmp_path}/convnet_weak", distillation="hard", tokens="both")
    config = toy_config(model=model, epochs=1, **({{}} if model == "convnet_weak" else teacher))
    train(config, "{tmp_path}/" + model, dataset=toy_dataset(), progress=False)
print([name for name in ("torch._dynamo", "torchvision", "scipy.stats", "sympy", "timm") if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=os.environ | {"PYTHONPATH": PATHS}
    )
    assert done.stdout == "[]\n", done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="other systems count a process by itself")
def test_the_memory_of_a_process_is_its_own_and_not_that_of_who_started_it():
    """In Linux ru_maxrss of a child begins at its parent's."""
    script = "from deit_edu.runs.machine import peak_memory; from deit_edu.train import *; " \
        "print(peak_memory(join_world(TrainConfig(device='cpu'))))"  # fmt: skip
    started = f"import subprocess, sys; large = bytearray(2**31); " \
        f"print(subprocess.run([sys.executable, '-c', {script!r}], capture_output=True, text=True).stdout)"  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", started], capture_output=True, text=True, env=os.environ | {"PYTHONPATH": PATHS}
    )
    assert 2**26 < int(done.stdout) < 2**31, done.stderr


@pytest.mark.parametrize(
    "optimizer,model,learning_rate", [("adamw", "deit_nano_patch7_28", 0.15), ("sgd", "convnet_weak", 2.0)]
)
def test_a_network_learns(optimizer, model, learning_rate):
    config = toy_config(model=model, learning_rate=learning_rate, optimizer=optimizer, epochs=24)
    torch.manual_seed(0)
    student = build_model(config, DATASET)
    before = one_epoch(config, student)[1]
    opt = make_optimizer(student, config)
    for epoch in range(config.epochs):
        after = train_epoch(
            student, None, build_objective(config), opt, config, DATASET, epoch, CPU, lambda *step: None
        )
    assert before > 1.0 > 0.75 > after  # log 3 is 1.10; smoothing leaves at least 0.39


# ---- moving average ----


@pytest.mark.parametrize("make", [lambda: build_model(toy_config(), DATASET), lambda: create_teacher("convnet", 1, 3)])
def test_moving_average_is_timms(make):
    model = make()
    ours, theirs = MovingAverage(model, 0.9), ModelEmaV3(model, decay=0.9)
    start = weights(model)
    for _ in range(3):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter))
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.add_(1.0)
                module.num_batches_tracked.add_(1)
        ours.update(model)
        theirs.update(model)
    expected = theirs.module.state_dict()
    for name, tensor in ours.state.items():
        torch.testing.assert_close(tensor, expected[name], msg=name)
    assert changed(start, ours.state) == changed(start, model.state_dict())  # it moved, and not the model with it


# ---- what teacher and student see ----


def test_teacher_and_student_see_the_same_augmented_and_mixed_images():
    config = toy_config(distillation="hard", tokens="both", mixup_alpha=0.8, cutmix_alpha=1.0, erasing=0.25)
    student, teacher = Spy(build_model(config, DATASET).eval()), Spy(toy_teacher())
    one_epoch(config, student, teacher)
    assert len(student.seen) == len(teacher.seen) == 6
    for ours, theirs in zip(student.seen, teacher.seen, strict=True):
        assert torch.equal(ours, theirs)
    clean = normalise(DATASET.train.images, DATASET.mean, DATASET.std)
    as_it_is = sum((clean == image).flatten(1).all(1).any().item() for image in torch.cat(student.seen))
    assert as_it_is <= 5  # CutMix may draw a rectangle of no pixel
    assert all(student.modes)


def test_teacher_learns_nothing_and_stays_in_eval_mode():
    config = toy_config(distillation="soft", tokens="both", learning_rate=0.1)
    teacher = Spy(toy_teacher())
    before = weights(teacher.model)
    teacher.train()  # whatever the loop says
    one_epoch(config, teacher=teacher)
    assert changed(before, teacher.model.state_dict()) == set()  # batch norm's statistics among them
    assert not any(teacher.modes) and not any(module.training for module in teacher.model.modules())
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in teacher.parameters())


def test_without_augmentation_the_batch_is_normalised_and_its_labels_smoothed():
    config = toy_config(crop_padding=0, flip=False, label_smoothing=0.2, smoothing_over="all")
    images, labels = DATASET.train.images[:7], DATASET.train.labels[:7]
    seen, targets = augmented_batch(images, labels, config, DATASET, seeded_generator(0))
    assert torch.equal(seen, normalise(images, DATASET.mean, DATASET.std))
    assert torch.equal(targets, smooth_labels(labels, 3, 0.2, "all"))
    assert seen.mean().abs() < 0.3 and 0.8 < seen.std() < 1.2
    mixed_never = dataclasses.replace(config, mixup_alpha=0.8, cutmix_alpha=1.0, mix_probability=0.0)
    assert torch.equal(augmented_batch(images, labels, mixed_never, DATASET, seeded_generator(0))[0], seen)


@pytest.mark.parametrize(
    "setting,function",
    [
        (dict(crop_padding=1), "random_crop"),
        (dict(flip=True), "random_flip"),
        (dict(rand_augment=True), "rand_augment"),
        (dict(auto_augment=True), "auto_augment"),
        (dict(erasing=0.5), "random_erasing"),
        (dict(mixup_alpha=0.8), "mixup"),
        (dict(cutmix_alpha=1.0), "cutmix"),
    ],
)
def test_each_augmentation_is_turned_on_by_its_setting(setting, function, monkeypatch):
    seen = []
    original = getattr(augment, function)

    def spy(images, *rest, **named):
        answer = original(images, *rest, **named)
        first = answer[0] if isinstance(answer, tuple) else answer
        if not torch.equal(first, images):
            seen.append(images)
        return answer

    monkeypatch.setattr(augment, function, spy)
    off = dict(crop_padding=0, flip=False)
    for settings in (off, off | setting):
        assert seen == []
        for turn in range(5):  # CutMix may draw a rectangle of no pixel
            augmented_batch(
                DATASET.train.images[:32], DATASET.train.labels[:32], toy_config(**settings), DATASET,
                seeded_generator(turn),
            )  # fmt: skip
    assert seen
    whole = function in ("random_crop", "random_flip", "rand_augment", "auto_augment")
    assert {images.dtype for images in seen} == {torch.uint8 if whole else torch.float32}


def test_an_epoch_shows_every_image_once_in_an_order_of_its_own():
    orders = []
    for seed, epoch in ((0, 0), (0, 1), (1, 0)):
        config = toy_config(crop_padding=0, flip=False, seed=seed)
        student = Spy(build_model(config, DATASET))
        one_epoch(config, student, epoch=epoch)
        orders.append(torch.cat(student.seen))
        assert len(orders[-1].flatten(1).unique(dim=0)) == len(DATASET.train)
        assert not any(torch.equal(orders[-1], other) for other in orders[:-1])


def test_two_processes_share_the_images_between_them(nobody_else):
    config = toy_config(crop_padding=0, flip=False)
    shown = []
    for rank in range(2):
        student = Spy(build_model(config, DATASET))
        one_epoch(config, student, world=World(torch.device("cpu"), torch.float32, rank, 2))
        shown.append(torch.cat(student.seen))
        assert len(shown[-1]) == 48
    assert len(torch.cat(shown).flatten(1).unique(dim=0)) == 96


def test_redrawn_data_follow_seed_and_epoch():
    calls = []

    def redraw(seed, epoch):
        calls.append((seed, epoch))
        return Split(255 - DATASET.train.images, DATASET.train.labels)

    config = toy_config(seed=7, batch_size=10, crop_padding=0, flip=False)
    student = Spy(build_model(config, DATASET))
    dataset = toy_dataset(redraw=redraw)
    one_epoch(config, student, dataset=dataset, epoch=3)
    assert calls == [(7, 3)]
    redrawn = {image.numpy().tobytes() for image in normalise(redraw(7, 3).images, dataset.mean, dataset.std)}
    assert {image.numpy().tobytes() for image in torch.cat(student.seen)} <= redrawn


# ---- the rows of table 3 ----

ROWS = [  # distillation, tokens
    ("none", "class"),
    ("soft", "class"),
    ("hard", "class"),
    ("soft", "both"),
    ("hard", "both"),
    ("none", "both"),  # the paper's control: two class tokens
]


@pytest.mark.parametrize("distillation,tokens", ROWS)
def test_every_row_of_table_3_trains_all_its_parameters(distillation, tokens):
    config = toy_config(distillation=distillation, tokens=tokens, batch_size=48, warmup_epochs=0)
    student = build_model(config, DATASET)
    before = weights(student)
    teacher = None if distillation == "none" else toy_teacher()
    one_epoch(config, student, teacher)
    assert changed(before, student.state_dict()) == set(before)
    assert student.config.distilled == (tokens == "both")
    assert ("distillation_head.weight" in before) == (tokens == "both")


def heads_that_change(distillation, tokens, change):
    """Which heads of a distilled student learn something else when the labels, or the teacher, are others."""
    objective = build_objective(toy_config(distillation=distillation, tokens=tokens))
    student = random_deit(image_size=8, patch_size=4, in_channels=1, num_classes=3, embed_dim=16, depth=1, num_heads=2)
    images = normalise(DATASET.train.images[:12], DATASET.mean, DATASET.std)
    labels, teacher_logits = DATASET.train.labels[:12], torch.randn(12, 3, generator=seeded_generator(1))
    gradients = []
    for turn in range(2):
        if turn and change == "labels":
            labels = (labels + 1) % 3
        if turn and change == "teacher":
            teacher_logits = teacher_logits.roll(1, dims=1)
        student.zero_grad()
        objective(student(images), smooth_labels(labels, 3, 0.1), teacher_logits).backward()
        heads = {"class": student.class_head.weight.grad, "distillation": student.distillation_head.weight.grad}
        gradients.append({name: torch.zeros(1) if grad is None else grad.clone() for name, grad in heads.items()})
    return {name for name in heads if not torch.equal(gradients[0][name], gradients[1][name])}


@pytest.mark.parametrize(
    "distillation,tokens,label_trains,teacher_trains",
    [
        ("none", "class", {"class"}, set()),
        ("soft", "class", {"class"}, {"class"}),
        ("hard", "class", {"class"}, {"class"}),
        ("soft", "both", {"class"}, {"distillation"}),
        ("hard", "both", {"class"}, {"distillation"}),
        ("none", "both", {"class", "distillation"}, set()),
    ],
)
def test_who_learns_from_whom(distillation, tokens, label_trains, teacher_trains):
    assert heads_that_change(distillation, tokens, "labels") == label_trains
    assert heads_that_change(distillation, tokens, "teacher") == teacher_trains


# ---- repeatability and precision ----


def test_an_epoch_repeats_bit_for_bit_and_follows_the_seed():
    settings = dict(
        drop_rate=0.1, drop_path_rate=0.2, mixup_alpha=0.8, cutmix_alpha=1.0, erasing=0.25, rand_augment=True
    )

    def from_the_same_beginning(drawn_before, seed=0):
        torch.manual_seed(0)
        student = build_model(toy_config(**settings), DATASET)
        torch.manual_seed(drawn_before)
        return one_epoch(toy_config(**settings, seed=seed), student)

    first, first_loss = from_the_same_beginning(5)
    second, second_loss = from_the_same_beginning(6)
    assert changed(weights(first), second.state_dict()) == set() and first_loss == second_loss
    third, _ = from_the_same_beginning(5, seed=1)
    assert changed(weights(first), third.state_dict()) == set(weights(first))


def test_seeded_generators_are_the_same_on_every_machine():
    assert torch.randint(1000, (3,), generator=seeded_generator(0, 5, 1)).tolist() == [316, 959, 940]
    streams = [torch.rand(4, generator=seeded_generator(*n)) for n in ((0, 1), (1, 0), (0, 0), (0, 0, 1), (1, 1))]
    for i, stream in enumerate(streams):
        assert not any(torch.equal(stream, other) for other in streams[:i])


def test_bfloat16_products_leave_weights_and_loss_in_float32():
    world = World(torch.device("cpu"), torch.bfloat16)
    config = toy_config(distillation="soft", tokens="both", precision="bfloat16")
    steps = []
    student, loss = one_epoch(config, teacher=toy_teacher(), world=world, on_step=lambda loss, n: steps.append(loss))
    assert {parameter.dtype for parameter in student.parameters()} == {torch.float32}
    assert {step.dtype for step in steps} == {torch.float32}
    exact, exact_loss = one_epoch(config, teacher=toy_teacher())
    assert loss != exact_loss and loss == pytest.approx(exact_loss, rel=0.02)


def test_the_objective_gets_float32_logits_whatever_the_precision():
    seen = []
    objective = build_objective(toy_config(distillation="soft", tokens="both"))
    objective.register_forward_pre_hook(lambda module, args: seen.extend([*args[0], args[1], args[2]]))
    config = toy_config(distillation="soft", tokens="both")
    student = build_model(config, DATASET)
    world = World(torch.device("cpu"), torch.bfloat16)
    train_epoch(student, toy_teacher(), objective, make_optimizer(student, config), config, DATASET, 0, world,
                lambda *step: None)  # fmt: skip
    assert len(seen) == 6 * 4 and {tensor.dtype for tensor in seen} == {torch.float32}


# ---- divergence ----


def check_losses(losses, every=5):
    divergence = Divergence(every=every)
    for step, loss in enumerate(losses):
        divergence.check(step, torch.tensor(loss), 0.25, last=step == len(losses) - 1)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_a_number_stops_with_step_rate_and_advice(bad):
    with pytest.raises(DeiTEduError) as error:
        check_losses([2.0] * 7 + [bad] + [2.0] * 20)
    assert str(error.value) == (
        "the loss is not a finite number by step 9 at learning rate 0.25: try a tenth of the learning rate, "
        "a longer warm-up, or precision float32"
    )


def test_a_loss_that_was_never_a_number_blames_the_input_and_not_the_learning_rate():
    with pytest.raises(DeiTEduError, match="not a finite number at the first step.*the input is to blame"):
        check_losses([math.nan] * 7)
    broken = dataclasses.replace(DATASET, std=(0.0,))  # what a channel that never changes would divide by
    config = toy_config(epochs=1)
    student = build_model(config, DATASET)
    with pytest.raises(DeiTEduError, match="the input is to blame .*, not the learning rate: look at the data with"):
        train_epoch(student, None, build_objective(config), make_optimizer(student, config), config, broken, 0, CPU,
                    lambda *step: None)  # fmt: skip
    with pytest.raises(DeiTEduError, match="by step 24 .* try a tenth of the learning rate"):  # a later epoch
        divergence = Divergence(every=5)
        for step in range(20, 30):
            divergence.check(step, torch.tensor(math.nan), 0.25)


def test_a_loss_that_rises_stops():
    with pytest.raises(DeiTEduError, match=r"the loss rose from 2 to 9 by step 4 at learning rate 0\.25"):
        check_losses([2.0] + [9.0, 9.0, 9.0, 16.0] + [2.0] * 5)
    check_losses([2.0] + [7.9] * 30)  # less than four times the first is not called diverging
    check_losses([0.01] + [3.9] * 30)  # nor is a loss near that of a guess


def test_an_epoch_of_few_steps_is_watched_too():
    with pytest.raises(DeiTEduError, match="by step 2 "):
        check_losses([2.0, math.nan, math.nan], every=20)


def test_a_learning_rate_far_too_high_is_caught_in_training():
    with pytest.raises(DeiTEduError, match=r"the loss .* by step \d+ at learning rate .*: try a tenth"):
        one_epoch(toy_config(learning_rate=1e6, warmup_epochs=0, optimizer="sgd"))


# ---- what cannot be ----


@pytest.mark.parametrize(
    "setting,value,expected",
    [
        ("epochs", 0, "1 or more, unless initial names the weights to measure"),
        ("epochs", -1, "a finite number, 0 or more"),
        ("batch_size", 0, "a finite number, 1 or more"),
        ("learning_rate", -0.1, "a finite number, 0 or more"),
        ("learning_rate", math.inf, "a finite number, 0 or more"),
        ("learning_rate", math.nan, "a finite number, 0 or more"),
        ("warmup_epochs", -1.0, "a finite number, 0 or more"),
        ("weight_decay", -1.0, "a finite number, 0 or more"),
        ("ema_decay", 1.5, "between 0 and 1"),
        ("crop_padding", -1, "a finite number, 0 or more"),
        ("erasing", 1.1, "between 0 and 1"),
        ("mixup_alpha", -1.0, "a finite number, 0 or more"),
        ("cutmix_alpha", -1.0, "a finite number, 0 or more"),
        ("mix_probability", -0.1, "between 0 and 1"),
        ("repeats", 0, "a finite number, 1 or more"),
        ("seed", -1, "between 0 and 4294967295"),
    ],
)
def test_a_setting_out_of_range_is_named(setting, value, expected):
    with pytest.raises(DeiTEduError) as error:
        TrainConfig(**{setting: value})
    assert str(error.value) == f"{setting} is {value}: it must be {expected}"


@pytest.mark.parametrize("batch_size,world_size", [(97, 1), (49, 2)])
def test_a_batch_larger_than_the_data_is_refused(batch_size, world_size):
    world = World(torch.device("cpu"), torch.float32, 0, world_size)
    with pytest.raises(
        DeiTEduError, match=f"does not fit the 96 training images: try one between 1 and {96 // world_size}"
    ):
        steps_per_epoch(toy_config(batch_size=batch_size), DATASET, world)
    assert steps_per_epoch(toy_config(batch_size=96 // world_size), DATASET, world) == 1
    assert steps_per_epoch(toy_config(batch_size=20), DATASET, world) == 96 // (20 * world_size)  # whole batches only


@pytest.mark.parametrize(
    "call,message",
    [
        (lambda: make_optimizer(nn.Linear(1, 1), toy_config(optimizer="lion")), "unknown optimiser 'lion': choose"),
        (
            lambda: choose_precision("float8", CPU.device),
            "unknown precision 'float8': choose auto, float32",
        ),
        (lambda: choose_device("tpu"), "device 'tpu' is not here: choose auto or one of .*cpu"),
    ],
)
def test_unknown_names_are_answered_with_the_known_ones(call, message):
    with pytest.raises(DeiTEduError, match=message):
        call()


def test_device_and_precision_choose_themselves(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert choose_device() == torch.device("cpu")
    assert choose_precision("auto", torch.device("cpu")) == torch.float32
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert choose_device() == torch.device("mps") and choose_precision("auto", torch.device("mps")) == torch.float32
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: True)
    assert choose_device() == torch.device("cuda") and choose_device("cpu") == torch.device("cpu")
    assert choose_precision("auto", torch.device("cuda")) == torch.bfloat16
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)  # a T4
    assert choose_precision("auto", torch.device("cuda")) == torch.float32
    assert choose_precision("bfloat16", torch.device("cuda")) == torch.bfloat16  # asked for by name


def test_any_network_to_logits_can_be_trained():
    network = timm.create_model("test_resnet", in_chans=1, num_classes=3)
    before = weights(network)
    one_epoch(toy_config(), network)
    assert "fc.weight" in changed(before, network.state_dict())
    assert isinstance(build_model(toy_config(), DATASET)(torch.zeros(1, 1, 8, 8)), HeadLogits)
