"""The questions of the second series, a section each: what is compared, what came out, or how far the runs are.

One builder for all of them; what differs stands in `ASKED`. A text that explains verdicts says so in `explains`, and a
verdict that moves is said before it. Until then a text says what either outcome would mean, and concludes nothing.
"""

from dataclasses import dataclass, field

import matplotlib
import matplotlib.pyplot as plt
import numpy as np

from deit_edu.evidence.experiment import unit_of
from deit_edu.evidence.grids import EXPERIMENTS
from deit_edu.evidence.pages.pieces import (
    Text,
    cards,
    claimed,
    differences,
    drawn,
    evidence,
    fold,
    judged,
    levels,
    row,
    said,
    together,
)
from deit_edu.evidence.pages.running import begun, cells_of, hours, named, question_table, to_do, verdict_of
from deit_edu.evidence.regime import STOPPED_AFTER
from deit_edu.evidence.stopping import distances
from deit_edu.evidence.verdicts import ENOUGH_SEEDS
from deit_edu.reading import figures


@dataclass(frozen=True)
class Asked:
    """A question's section.

    `rows` are its claims, {id: (what minus what, key of COLOURS)}; `known` are differences beside them that claim
    nothing, ((what minus what, experiment, plus, minus, colour), ...).
    """

    rows: dict
    text: str  # Markdown: what to make of it
    known: tuple = ()
    explains: dict = field(default_factory=dict)  # {a claim's id with _ for -: the verdict that the text explains}


REGIMES = {"usual": "40 epochs", "longer": "160 epochs", "longest": "400 epochs", "wider": "width 128"}
INGREDIENTS = {"mixing": "mixing", "rand-augment": "RandAugment", "repeated-augmentation": "repeated"}
# The reversed claims that are asked again: {what: {regime: claim}}, where each was judged first at the top.
REVERSED = {
    f"{words} − without": {"20 epochs": f"{name}-helps"}
    | {where: f"{name}-helps-{regime}" for regime, where in REGIMES.items()}
    for name, words in INGREDIENTS.items()
} | {
    "tuned at 56 − 28 pixels": {
        "5 epochs": "larger-images-help",
        "20 epochs": "larger-images-help-long",
        "width 128": "larger-images-help-wide",
    }
}


def reversed_rows():
    """The claims of `REVERSED` that are of the second series."""
    return {
        claim: (f"{what}, {where}", "class")
        for what, regimes in REVERSED.items()
        for where, claim in list(regimes.items())[1:]
    }


def regimes():
    """A map: which reversed claim holds where, as far as it is run."""
    rows = {}
    for what, claims_by_regime in REVERSED.items():
        found = {where: judged(claim) for where, claim in claims_by_regime.items()}
        rows[what] = [(where, one.ours, one.found.seeds, verdict_of(one)) for where, one in found.items()]
    caption = "Which reversed claim holds where, in points; a width of 128 has 40 epochs, or 5 of fine-tuning"
    return cards(("regime", "difference", "seeds", "verdict"), rows, caption)


LENGTHS = {1: "head_gap", 2: "head_gap", 4: "head_gap_long"}  # in quarters of the usual one, and the experiment


def gaps():
    """The distillation head's lead over the class head after each length, by the convnet that is often right."""
    return tuple(
        (f"{10 * times} epochs: distillation − class head", experiment,
         (f"by_convnet_x{times}", "distillation"), (f"by_convnet_x{times}", "class"), "distillation")
        for times, experiment in LENGTHS.items()
    )  # fmt: skip


def gap_points(times):
    """A point for each student of a length: on how many training images its teacher was right, %, and its gap."""
    of, points = evidence().results, []
    for name in (name for name in EXPERIMENTS[LENGTHS[times]].configurations if name.endswith(f"_x{times}")):
        for seed in of.seeds(LENGTHS[times]):
            if record := of.record(LENGTHS[times], name, seed):
                one, other = (of.measure(LENGTHS[times], name, seed, head) for head in ("distillation", "class"))
                points.append((100 * record["teacher_on_train"]["accuracy"], one - other))
    return np.array(points).reshape(-1, 2)


def gap_by_errors():
    """The heads' distance against how often the teacher is right, a mark for every student."""
    found = {times: points for times in LENGTHS if len(points := gap_points(times))}
    if not found:
        return Text("*The runs of this figure are not in the ledger yet.*")

    def draw():
        fig, ax = plt.subplots()
        ax.axhline(0, color="black", linewidth=1, linestyle="-")
        for mark, (times, points) in zip("os^", found.items(), strict=False):
            ax.plot(*points.T, mark, color=figures.COLOURS["distillation"], alpha=0.2 + 0.2 * times, linestyle="none",
                    markeredgewidth=0, label=f"{10 * times} epochs")  # fmt: skip
        ax.set(xlabel="its teacher right on training images, %", ylabel="distillation − class head, points")
        ax.yaxis.set_major_formatter(matplotlib.ticker.StrMethodFormatter("{x:+g}"))
        ax.grid(alpha=0.3)
        ax.legend(fontsize=8)
        return fig

    told = "; ".join(
        f"{10 * times} epochs, {len(points)} students: {points[:, 1].mean():+.2f} points, teachers right on "
        f"{points[:, 0].min():.0f} to {points[:, 0].max():.0f} %"
        for times, points in found.items()
    )
    return drawn(draw, f"The distillation head minus the class head, a mark for every student. {told}.")


USUAL = "batch_64_warmup_2"
ASKED = {  # by the first of a question's experiments
    "batch_and_rate": Asked(
        {
            "large-batch-hurts": ("plain: batch 256 − 64", "class"),
            "small-batch-helps": ("plain: batch 16 − 64", "class"),
            "scaled-rate-helps-large-batch": ("plain, batch 256: rate scaled − not", "class"),
            "scaled-rate-helps-small-batch": ("plain, batch 16: rate scaled − not", "class"),
            "warmup-helps": ("plain: no warm-up − 2 epochs", "class"),
            "long-warmup-hurts": ("plain: 5 epochs of warm-up − 2", "class"),
            "warmup-tames-a-high-rate": ("plain, rate × 4: warm-up 5 − 0", "class"),
            "distilled-is-sturdier-to-batch": ("batch 256 − 64: to hard − to plain", "fused"),
            "distilled-is-sturdier-to-rate": ("rate × 4, batch 16: to hard − to plain", "fused"),
            "distilled-is-sturdier-to-warmup": ("no warm-up − 2: to hard − to plain", "fused"),
            "distilled-needs-less-warmup": ("256, warm-up 0 − 5: to hard − to plain", "fused"),
        },
        """At equal epochs a larger batch takes fewer steps, and steps are what a short run lacks: a batch of 256
costs far more than all else that is changed alone, and its scaled rate is not seen to mend it. So do not fill a large
memory for its own sake. A batch of 16, a rate four times as high there, no warm-up, one of half the run: alone, each
stays within what five seeds can tell.

Together they do not. Without a warm-up the plain student falls back at the high rate of a batch of 16, and breaks at
the scaled one of 256. A warm-up of half the run mends both, though not what the large batch costs. Leave the warm-up
out only where the rate is low.

At 256 a teacher is an insurance: the distilled student is not seen to need the warm-up without which the plain one
breaks. Elsewhere it is none that these runs could show.""",
        (
            ("plain, batch 256: warm-up 5 − 0", "warmup_and_rate", ("none_batch_256_warmup_5", "class"),
             ("none_batch_256_warmup_0", "class"), "plain"),
            ("hard, both, batch 256: warm-up 5 − 0", "warmup_and_rate", ("hard_batch_256_warmup_5", "fused"),
             ("hard_batch_256_warmup_0", "fused"), "fused"),
            ("hard, both, rate × 4: warm-up 5 − 0", "warmup_and_rate", ("hard_batch_16_warmup_5_fixed", "fused"),
             ("hard_batch_16_warmup_0_fixed", "fused"), "fused"),
            ("hard, both − plain, batch 64", "batch_and_rate", (f"hard_{USUAL}", "fused"), (f"none_{USUAL}", "class"),
             "fused"),
            ("hard, both: batch 256 − 64", "batch_and_rate", ("hard_batch_256_warmup_2", "fused"),
             (f"hard_{USUAL}", "fused"), "fused"),
        ),
        dict.fromkeys(
            ("small_batch_helps", "scaled_rate_helps_large_batch", "scaled_rate_helps_small_batch", "warmup_helps",
             "long_warmup_hurts", "distilled_is_sturdier_to_batch", "distilled_is_sturdier_to_rate",
             "distilled_is_sturdier_to_warmup"),
            "not resolved",
        )
        | dict.fromkeys(("large_batch_hurts", "warmup_tames_a_high_rate", "distilled_needs_less_warmup"), "reproduced"),
    ),
    "pooling": Asked(
        {
            "mean-beats-class-token": ("plain: mean of the patches − token", "class"),
            "mean-beats-class-token-distilled": ("distilled, both: mean − token", "fused"),
            "distillation-helps-beside-mean": ("mean: distilled, both − plain", "fused"),
        },
        """Each of the four networks has the rate of three that is best for it on validation images. The mean is ahead,
with a teacher and without: nothing in the method needs a class token, and a network this small,
trained so briefly, does better to read the patches. The distilled mean likes the highest rate that we tried.

What the distillation token itself brings is not sure beside the mean, as it is beside the class token after so few
epochs. And you lose a picture: a class token shows where it looks.""",
        (
            ("plain, token: rate 0.016 − 0.008", "pooling", ("none_token_0.016", "class"),
             ("none_token_0.008", "class"), "plain"),
            ("plain, token: rate 0.032 − 0.016", "pooling", ("none_token_0.032", "class"),
             ("none_token_0.016", "class"), "plain"),
            ("token, 0.016: distilled, both − plain", "pooling", ("hard_token_0.016", "fused"),
             ("none_token_0.016", "class"), "fused"),
            ("distilled, mean: rate 0.032 − 0.016", "pooling", ("hard_mean_0.032", "fused"),
             ("hard_mean_0.016", "fused"), "fused"),
        ),
        dict(
            mean_beats_class_token="reproduced", mean_beats_class_token_distilled="reproduced",
            distillation_helps_beside_mean="not resolved",
        ),
    ),
    "kept_answers": Asked(
        {
            "anew-beats-answers-of-image": ("asked anew − once about each image", "fused"),
            "anew-beats-answers-of-one": ("asked anew − about one epoch's", "fused"),
            "anew-beats-answers-of-five": ("asked anew − about five epochs'", "fused"),
            "five-beat-one": ("five epochs' answers − one's", "fused"),
            "pictures-beat-answers": ("five: with pictures − answers alone", "fused"),
            "kept-answers-beat-none": ("one epoch's answers − labels alone", "fused"),
        },
        """Keeping a hard answer costs next to nothing, and here it loses nothing that five seeds can see: a teacher
asked once about each image, or about the pictures of one epoch or five, is neither ahead of nor behind one asked
anew. That is no proof of none: at this length the gain over labels alone is itself not sure. Where asking is dear,
asking once is worth a try.

Keep answers, not pictures: the pictures of one epoch, shown again in every other, cost far more than any answer
brings. Those of five cost nothing that we see beside a teacher.""",
        (
            ("asked anew, both − labels alone", "kept_answers", ("asked_anew", "fused"), ("none", "class"), "fused"),
            ("pictures of one epoch − always new", "kept_answers", ("pictures_of_1", "fused"), ("asked_anew", "fused"),
             "fused"),
            ("pictures of five − always new", "kept_answers", ("pictures_of_5", "fused"), ("asked_anew", "fused"),
             "fused"),
            ("labels: pictures of five − always new", "kept_answers", ("none_pictures_of_5", "class"),
             ("none", "class"), "plain"),
        ),
        dict.fromkeys(
            ("anew_beats_answers_of_image", "anew_beats_answers_of_one", "anew_beats_answers_of_five", "five_beat_one",
             "pictures_beat_answers", "kept_answers_beat_none"),
            "not resolved",
        ),
    ),
    "classes_taught": Asked(
        {
            "teacher-helps-on-other-classes": ("other classes: teacher − labels", "fused"),
            "start-helps-the-taught": ("taught: started − from nothing", "fused"),
            "teacher-helps-at-resolution": ("42 pixels: teacher of 42 − labels", "fused"),
            "small-teacher-helps-at-resolution": ("42 pixels: teacher of 28 − labels", "fused"),
            "larger-teacher-beats-smaller": ("42 pixels: teacher of 42 − of 28", "fused"),
        },
        """On larger pictures keep the teacher, as the paper says: `--teacher` with `--initial` is all you need. One
that has learned pictures of that size is best; the one that you have helps less, and by the class head alone.

On other classes the start brings the most: a taught student from nothing stays far behind. What a teacher of the new
classes adds to that start, five seeds do not tell.""",
        (
            ("by labels: started − from nothing", "transfer", ("from_distilled_all", "fused"),
             ("from_nothing_all", "class"), "fused"),
            ("42 pixels, teacher of 28: distillation − class", "resolution_taught", ("taught_at_28", "distillation"),
             ("taught_at_28", "class"), "distillation"),
        ),
        dict(
            teacher_helps_on_other_classes="not resolved", start_helps_the_taught="reproduced",
            teacher_helps_at_resolution="reproduced", small_teacher_helps_at_resolution="reproduced",
            larger_teacher_beats_smaller="reproduced",
        ),
    ),
    "registers": Asked(
        {
            "register-helps": ("one register − none, both heads", "fused"),
            "register-focuses-class-token": ("one − none: class token in the box", "class"),
            "register-focuses-distillation-token": ("one − none: distillation token", "distillation"),
            "register-evens-the-patches": ("one − none: the longest patch", "teacher"),
        },
        """Here no patch stands out: the longest token of a picture is hardly longer than the others (the levels are
below). So there is nothing to cure. With a register the student is neither better nor worse as far as five seeds can
tell, and its tokens look where they looked.""",
        (
            ("two registers − one, both heads", "registers", ("hard_registers_2", "fused"),
             ("hard_registers_1", "fused"), "fused"),
            ("two − one: class token in the box", "registers", ("hard_registers_2", "inbox:class"),
             ("hard_registers_1", "inbox:class"), "class"),
            ("two − one: the longest patch", "registers", ("hard_registers_2", "outlier"),
             ("hard_registers_1", "outlier"), "teacher"),
        ),
        dict.fromkeys(
            ("register_helps", "register_focuses_class_token", "register_focuses_distillation_token",
             "register_evens_the_patches"),
            "not resolved",
        ),
    ),
    "unseen_places": Asked(
        {
            "convnet-carries-over": ("the convnet − the transformer", "teacher"),
            "bias-is-inherited": ("by the convnet, both − plain", "fused"),
            "bias-is-the-convnets": ("by the convnet − by the transformer", "fused"),
            "bias-is-not-accuracy": ("by the stopped one − by transformer", "fused"),
            "distillation-head-carries-over": ("by it: distillation − class head", "distillation"),
        },
        """What is compared is a share: of what a network knows on the left, above chance, how much does it still know
on the right? The convnet keeps nearly all, the transformer little, and none of that is seen to be handed on: a
convnet's student is not seen to keep more than a plain one or a transformer's student. Part of the little that they
keep could hide in the intervals; the convnet's lead could not. A teacher can only speak of
pictures that it is shown, and none of these has an item on the right. So read the paper's *probably* with care.

The student of the stopped convnet keeps a little more than the plain one. We did not expect that and claim nothing.""",
        (
            ("by the stopped one, both − plain", "unseen_places", ("by_convnet_early", "kept:fused"),
             ("none", "kept:class"), "fused"),
            ("by the transformer, both − plain", "unseen_places", ("by_transformer", "kept:fused"),
             ("none", "kept:class"), "fused"),
            ("right in both halves: by the convnet − plain", "unseen_places", ("by_convnet", "fused"),
             ("none", "class"), "fused"),
        ),
        dict(
            convnet_carries_over="reproduced", bias_is_inherited="not resolved", bias_is_the_convnets="not resolved",
            bias_is_not_accuracy="not resolved", distillation_head_carries_over="not resolved",
        ),
    ),
    "student_beats_teacher": Asked(
        {
            "student-beats-earlier-teacher": ("student − its convnet of 1 epoch", "fused"),
            "student-beats-early-teacher": ("student − its convnet of 3 epochs", "fused"),
            "student-beats-few-image-teacher": ("student − convnet of 1,000 images", "fused"),
            "large-student-beats-early-teacher": ("wide student − convnet of 3 epochs", "fused"),
            "worse-teacher-still-helps": ("by the convnet of 1 epoch − plain", "fused"),
        },
        """A student hears the label as well as its teacher, so it can pass a teacher that is weaker than what labels
alone would have made of it. The line runs somewhere between: these teachers are to bracket it. If a teacher worse than
the plain student still helps, it is not its accuracy that teaches.""",
        (("plain student − convnet of 1,000 images", "student_beats_teacher", ("none", "class"),
          ("convnet_few", "class"), "plain"),),
    ),
    "head_gap": Asked(
        {
            f"errors-cost-the-head-{name}-{times}": (f"{10 * times} epochs: {words} − often right", "distillation")
            for times in (1, 2, 4)
            for name, words in (("early", "stopped early"), ("few", "1,000 images"))
        },
        """A head that copies its teacher copies its errors. After 20 and after 40 epochs that is what we see: the
distillation head is further behind by either of the convnets that err more. After 10 epochs five seeds do not tell. So
how often your teacher is right on the images that it teaches with is a part of the answer.

It is not the count of errors alone. The convnet of few images errs less than the one that was stopped early; after 20
epochs its students' head is no better off, after 40 it is. And the length counts by itself: by the convnet that is
often right the head leads after 20 epochs, as in the paper, and trails after 40.""",
        gaps(),
        dict(
            errors_cost_the_head_early_1="not resolved", errors_cost_the_head_few_1="not resolved",
            errors_cost_the_head_early_2="reproduced", errors_cost_the_head_few_2="reproduced",
            errors_cost_the_head_early_4="reproduced", errors_cost_the_head_few_4="reproduced",
        ),
    ),
    "two_teachers": Asked(
        {
            "token-each-beats-ensemble": ("a token each − one for their mean", "fused"),
            "token-each-beats-one-teacher": ("a token each − one convnet alone", "fused"),
        },
        """Both ways ask the same two convnets, which are of one kind. Five seeds tell neither the two ways apart, nor a
token each from one convnet alone; where you have two teachers, their mean is the simpler way. Teachers of two kinds are
not asked here.""",
        (
            ("a token each: both their heads − class head", "two_teachers", ("each", "distillation"), ("each", "class"),
             "distillation"),
            ("40 epochs: the mean of two convnets − one", "teachers", ("by_two_convnets", "fused"),
             ("by_convnet", "fused"), "fused"),
            ("a token each − one: class token in the box", "two_teachers", ("each", "inbox:class"),
             ("ensemble", "inbox:class"), "class"),
            ("a token each − one: the longest patch", "two_teachers", ("each", "outlier"), ("ensemble", "outlier"),
             "teacher"),
        ),
        dict(token_each_beats_ensemble="not resolved", token_each_beats_one_teacher="not resolved"),
    ),
    "longer": Asked(
        reversed_rows(),
        """Where a sign turns with the length, the regime was the reason and the paper's claim may hold for you. Where
it turns with the width, the network was too small to need what keeps a large one from learning by heart. Where neither
turns it, our canvases are, which are new in every epoch.""",
    ),
}  # fmt: skip


def claims_of(name):
    """A question's claims that have a difference to show."""
    return [one for one in begun(named(name)) if one.found.seeds]


def progress(name):
    """How much of a question is in the ledger; empty when all of it is."""
    question = named(name)
    wanted, missing = len(cells_of(question)), len(to_do(question))
    if not missing:
        return ""
    return f"""*Not run yet: {missing} of {wanted} networks, about {hours(question):.1f} hours of one core. A claim is
judged from {ENOUGH_SEEDS} seeds on.*"""


def answer(name):
    """The verdicts in a sentence, or that there are none to give."""
    found = claims_of(name)
    if not found:
        question = named(name)
        missing, wanted = len(to_do(question)), len(cells_of(question))
        return said(f"The ledger has no answer yet: {missing} of {wanted} networks are still to run.")
    judged = [one for one in found if one.found.seeds >= ENOUGH_SEEDS]
    told = "; ".join(f"{ASKED[name].rows[one.claim.id][0]}, {one.ours}: *{one.verdict}*" for one in judged)
    of_all = len(begun(named(name)))
    return said(f"{len(judged)} of {of_all} claims are judged{': ' if told else ''}{told}.")


def figure(name):
    """Every claim's difference and what is known beside them, seed by seed; a figure for each unit."""
    asked, groups = ASKED[name], {}
    for one in claims_of(name):
        groups.setdefault(one.claim.unit, []).append(claimed(one.claim.id, *asked.rows[one.claim.id]))
    for label, experiment, plus, minus, colour in asked.known:
        found = row(label, experiment, plus, minus, colour)
        if found.found.seeds:
            groups.setdefault(unit_of(plus[1]), []).append(found)
    pictures = [differences(rows, f"difference, {unit.removeprefix('in ')}") for unit, rows in groups.items()]
    return together(*pictures, progress(name))


def claims(name):
    """What was expected, with its sign, and where it stands."""
    return question_table(named(name))


def reading(name):
    """What to make of it: what either outcome would mean, or once it is written, what the verdicts do."""
    return said(ASKED[name].text, **ASKED[name].explains)


def when_stopped():
    """When the convnet of `unseen_places` is stopped, and what the rule chose from."""
    found = distances(evidence().results)
    if found is None:
        return said("When the convnet is stopped is not decided yet.")
    told = ", ".join(f"{away:+.1f} after {epochs}" for epochs, away in found.items())
    return said(f"""*When is the convnet stopped?* Not for us to choose: where it is nearest the transformer on
validation images, of the left half as well. Convnets minus the transformer, in points, by their epochs: {told}. So it
is {STOPPED_AFTER}. The first choices were 2 to {max(found)}, and all were ahead; {STOPPED_AFTER} came after that look,
before any student was trained.""")


def every_level(*names):
    """The levels behind the differences of some questions, folded: every row that is recorded."""
    experiments = [one for name in names for one in named(name).experiments]
    recorded = [one for one in experiments if any(map(evidence().ledger.find, evidence().results.grid.cells(one)))]
    titled = [piece for one in recorded for piece in (f"*{EXPERIMENTS[one].title}*", levels(one))]
    return fold("Levels: every seed of every row that is recorded", *titled)
