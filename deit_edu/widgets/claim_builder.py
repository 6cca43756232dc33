"""Claim builder: a difference of your own between networks of the ledger, judged as the book judges the paper's."""

import json

import matplotlib.pyplot as plt
import numpy as np
import traitlets

from deit_edu.errors import DeiTEduError, counted
from deit_edu.evidence.claims import CLAIMS
from deit_edu.evidence.grids import EXPERIMENTS
from deit_edu.evidence.ledger import Ledger
from deit_edu.evidence.report import HEADS, Results, head_name, measure_of
from deit_edu.evidence.verdicts import paired_difference, verdict
from deit_edu.reading.figures import COLOURS, NARROW, STYLE
from deit_edu.widgets.bootstrap import resampling
from deit_edu.widgets.figure import Figure

WORDS = {"class": "class head", "distillation": "distillation head", "fused": "both heads",
         "fused_logits": "both heads, logits", "norm": "length of the positions kept, %",
         "similarity": "likeness of the tokens", "disagreement": "disagreement"}  # fmt: skip


class ClaimBuilder(Figure):
    """Choose what minus what, of which head; see every seed, the interval and the verdict.

    `ClaimBuilder.from_ledger()` has the book's own runs. Interval and verdict are computed in the page, with the very
    resamples that `deit_edu.evidence.verdicts.paired_difference` draws.

    Args:
        experiments: [{"name", "title", "split", "configurations": [{"name", "epochs", "measures": [{"name", "label",
            "values": {seed: value}}]}]}]. claims: [Claim] to choose from. claim: the id of the one to begin with.

    Raises:
        DeiTEduError: without experiments, or for a claim that is not among them.
    """

    experiments = traitlets.Bytes().tag(sync=True)  # JSON
    claims = traitlets.List().tag(sync=True)  # {"id", "sentence", "experiment", "sign", "terms"}
    bootstrap = traitlets.Dict().tag(sync=True)  # what the page needs to draw as NumPy does
    claim = traitlets.Unicode().tag(sync=True)  # an id, or "" for one of the reader's own
    experiment = traitlets.Unicode().tag(sync=True)
    terms = traitlets.List().tag(sync=True)  # [weight, configuration, measure], two of them or four
    sign = traitlets.Int(1).tag(sync=True)  # of the difference, as it is claimed
    seeds = traitlets.Int().tag(sync=True)  # so many of them, the first

    def __init__(self, experiments, claims=CLAIMS, claim="hard-beats-none"):
        known = {one["name"]: one for one in experiments}
        claims = {one.id: one for one in claims if one.experiment in known}
        if claim not in claims:
            raise DeiTEduError(f"no runs of the claim {claim!r} are here: choose one of {', '.join(claims) or 'none'}")
        begin = claims[claim]
        most = max(len(m["values"]) for e in experiments for c in e["configurations"] for m in c["measures"])
        self._values = {
            (e["name"], c["name"], m["name"]): m["values"]
            for e in experiments
            for c in e["configurations"]
            for m in c["measures"]
        }
        super().__init__(
            experiments=json.dumps(experiments).encode(),
            claims=[
                {"id": one.id, "sentence": one.sentence, "experiment": one.experiment, "sign": one.sign,
                 "unit": one.unit, "terms": [list(term) for term in one.terms]}
                for one in claims.values()
            ],
            bootstrap=resampling(most),
            claim=claim, experiment=begin.experiment, terms=[list(term) for term in begin.terms], sign=begin.sign,
            seeds=most,
        )  # fmt: skip

    @classmethod
    def from_ledger(cls, ledger=None):
        """The runs of every experiment at scale tiny, as far as they are recorded."""
        return cls(measured(Results(ledger or Ledger())))

    def paired(self):
        """((weight, values), ...) of the terms shown, over the seeds that all of them have, the first `seeds`."""
        columns = [self._values[self.experiment, configuration, measure] for _, configuration, measure in self.terms]
        shared = [seed for seed in columns[0] if all(seed in column for column in columns)][: self.seeds]
        return tuple(
            (weight, np.array([column[seed] for seed in shared]))
            for (weight, _, _), column in zip(self.terms, columns, strict=True)
        )

    def judged(self):
        """What Python says of the terms shown: (Difference, verdict)."""
        found = paired_difference(self.paired())
        return found, verdict(found, self.sign)

    def picture(self):
        terms, (found, judged) = self.paired(), self.judged()
        values = sum(weight * column for weight, column in terms)
        with plt.rc_context(STYLE):
            fig, ax = plt.subplots(figsize=(NARROW, 1.5))
            ax.axvline(0, color=COLOURS["truth"], linewidth=1)
            ax.plot([found.low, found.high], [0, 0], color=COLOURS["fused"])
            ax.plot(values, np.zeros(len(values)), "o", color=COLOURS["fused"], alpha=0.6)
            ax.plot([found.mean], [0], "|", color=COLOURS["fused"], markersize=16)
            ax.set(yticks=[], xlabel="difference", title=f"{self.claim}: {judged}")
        return fig

    def caption(self):
        found, judged = self.judged()
        told = next(one["sentence"] for one in self.claims if one["id"] == self.claim)
        return f"""The difference of a claim, a dot for every seed, a line for its interval, and a line at zero. {told}
        {found.mean:+.2f} [{found.low:+.2f}, {found.high:+.2f}], {counted(found.seeds, "seed")}: {judged}."""


def measured(results):
    """All that the cells of a scale measured, as `ClaimBuilder` takes it."""
    claimed = {
        (claim.experiment, configuration, measure) for claim in CLAIMS for _, configuration, measure in claim.terms
    }
    found = []
    for name, experiment in EXPERIMENTS.items():
        if results.grid.scale not in experiment.scales:
            continue
        configurations = []
        for configuration in experiment.configurations:
            records = {seed: results.record(name, configuration, seed) for seed in results.seeds(name)}
            records = {seed: record for seed, record in records.items() if record}
            others = sorted(m for e, c, m in claimed if (e, c) == (name, configuration) and m not in HEADS)
            measures = [
                {"name": measure, "label": label(results, name, configuration, measure), "values": values}
                for measure in (*HEADS, *others)
                if (values := values_of(results, name, configuration, measure, records))
            ]
            if measures:
                epochs = next(iter(records.values()))["epochs"]
                configurations.append({"name": configuration, "epochs": epochs, "measures": measures})
        if configurations:
            split = experiment.split
            found.append({"name": name, "title": experiment.title, "split": split, "configurations": configurations})
    return found


def values_of(results, experiment, configuration, measure, records):
    """{seed: value} of a measure, of the seeds that have it."""
    found = {}
    for seed, record in records.items():
        if measure.startswith("disagreement"):
            value = results.measure(experiment, configuration, seed, measure)
        else:
            value = measure_of(record, EXPERIMENTS[experiment].split, measure)
        if value is not None:
            found[str(seed)] = value
    return found


def label(results, experiment, configuration, measure):
    """A measure in words."""
    kind, *names = measure.split(":")
    if kind in HEADS:
        named = head_name(results, experiment, configuration, kind)
        return WORDS.get(named, named)
    return ": ".join(filter(None, [WORDS[kind], " and ".join(names)]))
