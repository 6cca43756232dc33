"""Size and speed (table 5): accuracy from the ledger, speed measured where the page is built, and by `make bench`."""

import json
from dataclasses import dataclass
from functools import cache

import matplotlib.pyplot as plt
import torch

from deit_edu.data import load_dataset, normalise
from deit_edu.evidence.grids import EXPERIMENTS
from deit_edu.evidence.ledger import ledger_folder
from deit_edu.evidence.pages.pieces import Text, difference, differences, drawn, evidence, fold, row, said, table
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


def targets():
    """The table of ratios, each beside what was aimed at."""
    record = benchmark()
    if record is None:
        return Text("*Not measured yet: `make bench` does it.*")
    rows = [
        (one["what"], f"{one['target']:g}", f"{one['ratio']:.2f}", f"{one['low']:.2f} to {one['high']:.2f}")
        for one in record["rows"]
    ]
    where = machine_name(record["machine"])
    note = f"""Commit `{record["now"]}` against `{record["before"]}`, {where}. A ratio is of whole runs, the last column
its smallest and largest round. Memory and attention maps should stay below their target, all others reach it."""
    return fold("How fast the library is", table(("what", "target", "ratio", "rounds"), rows), note)


def growth():
    """A student's training step as its tokens, width, depth and batch grow."""
    record = benchmark()
    if record is None:
        return Text("")
    curves = {}
    for one in record["growth"]:
        curves.setdefault(one["grows"], []).append((one[one["grows"]], 1000 * one["seconds"]))

    def draw():
        fig, axes = plt.subplots(1, len(curves), figsize=(7.2, 2.4), sharey=True)
        for ax, (grows, points) in zip(axes, curves.items(), strict=True):
            ax.loglog(*zip(*points, strict=True), "o-", base=2)
            ax.set(xlabel=grows)
        axes[0].set(ylabel="a step, ms")
        fig.suptitle("What a step costs as one size grows")
        return fig

    ends = "; ".join(f"{grows}: {points[0][1]:.0f} to {points[-1][1]:.0f} ms" for grows, points in curves.items())
    return drawn(draw, f"Milliseconds of a training step as one size grows and the others stay. {ends}.")
