"""Run every recipe of book/recipes.md on a small folder of pictures, and write down how long it took and what it said.

    python book/_ext/run_recipes.py             those whose lines have changed since, into book/ledger/recipes.json
    python book/_ext/run_recipes.py --again     all of them

The recipes run in the page's order, in one folder, since later ones use what earlier ones made. The tests run the same
lines at toy size.
"""

import argparse
import json
import os
import re
import resource
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import torch
from pair_notebooks import BOOK

from deit_edu.data import keep_classes, load_dataset
from deit_edu.data.written import write_folder
from deit_edu.model import create_model
from deit_edu.runs import to_timm_state_dict
from deit_edu.runs.checkpoints import write_atomically
from deit_edu.runs.machine import machine
from deit_edu.train import TrainConfig, join_world

PAGE, RECORD = BOOK / "recipes.md", BOOK / "ledger" / "recipes.json"
RECIPE = re.compile(r"^\(recipe-([\w-]+)\)=\n## (.+?)\n(.*?)(?=^\(recipe-|\Z)", re.M | re.S)
FENCE = re.compile(r"^```(bash|python)\n(.*?)\n```$", re.M | re.S)
KEPT_LINES = 12  # of what a recipe said last
CLASSES, EACH = "0,2,3,4,6", 8  # five kinds of tops, so many pictures of each


class Recipe(NamedTuple):
    """One aim of the page, and the lines under it."""

    name: str
    aim: str
    language: str  # bash or python
    lines: str

    def commands(self):
        """The command lines, their continuations joined, without `deit-edu`; [] for Python."""
        if self.language == "python":
            return []
        joined = self.lines.replace("\\\n", " ").splitlines()
        return [shlex.split(line)[1:] for line in joined if line.strip()]


def recipes_of(text):
    """Every recipe of a page, in order.

    Raises:
        ValueError: for one without lines to copy, or with two blocks of them.
    """
    found = []
    for name, aim, body in RECIPE.findall(text):
        blocks = FENCE.findall(body)
        if len(blocks) != 1:
            raise ValueError(f"recipe {name} has {len(blocks)} blocks of lines to copy: it needs one")
        found.append(Recipe(name, aim, *blocks[0]))
    return found


def lay_out(folder, each, official):
    """What the recipes take for granted, in a folder: {placeholder: what stands for it}.

    Args:
        folder: Path. each: pictures of each of the five classes. official: settings of the DeiT whose weights stand in
            for the authors' file; it is not trained.
    """
    tops = keep_classes(load_dataset("fashion_mnist_10k"), CLASSES)
    pictures = write_folder(tops, folder / "pictures", train=each) / "train"
    torch.manual_seed(0)
    model = create_model("deit_tiny_patch16_224", distilled=True, **official)
    torch.save({"model": to_timm_state_dict(model)}, folder / "WEIGHTS.pth")
    return {
        "folder:PATH": f"folder:{pictures}",
        "PICTURE": str(next(pictures.rglob("*.png"))),
        "WEIGHTS.pth": str(folder / "WEIGHTS.pth"),
    }


def filled(word, places):
    """A word of a command, or a program, with the reader's places put in."""
    for placeholder, place in places.items():
        word = word.replace(placeholder, place)
    return word


def run(recipe, folder, places):
    """Run one recipe: (exit status, seconds, seconds of one core, its last lines without the places)."""
    environment = os.environ | {"DEIT_EDU_RUNS": str(folder / "runs"), "PYTHONPATH": str(BOOK.parent)}
    calls = [["-c", "import sys; from deit_edu.cli import main; sys.exit(main())", *map(lambda w: filled(w, places), c)]
             for c in recipe.commands()] or [["-c", filled(recipe.lines, places)]]  # fmt: skip
    said, begun, before = "", time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    for call in calls:
        done = subprocess.run(
            [sys.executable, *call], cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        said += done.stdout
        if done.returncode:
            return done.returncode, 0, 0, done.stderr
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    for placeholder, place in places.items():
        said = said.replace(place, placeholder)
    said = said.replace(str(folder) + "/", "")
    return 0, time.perf_counter() - begun, cpu, said.strip().splitlines()[-KEPT_LINES:]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--again", action="store_true", help="run all, recorded or not")
    args = parser.parse_args()
    record = json.loads(RECORD.read_text()) if RECORD.exists() else {"recipes": {}}
    known = {} if args.again else record["recipes"]
    record = {"pictures": 5 * EACH, "machine": machine(join_world(TrainConfig())), "recipes": dict(known)}
    found = recipes_of(PAGE.read_text("utf8"))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        places = lay_out(folder, EACH, dict(num_classes=1000))
        for recipe in found:
            told = known.get(recipe.name, {})
            made = "--out" in recipe.lines  # what others may use: its folder has to be there
            if told.get("lines") == recipe.lines and not made:
                continue
            status, seconds, cpu, said = run(recipe, folder, places)
            if status:
                return f"error: recipe {recipe.name} ended with {status}:\n{said}"
            print(f"{recipe.name}: {seconds:.0f} s, {cpu:.0f} s of one core", flush=True)
            if told.get("lines") != recipe.lines:
                entry = {"lines": recipe.lines, "seconds": seconds, "cpu_seconds": cpu, "said": said}
                record["recipes"][recipe.name] = entry
                write_atomically(RECORD, (json.dumps(record, indent=1) + "\n").encode())
    kept = {recipe.name: record["recipes"][recipe.name] for recipe in found}  # in the page's order, without old ones
    write_atomically(RECORD, (json.dumps(record | {"recipes": kept}, indent=1) + "\n").encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
