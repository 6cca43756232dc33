"""How many runs does it take to see an effect? Student's t with the ledger's own spread."""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.stats import chi2, nct, t

from deit_edu.errors import DeiTEduError
from deit_edu.evidence.claims import CLAIMS, Claim
from deit_edu.evidence.report import HEADS, Table
from deit_edu.evidence.verdicts import CONFIDENCE, ENOUGH_SEEDS

EFFECT = 0.5  # points: the size of most of the paper's differences in table 3
POWER = 0.8  # how often an effect that is there is to be seen
MOST_SEEDS = 10**6
MOST_ERRORS = 10**5  # that an interval reaches out; beyond, the noncentral t is not to be computed


@dataclass(frozen=True)
class Spread:
    """How much seeds differ, as standard deviations.

    paired: of the difference between two networks that share a seed. single: of one network; the difference between
    two that share nothing spreads by sqrt(2) of it. freedom: the degrees of freedom behind paired.
    """

    paired: float
    single: float
    freedom: int

    def error(self, seeds, paired=True):
        """The standard error of the mean difference, from so many networks on each side."""
        return (self.paired if paired else self.single * 2**0.5) / seeds**0.5


def power_of(effect, spread, seeds, paired=True, confidence=CONFIDENCE):
    """How often Student's interval of the mean difference leaves out zero on the side of an effect that is there.

    The verdict's own interval is the bootstrap's, widened to Student's; with five seeds it is a little narrower and
    sees a little more (a test simulates both). For normal differences: P(T > t), T noncentral with effect / error.

    Args:
        effect: the true difference, in the unit of the spread. spread: a Spread. seeds: networks on each side.
        paired: the two sides share their seeds. confidence: the interval's level.
    """
    if (error := spread.error(seeds, paired)) == 0:
        return 1.0
    freedom = seeds - 1 if paired else 2 * (seeds - 1)
    critical = t.ppf((1 + confidence) / 2, freedom)
    return float(nct.sf(critical, freedom, abs(effect) / error))


def seeds_needed(effect, spread, paired=True, power=POWER, confidence=CONFIDENCE):
    """The fewest seeds with which an effect is seen so often, and not fewer than a verdict asks for.

    Raises:
        DeiTEduError: for an effect, a power or a confidence that cannot be, or one that asks for over a million seeds.
    """
    check(effect, power, confidence)
    few, many = ENOUGH_SEEDS - 1, ENOUGH_SEEDS
    while power_of(effect, spread, many, paired, confidence) < power:
        if many == MOST_SEEDS:
            raise DeiTEduError(f"an effect of {effect} would take more than {MOST_SEEDS:,} seeds: ask for a larger one")
        few, many = many, min(2 * many, MOST_SEEDS)
    while many - few > 1:
        middle = (few + many) // 2
        enough = power_of(effect, spread, middle, paired, confidence) >= power
        few, many = (few, middle) if enough else (middle, many)
    return many


def smallest_effect(spread, seeds, paired=True, power=POWER, confidence=CONFIDENCE):
    """The effect that so many seeds see so often: what a claim could have shown.

    Raises:
        DeiTEduError: for fewer than two seeds, or a power or a confidence that cannot be.
    """
    check(1.0, power, confidence)
    if seeds < 2:
        raise DeiTEduError(f"{seeds} seeds have no spread: give 2 or more")
    error = spread.error(seeds, paired)
    if error == 0:
        return 0.0
    if t.ppf((1 + confidence) / 2, seeds - 1) > MOST_ERRORS:
        raise DeiTEduError(f"{seeds} seeds see nothing with a confidence of {confidence}: ask for a lower one")
    unit = Spread(seeds**0.5, (seeds / 2) ** 0.5, spread.freedom)  # whose error is 1

    def missing(effect):
        return power_of(effect, unit, seeds, paired, confidence) - power

    most = 8.0
    while missing(most) < 0:
        most *= 2
    return error * brentq(missing, 0, most)


def check(effect, power, confidence):
    if not (np.isfinite(effect) and effect != 0):
        raise DeiTEduError(f"an effect of {effect} cannot be looked for: give a number of points other than 0")
    for name, share in (("power", power), ("confidence", confidence)):
        if not 0 < share < 1:
            raise DeiTEduError(f"{name} is {share}: it must lie between 0 and 1, such as 0.8")
    if power <= (1 - confidence) / 2:
        raise DeiTEduError(f"chance alone has a power of {(1 - confidence) / 2:g}: ask for more than {power}")


# ---- the ledger's spread ----


def spread_of(terms):
    """The spread of a weighted sum of measures that share their seeds: ((weight, (seeds,) values), ...) -> Spread."""
    values = sum(weight * np.asarray(column) for weight, column in terms)
    # Of two networks' average, so that single * sqrt(2) is the difference's, had the seeds not been shared.
    single = (sum(weight**2 * np.var(column, ddof=1) for weight, column in terms) / 2) ** 0.5
    return Spread(float(np.std(values, ddof=1)), float(single), len(values) - 1)


def pooled(spreads):
    """Several spreads as one: their variances averaged, weighted by their degrees of freedom."""
    freedom = sum(spread.freedom for spread in spreads)
    paired, single = (
        (sum(spread.freedom * getattr(spread, name) ** 2 for spread in spreads) / freedom) ** 0.5
        for name in ("paired", "single")
    )
    return Spread(paired, single, freedom)


def known_to(spread, confidence=CONFIDENCE):
    """Between which multiples of itself the true paired spread lies, by chi-squared: few seeds know it badly."""
    bounds = chi2.ppf(((1 + confidence) / 2, (1 - confidence) / 2), spread.freedom)
    return tuple(float((spread.freedom / bound) ** 0.5) for bound in bounds)


@dataclass(frozen=True)
class Sensitivity:
    """What a claim could have seen, with the seeds that it has."""

    claim: Claim
    seeds: int
    spread: Spread

    @property
    def compares_networks(self):
        """Whether it compares the accuracies of networks trained apart: not two heads of one, not likeness."""
        configurations = {configuration for _, configuration, _ in self.claim.terms}
        return len(configurations) == len(self.claim.terms) == 2 and all(m in HEADS for *_, m in self.claim.terms)


def sensitivities(results, claims=CLAIMS):
    """Of every claim that has two seeds or more: {id: Sensitivity}."""
    found = {}
    for claim in claims:
        terms = results.paired(claim.experiment, claim.terms)
        if len(terms[0][1]) > 1:
            found[claim.id] = Sensitivity(claim, len(terms[0][1]), spread_of(terms))
    return found


def typical_spread(found):
    """The spread of the claims that compare two networks' accuracy, pooled: (Spread, how many claims).

    Raises:
        DeiTEduError: when the ledger has none.
    """
    of_networks = [one.spread for one in found.values() if one.compares_networks]
    if not of_networks:
        raise DeiTEduError("the ledger holds no two seeds of a comparison: deit-edu ablate distillation runs some")
    return pooled(of_networks), len(of_networks)


def power_table(found, effect=EFFECT, power=POWER, confidence=CONFIDENCE):
    """The smallest effect that each claim could have seen with its seeds, and the seeds that an effect takes."""
    rows = []
    for name, one in found.items():
        form = "{:.3f}" if one.claim.unit == "in cosine" else "{:.2f}"
        cells = []
        for paired in (True, False):
            spread = one.spread.paired if paired else one.spread.single * 2**0.5
            seen = smallest_effect(one.spread, one.seeds, paired, power, confidence)
            cells += [form.format(spread), form.format(seen)]
        in_points = one.claim.unit == "in points"
        needed = str(seeds_needed(effect, one.spread, True, power, confidence)) if in_points else ""
        rows.append((name, str(one.seeds), one.claim.unit.removeprefix("in "), *cells, needed))
    columns = ("spread", "smallest seen", "unpaired spread", "smallest seen", f"seeds for {effect:g}")
    title = f"power: the smallest effect that each claim sees {power:.0%} of the time, at {confidence:.0%} confidence"
    return Table(title, ("claim", "seeds", "unit", *columns), rows)


def answer(found, effect=EFFECT, power=POWER, confidence=CONFIDENCE):
    """How many seeds an effect takes, in lines."""
    spread, count = typical_spread(found)
    paired, single = (seeds_needed(effect, spread, paired, power, confidence) for paired in (True, False))
    return [
        f"To see {effect:g} points {power:.0%} of the time, at {confidence:.0%} confidence:",
        f"  {paired} seeds on each side, the same for both ({2 * paired} runs)",
        f"  {single} seeds on each side, each with seeds of its own ({2 * single} runs)",
        f"Spread over seeds: {spread.paired:.2f} points of a paired difference, {spread.single * 2**0.5:.2f} of an "
        f"unpaired one, pooled over {count} claims that compare two networks' accuracy.",
    ]
