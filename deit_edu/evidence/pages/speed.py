"""Size and speed (table 5): accuracy from the ledger, speed measured where the page is built, and by `make bench`."""

import json
from dataclasses import dataclass
from functools import cache
from statistics import median

import matplotlib.pyplot as plt
import torch

from deit_edu.data import load_dataset, normalise
from deit_edu.evidence.grids import EXPERIMENTS
from deit_edu.evidence.ledger import ledger_folder
from deit_edu.evidence.pages.pieces import Text, cards, difference, differences, drawn, evidence, fold, row, said, table
from deit_edu.evidence.regime import BASE
from deit_edu.evidence.report import interval
from deit_edu.evidence.verdicts import paired_difference
from deit_edu.runs.bench import throughput
from deit_edu.runs.build import build_model
from deit_edu.runs.machine import machine_name

BATCH = 250  # images


@dataclass(frozen=True)
class Network:
    """A row of the table."""

    words: str
    head: str
    parameters: int
    speed: float  # images per second


@cache
def networks():
    """Every network of the table, its speed measured now: {configuration: Network}."""
    dataset = load_dataset("fashion_clutter")
    images = normalise(dataset.test.images[:BATCH], dataset.mean, dataset.std)
    names = EXPERIMENTS["baselines"].configurations
    configs = {name: evidence().results.cell("baselines", name, 0).config for name in names}
    built = {name: build_model(config, dataset) for name, config in configs.items()}
    speeds = throughput(built, images)
    found = {}
    for name, config in configs.items():
        head = "fused" if config.tokens == "both" else "class"
        words = f"`{config.model}`{', distilled' if head == 'fused' else ''}"
        found[name] = Network(words, head, sum(p.numel() for p in built[name].parameters()), speeds[name])
    return found


def minus(plus, other):
    """(configuration, head) of both, as a difference wants them."""
    return [(name, networks()[name].head) for name in (plus, other)]


def times_as_fast(name):
    ratio = networks()[name].speed / networks()["token_hard"].speed
    return (
        f"{ratio:.2g} times as many images per second as"
        if ratio >= 1
        else f"{1 / ratio:.2g} times fewer images per second than"
    )


def answer():
    return said(f"""Not at this size: even the weak convnet is ahead of the distilled student in both, by
{difference("baselines", *minus("convnet_weak", "token_hard"))} points, and with {times_as_fast("convnet_weak")} it.""")


def figure():
    rivals = {
        "convnet": "convnet", "convnet_wide": "larger convnet", "convnet_weak": "weak convnet",
        "resnet10t": "resnet10t", "regnety_002": "regnety_002", "none": "plain student",
    }  # fmt: skip
    return differences(
        [
            row(
                f"{words} − distilled student",
                "baselines",
                *minus(name, "token_hard"),
                "plain" if name == "none" else "teacher",
            )
            for name, words in rivals.items()
        ]
    )


def speeds():
    """Accuracy against size and speed."""
    rows = []
    for name, network in networks().items():
        found = paired_difference(evidence().results.paired("baselines", ((1, name, network.head),)))
        right = f"{found.mean:.1f} {interval(found, '{:.1f}')}" if found.seeds else "not in the ledger yet"
        rows.append((network.words, f"{network.parameters / 1000:,.0f}", f"{network.speed:,.0f}", right))
    threads = torch.get_num_threads()
    note = f"""Speed was measured when this page was built: the forward pass of one batch, each network in turn;
{threads} thread{"s" * (threads > 1)}, batches of {BATCH}, float32, the median of five rounds."""
    return said(table(("network", "thousand parameters", "images / s", "test accuracy, %"), rows) + "\n\n" + note)


def reading():
    strong = difference("baselines", *minus("convnet", "token_hard"))
    return said(f"""In the paper's table the larger distilled transformers, S and B, give more accuracy for their time
than the convnets near them; Ti does not. At our size the student does not either. The convnet that teaches is ahead by
{strong} points and handles {times_as_fast("convnet")} the student; the weak one is ahead in both. That is the gap that
this regime was chosen for, and no surprise with ten thousand images: a convnet starts out knowing that neighbours
belong together, a transformer has to learn it.""")


def timms():
    """The two convnets of timm."""
    tried = [r for r in evidence().ledger.records.values() if r["config"]["model"] == "timm:lcnet_050"]
    replaced = " ".join(
        f"""Of timm's convnets we first took `lcnet_050`. In {record["config"]["epochs"]} epochs it learned next to
nothing: {100 * record["test"]["class"]["accuracy"]:.1f} %, one seed. So `regnety_002` stands in its place, a small
one of the family of the paper's default teacher. That is a choice made after a look at a result."""
        for record in tried
    )
    resnet, regnet = (
        difference("baselines", *minus(*pair)) for pair in (("resnet10t", "convnet"), ("regnety_002", "none"))
    )
    return fold(
        "The two convnets of timm",
        f"""`resnet10t` comes near our convnets, {resnet} points from the first. `regnety_002` ends below the plain
student, {regnet}. Both are made for pictures of 224 pixels and got the teacher's {BASE["tiny"]["teacher"]["epochs"]}
epochs and its learning rate, which was tuned for no convnet. Read their rows as what they do under our recipe, not as
what they can.""",
        replaced,
    )


# ---- the library's own speed, by `make bench` ----


@cache
def benchmark():
    """What book/_ext/run_bench.py wrote down; None where it has not run."""
    path = ledger_folder() / "bench.json"
    return json.loads(path.read_text()) if path.exists() else None


def verdict(one):
    """Whether a line of the table of targets reaches its own, and else by how much it misses it."""
    ratio, target = one["ratio"], one["target"]
    if (ratio <= target) if one["most"] else (ratio >= target):
        return "reached"
    return f"missed by {abs(ratio - target) / target:.0%}"


def targets():
    """The table of ratios, each beside what was aimed at."""
    record = benchmark()
    if record is None:
        return Text("*Not measured yet: `make bench` does it.*")
    rows = [
        (
            one["what"],
            f"{'at most' if one['most'] else 'at least'} {one['target']:g}",
            f"{one['ratio']:.2f}",
            f"{one['low']:.2f} to {one['high']:.2f}",
            verdict(one),
        )
        for one in record["rows"]
    ]
    note = f"""Commit `{record["now"]}` against `{record["before"]}`, {machine_name(record["machine"])}. A ratio is of
whole runs, the rounds are its smallest and largest."""
    words = "Ratios of time, as `make bench` measured them"
    return fold(
        "How fast the library is", cards(("what", "target", "ratio", "rounds", "verdict"), {"": rows}, words), note
    )


def peers():
    """Other libraries' students beside ours: how many times as long theirs takes."""
    record = benchmark()
    if record is None:
        return Text("")
    names = sorted({name for one in record["peers"] for name in one["seconds"]} - {"ours"})
    rows = []
    for one in record["peers"]:
        own = sum(one["seconds"]["ours"])
        theirs = [sum(one["seconds"][name]) / own if name in one["seconds"] else None for name in names]
        ratios = ["not measured" if ratio is None else f"{ratio:.2f}" for ratio in theirs]
        rows.append((one["shape"], one["kind"], one["threads"], *ratios))
    note = """How many times as long theirs takes as ours. A training step is the student's alone; the teacher's answers
are there."""
    words = "Time of other libraries' students over ours"
    return fold("Beside other libraries", cards(("student", "what", "threads", *names), {"": rows}, words), note)


def profile():
    """Where one thread's time in a tiny step goes, and how far the student's products are from the machine's peak."""
    record = benchmark()
    if record is None:
        return Text("")
    found = record["parts"]
    tables = []
    for title, seconds in (("part of a step", found["parts"]), ("operation of the student's", found["kinds"])):
        whole = sum(seconds.values())
        rows = [(name, f"{1000 * each:.1f}", f"{each / whole:.0%}") for name, each in seconds.items()]
        tables.append(table((title, "ms", "share"), rows))
    taken, each = found["operations"], median(found["rounds"])
    kinds = found["kinds"]
    products, largest = kinds["products"], max((name for name in kinds if name != "products"), key=kinds.get)
    note = f"""The student's step is {taken / 1e9:.2f} billion useful operations in {1000 * each:.0f} ms, which is
{taken / each / found["peak"]:.0%} of the {found["peak"] / 1e9:.0f} GFLOP/s that large products reach. The products
themselves take {1000 * products:.0f} ms and run at {taken / products / found["peak"]:.0%} of that peak. Most of the
rest is {largest}, {1000 * kinds[largest]:.1f} ms. "Overhead" is what lies between the operations: Python, autograd, the
memory they ask for."""
    return fold("Where the rest goes", *tables, note)


def growth():
    """A student's training step as its tokens, width, depth and batch grow: its time, and the memory it keeps."""
    record = benchmark()
    if record is None:
        return Text("")
    costs = {"a step, ms": ("seconds", 1e3), "kept, MB": ("bytes", 1e-6)}
    curves = {}
    for one in record["growth"]:
        curves.setdefault(one["grows"], []).append(one)

    def draw():
        fig, axes = plt.subplots(len(costs), len(curves), figsize=(7.2, 4), sharey="row", sharex="col")
        for line, (words, (cost, scale)) in zip(axes, costs.items(), strict=True):
            for ax, (grows, points) in zip(line, curves.items(), strict=True):
                ax.loglog([one[grows] for one in points], [scale * one[cost] for one in points], "o-", base=2)
            line[0].set(ylabel=words)
        for ax, grows in zip(axes[-1], curves, strict=True):
            ax.set(xlabel=grows)
        fig.suptitle("What a step costs as one size grows")
        return fig

    ends = "; ".join(
        f"{grows}: {1e3 * points[0]['seconds']:.0f} to {1e3 * points[-1]['seconds']:.0f} ms, "
        f"{1e-6 * points[0]['bytes']:.0f} to {1e-6 * points[-1]['bytes']:.0f} MB"
        for grows, points in curves.items()
    )
    words = "Milliseconds of a training step, and megabytes that it keeps for the backward pass, as one size grows"
    return drawn(draw, f"{words} and the others stay. {ends}.")
