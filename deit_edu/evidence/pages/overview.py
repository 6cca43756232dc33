"""The first page: every claim, what to take home, how a verdict is given, what it cost."""

from scipy.stats import binomtest

from deit_edu.data import load_dataset
from deit_edu.evidence.pages.pieces import claims_table, difference, drawn, evidence, fold, ours, said
from deit_edu.evidence.regime import BASE
from deit_edu.evidence.report import core_hours, retrained
from deit_edu.evidence.verdicts import CONFIDENCE, ENOUGH_SEEDS
from deit_edu.reading import figures
from deit_edu.runs.machine import machine_name

QUESTIONS = {  # the experiments of each page's claims
    "Ways to distil": ("distillation",),
    "Teachers": ("teachers",),
    "Who agrees, and the two tokens": ("agreement", "tokens"),
    "Longer training": ("schedule",),
    "The recipe": ("recipe",),
    "Another resolution": ("resolution",),
    "Other classes": ("transfer",),
}
# Of the percentile bootstrap's 95 % for normal differences: {seeds: (as it is, widened)}, %. A test simulates them.
COVERAGE = {5: (84, 92), 10: (90, 94.5)}


def take_home():
    """What to take home, in three sentences."""
    judged = evidence().judged
    in_paper = [
        judged[claim].claim.paper_difference(model)
        for claim in ("hard-beats-none", "token-beats-none")
        for model in judged[claim].claim.paper
    ]
    return said(
        f"""1. **A convnet's decisions teach:** as hard labels they bring {ours("hard-beats-none")} points over the same
   network without a teacher on the class token, and {ours("token-beats-none")} with a distillation token, both heads;
   in the paper it is {min(in_paper):.1f} to {max(in_paper):.1f} points.
2. **What the paper credits to the token itself does not show here:** over hard labels on the class token it brings
   {ours("token-beats-class-token")}, and its head stands at {ours("distillation-head-beats-class-head")} points against
   the class head, where the paper's is ahead.
3. **The recipe is for another size:** AdamW beats SGD and dropout hurts, as in the paper, but RandAugment, mixing and
   repeated augmentation, which the paper needs, cost a network this small, trained so briefly,
   {ours("rand-augment-helps")}, {ours("mixing-helps")} and {ours("repeated-augmentation-helps")} points.""",
        hard_beats_none="reproduced", token_beats_none="reproduced", token_beats_class_token="not resolved",
        distillation_head_beats_class_head="reversed", adamw_beats_sgd="reproduced", dropout_hurts="reproduced",
        rand_augment_helps="reversed", mixing_helps="reversed", repeated_augmentation_helps="reversed",
    )  # fmt: skip


def counts():
    """How many claims came out how."""
    found = [one.verdict for one in evidence().judged.values()]
    kinds = [kind for kind in figures.VERDICT_MARKS if kind in found]
    return said(f"Of {len(found)} claims: " + ", ".join(f"**{found.count(kind)} {kind}**" for kind in kinds) + ".")


def all_claims():
    """All claims in one table, by question."""
    judged = evidence().judged.values()
    groups = {
        heading: [one for one in judged if one.claim.experiment in experiments]
        for heading, experiments in QUESTIONS.items()
    }
    return claims_table(groups, "Every claim: differences in points where no other unit is named, 95 % intervals")


def figure():
    """All claims in points, those reproduced first."""
    order = list(figures.VERDICT_MARKS)
    points = [one for one in evidence().judged.values() if one.claim.unit == "in points"]
    points.sort(key=lambda one: order.index(one.verdict))
    words = "; ".join(f"{one.claim.id}: {one.ours}, {one.verdict}" for one in points)
    alt = f"""One line for each claim in points, turned so that right of zero is the paper's side, those reproduced
        first. Purple: our difference with its interval, a disc where it is reproduced, a cross where reversed, a
        diamond where not resolved. Hollow squares: the paper's, for each of its models. As measured: {words}."""
    return drawn(lambda: figures.forest(points, "difference, points; right of zero is the paper's side"), alt)


def rule():
    """How a verdict is given."""
    return said(f"""The paper says that this minus that is positive, or negative. We train both with the same seeds and
take the difference seed by seed. A bootstrap, which draws the seeds again with replacement, gives the interval of its
mean, widened for the few seeds as Student's *t* would have it. Where the interval leaves out zero on the paper's side,
the claim is *reproduced*; on the other side, *reversed*. Where it holds zero, or there are fewer than {ENOUGH_SEEDS}
seeds, the claim is *not resolved*, which is not refuted.

{few_seeds()}""")


def few_seeds():
    """What the rule costs where seeds are few: stands wherever a reader meets it."""
    plain, widened = COVERAGE[ENOUGH_SEEDS]
    sign_test = binomtest(ENOUGH_SEEDS, ENOUGH_SEEDS).pvalue
    return f"""Mind how few {ENOUGH_SEEDS} seeds are. The plain bootstrap of {ENOUGH_SEEDS} holds the true difference
{plain} % of the time where it says {CONFIDENCE:.0%}; widened, {widened} %. And a test that only counts signs could not
decide at all: when all {ENOUGH_SEEDS} agree, its two-sided *p* is {sign_test:.2f}."""


def limits():
    """What five seeds can and cannot show."""
    judged = evidence().judged.values()
    judgeable = sum(one.found.seeds >= ENOUGH_SEEDS for one in judged)
    student, (plain, widened) = BASE["tiny"]["student"], COVERAGE[5]
    misses = judgeable * (1 - widened / 100)
    return fold(
        "What five seeds cannot show",
        f"""An interval is meant to hold the true difference {CONFIDENCE:.0%} of the time. The plain bootstrap of five
normal differences does so {plain} % of the time, widened {widened} %, and with ten seeds {COVERAGE[10][1]} %: so it
came out in simulated samples, 200,000 of five seeds and 40,000 of ten; a test repeats it with fewer.
Of the {judgeable} claims with enough seeds, expect some {misses:.0f} intervals to miss by luck alone.
They need not be spread: claims share runs,
and one lucky baseline moves every claim that is measured against it.

The interval speaks of training again with other seeds, on the same
{len(load_dataset("fashion_clutter").test):,} test images. It does not speak of other images. The network is small
(`{student["model"]}`, {student["epochs"]} epochs on `{BASE["tiny"]["data"]}`), so compare signs, not sizes.

With three seeds the interval runs from the smallest difference to the largest, and leaves out zero whenever they agree
in sign, which chance alone does one time in four. Read it as a sketch. These pages mark it with a dagger: †.

Where five seeds left a claim open by little, we ran ten: for two rows of table 3, for the schedule, for the control
with two class tokens. Each was a second look, decided after the first, and whoever looks twice is lucky somewhat more
often than the interval says. Where a claim stays open, its page says what we tried, or why we did not.""",
    )


def cost():
    """What the runs cost, and how to run them again."""
    ledger = evidence().ledger
    records = list(ledger.records.values())
    machines = sorted({machine_name(record["machine"]) for record in records})
    canvases = [record for record in records if record["data"]["name"].startswith("fashion_clutter")]
    slow = [record["config"] for record in canvases if record["seconds"] * record["machine"]["threads"] > 300]
    epochs = BASE["tiny"]["student"]["epochs"]
    students = sum(config["model"].startswith("deit") and config["epochs"] == epochs for config in slow)
    timms = sum(config["model"].startswith("timm:") for config in slow)
    return fold(
        "What it cost, and how to run it again",
        f"""{len(records)} networks were trained, in {core_hours(ledger):.1f} hours of one core or GPU, on
{", ".join(machines)}. Times are of machines that mostly trained two networks at once and had other work beside; the
oldest records do not name the instruction set. We had wanted no network of the canvases to take more than five
minutes of one core. {len(canvases) - len(slow)} of {len(canvases)} kept to that; {len(slow)} took longer, {students}
of them a student of table 3's length, {timms} a convnet of timm's.

For {retrained(ledger)} runs the network that they learned from, or began as, was no longer at hand. We trained it
again with the same settings and the same seed. On another type of machine it rounds differently, so it is a sister of
the recorded one. Within an experiment such a teacher is shared by the students of a seed, or each learned from its
own; the ledger says which, by the digest of the weights.

In a clone of the repository `deit-edu ablate --list` names the experiments, `deit-edu ablate distillation` runs what is
missing of one, `deit-edu ablate distillation --verify 3` trains three of its networks again and compares, and
`deit-edu report` prints these tables as text, Markdown or CSV. For the photographs add `--scale small`.""",
    )


def blind():
    """What was not decided before its own first run."""
    return fold(
        "What was settled beforehand, and what was not",
        f"""The regime was chosen beforehand, on validation images (chapter 7). The rule for a verdict was written into
the library before the first run, and every claim before its own first run. Two things were not. The length of training
was settled after a look at table 3 after ten epochs, and at plain and distilled students after ten, twenty and forty
epochs for two seeds; those two seeds are among the ones judged here, so for the length these pages are no blind test.
And SGD got its own weight decay after a first series: in it SGD stood at
{difference("recipe", ("sgd_decay_0.05", "class"), ("base", "class"))} points, as the page on the recipe tells.

A claim that something makes *no* difference is not among these: our rule cannot confirm one. The paper's numbers are
those of its arXiv version. All is read from the ledger, but for speed, and for some looks at the students that ship:
these are computed when a page is built.""",
    )
