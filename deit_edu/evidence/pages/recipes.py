"""The recipes: how long each took and what it said, as book/_ext/run_recipes.py wrote it down."""

import html
import json

from deit_edu.errors import DeiTEduError
from deit_edu.evidence.ledger import ledger_folder
from deit_edu.evidence.pages.pieces import Text
from deit_edu.runs.machine import machine_name


def recorded():
    """The record of all recipes.

    Raises:
        DeiTEduError: where there is none.
    """
    path = ledger_folder() / "recipes.json"
    if not path.exists():
        raise DeiTEduError(f"no {path}: it comes with a clone of the repository")
    return json.loads(path.read_text())


def measured_on():
    """On what all recipes were measured."""
    record = recorded()
    return Text(f"""Each was run as it stands on {record["pictures"]} pictures of five kinds of tops, 28 pixels wide
({machine_name(record["machine"])}). Its time is that of one core, without the start of Python; with two it is
shorter. What it printed last stands in the fold.""")


def came_out(name, what_comes_out=True):
    """A recipe's time, and its last lines in a fold.

    Args:
        name: of the recipe. what_comes_out: False where the lines say nothing, as of weights that were drawn at random.
    """
    entry = recorded()["recipes"].get(name)
    if entry is None:
        return Text("*Not measured yet.*")
    took = entry["cpu_seconds"]
    time = f"{took:.0f} seconds" if took < 100 else f"{took / 60:.0f} minutes"
    told = f"*{time} of one core.*"
    if what_comes_out and entry["said"]:
        lines = html.escape("\n".join(entry["said"]))
        told += f"\n\n<details><summary>What it prints</summary>\n\n<pre>{lines}</pre>\n\n</details>"
    return Text(told)
