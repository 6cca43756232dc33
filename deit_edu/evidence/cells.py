"""Cells: the networks that an experiment trains, each with a name that follows from what it is.

A cell is (experiment, configuration, seed). Cells that come to the same config are the same run, under one key.
"""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from deit_edu.data.names import load_dataset
from deit_edu.errors import DeiTEduError, did_you_mean
from deit_edu.evidence.grids import EXPERIMENTS
from deit_edu.evidence.regime import BASE, TEACHERS
from deit_edu.runs.checkpoints import is_packaged
from deit_edu.train import SEEN_BY_BOTH, TrainConfig


@dataclass(frozen=True)
class Cell:
    """One network to train for one experiment. Cells with the same key are the same run."""

    experiment: str
    configuration: str
    seed: int
    config: TrainConfig  # names its teachers and the run it starts from by their keys, which are names of run folders
    key: str
    teachers: tuple = ()
    initial: "Cell | None" = None

    @property
    def shipped(self):
        """The names of its teachers that ship with the library."""
        return [name for name in (self.config.teacher or "").split("+") if is_packaged(name)]

    @property
    def needs(self):
        """The cells that must be trained before."""
        return (*self.teachers, *filter(None, [self.initial]))

    def __str__(self):
        return f"{self.experiment} {self.configuration} seed {self.seed}"


class Grid:
    """The cells of a scale.

    Args:
        scale: a key of BASE. data: a data set in place of the scale's own, for a copy that lies elsewhere.
        checksum: a function from a data set's name and image size to its checksum; by default the data are asked.

    Raises:
        DeiTEduError: for another scale.
    """

    def __init__(self, scale="tiny", data=None, checksum=None):
        if scale not in BASE:
            raise DeiTEduError(f"no experiments at scale {scale!r}: choose one of {', '.join(BASE)}")
        self.scale, self.base, self.data = scale, BASE[scale], data or BASE[scale]["data"]
        self.checksum = checksum or data_checksum

    def cells(self, name, seeds=None):
        """All cells of an experiment, seed by seed, so that what is done early can already be compared.

        Raises:
            DeiTEduError: for an experiment nobody knows.
        """
        if name not in EXPERIMENTS:
            near = did_you_mean(name, EXPERIMENTS)
            raise DeiTEduError(f"unknown experiment {name!r}: choose one of {', '.join(EXPERIMENTS)}, or all{near}")
        experiment = EXPERIMENTS[name]
        if self.scale not in experiment.scales:
            where = " or ".join(experiment.scales)
            raise DeiTEduError(f"{name} cannot be run at scale {self.scale}: it is made for {where}")
        return [
            self.cell(name, configuration, settings, seed)
            for seed in range(seeds or experiment.seeds)
            for configuration, settings in experiment.configurations.items()
        ]

    def cell(self, experiment, configuration, settings, seed):
        """Settings over the base -> a cell, and the cells of its teachers and of the run it starts from."""
        settings = {"data": self.data, **settings}
        role = settings.pop("role", "student")
        names, initial = settings.pop("teacher", ()), settings.pop("initial", None)
        shared = {name: settings[name] for name in SEEN_BY_BOTH if name in settings}
        # Every seed has teachers of its own, so that an interval speaks of the teacher's luck too. One that ships
        # with the library teaches every seed.
        shipped = [name for name in names if is_packaged(name)]
        teachers = tuple(
            self.cell(experiment, f"teacher {name}", shared | TEACHERS[name], seed + position)
            for position, name in enumerate(names)
            if name not in shipped
        )
        settings = self.base[role] | settings | {"seed": seed}
        if isinstance(initial, dict):
            initial = self.cell(experiment, "initial", initial, seed)
            settings["initial"] = initial.key
        elif initial is not None:  # one that ships with the library: every seed starts from it
            settings["initial"], initial = initial, None
        config = TrainConfig(**settings, teacher="+".join([*(teacher.key for teacher in teachers), *shipped]) or None)
        key = run_key(config, self.checksum(config.data, config.image_size))
        return Cell(experiment, configuration, seed, config, key, teachers, initial)


@cache
def data_checksum(name, image_size):
    return load_dataset(name, image_size=image_size or None).checksum


def data_label(name):
    """A data set's name without the folder it happens to lie in: folder:/home/me/cifar10 -> folder:cifar10."""
    kind, _, path = name.partition(":")
    return f"{kind}:{Path(path).name}" if path else name


def run_key(config, checksum):
    """The name of a run: a digest of what its config changes in the defaults, and of the data.

    Settings at their default are left out, so that a setting added later leaves the old keys as they are.
    """
    changed = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        if value != default:
            changed[field.name] = float(value) if field.type is float else value  # 2 and 2.0 are one number
    described = json.dumps(changed | {"data": [data_label(config.data), checksum]}, sort_keys=True)
    return f"run-{hashlib.sha256(described.encode()).hexdigest()[:16]}"


def unique_runs(cells):
    """Every run once, after those it needs: [Cell] -> [Cell]."""
    ordered = {}
    for cell in cells:
        for needed in (*unique_runs(cell.needs), cell):
            ordered.setdefault(needed.key, needed)
    return list(ordered.values())
