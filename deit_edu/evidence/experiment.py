"""What an experiment is, and what a claim is: `grids` and `claims` have those of the paper, `second_*` our own."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Experiment:
    """A question, and the networks that answer it."""

    title: str
    where: str  # in the paper
    configurations: dict  # {name: settings over the base}
    seeds: int = 5
    split: str = "test"  # where its table looks; validation while something is being chosen
    scales: tuple = ("tiny", "small")  # where it can be run
    keep_predictions: int = 0  # of the runs of how many seeds, in the ledger, for tables and figures


UNITS = {
    "similarity": "in cosine",
    "norm": "in percent of the norm",
    "inbox": "in points of attention",
    "kept": "in percent kept",
    "outlier": "in median lengths",
}  # by the kind of measure; all others are accuracies


def unit_of(measure):
    """What a measure's differences are counted in."""
    return UNITS.get(measure.partition(":")[0], "in points")


@dataclass(frozen=True)
class Claim:
    """A sentence of the paper as a signed difference between measured numbers.

    The difference is the sum of weight * measure over `terms`, for one seed at a time. A measure is a head's name
    (its test accuracy, in points), "similarity:input" or "similarity:last" (the two tokens' cosine),
    "disagreement:ONE:OTHER" (points of test images) between two of `deit_edu.evidence.report.DECIDERS`, "norm" (what
    interpolation leaves of the length of the position embeddings, in percent), "kept:HEAD" (of a student of the left
    half, what it keeps on the right of its accuracy above chance, in percent), "inbox:TOKEN" (of its attention to
    patches in the last block, inside the item's box, in percent), or "outlier" (the longest patch token of an image
    after the last block, in lengths of the median one).
    """

    id: str
    experiment: str
    sentence: str
    where: str
    sign: int  # of the difference, as the paper has it
    terms: tuple  # ((weight, configuration, measure), ...)
    paper: dict  # {which model: (the paper's number for each term)}; empty where the paper gives none

    @property
    def unit(self):
        """What its difference is counted in: points of test images, or what stands in their place."""
        return unit_of(self.terms[0][2])

    def paper_difference(self, model):
        return sum(weight * value for (weight, _, _), value in zip(self.terms, self.paper[model], strict=True))


def minus(one, other):
    """Terms of one measure minus another; each is (configuration, measure)."""
    return ((1, *one), (-1, *other))
