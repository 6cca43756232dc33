"""deit-edu report: tables and verdicts from the ledger."""

import os

from deit_edu.data.names import check_name
from deit_edu.evidence.ledger import Ledger
from deit_edu.evidence.report import report


def add_arguments(parser):
    add_grid_arguments(parser)
    parser.add_argument("--format", choices=("text", "markdown", "csv"), default="text")


def add_grid_arguments(parser):
    scale = os.environ.get("DEIT_EDU_SCALE") or "tiny"
    parser.add_argument("--scale", default=scale, help="tiny, small or own (default: %(default)s)")
    parser.add_argument("--data", help="a data set in place of the scale's own, such as folder:PATH")


def run(chosen):
    if chosen.data:
        check_name(chosen.data)
    print(report(Ledger(), chosen.scale, chosen.data, chosen.format))
