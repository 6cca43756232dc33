"""A batch shared by the cores: each learns from its part, and they meet once a step.

PyTorch shares every single operation among its threads. A small network has some hundreds of them in a step, most far
shorter than a millisecond: the threads wait for each other longer than they compute, and where another program has one
of the cores, all wait for that one, every time. The gradient of a batch is the mean of the gradients of its parts, so
the parts can be learned from side by side.
"""

import copy
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch

from deit_edu.model import DeiT
from deit_edu.runs.remembered import Remembered
from deit_edu.teachers import FrozenTeacher
from deit_edu.train import learn

SMALLEST_PART = 32  # images: with fewer, a product has too few rows to keep a core busy


@contextmanager
def shared_learning(student, config, world):
    """What `train_epoch` finds gradients with: `Parts` where a batch can be shared, else `learn` itself.

    Inside, the parts have together the threads that PyTorch has outside.

    Args:
        student: a module. config: TrainConfig. world: a `World`.
    """
    threads = torch.get_num_threads()
    parts = min(threads, config.batch_size // SMALLEST_PART)
    if parts < 2 or not can_share(student, config, world):
        yield learn
        return
    torch.set_num_threads(threads // parts)  # here too: helpers of this thread would wait for work on a part's core
    try:
        with ThreadPoolExecutor(parts, "part", torch.set_num_threads, [threads // parts]) as pool:
            yield Parts(student, parts, pool)
    finally:
        torch.set_num_threads(threads)


def can_share(student, config, world):
    """Whether the parts of a batch teach what the batch does: nobody draws at random, or looks at the others."""
    if config.distillation == "drawn":
        return False
    if world.device.type != "cpu" or world.size > 1 or not isinstance(student, DeiT):
        return False  # batch norm looks at the others; a compiled network belongs to one thread
    return student.config.drop_rate == 0 and student.config.drop_path_rate == 0


class Parts:
    """`learn` with a part of the batch in each thread: the same loss and gradients, but for rounding.

    The result depends on the number of parts and not on who is ready first.

    Args:
        student: a module. parts: how many. pool: a ThreadPoolExecutor of as many threads.
    """

    def __init__(self, student, parts, pool):
        self.student, self.pool = student, pool
        # A copy has gradients of its own and the student's weights: an optimiser changes weights in place.
        self.copies = [copy.deepcopy(student) for _ in range(parts)]
        for its_copy in self.copies:
            for own, shared in zip(its_copy.parameters(), student.parameters(), strict=True):
                own.data = shared.data

    def __call__(self, student, teacher, objective, images, targets, world):
        """As `learn`, for the student that it was made for."""
        parts = len(self.copies)
        if isinstance(teacher, FrozenTeacher | Remembered):
            teachers = [teacher] * parts
        else:  # it may count its batches: it is asked once, for all
            answers = [None] * parts if teacher is None else teacher(images).tensor_split(parts)
            teachers = [None if answer is None else lambda _, answer=answer: answer for answer in answers]
        batches = zip(self.copies, teachers, images.tensor_split(parts), targets.tensor_split(parts), strict=True)
        waiting = [self.pool.submit(learn, one, its, objective, *batch, world) for one, its, *batch in batches]
        losses = [each.result() for each in waiting]
        shares = [len(part) / len(images) for part in images.tensor_split(parts)]
        self.collect(shares)
        return sum(loss * share for loss, share in zip(losses, shares, strict=True))

    @torch.no_grad()
    def collect(self, shares):
        """Give the student the mean of the copies' gradients, each by its share of the batch."""
        of_copies = zip(*(one.parameters() for one in self.copies), strict=True)
        for theirs, shared in zip(of_copies, self.student.parameters(), strict=True):
            if theirs[0].grad is not None:
                shared.grad = sum(own.grad * share for own, share in zip(theirs, shares, strict=True))
            for own in theirs:
                own.grad = None
