"""How much faster than another state of the repository, and than others' libraries: the table of targets, as ratios.

    make bench                                      against the commit that the targets name; half an hour
    python book/_ext/run_bench.py --against FOLDER  against another tree

Two trees cannot be imported by one process, so each has a process of its own, and they compute in turn, a round each,
so that a slow moment of the machine falls on both. A round is two epochs of a whole run of the tiny recipe, by
`deit_edu.runs.train`, on a part of its images: whatever a run does to be fast is in it. The record is
book/ledger/bench.json; run this on a machine with nothing else to do.

Tried on one thread for the tiny step and left out, as times of what stands in the library now:

    teacher in contiguous memory instead of channels_last       1.4
    teacher by torch.compile                                    0.9 to 1.0, after its start-up
    teacher's convolution and ReLU as one (oneDNN, private API) 0.9
    teacher asked for 128 or 256 pictures at once               0.95 to 1.0
    explicit attention for 51 tokens                            1.1
    queries divided by the root in place of scores              1.0
    softmax as exp and a sum of its own                         0.9 to 1.2 of an operation that takes 2 %
    the student's blocks with a backward pass written by hand   0.9 to 1.1: the operations take it
    the student in two halves of a batch, one after the other   1.15
    malloc told never to give memory back                       1.0: after some steps no page is asked for anew
    the student by torch.compile                                0.7, but half a minute's start-up: in 40 epochs nothing
    the same compiled ahead (AOTInductor) and kept on the disk  0.9 to 1.0 with AVX-512; no start-up, but a call holds
                                                                Python's lock: two parts of a batch would wait

The teacher's convolutions run at nine tenths of the speed of large products, so only asking less often helps there.
Of the 660 MB that a run has, PyTorch has 515 before anything is trained.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import bench_peers
import torch
from bench_parts import where_time_goes
from pair_notebooks import BOOK

import deit_edu
from deit_edu.model import create_model
from deit_edu.runs.checkpoints import write_atomically
from deit_edu.runs.machine import machine
from deit_edu.runs.recipes import recipe
from deit_edu.train import TrainConfig, join_world

RECORD, HERE = BOOK / "ledger" / "bench.json", Path(deit_edu.__file__).resolve().parent.parent
EPOCHS, ROUND = recipe("tiny")["epochs"], 2  # of the tiny student, and how many of them are timed together

# The most memory that a process has had, in kilobytes. Not its ru_maxrss, which begins at what its parent had.
PEAK = """
def peak(process):
    return int(open(f"/proc/{process}/status").read().partition("VmHWM:")[2].split()[0])
"""

# What runs in each tree: the first `images` of the packaged data, its own recipe.
BEGIN = """
import dataclasses, json, sys, tempfile, time
from pathlib import Path
import torch
threads, images, *rest = map(int, sys.argv[1:])
torch.set_num_threads(threads)
from deit_edu.data import Split, load_dataset
from deit_edu.runs import train
from deit_edu.train import TrainConfig
try:
    from deit_edu.runs.recipes import recipe
except ImportError:
    from deit_edu.recipes import recipe

def part(split, count):
    return Split(split.images[:count], split.labels[:count])

whole = load_dataset("fashion_mnist_10k")
few = dict(train=part(whole.train, images), validation=part(whole.validation, images // 5),
           test=part(whole.test, images // 5))
data = dataclasses.replace(whole, **few)
"""

# Trains a teacher for an epoch, then a student, or a teacher alone, and waits for a line before every round.
WORKER = """
epochs, each, alone = rest
with tempfile.TemporaryDirectory() as folder:
    settings = teacher = recipe("tiny", role="teacher")
    if not alone:
        train(TrainConfig(**dict(teacher, epochs=1)), Path(folder, "teacher"), dataset=data, progress=False)
        its = dict(distillation="hard", tokens="both", teacher=str(Path(folder, "teacher")))
        settings = recipe("tiny") | its
    settings = settings | dict(epochs=epochs, warmup_epochs=min(2.0, epochs / 2))
    per_round = images // 64 * 64 * each

    def on_images(done):
        global since
        if done % per_round == 0:
            print(json.dumps(time.perf_counter() - since), flush=True)
            if done < epochs * (images // 64 * 64):
                sys.stdin.readline()
                since = time.perf_counter()

    print("ready", flush=True)
    sys.stdin.readline()
    since = time.perf_counter()
    train(TrainConfig(**settings), Path(folder, "run"), dataset=data, progress=False, on_images=on_images)
print(peak("self"))
"""


# What every run waits for before it begins.
START = """
import time
begun = time.perf_counter()
import torch, deit_edu.runs
from deit_edu.train import TrainConfig, make_optimizer
make_optimizer(torch.nn.Linear(2, 2), TrainConfig())
print(time.perf_counter() - begun)
"""

# A teacher and its student, whole, as `make book` has them.
PAIR = """
begun = time.perf_counter()
with tempfile.TemporaryDirectory() as folder:
    train(TrainConfig(**recipe("tiny", role="teacher")), Path(folder, "teacher"), dataset=data, progress=False)
    settings = dict(distillation="hard", tokens="both", teacher=str(Path(folder, "teacher")))
    train(TrainConfig(**recipe("tiny") | settings), Path(folder, "student"), dataset=data, progress=False)
print(time.perf_counter() - begun)
"""

# The rows of table 3 and their teacher, of one seed, in so many epochs, by the command's own processes.
GRID = """
import json, os, sys, tempfile, threading, time
from pathlib import Path
if Path("deit_edu", "evidence").is_dir():  # of this tree: one that is installed would be found, too
    from deit_edu.evidence.cells import Grid
    from deit_edu.evidence.ledger import ledger_for_writing
    from deit_edu.evidence.regime import BASE
    from deit_edu.evidence.runner import run_cells
else:
    from deit_edu.cells import Grid
    from deit_edu.experiments import BASE
    from deit_edu.ledger import ledger_for_writing
    from deit_edu.runner import run_cells
epochs = int(sys.argv[2])
BASE["tiny"]["student"].update(epochs=epochs, warmup_epochs=0.5)
BASE["tiny"]["teacher"].update(epochs=max(1, epochs * 3 // 8), warmup_epochs=0.5)
most = 0

def watch():
    global most
    while True:
        for thread in os.listdir("/proc/self/task"):
            for child in Path("/proc/self/task", thread, "children").read_text().split():
                try:
                    most = max(most, peak(child))
                except (OSError, IndexError):
                    pass  # it has ended meanwhile
        time.sleep(0.2)

threading.Thread(target=watch, daemon=True).start()
with tempfile.TemporaryDirectory() as folder, ledger_for_writing(folder) as ledger:
    begun = time.perf_counter()
    run_cells(Grid("tiny").cells("distillation", 1), ledger, root=Path(folder, "runs"), progress=False)
    seconds = time.perf_counter() - begun
print(json.dumps([seconds, most]))
"""


def started(folder, script, threads, *numbers):
    """A process that runs a script in a tree."""
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", script, *map(str, (threads, *numbers))], cwd=folder, text=True,
        env=os.environ | {"PYTHONPATH": str(folder), "OMP_NUM_THREADS": str(threads)},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip


def said_by(folder, script, threads, *numbers):
    """What a script says at its end, read as JSON, and the seconds from its start to there."""
    begun = time.perf_counter()
    worker = started(folder, script, threads, *numbers)
    said = worker.communicate()[0].strip()
    if worker.returncode:
        raise RuntimeError(f"{folder}: a run ended with {worker.returncode}")
    return json.loads(said.splitlines()[-1]), time.perf_counter() - begun


def starts(trees, rounds=5):
    """Seconds until the library is imported and has an optimiser, in turn: {name: [seconds of each round]}."""
    seconds = {name: [] for name in trees}
    for _ in range(rounds + 1):
        for name, folder in trees.items():
            seconds[name].append(said_by(folder, START, 1)[0])
    return {name: taken[1:] for name, taken in seconds.items()}  # without the first, which reads the disk


def pairs(trees, threads, images=640, rounds=2):
    """Seconds of a teacher and its student on all images, in turn: {name: [seconds of each round]}.

    They are trained on a part of the images. What that takes grows with their number; the start of the process,
    counted too, does not.
    """
    whole, seconds = 10_000, {name: [] for name in trees}
    for _ in range(rounds):
        for name, folder in trees.items():
            training, all_of_it = said_by(folder, BEGIN + PAIR, threads, images)
            seconds[name].append(all_of_it - training + training * whole / images)
    return seconds


def grids(trees, epochs=2, rounds=2):
    """Seconds of a grid in each tree, in turn, and the most memory that one of its runs had.

    Returns:
        {name: [seconds of each round]}, {name: kilobytes}.
    """
    seconds, memory = ({name: [] for name in trees} for _ in range(2))
    for _ in range(rounds):
        for name, folder in trees.items():
            (taken, most), _ = said_by(folder, PEAK + GRID, os.cpu_count(), epochs)
            seconds[name].append(taken)
            memory[name].append(most)
    return seconds, {name: max(found) for name, found in memory.items()}


def in_turn(trees, threads, epochs=EPOCHS, each=ROUND, images=1280, teacher=False):
    """Seconds of each round of a run in each tree, and the most memory it had.

    Args:
        trees: {name: folder that holds deit_edu}. threads: of each process. epochs: of the run. each: epochs
            of a round. images: to train on. teacher: the run is the teacher's, not its student's.

    Returns:
        {name: [seconds]}, {name: kilobytes}.
    """
    numbers = (threads, images, epochs, each, int(teacher))
    workers = {name: started(folder, PEAK + BEGIN + WORKER, *numbers) for name, folder in trees.items()}

    def answer(worker, line=None):
        if line is not None:
            worker.stdin.write(line)
            worker.stdin.flush()
        return worker.stdout.readline().strip()

    for name, worker in workers.items():
        if answer(worker) != "ready":
            raise RuntimeError(f"{name}: the run in {trees[name]} did not begin")
    seconds = {name: [] for name in trees}
    for _ in range(epochs // each):
        for name, worker in workers.items():
            seconds[name].append(json.loads(answer(worker, "\n")))
    memory = {name: int(answer(worker)) for name, worker in workers.items()}
    for worker in workers.values():
        worker.communicate()
    return seconds, memory


@contextlib.contextmanager
def busy_cores():
    """Inside, another process is at work on every core."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count())]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def row(what, target, slower, faster, most=False):
    """A line of the table: how many times as long `slower` takes as `faster`, by totals, and over the rounds.

    most: the ratio should be the target at most, instead of at least.
    """
    ratios = [one / other for one, other in zip(slower, faster, strict=True)]
    ends = {"low": min(ratios), "high": max(ratios)}
    return {"what": what, "target": target, "most": most, "ratio": sum(slower) / sum(faster), **ends}


def peer_rows(compared):
    """A line for each shape, kind and number of threads: the fastest of the others against ours.

    Args:
        compared: from `bench_peers.compare`.
    """
    rows = []
    for one in compared:
        totals = {name: sum(seconds) for name, seconds in one["seconds"].items() if name != "ours"}
        if totals:
            fastest = min(totals, key=totals.get)
            target = 1.5 if (one["shape"], one["kind"]) == ("tiny", "training") else 1.0
            what = f"{one['kind']}, {one['shape']}, {one['threads']} threads, against the fastest, {fastest}"
            rows.append(row(what, target, one["seconds"][fastest], one["seconds"]["ours"]))
    return rows


def attention_maps(name, images, rounds=15):
    """Seconds of a plain forward pass and of all attention maps, in turn."""
    model = create_model(name, distilled=True).eval()
    pictures = torch.randn(images, model.config.in_channels, *2 * [model.config.image_size])
    seconds = {"forward": [], "maps": []}
    with torch.no_grad():
        for _ in range(rounds + 1):
            for what, ask in (("forward", model.forward_features), ("maps", model.attention_maps)):
                begun = time.perf_counter()
                ask(pictures)
                seconds[what].append(time.perf_counter() - begun)
    return {what: times[1:] for what, times in seconds.items()}  # without the first


SHAPES = {  # one part grows, the others stay
    "tokens": [dict(image_size=side, patch_size=4) for side in (16, 32, 48, 64)],
    "width": [dict(embed_dim=width) for width in (32, 64, 128, 256)],
    "depth": [dict(depth=depth) for depth in (2, 4, 8, 16)],
    "batch": [dict(batch=batch) for batch in (16, 64, 256)],
}


def growth(rounds=5):
    """What a student's training step costs by its size.

    Returns:
        [{"grows": , "tokens": , "width": , "depth": , "batch": , "seconds": of a step, "bytes": of what it keeps from
        its forward pass for the backward}].
    """
    measured = []
    for grows, shapes in SHAPES.items():
        for shape in shapes:
            shape = dict(image_size=28, patch_size=7, embed_dim=64, depth=4, num_heads=4, batch=64) | shape
            batch = shape.pop("batch")
            model = create_model("deit_nano_patch7_28", distilled=True, **shape)
            images, times = torch.randn(batch, 1, *2 * [shape["image_size"]]), []
            for _ in range(rounds + 1):
                begun = time.perf_counter()
                sum(logits.logsumexp(-1).mean() for logits in model(images)).backward()
                times.append(time.perf_counter() - begun)
            sizes = {"tokens": model.config.num_tokens, "width": shape["embed_dim"], "depth": shape["depth"]}
            costs = {"seconds": median(times[1:]), "bytes": kept_bytes(model, images)}
            measured.append({"grows": grows, **sizes, "batch": batch, **costs})
    return measured


def kept_bytes(model, images):
    """How many bytes a forward pass keeps for the backward, without the weights."""
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        said = model(images)  # alive until all is counted: or a storage's place would be another's
    del said
    return sum(kept.values())


def measure(against, images=1280, epochs=EPOCHS, rounds=5, shapes=bench_peers.SHAPES):
    """The record, without the machine and the commits: all rows of the table, and what stands beside it.

    Args:
        against: a folder that holds another deit_edu. images, epochs: of the whole runs. rounds: of all else.
        shapes: of the others' students.
    """
    trees, cores, rows = {"before": against, "now": HERE}, os.cpu_count(), []
    for threads, target in ((1, 1.6), (cores, 2.0)):
        seconds, memory = in_turn(trees, threads, epochs, images=images)
        rows.append(row(f"the tiny run, {threads} threads", target, seconds["before"], seconds["now"]))
    rows.append(row("its memory, now over before", 0.7, [memory["now"]], [memory["before"]], most=True))
    start = starts(trees, rounds)
    rows.append(row("the start of a run, now over before", 1.0, start["now"], start["before"], most=True))
    pair = pairs(trees, cores, images // 2)
    rows.append(row("the pair of make book", 2.0, pair["before"], pair["now"]))
    grid, memory = grids(trees)
    rows.append(row("ablate, table 3, now over before", 0.6, grid["now"], grid["before"], most=True))
    rows.append(row("the memory of its runs", 0.7, [memory["now"]], [memory["before"]], most=True))
    few = epochs // 2  # the other tree takes minutes of each there
    its = dict(threads=cores, epochs=few, images=images, teacher=True)
    teachers = [in_turn({"now": HERE}, **its)[0]["now"]]
    with busy_cores():
        loaded, _ = in_turn(trees, cores, few, images=images)
        teachers.append(in_turn({"now": HERE}, **its)[0]["now"])
    quiet = seconds["now"][: len(loaded["now"])]
    rows.append(row("the tiny run, other work on every core", 4.0, loaded["before"], loaded["now"]))
    rows.append(row("its speed there, of its quiet speed", 0.45, quiet, loaded["now"]))
    rows.append(row("the teacher's speed there, of its quiet speed", 0.45, *teachers))
    compared = bench_peers.compare((1, cores), rounds, shapes)
    rows += peer_rows(compared)
    epoch = bench_peers.epochs(images, rounds)
    rows.append(row("an epoch of distillation, against the authors' way", 4.0, epoch["authors"], epoch["ours"]))
    for name, count in (("deit_nano_patch7_28", 64), ("deit_tiny_patch16_224", 4)):
        looked = attention_maps(name, count, 3 * rounds)
        what = f"attention maps, of a forward pass: {name}"
        rows.append(row(what, 1.25, looked["maps"], looked["forward"], most=True))
    parts = where_time_goes(12 * rounds)
    ideal = parts["operations"] / parts["peak"]  # seconds
    what = "the student's operations per second, of the machine's peak"
    rows.append(row(what, 0.75, [ideal] * len(parts["rounds"]), parts["rounds"]))
    return {"rows": rows, "peers": compared, "parts": parts, "growth": growth(rounds)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", type=Path, required=True, help="a folder that holds another deit_edu")
    args = parser.parse_args()
    commits = [
        subprocess.run(["git", "-C", tree, "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout
        for tree in (args.against, HERE)
    ]
    before, now = (commit.strip() for commit in commits)
    record = {"before": before, "now": now, "machine": machine(join_world(TrainConfig()))}
    record |= measure(args.against.resolve())
    for one in record["rows"]:
        target = f"{'at most' if one['most'] else 'at least'} {one['target']}"
        print(f"{one['what']:75} {one['ratio']:5.2f} ({one['low']:.2f} to {one['high']:.2f}), {target}")
    write_atomically(RECORD, (json.dumps(record, indent=1) + "\n").encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
