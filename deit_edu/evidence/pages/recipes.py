"""The recipes: how long each took and what it said, as book/_ext/run_recipes.py wrote it down."""

import json

from deit_edu.evidence.ledger import ledger_folder
from deit_edu.evidence.pages.pieces import Text, fold, together
from deit_edu.runs.machine import machine_name


def recorded():
    """The record of all recipes; {} where they have not been measured."""
    path = ledger_folder() / "recipes.json"
    return json.loads(path.read_text()) if path.exists() else {}


def measured_on():
    """On what all recipes were measured."""
    record = recorded()
    if not record:
        return Text("How long each takes is not measured yet: `book/_ext/run_recipes.py` does it.")
    return Text(f"""Each was run as it stands on {record["pictures"]} pictures of five kinds of tops, 28 pixels wide
({machine_name(record["machine"])}). Its time is that of one core, without the start of Python; with two it is
shorter. What it printed last stands in the fold.""")


def came_out(name, what_comes_out=True):
    """A recipe's time, and its last lines in a fold; None, of which a page shows nothing, where it is not measured.

    Args:
        name: of the recipe. what_comes_out: False where the lines say nothing, as of weights that were drawn at random.
    """
    entry = recorded().get("recipes", {}).get(name)
    if entry is None:
        return None
    took = entry["cpu_seconds"]
    time = f"{max(1, round(took))} s" if took < 100 else f"{took / 60:.0f} minutes"
    told = f"*{time} of one core.*"
    if what_comes_out and entry["said"]:
        lines = "\n".join(entry["said"])
        return together(told, fold("What it prints", f"```text\n{lines}\n```"))
    return Text(told)
