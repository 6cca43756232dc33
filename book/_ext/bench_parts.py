"""Where a step's time goes on one thread, and how far its products are from the machine's own peak."""

import time
from statistics import median

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from deit_edu.data import load_dataset
from deit_edu.losses import DistillationObjective
from deit_edu.model import create_model
from deit_edu.runs.recipes import recipe
from deit_edu.teachers import FrozenTeacher, as_head_logits, create_teacher, fold_norms
from deit_edu.train import TrainConfig, augmented_batch, make_optimizer, seeded_generator

KINDS = {  # what each of PyTorch's operations is for; the first name that fits counts
    "products": ("mm", "addmm", "bmm", "baddbmm", "convolution"),
    "norm": ("native_layer_norm", "native_layer_norm_backward"),
    "softmax": ("_softmax", "_softmax_backward_data", "_log_softmax", "_log_softmax_backward_data"),
    "GELU": ("gelu", "gelu_backward"),
    "copies": ("copy_", "cat", "clone", "fill_", "zero_"),
    "optimiser": ("_fused_adamw_", "_foreach_add_"),
    "sums and other elements": ("add", "add_", "mul", "mul_", "div", "div_", "sum", "mean", "neg", "where"),
}


class Step:
    """The tiny step taken apart, to be timed: what `deit_edu.train.learn` does, and what stands around it."""

    def __init__(self):
        self.config = TrainConfig(**recipe("tiny") | dict(distillation="hard", tokens="both"))
        self.dataset, self.generator = load_dataset(self.config.data), seeded_generator(0)
        self.student = create_model(self.config.model, distilled=True).train()
        self.teacher = FrozenTeacher(fold_norms(create_teacher("convnet", 1, self.dataset.num_classes)))
        self.objective = DistillationObjective("hard", "both")
        self.optimizer = make_optimizer(self.student, self.config)
        self.images, self.targets = self.augment()

    def augment(self):
        chosen = torch.randint(len(self.dataset.train), (self.config.batch_size,), generator=self.generator)
        images, labels = self.dataset.train.images[chosen], self.dataset.train.labels[chosen]
        return augmented_batch(images, labels, self.config, self.dataset, self.generator)

    def learn(self, said):
        """The student's part of a step: forward, loss, backward, optimiser; yields after each."""
        heads = as_head_logits(self.student(self.images))
        yield "student, forward"
        loss = self.objective(heads, self.targets, said)
        yield "loss"
        loss.backward()
        yield "student, backward"
        self.optimizer.step()
        self.optimizer.zero_grad()
        yield "optimiser"

    def parts(self):
        """All of a step, part by part."""
        self.images, self.targets = self.augment()
        yield "augmentation"
        said = self.teacher(self.images)
        yield "teacher"
        yield from self.learn(said)


def timed(parts):
    """Seconds of each part: {name: seconds}."""
    seconds, begun = {}, time.perf_counter()
    for name in parts:
        now = time.perf_counter()
        seconds[name], begun = now - begun, now
    return seconds


def peak(side=1024, rounds=20):
    """Operations per second of large float32 products, the best of some rounds."""
    a, b, best = torch.randn(side, side), torch.randn(side, side), float("inf")
    for _ in range(rounds):
        begun = time.perf_counter()
        a @ b
        best = min(best, time.perf_counter() - begun)
    return 2 * side**3 / best


def by_kind(step, said, steps):
    """Seconds that a student's step spends in each kind of operation: {kind: seconds}, as the profiler says."""
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        for _ in range(steps):
            list(step.learn(said))
    of_kind = dict.fromkeys(KINDS, 0.0)
    kinds = {f"aten::{name}": kind for kind, names in KINDS.items() for name in names}
    for one in seen.key_averages():
        if one.key in kinds:
            of_kind[kinds[one.key]] += one.self_cpu_time_total / 1e6 / steps
    return of_kind


def where_time_goes(steps=60):
    """One thread's time in a tiny step, and the student's useful operations against the machine's peak.

    Returns:
        {"parts": {part of a step: median seconds}, "kinds": {kind of operation of the student's: seconds; "overhead":
        what is between them}, "operations": of a student's step, "rounds": [seconds of one], "peak": a second}.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        step = Step()
        all_parts = [timed(step.parts()) for _ in range(steps + 5)][5:]  # the first five warm up
        parts = {name: median(one[name] for one in all_parts) for name in all_parts[0]}
        said = step.teacher(step.images)
        with FlopCounterMode(display=False) as counter:
            list(step.learn(said))
        rounds = [median(sum(timed(step.learn(said)).values()) for _ in range(steps // 5)) for _ in range(5)]
        kinds = by_kind(step, said, steps)
        kinds["overhead"] = max(0.0, median(rounds) - sum(kinds.values()))
        operations, most = counter.get_total_flops(), peak()
    finally:
        torch.set_num_threads(threads)
    return {"parts": parts, "kinds": kinds, "operations": operations, "rounds": rounds, "peak": most}
