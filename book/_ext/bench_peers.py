"""Others' students beside ours: a training step, an answer, and an epoch of distillation the authors' way.

All in one process, in turn. A library that is not installed is left out with one line; `make bench` fetches them.
"""

import os
import sys
import time
from contextlib import nullcontext

import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from deit_edu.data import load_dataset
from deit_edu.losses import DistillationObjective
from deit_edu.model import MODELS, DeiT, DeiTConfig, HeadLogits, create_model
from deit_edu.runs.bench import TimmStudent, first_images
from deit_edu.runs.recipes import recipe
from deit_edu.runs.sharing import shared_learning
from deit_edu.teachers import FrozenTeacher, create_teacher, fold_norms
from deit_edu.train import TrainConfig, join_world, learn, make_optimizer, train_epoch

SHAPES = {  # what the student is, images in a batch, batches timed together
    "tiny": (MODELS["deit_nano_patch7_28"], 64, 10),
    "CIFAR-10, width 192": (dict(image_size=32, patch_size=4, num_classes=10), 64, 1),
    "DeiT-Ti": (MODELS["deit_tiny_patch16_224"], 8, 1),
}


class HuggingFaceStudent(nn.Module):
    """The distilled DeiT of transformers, of the same shape, its two outputs as HeadLogits."""

    def __init__(self, config):
        super().__init__()
        from transformers import DeiTConfig as Settings
        from transformers import DeiTForImageClassificationWithTeacher

        settings = dict(
            image_size=config.image_size, patch_size=config.patch_size, num_channels=config.in_channels,
            hidden_size=config.embed_dim, num_hidden_layers=config.depth, num_attention_heads=config.num_heads,
            intermediate_size=int(config.embed_dim * config.mlp_ratio), num_labels=config.num_classes,
        )  # fmt: skip
        self.model = DeiTForImageClassificationWithTeacher(Settings(**settings))

    def forward(self, images):
        said = self.model(images)
        return HeadLogits(said.cls_logits, said.distillation_logits)


class VitPytorchStudent(nn.Module):
    """vit-pytorch's student in its DistillWrapper, of the same shape; it learns by the wrapper's own loss."""

    def __init__(self, config):
        super().__init__()
        from vit_pytorch.distill import DistillableViT, DistillWrapper

        student = DistillableViT(
            image_size=config.image_size, patch_size=config.patch_size, channels=config.in_channels,
            num_classes=config.num_classes, dim=config.embed_dim, depth=config.depth, heads=config.num_heads,
            dim_head=config.embed_dim // config.num_heads, mlp_dim=int(config.embed_dim * config.mlp_ratio),
        )  # fmt: skip
        self.wrapper = DistillWrapper(student=student, teacher=None, hard=True)

    def forward(self, images):
        class_logits, token = self.wrapper.student(images, self.wrapper.distillation_token)
        return HeadLogits(class_logits, self.wrapper.distill_mlp(token))


def learn_by_wrapper(student, teacher, objective, images, targets, world):
    """As `learn`, by vit-pytorch's own loss."""
    student.wrapper.teacher = teacher
    loss = student.wrapper(images, targets)
    loss.backward()
    return loss.detach()


PEERS = {"timm": TimmStudent, "transformers": HuggingFaceStudent, "vit-pytorch": VitPytorchStudent}


def students(config):
    """Everyone's student of this shape, ours first: {name: module}."""
    found = {"ours": DeiT(config)}
    for name, make in PEERS.items():
        try:
            found[name] = make(config)
        except ImportError as error:
            print(f"{name} is left out: {error}; make bench fetches what it needs", file=sys.stderr)
    return found


def one_shape(settings, batch, steps, threads, rounds):
    """Seconds of training steps and of answers, in turn, after a round that is not counted.

    A training step is the student's alone: forward, loss, backward, optimiser; the teacher's answers are there.

    Args:
        settings: of DeiTConfig. batch: images. steps: timed together. threads: that each may use.

    Returns:
        {"training": {name: [seconds of each round]}, "answers": the same}.
    """
    config, run = DeiTConfig(**settings, distilled=True), TrainConfig(batch_size=batch)
    world, objective = join_world(run), DistillationObjective("hard", "both")
    images = torch.randn(batch, config.in_channels, *2 * [config.image_size])
    targets = F.one_hot(torch.arange(batch) % config.num_classes, config.num_classes).float()
    said = torch.randn(batch, config.num_classes)

    def teacher(asked):
        return said[: len(asked)]

    everyone = students(config)
    optimizers = {name: make_optimizer(student, run) for name, student in everyone.items()}
    seconds = {kind: {name: [] for name in everyone} for kind in ("training", "answers")}
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    for turn in range(rounds + 1):
        for name, student in everyone.items():
            student.train()
            theirs = nullcontext(learn_by_wrapper if name == "vit-pytorch" else learn)
            with shared_learning(student, run, world) if name == "ours" else theirs as how:
                begun = time.perf_counter()
                for _ in range(steps):
                    optimizers[name].zero_grad()
                    how(student, teacher, objective, images, targets, world)
                    optimizers[name].step()
                trained = time.perf_counter() - begun
            network = getattr(student.eval(), "model", student)  # timm's answers as it gives them
            with torch.no_grad():
                begun = time.perf_counter()
                for _ in range(steps):
                    network(images)
                answered = time.perf_counter() - begun
            if turn:
                seconds["training"][name].append(trained)
                seconds["answers"][name].append(answered)
    torch.set_num_threads(before)
    return seconds


def compare(thread_counts, rounds=5, shapes=SHAPES):
    """All shapes: [{"shape": , "kind": training or answers, "threads": , "seconds": {name: [of each round]}}]."""
    return [
        {"shape": shape, "kind": kind, "threads": threads, "seconds": seconds}
        for shape, (settings, batch, steps) in shapes.items()
        for threads in thread_counts
        for kind, seconds in one_shape(settings, batch, steps, threads, rounds).items()
    ]


# ---- an epoch of distillation ----

DRAWN = dict(crop_padding=4, rand_augment=True, erasing=0.25, mixup_alpha=0.8, cutmix_alpha=1.0, smoothing_over="all")


# Theirs, but for the bound of 9: at a strength of 10 timm 1.0 asks Pillow to keep 0 bits of a pixel, and 13 refuses.
RAND_AUGMENT = "rand-m9-mstd0.5-inc1-mmax9"


class Pictures(torch.utils.data.Dataset):
    """A split whose images go through a transform of PIL pictures, one by one."""

    def __init__(self, split, transform):
        self.split, self.transform = split, transform

    def __len__(self):
        return len(self.split)

    def __getitem__(self, index):
        return self.transform(Image.fromarray(self.split.images[index, 0].numpy())), int(self.split.labels[index])


class AuthorsWay:
    """The authors' loop (main.py, engine.py, losses.py), as far as it can be with images this small.

    PIL transforms in the workers of a DataLoader, timm's Mixup, the teacher in the loop, timm's student.

    Args:
        dataset: an ImageDataset. teacher: a network that is asked. config: TrainConfig. workers: of the DataLoader.
    """

    def __init__(self, dataset, teacher, config, workers):
        from timm.data import Mixup, create_transform
        from torchvision.transforms import RandomCrop

        side, K = dataset.image_shape[-1], dataset.num_classes
        transform = create_transform(
            side, is_training=True, auto_augment=RAND_AUGMENT, interpolation="bicubic",
            re_prob=config.erasing, re_mode="pixel", mean=dataset.mean, std=dataset.std,
        )  # fmt: skip
        transform.transforms[0] = RandomCrop(side, padding=config.crop_padding)  # as they do for small images
        self.mixup = Mixup(config.mixup_alpha, config.cutmix_alpha, label_smoothing=config.label_smoothing,
                           num_classes=K)  # fmt: skip
        self.loader = torch.utils.data.DataLoader(
            Pictures(dataset.train, transform), config.batch_size, shuffle=True, num_workers=workers, drop_last=True,
            persistent_workers=workers > 0,
        )  # fmt: skip
        self.student = TimmStudent(DeiTConfig(**MODELS[config.model], distilled=True)).train()
        self.teacher, self.optimizer = teacher.eval(), torch.optim.AdamW(self.student.parameters())

    def epoch(self):
        for images, labels in self.loader:
            images, targets = self.mixup(images, labels)
            said = self.student(images)
            with torch.no_grad():
                decided = self.teacher(images).argmax(dim=1)
            by_label = (-targets * said.class_logits.log_softmax(dim=-1)).sum(dim=-1).mean()
            loss = 0.5 * by_label + 0.5 * F.cross_entropy(said.distillation_logits, decided)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            loss.item()  # they look at every loss


def epochs(images=1280, rounds=3):
    """Seconds of an epoch of the tiny pair on the packaged images, mixed and augmented as in table 9.

    Returns:
        {"authors": [seconds of each round], "ours": [...]}.
    """
    config = TrainConfig(**recipe("tiny") | DRAWN | dict(distillation="hard", tokens="both"))
    dataset, world = first_images(load_dataset(config.data), images), join_world(config)
    nets = [create_teacher("convnet", 1, dataset.num_classes) for _ in range(2)]
    theirs = AuthorsWay(dataset, nets[0], config, os.cpu_count())
    teacher, student = FrozenTeacher(fold_norms(nets[1])), create_model(config.model, distilled=True)
    parts = (student, teacher, DistillationObjective("hard", "both"), make_optimizer(student, config), config, dataset)

    def ours():
        with shared_learning(student, config, world) as how:
            train_epoch(*parts, 0, world, lambda loss, count: None, learn=how)

    seconds = {"authors": [], "ours": []}
    for turn in range(rounds + 1):
        for name, epoch in (("authors", theirs.epoch), ("ours", ours)):
            begun = time.perf_counter()
            epoch()
            if turn:
                seconds[name].append(time.perf_counter() - begun)
    return seconds
