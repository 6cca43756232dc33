"""A teacher's answers, kept on disk with the pictures' seed, so that it is asked once.

Students that share a teacher, a seed and an epoch see the same pictures, to the last bit. What the teacher said of them
is kept a file an epoch, in a folder whose name follows from all that decides pictures and answers. Hard distillation
needs its decision alone, so nothing is lost; soft distillation keeps the most likely classes in half precision, and how
far that is from what the teacher said is measured as it is stored. The students of a grid share all that it said.
"""

import hashlib
import json
import os
import time
import warnings
import zlib
from contextlib import contextmanager

import torch
import torch.nn.functional as F

from deit_edu.errors import DeiTEduError
from deit_edu.runs.checkpoints import digest, load, save
from deit_edu.runs.folders import runs_root
from deit_edu.train import steps_per_epoch

# What decides an epoch's pictures beside the data, and how they are answered.
PICTURES = (
    "seed", "batch_size", "image_size", "classes", "train_images", "balanced", "redraw", "repeats",
    "crop_padding", "flip", "rand_augment", "auto_augment", "erasing", "mixup_alpha", "cutmix_alpha", "mix_probability",
    "distillation", "compile",
)  # fmt: skip


def kept_classes(config, num_classes):
    """How many classes of an answer are kept: one for hard distillation, else as many as the config says."""
    return 1 if config.distillation == "hard" else min(config.keep_answers, num_classes)


def answers_key(teacher, config, dataset, world):
    """The name of the folder of these answers: a digest of the data, the teacher, the augmentation, seed and order.

    Args:
        teacher: a frozen network. config: TrainConfig. dataset: an ImageDataset. world: a `World`.
    """
    told = {name: getattr(config, name) for name in PICTURES}
    told |= {"data": dataset.checksum, "mean": dataset.mean, "std": dataset.std, "shape": dataset.image_shape}
    told |= {"kept": kept_classes(config, dataset.num_classes), "world": [str(part) for part in vars(world).values()]}
    if config.distillation != "hard":
        told["temperature"] = float(config.temperature)
    # The weights, and what leaves no trace in them: sizes, heads, how pictures are prepared.
    told["teacher"] = [digest(teacher.state_dict()), repr(teacher)]
    untold = ("config", "own", "given")
    told["teacher"] += [str(getattr(part, name, "")) for part in teacher.modules() for name in untold]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


class Counts:
    """What is counted of a teacher's answers, over the whole run: `counts` goes with every epoch, for a resumed one."""

    asked = reused = 0  # batches
    asking = 0.0  # seconds
    far = farthest = 0.0  # nats from the teacher's answers to the kept ones: sum of means, largest

    def counts(self):
        return {name: getattr(self, name) for name in ("asked", "reused", "asking", "far", "farthest")}

    def go_on(self, counts):
        """Count on from what `counts` said after the last whole epoch."""
        vars(self).update(counts)

    def to_dict(self):
        """What a record says: batches that the teacher was asked about, for how long, and that needed no asking."""
        return {"asked": self.asked, "reused": self.reused, "asking_seconds": self.asking}


class Answers(Counts):
    """Stands in for a teacher in the loop: answers from the disk what was asked before, and keeps what is asked now.

    Args:
        teacher: the frozen network, or its compiled form: images (B, C, H, W) -> logits (B, K).
        key: from `answers_key`. config: TrainConfig. dataset: an ImageDataset. world: a `World`.
    """

    def __init__(self, teacher, key, config, dataset, world):
        self.teacher, self.num_classes = teacher, dataset.num_classes
        self.kept = kept_classes(config, dataset.num_classes)
        self.temperature = None if config.distillation == "hard" else config.temperature
        self.folder = runs_root() / "answers" / key
        epochs = min(config.epochs, config.replay or config.epochs)
        self.images = steps_per_epoch(config, dataset, world) * config.batch_size * epochs
        self.full = False

    @property
    def bytes(self):
        """What the answers of the whole run take on the disk: a class's number, and for soft its log-probability."""
        return self.images * self.kept * (class_type(self.num_classes).itemsize + (2 if self.temperature else 0))

    @contextmanager
    def of_epoch(self, epoch):
        """Inside, the loop asks for the answers to the pictures of this epoch, batch after batch."""
        self.path = self.folder / f"epoch{epoch:04d}.safetensors"
        self.stored, self.batches, self.fresh = self.read(), [], False
        yield
        if self.fresh and not self.full:
            self.write()

    def read(self):
        """The batches of the epoch that are on the disk: [{name: tensor}]; none where no whole file is."""
        if not self.path.exists():
            return []
        try:
            tensors = load(self.path)[0]
            sizes = tensors.pop("sizes").tolist()
            parts = {name: tensor.split(1 if name == "pictures" else sizes) for name, tensor in tensors.items()}
            return [{name: part[step] for name, part in parts.items()} for step in range(len(sizes))]
        except (DeiTEduError, KeyError, RuntimeError) as error:
            warnings.warn(f"kept answers: {error}; the teacher is asked anew", stacklevel=2)
            return []

    def write(self):
        """Put the epoch's answers on the disk, in one piece; where that cannot be, the run goes on without."""
        tensors = {name: torch.cat([batch[name] for batch in self.batches]) for name in self.batches[0]}
        name, *_ = tensors.keys() - {"pictures"}  # that has one number for a whole batch
        tensors["sizes"] = torch.tensor([len(batch[name]) for batch in self.batches])
        own = self.path.with_suffix(f".{os.getpid()}")  # students of one teacher may run at the same time
        try:
            save(own, tensors)
            os.replace(own, self.path)
        except (DeiTEduError, OSError) as error:
            self.full = True
            warnings.warn(f"the teacher's answers are not kept from here on: {error}", stacklevel=2)

    def __call__(self, images):
        """(B, C, H, W) -> logits (B, K): the teacher's, as they are kept."""
        step, pictures = len(self.batches), torch.tensor([zlib.crc32(images.cpu().contiguous().numpy())])
        if step < len(self.stored) and not torch.equal(self.stored[step]["pictures"], pictures):
            warnings.warn(
                f"the pictures are not those of the answers in {self.folder} (another version of the library or of "
                f"the machine): the teacher is asked anew",
                stacklevel=2,
            )
            self.stored = []
        if step < len(self.stored):
            batch, self.reused = self.stored[step], self.reused + 1
        else:
            begun = time.perf_counter()
            said, self.fresh, self.asked = self.teacher(images).float().cpu(), True, self.asked + 1
            self.asking += time.perf_counter() - begun
            batch = self.packed(said)
        self.batches.append(batch | {"pictures": pictures})
        return self.unpacked(batch).to(images.device)

    def packed(self, said):
        """What is kept of logits (B, K): {name: tensor}."""
        batch = pack(said, self.kept, self.temperature)
        if self.temperature:
            self.measure(said, batch)
        return batch

    def unpacked(self, batch):
        """The logits (B, K) that `packed` kept."""
        return unpack(batch, self.num_classes, self.temperature)

    def measure(self, said, batch):
        """Add up how far the kept answers are from what the teacher said, in nats at the run's temperature."""
        true = F.log_softmax(said / self.temperature, dim=-1)
        kept = F.log_softmax(self.unpacked(batch) / self.temperature, dim=-1)
        apart = F.kl_div(kept, true, reduction="none", log_target=True).sum(dim=-1)  # (B,)
        self.far, self.farthest = self.far + apart.mean().item(), max(self.farthest, apart.max().item())

    def to_dict(self):
        """What a record says: how much is kept, how many batches were asked for or found, and what that cost."""
        told = {"classes": self.kept, "bytes": self.bytes} | super().to_dict()
        if self.temperature and self.asked:
            told |= {"nats": self.far / self.asked, "largest_nats": self.farthest}
        return told


class SharedAnswers(Answers):
    """All that a teacher said, to the last bit, for the students of a grid: soft and hard ones share it.

    Args:
        teacher, config, dataset, world: as for `Answers`. folder: Path of theirs alone.
    """

    def __init__(self, teacher, folder, config, dataset, world):
        super().__init__(teacher, "", config, dataset, world)
        self.folder = folder

    def packed(self, said):
        return {"logits": said}

    def unpacked(self, batch):
        return batch["logits"]

    to_dict = Counts.to_dict


def class_type(num_classes):
    """The smallest type that numbers these classes."""
    return torch.uint8 if num_classes <= 256 else torch.int16 if num_classes <= 2**15 else torch.int32


def pack(logits, kept, temperature=None):
    """A teacher's answers as they are stored.

    Args:
        logits: (B, K) float32. kept: how many classes. temperature: tau, or None for the decision alone.

    Returns:
        {"classes": (B, kept) the most likely first, "logs": (B, kept) float16, their log-probabilities at tau}; no
        logs for the decision alone.
    """
    numbers = class_type(logits.shape[-1])
    if temperature is None:
        return {"classes": logits.argmax(dim=-1, keepdim=True).to(numbers)}
    logs, classes = F.log_softmax(logits / temperature, dim=-1).topk(kept, dim=-1)
    return {"classes": classes.to(numbers), "logs": logs.half()}


def unpack(batch, num_classes, temperature=None):
    """Logits (B, K) that say what `pack` kept.

    For the decision alone they are 1 for its class, else 0. Otherwise the kept classes have their probabilities, and
    the others share what is left alike.
    """
    classes = batch["classes"].long()  # (B, kept)
    if temperature is None:
        return F.one_hot(classes[:, 0], num_classes).float()
    logs, others = batch["logs"].float(), num_classes - classes.shape[1]
    left = (1 - logs.exp().sum(dim=-1, keepdim=True)).clamp(min=1e-6)  # (B, 1)
    rest = (left / max(1, others)).log().expand(-1, num_classes)
    return temperature * rest.scatter(1, classes, logs)  # (B, K)
