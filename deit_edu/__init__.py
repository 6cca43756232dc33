"""DeiT, step by step: the method of data-efficient image transformers, to read and to run.

At the top is the method: patches, attention, model, losses, teachers, augment, train, inspect. Around it are the wings
`data`, `runs`, `evidence`, `reading` and `widgets`; `cli` is the command.
"""

import importlib
import importlib.abc
import importlib.machinery
import os
import sys
import warnings

__version__ = "0.2.0"

# Threads that share an operation spin for a millisecond before they sleep; where another program has one of the cores,
# they spin away its time at every operation, and a small network has hundreds. torch reads this when it is imported.
if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & set(os.environ):
    os.environ["GOMP_SPINCOUNT"] = "1000"

# Where the modules of 0.1 went. Their old names go on working, in notebooks that were saved before.
MOVED = {
    "bench": "runs.bench",
    "build": "runs.build",
    "cells": "evidence.cells",
    "checkpoints": "runs.checkpoints runs.weights",
    "claims": "evidence.claims",
    "clutter": "data.clutter",
    "downloads": "data.downloads",
    "evaluate": "runs.evaluate",
    "exercises": "reading.exercises",
    "experiments": "evidence.grids evidence.regime",
    "figures": "reading.figures",
    "folders": "data.folders data.imagenet data.found data.decode",
    "ledger": "evidence.ledger",
    "machine": "runs.machine",
    "recipes": "runs.recipes",
    "report": "evidence.report",
    "run_folders": "runs.folders",
    "runner": "evidence.runner",
    "source": "reading.source runs.machine",
    "verdicts": "evidence.verdicts",
    "verify": "evidence.verify",
}


class Moved(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds a module of 0.1 where it is now, and says so."""

    def find_spec(self, name, path=None, target=None):
        package, _, old = name.partition(".")
        return importlib.machinery.ModuleSpec(name, self) if package == __name__ and old in MOVED else None

    def exec_module(self, module):
        now = [f"{__name__}.{place}" for place in MOVED[module.__name__.partition(".")[2]].split()]
        warnings.warn(f"{module.__name__} is {' and '.join(now)} now", DeprecationWarning, stacklevel=2)
        places = [importlib.import_module(place) for place in now]

        def attribute(name):
            for place in places:
                if hasattr(place, name):
                    return getattr(place, name)
            raise AttributeError(f"{' and '.join(now)} have no {name!r}")

        module.__getattr__ = attribute


sys.meta_path.append(Moved())
