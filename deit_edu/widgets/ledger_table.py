"""Ledger table: every record, to be searched, sorted and taken along as CSV."""

import json

import matplotlib.pyplot as plt
import traitlets

from deit_edu.errors import DeiTEduError
from deit_edu.evidence.ledger import Ledger
from deit_edu.evidence.table import record_rows
from deit_edu.reading.figures import COLOURS, NARROW, STYLE
from deit_edu.widgets.figure import Figure

SHORT = ("experiment", "configuration", "seed", "epochs", "test_class", "test_distillation", "test_fused", "seconds")
ALL = ""  # in place of an experiment or a length: none is chosen


class LedgerTable(Figure):
    """Choose records by word, experiment and length; sort them, read a page of them, take all that are chosen along.

    Args:
        rows: dicts with the same keys, as `deit_edu.evidence.table.record_rows` gives them.

    Raises:
        DeiTEduError: without rows.
    """

    columns = traitlets.List().tag(sync=True)  # their names
    short = traitlets.List(list(SHORT)).tag(sync=True)  # those that a narrow view shows
    rows = traitlets.Bytes().tag(sync=True)  # JSON: a list of values for each record
    words = traitlets.Unicode("").tag(sync=True)  # each must stand in a record
    experiment = traitlets.Unicode(ALL).tag(sync=True)
    epochs = traitlets.Unicode(ALL).tag(sync=True)
    sorted_by = traitlets.Unicode("").tag(sync=True)  # a column; "" is the order of the file
    descending = traitlets.Bool(False).tag(sync=True)
    page = traitlets.Int(1).tag(sync=True)
    every_column = traitlets.Bool(False).tag(sync=True)

    def __init__(self, rows):
        if not rows:
            raise DeiTEduError("the ledger holds no records: deit-edu ablate --list names the experiments to run")
        self._rows = rows
        super().__init__(columns=list(rows[0]), rows=json.dumps([list(row.values()) for row in rows]).encode())

    @classmethod
    def from_ledger(cls, ledger=None):
        """Every record of a ledger, by default of the one at hand."""
        return cls(record_rows(ledger or Ledger()))

    def picture(self):
        lengths = sorted({row["epochs"] for row in self._rows})
        with plt.rc_context(STYLE):
            fig, ax = plt.subplots(figsize=(NARROW, 0.7 + 0.28 * len(lengths)))
            for place, epochs in enumerate(lengths):
                found = [accuracy(row) for row in self._rows if row["epochs"] == epochs]
                ax.plot(found, [place] * len(found), "o", color=COLOURS["fused"], alpha=0.3)
            ax.set(yticks=range(len(lengths)), yticklabels=[f"{epochs} epochs" for epochs in lengths])
            ax.set(xlabel="test accuracy, %")
            ax.invert_yaxis()
        return fig

    def caption(self):
        counts = {}
        for row in self._rows:
            counts[row["epochs"]] = counts.get(row["epochs"], 0) + 1
        told = ", ".join(f"{count} of {epochs} epochs" for epochs, count in sorted(counts.items()))
        return f"Test accuracy of every record of the ledger, a dot for each, a line for each length: {told}."


def accuracy(row):
    """Of both heads, or of the only one."""
    return row["test_class"] if row["test_fused"] is None else row["test_fused"]
