"""A batch in parts: shared by the cores, or one part after the other where memory is short.

PyTorch shares every single operation among its threads. A small network has some hundreds of them in a step, most far
shorter than a millisecond: the threads wait for each other longer than they compute, and where another program has one
of the cores, all wait for that one, every time. The gradient of a batch is the mean of the gradients of its parts, so
the parts can be learned from side by side, and the cores meet once a step. A batch norm looks at a whole part: such a
network is shared only where its config says in how many parts it learns, whatever the machine.
"""

import copy
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch
from torch import nn

from deit_edu.model import DeiT
from deit_edu.runs.remembered import Remembered
from deit_edu.teachers import ConvNet, FrozenTeacher, WhiteningConvNet
from deit_edu.train import in_precision, learn

SMALLEST_PART = 32  # images: with fewer, a product has too few rows to keep a core busy


@contextmanager
def shared_learning(student, config, world):
    """What `train_epoch` finds gradients with: `Parts` where a batch can be shared, else `learn` itself.

    Inside, the parts have together the threads that PyTorch has outside. Where the config says to accumulate, they
    share one part of the batch, then the next; a convnet's parts themselves are learned from side by side.

    Args:
        student: a module. config: TrainConfig. world: a `World`.
    """
    threads, in_turn = torch.get_num_threads(), config.accumulate
    parts = min(threads, config.batch_size // in_turn // SMALLEST_PART)
    if isinstance(student, ConvNet | WhiteningConvNet):
        parts, in_turn = (in_turn, 1) if in_turn <= threads else (1, in_turn)
    if parts < 2 or not can_share(student, config, world):
        yield accumulated(config.accumulate, learn)
        return
    torch.set_num_threads(threads // parts)  # here too: helpers of this thread would wait for work on a part's core
    try:
        with ThreadPoolExecutor(parts, "part", torch.set_num_threads, [threads // parts]) as pool:
            yield accumulated(in_turn, Parts(student, parts, pool))
    finally:
        torch.set_num_threads(threads)


def accumulated(count, how):
    """`learn` from a batch in `count` parts, one after the other: their gradients add up to the batch's.

    Equal but for rounding, where the student has no batch norms: those see a part at a time. The memory for what the
    student computes on its way is that of one part.

    Args:
        how: `learn`, or `Parts`.
    """
    if count == 1:
        return how

    def learn_in_turn(student, teacher, objective, images, targets, world):
        teachers, loss = answers_by_part(teacher, images, count, world), 0.0
        parts = zip(teachers, images.tensor_split(count), targets.tensor_split(count), strict=True)
        for its_teacher, part, its_targets in parts:
            share = len(part) / len(images)

            def its_share(*said, share=share):
                return share * objective(*said)

            loss = loss + how(student, its_teacher, its_share, part, its_targets, world)
        return loss

    return learn_in_turn


def answers_by_part(teacher, images, count, world):
    """A teacher for each part of a batch: itself, or where it counts its batches, what it said of the whole one."""
    if teacher is None or isinstance(teacher, FrozenTeacher | Remembered):
        return [teacher] * count
    with in_precision(world):
        answers = teacher(images)  # (B, K)
    return [lambda _, answer=answer: answer for answer in answers.tensor_split(count)]


def can_share(student, config, world):
    """Whether the parts of a batch can be learned from side by side: nobody draws at random."""
    if config.distillation == "drawn" or world.device.type != "cpu" or world.size > 1:
        return False
    if isinstance(student, DeiT):
        return student.config.drop_rate == 0 and student.config.drop_path_rate == 0
    return isinstance(student, ConvNet | WhiteningConvNet)  # a compiled network belongs to one thread


class Parts:
    """`learn` with a part of the batch in each thread: the same loss and gradients, but for rounding.

    The result depends on the number of parts and not on who is ready first.

    Args:
        student: a module. parts: how many. pool: a ThreadPoolExecutor of as many threads.
    """

    def __init__(self, student, parts, pool):
        self.student, self.pool = student, pool
        # A copy has gradients of its own and the student's weights: an optimiser changes weights in place.
        self.copies = [copy.deepcopy(student).train() for _ in range(parts)]
        for its_copy in self.copies:
            for own, shared in zip(its_copy.parameters(), student.parameters(), strict=True):
                own.data = shared.data
        together = zip(student.modules(), *(one.modules() for one in self.copies), strict=True)
        self.norms = [each for each in together if isinstance(each[0], nn.BatchNorm2d)]  # the student's, the copies'

    def __call__(self, student, teacher, objective, images, targets, world):
        """As `learn`, for the student that it was made for."""
        parts = len(self.copies)
        teachers = answers_by_part(teacher, images, parts, world)
        batches = zip(self.copies, teachers, images.tensor_split(parts), targets.tensor_split(parts), strict=True)
        waiting = [self.pool.submit(learn, one, its, objective, *batch, world) for one, its, *batch in batches]
        losses = [each.result() for each in waiting]
        shares = [len(part) / len(images) for part in images.tensor_split(parts)]
        self.collect(shares)
        self.collect_norms()
        return sum(loss * share for loss, share in zip(losses, shares, strict=True))

    @torch.no_grad()
    def collect(self, shares):
        """Add the mean of the copies' gradients, each by its share of the batch, to the student's."""
        of_copies = zip(*(one.parameters() for one in self.copies), strict=True)
        for theirs, shared in zip(of_copies, self.student.parameters(), strict=True):
            if theirs[0].grad is not None:
                mean = sum(own.grad * share for own, share in zip(theirs, shares, strict=True))
                shared.grad = mean if shared.grad is None else shared.grad + mean
            for own in theirs:
                own.grad = None

    @torch.no_grad()
    def collect_norms(self):
        """Move the student's batch norms as if they had seen the parts one after the other, and the copies' with them.

        A norm that stands at r and sees a part alone comes to f(r), which is linear in r with the slope 1 - momentum:
        what a copy came to from r says where the student's comes to from elsewhere.
        """
        for norm, *theirs in self.norms:
            for name in ("running_mean", "running_var"):
                moved, own = getattr(norm, name), [getattr(one, name) for one in theirs]  # (C,) each
                before = moved.clone()
                for one in own:
                    moved.sub_(before).mul_(1 - norm.momentum).add_(one)
                for one in own:
                    one.copy_(moved)
            norm.num_batches_tracked += len(theirs)
