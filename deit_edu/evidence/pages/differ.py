"""Why do my numbers differ? What a run's bits depend on, by how much runs part, and what --verify says."""

from collections import Counter
from statistics import median

from deit_edu.evidence.grids import EXPERIMENTS
from deit_edu.evidence.pages.pieces import evidence, fold, said, table
from deit_edu.evidence.power import sensitivities, typical_spread
from deit_edu.evidence.report import retrained
from deit_edu.evidence.verify import bound_of, noise_of_experiment, seed_noise, trained_twice
from deit_edu.runs.machine import machine_name


def kinds(ledger):
    """What computed the records: {(processor, threads, precision, torch, Python): how many}."""
    found = Counter()
    for record in ledger.records.values():
        machine = record["machine"]
        name = machine_name(machine)
        found[name, machine["threads"], machine["precision"], machine["torch"], machine["python"]] += 1
    return found


def machines():
    """The kinds of machine of the ledger."""
    rows = [(*kind, count) for kind, count in kinds(evidence().ledger).most_common()]
    return said(table(("processor", "threads", "precision", "torch", "Python", "runs"), rows))


def answer():
    spread, count = typical_spread(sensitivities(evidence().results))
    apart = bound_of((spread.single, spread.freedom))
    return said(f"""On the same kind of machine: by nothing, to the last bit. On another kind: about as much as with
another seed. Seeds of one configuration spread by {spread.single:.2f} points of accuracy (a standard deviation, pooled
over the networks of {count} claims), so two runs may be {apart:.1f} points apart and mean the same.""")


def measured():
    """Networks that were trained on two kinds of machine, and what each could do."""
    ledger = evidence().ledger
    rows = [
        (f"convnet, seed {teacher['seed']}", f"{epochs}", f"{first:.2f}", f"{again:.2f}", f"{again - first:+.2f}")
        for teacher, epochs, first, again in trained_twice(ledger)
    ]
    twice = trained_twice(ledger)
    networks = len({teacher["key"] for teacher, *_ in twice})
    apart = [abs(again - first) for *_, first, again in twice]
    columns = ("network", "students' epochs", "first, %", "again, %", "apart")
    return said(f"""A run is recorded once, so no cell stands in the ledger twice. But {retrained(ledger)} runs learned
from, or began as, a network whose weights were gone and that was trained again, with its settings and its seed, and
came out different on another kind of machine. {networks} such teachers were asked, both times, about the very same
training images, so that we can compare:

{table(columns, rows)}

They part by {min(apart):.2f} to {max(apart):.2f} points, in both directions; asked twice, one and the same network
gives the same number. The first
trainings are from before records named the instruction set; of the later students, those that name it ran with AVX2.
{networks} networks are few: read it as a size,
not as an estimate.""")


def why():
    """Why rounding parts runs."""
    return fold(
        "Why a last bit becomes half a point",
        """A sum of floating-point numbers depends on its order. AVX2 adds eight numbers at a time, AVX512 sixteen; two
threads split a sum that one does in a row; another version of torch may choose another kernel. So the first steps
differ in the last bit of some weight. Training amplifies that: after some hundred steps two runs sit in different
places of the same quality. Nothing is wrong with either.

What does not matter: the folder, the day, the number of runs beside it, the speed of the machine. Every draw comes from
the seed: initial weights, order, crops, mixing.""",
    )


def bounds_of_experiments():
    """How far apart two runs may be, of every experiment of scale tiny that knows its own spread: points."""
    of, everywhere = evidence().results, seed_noise(evidence().ledger)
    names = [name for name, experiment in EXPERIMENTS.items() if of.grid.scale in experiment.scales]
    noises = [noise_of_experiment(of.ledger, of.grid.cells(name), name) for name in names]
    return [bound_of(noise) for noise in noises if noise != everywhere]


def tolerance():
    """What --verify tolerates."""
    bounds = sorted(bounds_of_experiments())
    return said(f"""`--verify` picks recorded runs at random, trains them again in a folder that is thrown away, with
the threads of the record, and compares.

- **Same kind of machine** (processor, instruction set, threads, precision, versions of torch and Python): weights,
  curve and accuracies must be equal to the last bit. Anything else is an error, and it says whether the library's code
  is another one.
- **Another kind**: test accuracy may differ as two seeds of one configuration do 99 times in 100. More is an error.
  The spread is that of the run's own experiment: from {bounds[0]:.1f} points to {bounds[-1]:.1f}, in the middle
  {median(bounds):.1f}. The widest are those with rates that break training among them. An experiment whose runs are
  too few to know their spread gets that of the whole ledger, {bound_of(seed_noise(evidence().ledger)):.1f}.
- **A teacher that was trained again**, or a run that was stopped and went on elsewhere: the same allowance, for the
  student learned from other weights.

It is coarse. It catches a broken recipe, not a loss of half a point; for that, compare several seeds.""")


def clone():
    """What happens in a fresh clone."""
    return fold(
        "In a fresh clone",
        """The ledger comes with the clone; the weights of its networks do not, only their digests. So a student needs
its teacher first: `--verify` trains it, too, and that takes its time. It comes out equal on the same kind of machine;
on another the student has another teacher, and the line says so:

    same   distillation token_hard seed 2: another type of machine;
           another teacher, or another start, ...

The networks that ship with the library are there at once. Runs on photographs need the photographs:
`deit-edu ablate flagship --scale small --data folder:PATH --verify 1`. Where their checksum is another, for another
copy or another JPEG encoder, it is another run and not in the ledger.

What is slow: `--dry-run` says beforehand how many hours an experiment takes; `--verify 1` takes one run of it.""",
    )


def reading():
    """What to do when a number differs."""
    return said("""1. Same machine, same versions, other bits? Look at the library's version in the record: code that
   changed the order of a draw changes every run after it.
2. Another machine? Compare differences, not levels: train both sides yourself, with the same seeds. A claim that holds
   here should hold there; a single accuracy need not.
3. Another data set under the same name? `deit-edu data NAME` prints the checksum; the record has the one it was trained
   on.
4. Times? They depend on everything. Compare two of your own, in turn.""")
