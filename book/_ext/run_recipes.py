"""Run every recipe of book/recipes.md on a small folder of pictures, and write down how long it took and what it said.

    python book/_ext/run_recipes.py             those whose lines have changed since, into book/ledger/recipes.json
    python book/_ext/run_recipes.py --again     all of them

The recipes run in the page's order, in one folder, since later ones use what earlier ones made. The tests run the same
lines at toy size.
"""

import argparse
import contextlib
import io
import json
import os
import re
import shlex
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import torch
from pair_notebooks import BOOK

import deit_edu.cli
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
CLASSES, EACH = "0,2,3,4,6", 30  # five kinds of tops, so many pictures of each


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


def follow(recipe, places):
    """Do what a recipe says, here: (seconds, seconds of one core, its last lines without the places).

    Raises:
        RuntimeError: when a command ends with an error.
    """
    begun, before, said = time.perf_counter(), time.process_time(), io.StringIO()
    with contextlib.redirect_stdout(said):
        for command in recipe.commands():
            if status := deit_edu.cli.main([filled(word, places) for word in command]):
                raise RuntimeError(f"recipe {recipe.name}: deit-edu {shlex.join(command)} ended with {status}")
        if recipe.language == "python":
            exec(filled(recipe.lines, places), {})
    took, cpu, told = time.perf_counter() - begun, time.process_time() - before, said.getvalue()
    for placeholder, place in places.items():
        told = told.replace(place, placeholder)
    return took, cpu, told.replace(f"{Path.cwd()}/", "").strip().splitlines()[-KEPT_LINES:]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--again", action="store_true", help="run all, recorded or not")
    args = parser.parse_args()
    record = json.loads(RECORD.read_text()) if RECORD.exists() else {"recipes": {}}
    known = {} if args.again else record["recipes"]
    record = {"pictures": 5 * EACH, "machine": machine(join_world(TrainConfig())), "recipes": dict(known)}
    found = recipes_of(PAGE.read_text("utf8"))
    with tempfile.TemporaryDirectory() as scratch, contextlib.chdir(scratch):
        os.environ |= {"DEIT_EDU_RUNS": str(Path(scratch, "runs")), "DEIT_EDU_DATA": str(Path(scratch, "data"))}
        places = lay_out(Path(scratch), EACH, dict(num_classes=1000))
        for recipe in found:
            told = known.get(recipe.name, {})
            makes_what_others_use = "--out" in recipe.lines
            if told.get("lines") == recipe.lines and not makes_what_others_use:
                continue
            seconds, cpu, said = follow(recipe, places)
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
