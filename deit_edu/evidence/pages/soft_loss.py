"""Forms of the soft loss (equation 2 and the authors' code)."""

import numpy as np

from deit_edu.data import load_dataset
from deit_edu.evidence.grids import EXPERIMENTS
from deit_edu.evidence.pages.pieces import Row, difference, differences, evidence, fold, row, said, shown, table
from deit_edu.evidence.report import interval
from deit_edu.evidence.verdicts import ENOUGH_SEEDS, paired_difference

FORMS = {
    "official": "divided by the classes too",
    "temperature_1": "temperature 1",
    "temperature_5": "temperature 5",
    "weight_0.5": "weight 0.5",
    "weight_0.9": "weight 0.9",
    "smoothing_over_all": "smoothing over all classes",
}


def against_soft(name):
    return difference("soft_loss", (name, "fused"), ("token_soft", "fused"))


def behind(name):
    return difference("soft_loss", (name, "distillation"), (name, "class"))


def answer():
    return said(f"""A smaller share for the teacher costs, {against_soft("official")} points when the loss is divided by
the classes as well; a larger one does not hurt, {against_soft("weight_0.5")} with one half and
{against_soft("weight_0.9")} with nine tenths.""")


def figure():
    def form(name, words):
        return row(f"{words} − the paper's", "soft_loss", (name, "fused"), ("token_soft", "fused"))

    return differences([form(*item) for item in FORMS.items()])


def heads_figure():
    """How far the distillation head is from the class head, in each form."""
    forms = {"token_soft": "the paper's form", **FORMS}
    return differences(
        [
            row(words, "soft_loss", (name, "distillation"), (name, "class"), "distillation")
            for name, words in forms.items()
        ],
        "distillation head minus class head, points",
    )


def reading():
    classes = load_dataset("fashion_clutter").num_classes
    return said(f"""The authors' code divides the divergence by the number of classes too, {classes} of them here. It
makes the teacher's small share smaller by that factor, and the distillation head, which has no other lesson, falls
behind the class head by more than in the paper's form: {behind("official")} in place of {behind("token_soft")}.

With a weight of nine tenths the two heads are level, {behind("weight_0.9")}. So a larger weight may suit this student
better, which {EXPERIMENTS["soft_loss"].seeds} seeds and six rows cannot settle; and a part of what hard distillation
gains over soft in table 3 may be a larger share of the loss.

Temperature 1 makes no difference that we can see, {against_soft("temperature_1")}; temperature 5 is worse,
{against_soft("temperature_5")}. Smoothing over all classes, as in the authors' code, in place of the others alone:
{against_soft("smoothing_over_all")}. With fewer than {ENOUGH_SEEDS} seeds none of this is judged.""")


def hard_against_soft():
    """Hard and soft labels with a token each, after half of the epochs."""
    of, rows = evidence().results, (("schedule", "token_hard_x2"), ("soft_loss", "token_soft"))
    pairs = [[of.measure(*one, seed, "fused") for one in rows] for seed in range(EXPERIMENTS["soft_loss"].seeds)]
    hard, soft = np.array([pair for pair in pairs if None not in pair]).reshape(-1, 2).T
    found = paired_difference(((1, hard), (-1, soft)))
    short = difference("distillation_short", ("hard_class", "class"), ("soft_class", "class"))
    epochs = of.cell("soft_loss", "token_soft", 0).config.epochs
    note = f"{hard.mean():.1f} − {soft.mean():.1f}"
    return fold(
        "Hard against soft labels after half of the epochs",
        differences([Row("token hard − token soft, both heads", hard - soft, found, note)]),
        f"""After these {epochs} epochs the two students with a token of their own cannot be told apart: on the seeds
that have both, *token hard* stands at {shown(found)} points against *token soft*. On the class token alone hard
labels are ahead after a quarter of the epochs already, {short}. So the lead of hard labels on the class token needs
no long training. With a token each it was not there after {epochs} epochs. (The teachers of the two sides are of one
seed and were not always the same weights: some were trained again, as the first page says.)""",
    )


def fusion():
    """Probabilities added, as in the paper, or logits averaged, as in the authors' code."""
    rows = []
    for configuration in ("token_hard", "token_soft"):
        terms = ((1, configuration, "fused"), (-1, configuration, "fused_logits"))
        found = paired_difference(evidence().results.paired("distillation", terms))
        rows.append((configuration.replace("_", " "), f"{found.mean:+.2f} {interval(found, '{:+.2f}')}", found.seeds))
    return fold(
        "Probabilities or logits: two ways to fuse the heads",
        """A question that needs no training. The paper adds probabilities, the authors' code averages logits. It
decides nothing:""",
        table(("student", "probabilities − logits, points", "seeds"), rows),
    )
