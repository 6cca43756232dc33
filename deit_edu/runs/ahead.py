"""Batches that are made ahead of the step: read, decoded and augmented while the network learns from the one before.

For pictures that lie on the disk; those in memory are there. Threads do it, not the processes of torch's DataLoader:
Pillow decodes and resizes outside of Python's lock, three quarters of the work, and a reader's script or notebook needs
no `if __name__ == "__main__"`, nothing is copied between processes, and none is left behind. Some four cores are kept
busy so; a machine that has more, and trains faster than these decode, has several processes (`torchrun`).
"""

import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice

import torch

from deit_edu.train import batches_of_epoch, steps_per_epoch

BATCHES = 2  # at most, that are made and wait for the step


@contextmanager
def made_ahead(dataset, config):
    """`Ahead` where the training images lie on the disk; None where memory holds them. Its thread ends with this.

    None as well with AutoAugment, which draws from PyTorch's own generator: so does the step, and the two would mix.

    Args:
        dataset: an ImageDataset. config: TrainConfig.
    """
    if not dataset.train.on_disk or config.auto_augment:
        yield None
        return
    # As many threads as here: a sum's last bit may depend on their number.
    pool = ThreadPoolExecutor(1, "ahead", torch.set_num_threads, [torch.get_num_threads()])
    try:
        yield Ahead(pool)
    finally:
        pool.shutdown(cancel_futures=True)


class Ahead:
    """`batches_of_epoch`, the whole batches alone, by a thread ahead of who asks: the same, in the same order.

    Args:
        pool: a ThreadPoolExecutor of one thread.
    """

    def __init__(self, pool):
        self.pool = pool
        self.waited = 0.0  # seconds that somebody has waited for batches of the last epoch

    def __call__(self, config, dataset, epoch, world):
        """As `batches_of_epoch`; what goes wrong in the thread goes wrong here."""
        self.waited, asked = 0.0, time.perf_counter()
        batches = islice(batches_of_epoch(config, dataset, epoch, world), steps_per_epoch(config, dataset, world))
        coming = deque(self.pool.submit(next, batches, None) for _ in range(BATCHES))
        while True:
            batch = coming.popleft().result()
            self.waited += time.perf_counter() - asked
            if batch is None:
                return
            coming.append(self.pool.submit(next, batches, None))
            yield batch
            asked = time.perf_counter()


def read_ahead(split, parts):
    """The images of a split, part by part; those on the disk are read by a thread while the part before is looked at.

    Args:
        split: a Split. parts: [(B,) indices]. Yields: images (B, C, H, W) uint8.
    """
    if not split.on_disk:
        yield from map(split.batch, parts)
        return
    with ThreadPoolExecutor(1, "ahead") as pool:
        coming = deque()
        for part in parts:
            coming.append(pool.submit(split.batch, part))
            if len(coming) == BATCHES:
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()
