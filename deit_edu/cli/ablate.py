"""deit-edu ablate: run an experiment of the paper again, with seeds, into the ledger."""

from deit_edu.cli.report import add_grid_arguments
from deit_edu.errors import DeiTEduError
from deit_edu.evidence.cells import Grid, data_checksum
from deit_edu.evidence.grids import EXPERIMENTS
from deit_edu.evidence.ledger import Ledger, ledger_for_writing
from deit_edu.evidence.report import Results
from deit_edu.evidence.runner import available_jobs, estimate_seconds, run_cells
from deit_edu.evidence.stopping import check_stopped
from deit_edu.evidence.verify import verify


def add_arguments(parser):
    parser.add_argument("name", nargs="?", metavar="NAME", help="an experiment, or all; without one, the list")
    add_grid_arguments(parser)
    parser.add_argument("--seeds", type=int, metavar="N", help="seeds 0 to N - 1 (default: the experiment's)")
    parser.add_argument(
        "--jobs",
        type=int,
        metavar="N",
        help="runs at a time, which share the cores (default: one a GPU, or one a core)",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--list", action="store_true", help="name the experiments, or the cells of one; run nothing")
    what.add_argument("--dry-run", action="store_true", help="say how many runs and about how long; run nothing")
    what.add_argument("--verify", type=int, metavar="N", help="run N recorded cells again and compare")


def run(chosen):
    for name in ("seeds", "jobs", "verify"):
        if getattr(chosen, name) is not None and getattr(chosen, name) < 1:
            raise DeiTEduError(f"--{name} is {getattr(chosen, name)}: it must be 1 or more")
    if chosen.name is None and any((chosen.dry_run, chosen.verify, chosen.jobs, chosen.seeds)):
        raise DeiTEduError("name an experiment, or all: deit-edu ablate --list names them")
    listing = chosen.list or chosen.name is None
    if listing and not chosen.data:  # what the ledger knows need not be fetched to be listed
        grid = Results(Ledger(), chosen.scale, checksum=data_checksum).grid
    else:
        grid = Grid(chosen.scale, chosen.data)
    here = [name for name, experiment in EXPERIMENTS.items() if chosen.scale in experiment.scales]
    names = here if chosen.name in (None, "all") else [chosen.name]
    cells = [cell for name in names for cell in grid.cells(name, chosen.seeds)]
    if listing:
        return list_cells(names, cells, Ledger())
    if chosen.dry_run:
        seconds, probed = estimate_seconds(cells, Ledger(), jobs=chosen.jobs)
        jobs = min(chosen.jobs or available_jobs(), max(1, len(seconds)))
        hours = sum(seconds.values()) / 3600
        print(f"{len(seconds)} runs to do, about {hours:.1f} hours of one process, {hours / jobs:.1f} with {jobs}"
              + (f"; {probed} speeds measured now over 20 steps, without evaluation" if probed else ""))  # fmt: skip
    elif chosen.verify:
        answers = verify(cells, Ledger(), chosen.verify, chosen.jobs, not chosen.quiet)
        for cell, same, sentence in answers:
            print(f"{'same ' if same else 'OTHER'}  {cell}: {sentence}")
        if wrong := sum(not same for _, same, _ in answers):
            raise DeiTEduError(f"{wrong} of {len(answers)} runs came out differently")
    else:
        with ledger_for_writing() as ledger:
            check_stopped(names, Results(ledger, chosen.scale))
            done = run_cells(cells, ledger, chosen.jobs, progress=not chosen.quiet)
            print(f"{chosen.name}: {len(done)} runs done now, all recorded in {ledger.path}; see deit-edu report")


def list_cells(names, cells, ledger):
    for name in names:
        mine = [cell for cell in cells if cell.experiment == name]
        recorded = sum(ledger.find(cell) is not None for cell in mine)
        print(f"{name:28} {recorded:3} of {len(mine):3} cells recorded   {EXPERIMENTS[name].title}")
    if len(names) == 1:
        for cell in cells:
            print(f"  {cell.key}  {cell.configuration:24} seed {cell.seed}  {'recorded' if ledger.find(cell) else ''}")
