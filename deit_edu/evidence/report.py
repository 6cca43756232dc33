"""Tables and verdicts, from the ledger alone."""

import csv
import io
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from deit_edu.data.packaged import FASHION_CLASSES
from deit_edu.errors import counted
from deit_edu.evidence.cells import Grid, data_label, unique_runs
from deit_edu.evidence.claims import CLAIMS
from deit_edu.evidence.experiment import Claim
from deit_edu.evidence.grids import EXPERIMENTS
from deit_edu.evidence.regime import BASE
from deit_edu.evidence.second_claims import SECOND_CLAIMS
from deit_edu.evidence.verdicts import Difference, paired_difference, verdict
from deit_edu.runs.checkpoints import is_packaged, load, packaged_path
from deit_edu.runs.evaluate import load_decisions

HEADS = ("class", "distillation", "fused", "fused_logits")
# Who decides in the table of disagreement: (configuration, which of its decisions).
DECIDERS = {
    "convnet": ("convnet", "class"),
    "none": ("none", "class"),
    "class": ("token_hard", "class"),
    "distillation": ("token_hard", "distillation"),
    "fused": ("token_hard", "fused"),
}
CHANCE = 1 / len(FASHION_CLASSES)  # of the canvases, whose classes are balanced
TRUTH = "truth"  # the true labels, in the place of somebody who decides


@dataclass(frozen=True)
class Table:
    title: str
    columns: tuple
    rows: list  # of tuples of strings


class Results:
    """What the ledger holds of a scale's cells.

    Args:
        ledger: a Ledger. scale: a key of `deit_edu.evidence.regime.BASE`.
        data: as for `deit_edu.evidence.cells.Grid`; None: the scale's own, or the folder of that name in the ledger.
        checksum: as for `Grid`, of data that the ledger does not know; by default they are not looked for.
    """

    def __init__(self, ledger, scale="tiny", data=None, checksum=lambda name, size: "not recorded"):
        checksums = {
            (record["data"]["name"], record["config"].get("image_size", 0)): record["data"]["checksum"]
            for record in ledger.records.values()
        }

        def recorded_checksum(name, size):
            return checksums.get((data_label(name), size)) or checksum(name, size)

        own = BASE[scale]["data"] if scale in BASE else None
        if data is None and own not in (known := {name for name, _ in checksums}) and f"folder:{own}" in known:
            data = f"folder:{own}"
        self.ledger = ledger
        self.grid = Grid(scale, data, recorded_checksum)
        self.recorded_seeds = {record["seed"] for record in ledger.records.values()}
        self.decisions = lru_cache(maxsize=64)(load_decisions)

    def cell(self, experiment, configuration, seed):
        settings = EXPERIMENTS[experiment].configurations[configuration]
        return self.grid.cell(experiment, configuration, settings, seed)

    def record(self, experiment, configuration, seed):
        """The record of a cell, or None. Of ONE|OTHER, that of the one that is best on validation images."""
        configuration = self.chosen(experiment, configuration)
        return configuration and self.ledger.find(self.cell(experiment, configuration, seed))

    def chosen(self, experiment, configuration):
        """The best of the configurations that | joins: mean validation accuracy over the experiment's own seeds.

        None until each has all its runs, for a choice among some of them is another.
        """
        candidates = configuration.split("|")
        if len(candidates) == 1:
            return configuration
        means = {}
        for candidate in candidates:
            found = [self.record(experiment, candidate, seed) for seed in range(EXPERIMENTS[experiment].seeds)]
            if None in found:
                return None
            heads = [record["validation"] for record in found]
            means[candidate] = np.mean([split.get("fused", split["class"])["accuracy"] for split in heads])
        return max(means, key=means.get)

    def seeds(self, experiment):
        """Those the experiment asks for, and any that were run beyond."""
        return sorted(set(range(EXPERIMENTS[experiment].seeds)) | self.recorded_seeds)

    def measure(self, experiment, configuration, seed, measure):
        """One number of one seed, as `deit_edu.evidence.claims.Claim` names it, or None where it is not recorded."""
        kind, *names = measure.split(":")
        if kind == "disagreement":
            deciders = [name for name in names if name != TRUTH]
            decided = [self.decided(experiment, seed, name) for name in deciders]
            if any(decisions is None for decisions in decided):
                return None
            if len(decided) == 1:  # the truth and somebody: on which images that one is wrong
                return 100 - self.measure(experiment, DECIDERS[deciders[0]][0], seed, DECIDERS[deciders[0]][1])
            return 100 * (decided[0] != decided[1]).float().mean().item() if decided else 0.0
        record = self.record(experiment, configuration, seed)
        return None if record is None else measure_of(record, EXPERIMENTS[experiment].split, measure)

    def decided(self, experiment, seed, name):
        """(n,) decisions on the test images of one of DECIDERS, or None where they are not kept."""
        configuration, head = DECIDERS[name]
        path = self.ledger.predictions(self.cell(experiment, configuration, seed).key)
        return self.decisions(path)[head] if path.exists() else None

    def paired(self, experiment, terms):
        """((weight, values), ...) over the seeds that have all of the terms, for `paired_difference`."""
        rows = []
        for seed in self.seeds(experiment):
            row = [self.measure(experiment, configuration, seed, measure) for _, configuration, measure in terms]
            if None not in row:
                rows.append(row)
        columns = np.array(rows).reshape(len(rows), len(terms)).T
        return tuple((weight, column) for (weight, _, _), column in zip(terms, columns, strict=True))


def measure_of(record, split, measure):
    """One number of a record, as `deit_edu.evidence.claims.Claim` names it, or None where the run has no such head."""
    kind, *names = measure.split(":")
    if kind == "norm":
        return 100 * record["position_norm"]["resized"] / record["position_norm"]["before"]
    if kind == "similarity":
        return record["tokens"]["similarity"][{"input": 0, "last": -1}[names[0]]]
    if kind == "inbox":  # "inbox:class": of a token's attention to patches in the last block, inside the item's box
        return 100 * record["tokens"]["attention_in_box"][names[0]][-1]
    if kind == "outlier":  # the longest patch token of an image after the last block, in lengths of the median one
        norms = record["tokens"].get("patch_norms")  # the oldest records have none
        return norms and norms["largest"][-1] / norms["median"][-1]
    if kind == "kept":  # "kept:fused": accuracy above chance on the right, of that on the left
        left, right = (record["places"][half][names[0]]["accuracy"] - CHANCE for half in ("left", "right"))
        return 100 * right / left
    if kind in record.get("places", {}):  # "right:fused": of the test's items there
        return 100 * record["places"][kind][names[0]]["accuracy"]
    head = record[split].get(kind)
    return None if head is None else 100 * head["accuracy"]


def core_hours(ledger):
    """What all runs took together, in hours of one core, or of one GPU where a run had one."""
    machines = [(record["seconds"], record["machine"]) for record in ledger.records.values()]
    return sum(took * (on["threads"] if on["device"] == "cpu" else 1) for took, on in machines) / 3600


def runs_of_scale(results):
    """How many runs the ledger holds of the experiments of a scale, their teachers among them."""
    names = [name for name, experiment in EXPERIMENTS.items() if results.grid.scale in experiment.scales]
    cells = [cell for name in names for cell in results.grid.cells(name)]
    return sum(results.ledger.find(cell) is not None for cell in unique_runs(cells))


def retrained(ledger):
    """How many runs learned from, or began as, a network that is not the recorded one of its key.

    A network whose weights were gone was trained again for them, and on another type of machine it comes out different.
    """
    learned_from = [(record.get("teachers") or {}) | record.get("initial", {}) for record in ledger.records.values()]
    return sum(
        any(key in ledger.records and ledger.records[key]["checkpoint"] != weights for key, weights in networks.items())
        for networks in learned_from
    )


# ---- tables ----


def head_name(results, name, configuration, head):
    """A head by what it is: where no teacher ever spoke, the second token's is that of a second class token."""
    if head != "distillation":
        return head
    cell = results.cell(name, configuration, 0)
    taught = cell.config.teacher or (cell.initial and cell.initial.config.teacher)
    if is_packaged(initial := cell.config.initial or ""):
        taught = load(packaged_path(initial))[1].get("teacher")
    return head if taught else "second class token"


def accuracy_table(results, name):
    """Mean accuracy of every head of every configuration, with the interval over seeds."""
    experiment, rows = EXPERIMENTS[name], []
    for configuration in experiment.configurations:
        for head in HEADS:
            found = paired_difference(results.paired(name, ((1, configuration, head),)))
            if found.seeds:
                named = head_name(results, name, configuration, head)
                rows.append((configuration, named, f"{found.mean:.2f}", interval(found, "{:.2f}"), str(found.seeds)))
    columns = ("configuration", "head", f"{experiment.split} accuracy, %", "95 % interval", "seeds")
    return Table(f"{name}: {experiment.title} ({experiment.where})", columns, rows)


def seed_rows(results, name, configurations=None):
    """Every seed's accuracy of every head, for `deit_edu.reading.figures.seed_dots`: what `accuracy_table` averages."""
    rows = []
    for configuration in configurations or EXPERIMENTS[name].configurations:
        for head in ("class", "distillation", "fused"):
            terms = results.paired(name, ((1, configuration, head),))
            found = paired_difference(terms)
            if found.seeds:
                record = next(filter(None, (results.record(name, configuration, s) for s in results.seeds(name))))
                is_teacher = not record["config"]["model"].startswith("deit")
                is_plain = not record["teachers"] and record["config"]["tokens"] == "class"
                colour = (
                    "teacher" if is_teacher else "plain" if is_plain else head_name(results, name, configuration, head)
                )
                low, high = (found.low, found.high) if found.seeds > 1 else (found.mean, found.mean)
                rows.append((configuration, colour, terms[0][1], (low, high)))
    return rows


def disagreement_table(results, name):
    """Share of test images on which two disagree, the mean over seeds; with the truth: on which one is wrong."""
    seeds = results.seeds(name)
    kept = [who for who in DECIDERS if any(results.decided(name, seed, who) is not None for seed in seeds)]
    names, rows = (TRUTH, *kept), []
    for one in names if kept else ():
        row = [one]
        for other in names:
            ((_, values),) = results.paired(name, ((1, one, f"disagreement:{one}:{other}"),))
            row.append(f"{values.mean():.2f}" if len(values) else "")
        rows.append(tuple(row))
    return Table(f"{name}: share of test images on which two disagree, % (table 4)", ("", *names), rows)


def tokens_table(results, name):
    """Cosine of the two tokens, and the share of each one's attention inside the item's box, layer by layer."""
    rows, layers = [], 0
    for configuration in EXPERIMENTS[name].configurations:
        found = [results.record(name, configuration, seed) for seed in results.seeds(name)]
        found = [record for record in found if record]
        for when in ("tokens", "tokens_untrained"):
            measured = {"cosine": [record[when]["similarity"] for record in found]}
            for token in ("class", "distillation"):
                shares = [record[when].get("attention_in_box", {}).get(token) for record in found]
                measured[f"{token} token in box"] = [[np.nan, *share] for share in shares if share]
            for what, values in measured.items():
                if values:
                    means = np.mean(values, axis=0)  # (L + 1,)
                    layers = len(means) - 1
                    shown = ["" if np.isnan(mean) else f"{mean:.3f}" for mean in means]
                    trained = "trained" if when == "tokens" else "untrained"
                    rows.append((configuration, trained, what, *shown, str(len(values))))
    columns = ("configuration", "", "", "input", *(f"layer {n + 1}" for n in range(layers)), "seeds")
    return Table(f"{name}: {EXPERIMENTS[name].title} ({EXPERIMENTS[name].where})", columns, rows)


@dataclass(frozen=True)
class Judged:
    """A claim, what it came to in the ledger, and the verdict: "not run" where no seed has all of its runs."""

    claim: Claim
    found: Difference
    verdict: str

    @property
    def number(self):
        """How its differences are written: points, or cosine."""
        return "{:+.3f}" if self.claim.unit == "in cosine" else "{:+.2f}"

    @property
    def ours(self):
        if not self.found.seeds:
            return "not run"
        return f"{self.number.format(self.found.mean)} {interval(self.found, self.number)}".rstrip()

    @property
    def paper(self):
        """The paper's numbers and their difference for each of its models, or a direction where it gives none."""
        models = (
            f"{' - '.join(map(str, numbers))} = {self.number.format(self.claim.paper_difference(model))} ({model})"
            for model, numbers in self.claim.paper.items()
        )
        return ", ".join(models) or ("positive" if self.claim.sign > 0 else "negative")


def judge(results, claims=CLAIMS):
    """Every claim with its verdict: {id: Judged}."""
    judged = {}
    for claim in claims:
        if results.grid.scale not in EXPERIMENTS[claim.experiment].scales:
            continue
        found = paired_difference(results.paired(claim.experiment, claim.terms))
        judged[claim.id] = Judged(claim, found, verdict(found, claim.sign) if found.seeds else "not run")
    return judged


def second_table(judged):
    """What we expected of the second series, and what came out."""
    rows = [
        (one.claim.id, one.claim.sentence, one.claim.where, one.ours, str(one.found.seeds), one.verdict)
        for one in judged.values()
    ]
    columns = ("claim", "what we expect", "where", "ours, 95 % interval", "seeds", "verdict")
    return Table("second series: differences in points of accuracy where no other unit is named", columns, rows)


def verdict_table(judged):
    """Every claim beside the paper's difference and ours."""
    rows = [
        (one.claim.id, one.claim.sentence, one.claim.where, one.paper, one.ours, str(one.found.seeds), one.verdict)
        for one in judged.values()
    ]
    columns = ("claim", "what the paper says", "where", "paper", "ours, 95 % interval", "seeds", "verdict")
    return Table(
        "verdicts: differences in points of accuracy or disagreement, in cosine, or in percent of a norm", columns, rows
    )


def claims_list(judged, experiment):
    """The claims of an experiment as Markdown: what the paper says and measured, what came out here, the verdict."""
    lines = []
    for one in judged.values():
        claim, found = one.claim, one.found
        if claim.experiment == experiment:
            lines += [
                f"- **{claim.sentence}** *{one.verdict.capitalize()}.*\\",
                f"  Paper, {claim.where}: {one.paper}. Here: {one.ours}, {claim.unit}, {counted(found.seeds, 'seed')}.",
            ]
    return "\n".join(lines)


def paragraph(judged, text, said):
    """Prose about verdicts, as Markdown; where the ledger now gives another verdict, that comes first.

    Args:
        judged: from `judge`. text: Markdown. said: {claim's id: the verdict that the text explains}.
    """
    changed = [
        f"*{judged[claim].claim.sentence}* is {judged[claim].verdict} now, the text says {verdict}"
        for claim, verdict in said.items()
        if judged[claim].verdict != verdict
    ]
    if not changed:
        return text
    return f"**The ledger has moved on since this was written:** {'; '.join(changed)}.\n\n{text}"


def interval(difference, number):
    """The interval in brackets, or nothing where there is none."""
    if not np.isfinite(difference.low):
        return ""
    return f"[{number.format(difference.low)}, {number.format(difference.high)}]"


def missing(results, name):
    """A line that names the cells of an experiment that are not recorded, or None."""
    wanted = EXPERIMENTS[name]
    cells = [(configuration, seed) for configuration in wanted.configurations for seed in range(wanted.seeds)]
    gone = [(configuration, seed) for configuration, seed in cells if not results.record(name, configuration, seed)]
    if gone == cells:
        return f"{name}: all {len(cells)} cells are missing"
    if gone:
        seeds = {}
        for configuration, seed in gone:
            seeds.setdefault(configuration, []).append(str(seed))
        return f"{name}: missing " + ", ".join(f"{which} (seed {' '.join(found)})" for which, found in seeds.items())
    kept = [results.cell(name, *cell).key for cell in cells if cell[1] < wanted.keep_predictions]
    if not all(results.ledger.predictions(key).exists() for key in kept):
        return f"{name}: predictions of some runs are not kept; deit-edu ablate {name} keeps them"
    return None


TABLES = {"agreement": disagreement_table, "tokens": tokens_table}


def report(ledger, scale="tiny", data=None, form="text"):
    """Everything the ledger says, as one string.

    Args:
        ledger: a Ledger. scale, data: as for `Results`. form: "text", "markdown" or "csv".
    """
    if not ledger.records:
        return f"{ledger.path} holds no records yet: deit-edu ablate --list names the experiments to run"
    results = Results(ledger, scale, data)
    names = [name for name, experiment in EXPERIMENTS.items() if scale in experiment.scales]
    tables = [TABLES.get(name, accuracy_table)(results, name) for name in names]
    judged = judge(results)
    tables = [table for table in tables if table.rows]
    if any(one.found.seeds for one in judged.values()):
        tables.append(verdict_table(judged))
    second = judge(results, SECOND_CLAIMS)
    if any(one.found.seeds for one in second.values()):
        tables.append(second_table(second))
    if form == "csv":
        return "\n\n".join(map(as_csv, tables))
    recorded = [name for name in names if any(results.ledger.find(cell) for cell in results.grid.cells(name))]
    notes = list(filter(None, (missing(results, name) for name in recorded)))
    if untouched := [name for name in names if name not in recorded]:
        notes.append(f"No cell is recorded of {', '.join(untouched)}.")
    runs = counted(len(ledger.records), "run")
    notes.append(f"Recorded so far: {runs}, {core_hours(ledger):.1f} hours of one core or GPU.")
    for other in BASE:
        if other != scale and (there := runs_of_scale(Results(ledger, other))):
            notes.append(f"Scale {other} has {there} of them: deit-edu report --scale {other}")
    if others := retrained(ledger):
        notes.append(
            f"{counted(others, 'run')} learned from, or began as, a network that was trained again because its weights "
            "were gone, and that came out different from the recorded one on another type of machine."
        )
    if form == "markdown":
        return "\n\n".join([*map(as_markdown, tables), *notes])
    return "\n\n".join(map(as_text, tables)) + "\n\n" + "\n".join(notes)


def as_text(table):
    lines = [table.columns, *table.rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(table.columns))]
    shown = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([table.title, *shown])


def as_markdown(table):
    lines = (table.columns, ("---",) * len(table.columns), *table.rows)
    return "\n".join([f"**{table.title}**", "", *(f"| {' | '.join(line)} |" for line in lines)])


def as_csv(table):
    """The table's name in the first column, so that blocks can be told apart."""
    file = io.StringIO()
    name = table.title.partition(":")[0]
    csv.writer(file, lineterminator="\n").writerows([("table", *table.columns), *((name, *row) for row in table.rows)])
    return file.getvalue().rstrip("\n")


FORMS = {"text": as_text, "markdown": as_markdown, "csv": as_csv}
