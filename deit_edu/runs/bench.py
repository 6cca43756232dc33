"""Speed as a ratio: one distillation step with our student, against the same loop with timm's.

Everything runs in one process, in turn, so that a slow moment of the machine falls on both. `deit-edu bench` prints it.
"""

import dataclasses
import time
from contextlib import nullcontext
from statistics import median

import torch
from torch import nn
from tqdm import tqdm

from deit_edu.data.names import load_dataset
from deit_edu.data.splits import ImageDataset, Split
from deit_edu.errors import DeiTEduError, counted
from deit_edu.losses import DistillationObjective
from deit_edu.model import MODELS, HeadLogits, create_model
from deit_edu.runs.machine import can_compile, compiled, machine, machine_name
from deit_edu.runs.recipes import recipe
from deit_edu.runs.sharing import shared_learning
from deit_edu.runs.weights import timm_settings
from deit_edu.teachers import FrozenTeacher, create_teacher, fold_norms
from deit_edu.train import TrainConfig, join_world, learn, make_optimizer, train_epoch


class TimmStudent(nn.Module):
    """timm's distilled DeiT of the same shape, its two outputs as HeadLogits."""

    def __init__(self, config):
        super().__init__()
        import timm  # takes seconds: only who compares waits

        name, settings = timm_settings(config)
        self.model = timm.create_model(name, **settings)
        self.model.set_distilled_training(True)

    def forward(self, images):
        return HeadLogits(*self.model(images))


def first_images(dataset, count):
    """The same data set with only its first `count` training images."""
    train = Split(dataset.train.images[:count], dataset.train.labels[:count])
    fields = {field.name: getattr(dataset, field.name) for field in dataclasses.fields(ImageDataset)}
    return ImageDataset(**{**fields, "train": train})


def measure(steps, rounds):
    """Seconds per step of the whole loop: augment, teacher, student, loss, optimiser, at the tiny recipe's shape.

    Args:
        steps: in one timed round. rounds: timed in turn, after one that is not counted (it compiles).

    Returns:
        {contender: [seconds per step of each round]}.

    Raises:
        DeiTEduError: for fewer than one step or round, or more steps than the data have images.
    """
    if steps < 1 or rounds < 1:
        raise DeiTEduError(f"bench needs at least 1 step and 1 round, got {steps} and {rounds}")
    config = TrainConfig(**recipe("tiny", role="student") | dict(distillation="hard", tokens="both"))
    dataset = load_dataset(config.data)
    if steps * config.batch_size > len(dataset.train):
        raise DeiTEduError(f"{counted(steps, 'step')} need more than {len(dataset.train)} images: try --steps 40")
    dataset = first_images(dataset, steps * config.batch_size)
    world = join_world(config)
    student = create_model(config.model, distilled=True)
    teacher = FrozenTeacher(fold_norms(create_teacher("convnet", 1, dataset.num_classes))).to(world.device)
    timm_student = TimmStudent(student.config)
    contenders = {"timm": (timm_student, teacher), "ours": (student, teacher)}
    contenders["ours, not shared"] = (create_model(config.model, distilled=True), teacher)  # as timm's: by operations
    if can_compile():
        fast_teacher = compiled(teacher)
        contenders["timm, compiled"] = (compiled(TimmStudent(student.config)), fast_teacher)
        contenders["ours, compiled"] = (compiled(create_model(config.model, distilled=True)), fast_teacher)
    prepared = {}
    for name, (model, its_teacher) in contenders.items():
        model = model.to(world.device)
        prepared[name] = (model, its_teacher, DistillationObjective(), make_optimizer(model, config), config, dataset)
    seconds = {name: [] for name in contenders}
    for turn in tqdm(range(rounds + 1), desc="rounds, the first of which compiles", leave=False):
        for name, parts in prepared.items():
            started = time.perf_counter()
            with shared_learning(parts[0], config, world) if name == "ours" else nullcontext(learn) as how:
                train_epoch(*parts, 0, world, lambda loss, count: None, learn=how)
            if turn:
                seconds[name].append((time.perf_counter() - started) / steps)
    return seconds


@torch.no_grad()
def throughput(networks, images, rounds=5):
    """Images per second of each network's forward pass, in eval mode, one batch after another.

    Paper: table 5 (there, on a V100 with the largest batch that fits). A speed is the same with any weights.

    Args:
        networks: {name: module}. images: (B, C, H, W), one batch. rounds: timed in turn, after one that is not counted.

    Returns:
        {name: the median over rounds}; the networks are left in eval mode.
    """
    wait = torch.cuda.synchronize if images.is_cuda else lambda: None  # a GPU answers before it has computed
    seconds = {name: [] for name in networks}
    for turn in range(rounds + 1):
        for name, network in networks.items():
            network.eval()
            wait()
            started = time.perf_counter()
            network(images)
            wait()
            if turn:
                seconds[name].append(time.perf_counter() - started)
    return {name: len(images) / median(times) for name, times in seconds.items()}


def report(steps, rounds):
    """Print milliseconds per step of each contender, and timm's over ours, round by round."""
    seconds = measure(steps, rounds)
    shape = MODELS["deit_nano_patch7_28"]
    here, batch = machine(join_world(TrainConfig())), recipe("tiny", role="student")["batch_size"]
    where = f"{machine_name(here)}, {counted(here['threads'], 'thread')}, {here['precision']}"
    print(f"one distillation step, batch {batch}, {shape}, {where}")
    for name, times in seconds.items():
        ratios = [reference / time for reference, time in zip(seconds["timm"], times, strict=True)]
        print(
            f"  {name:16} {1000 * median(times):6.1f} ms   {median(ratios):.2f} times timm's speed "
            f"({min(ratios):.2f} to {max(ratios):.2f})"
        )
