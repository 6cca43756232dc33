"""The ledger as a table: one row a record, or one row a cell of an experiment, for pandas and for the page."""

import hashlib
import json

from deit_edu.errors import DeiTEduError
from deit_edu.evidence.cells import unique_runs
from deit_edu.evidence.grids import EXPERIMENTS
from deit_edu.evidence.ledger import Ledger, settings_of
from deit_edu.evidence.regime import BASE
from deit_edu.evidence.report import HEADS, Results

ALL = "all"  # runs of every length, asked for by name


def row_of(record):
    """A record as a flat row: {column: value}; accuracies in per cent, seconds of the wall, None where not measured."""
    accuracies = {
        f"{split}_{head}": 100 * found["accuracy"] if (found := record[split].get(head)) else None
        for split in ("test", "validation")
        for head in HEADS
    }
    described = json.dumps(settings_of(record), sort_keys=True)
    machine = {name: record["machine"].get(name) for name in ("processor", "instructions", "threads", "precision")}
    made_by = {"torch": record["machine"].get("torch"), "python": record["machine"].get("python")}
    return {
        **{name: record[name] for name in ("experiment", "configuration", "seed", "epochs")},
        **{"model": record["config"].get("model"), "data": record["data"]["name"]},
        **accuracies,
        **{"parameters": record.get("parameters"), "seconds": record["seconds"]},
        **machine,
        **made_by,
        **{"library": record.get("library", {}).get("version"), "started": record.get("started")},
        "settings": hashlib.sha256(described.encode()).hexdigest()[:8],  # equal: one configuration
        "key": record["key"],
    }


def users(ledger):
    """{key: the experiments that read this record today}, by name; a record that none reads is not there."""
    found = {}
    for scale in BASE:
        grid = Results(ledger, scale).grid
        for name, experiment in EXPERIMENTS.items():
            if scale in experiment.scales:
                seeds = max([experiment.seeds, *(record["seed"] + 1 for record in ledger.records.values())])
                for cell in unique_runs(grid.cells(name, seeds)):
                    found.setdefault(cell.key, set()).add(name)
    return {key: sorted(names) for key, names in found.items() if key in ledger.records}


def record_rows(ledger, records=None):
    """Records as rows, by default all, in the order in which they were written, with the experiments that read them."""
    read_by = users(ledger)
    records = ledger.records.values() if records is None else records
    return [row_of(record) | {"used_by": " ".join(read_by.get(record["key"], []))} for record in records]


def records_table(epochs=None, ledger=None):
    """The ledger as a pandas table: one row a record, under the name of the experiment that was first to run it.

    A run that several experiments share has one row: compare within an experiment by `cells_table`.

    Args:
        epochs: only runs of this length; "all": of every length, to be told apart by the column `epochs`.
        ledger: a Ledger; by default the one at hand.

    Raises:
        DeiTEduError: when `epochs` is not given and runs of one name have several lengths; when no run has it.
    """
    ledger = ledger or Ledger()
    records = list(ledger.records.values())
    if epochs is None:
        refuse_mixed_lengths(records)
    elif epochs != ALL:
        known = sorted({record["epochs"] for record in records})
        records = [record for record in records if record["epochs"] == epochs]
        if not records:
            raise DeiTEduError(f"no run of {epochs} epochs is recorded: choose one of {', '.join(map(str, known))}")
    return frame(record_rows(ledger, records))


def cells_table(experiment, scale="tiny", ledger=None):
    """An experiment as a pandas table: one row a cell that is recorded, whichever experiment was first to run it.

    Runs are found by their settings, so those of one configuration have one length.

    Args:
        experiment: a key of EXPERIMENTS. scale: where it is run. ledger: a Ledger; by default the one at hand.

    Raises:
        DeiTEduError: for an experiment or a scale that nobody knows.
    """
    results = Results(ledger or Ledger(), scale)
    results.grid.cells(experiment, 1)  # is it one, and of this scale?
    rows = []
    for configuration in EXPERIMENTS[experiment].configurations:
        for seed in results.seeds(experiment):
            if record := results.record(experiment, configuration, seed):
                named = {"experiment": experiment, "configuration": configuration}
                rows.append(row_of(record) | named)
    return frame(rows)


def refuse_mixed_lengths(records):
    lengths = {}
    for record in records:
        lengths.setdefault((record["experiment"], record["configuration"]), set()).add(record["epochs"])
    mixed = {name: sorted(found) for name, found in lengths.items() if len(found) > 1}
    if mixed:
        told = ", ".join(
            f"{experiment} {configuration} ({' and '.join(map(str, found))} epochs)"
            for (experiment, configuration), found in mixed.items()
        )
        choose = f'choose with epochs={max(next(iter(mixed.values())))}, or take all with epochs="all"'
        raise DeiTEduError(f"one name, several lengths: {told}; {choose}")


def frame(rows):
    try:
        import pandas
    except ImportError:
        raise DeiTEduError("the table needs pandas: pip install pandas") from None
    return pandas.DataFrame(rows)
