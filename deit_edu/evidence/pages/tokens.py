"""Who agrees with whom (table 4), and the two tokens (section 4)."""

import matplotlib.pyplot as plt
import numpy as np
from scipy import stats

from deit_edu.evidence.pages.pieces import (
    claimed,
    difference,
    differences,
    drawn,
    evidence,
    fold,
    mean_of,
    ours,
    said,
    seeds_of,
    table,
)
from deit_edu.evidence.report import disagreement_table
from deit_edu.evidence.verdicts import CONFIDENCE
from deit_edu.reading import figures

WHO = {"truth": "label", "none": "plain", "class": "class", "distillation": "distil.", "fused": "both"}
PAIRS = {"token_hard": "class and distillation token", "two_class_tokens": "two class tokens"}
BOTH_NEAR = ("token_hard", "disagreement:class:convnet"), ("token_hard", "disagreement:distillation:convnet")


def answer():
    return said(
        f"""The distilled student disagrees with its teacher less often than the plain one does:
{ours("distilled-nearer-convnet")} points of the images. Of its two heads the distillation head is the nearer one to the
teacher, by a hair. And the two tokens start out unlike and end up alike: their cosine rises by
{ours("tokens-converge")}.""",
        distilled_nearer_convnet="reproduced", distillation_head_nearer_convnet="reproduced",
        tokens_converge="reproduced",
    )  # fmt: skip


def figure():
    return differences(
        [
            claimed("distilled-nearer-convnet", "distilled − plain, with convnet"),
            claimed("distillation-head-nearer-convnet", "distil. − class head, with convnet", "distillation"),
            claimed("class-head-nearer-plain", "class − distil. head, with plain", "class"),
        ],
        "difference, points of images on which two disagree",
    )


def disagreements():
    """Share of test images on which two disagree."""
    found = disagreement_table(evidence().results, "agreement")
    if not found.rows:
        return said("*The predictions are not kept yet.*")
    columns = ("", *(WHO.get(name, name) for name in found.columns[1:]))
    rows = [(WHO.get(name, name), *(f"{float(s):.1f}" if s else "" for s in shares)) for name, *shares in found.rows]
    return fold("Share of test images on which two disagree, %: the mean over seeds", table(columns, rows))


def reading():
    heads, apart = (
        mean_of("agreement", "token_hard", f"disagreement:{pair}") for pair in ("class:distillation", "none:convnet")
    )
    terms = ((1, *BOTH_NEAR[0]), (-1, *BOTH_NEAR[1]))
    (_, by_class), (_, by_distillation) = evidence().results.paired("agreement", terms)
    nearer = by_class - by_distillation
    low, high = stats.t.interval(CONFIDENCE, len(nearer) - 1, nearer.mean(), stats.sem(nearer))
    paper = -evidence().judged["distillation-head-nearer-convnet"].claim.paper_difference("B")
    return said(
        f"""The two heads part on {heads:.1f} % of the images, the plain student and the convnet on {apart:.1f} %:
like the paper's, the heads are much more like each other than like anyone else. The distillation head is the nearer
one to the convnet in {(nearer > 0).sum()} of {len(nearer)} seeds: it parts from it less often, by
{difference("agreement", *BOTH_NEAR)} points where the paper has {paper:.1f}. By our rule that is reproduced, and by a
hair: Student's *t* itself, without the bootstrap, gives [{low:+.2f}, {high:+.2f}], which
{"holds zero" if low <= 0 <= high else "leaves out zero as well"}. Do not build on it.

Whether the class head is the nearer one to the plain student is not settled, and we ran no more seeds for it: the
paper's own difference there is a tenth of a point, and ours would take more than ten seeds to show one so small.""",
        distillation_head_nearer_convnet="reproduced", class_head_nearer_plain="not resolved",
        distilled_nearer_convnet="reproduced",
    )  # fmt: skip


def where_the_heads_part(explorer):
    """What fusing decides, counted by a FusionExplorer of the ledger."""
    half = explorer.weights.index(0.5)
    curves = explorer.curves.values()
    gains = [c["probabilities"][half] - max(c["probabilities"][0], c["probabilities"][-1]) for c in curves]
    differ = [found["apart"][half] for found in curves]
    right = [sum(found["right"][half][way] for found in curves) for way in (0, 1)]
    return fold(
        "What fusing can decide",
        f"""Where both heads say the same, every mean of theirs says it too. So a weight can matter only on the images
on which they part. With both heads alike, fusing beats the better of the two alone in {sum(gain > 0 for gain in gains)}
of {len(gains)} seeds. Whether probabilities are added or logits averaged decides {min(differ)} to {max(differ)} of the
{explorer.count:,} images; over all seeds the probabilities are right on {right[0]} of these {sum(differ)}, the logits
on {right[1]}. A weight that looks best on this curve was found on the test images: it is something to look at, not a
result.

Look at the diagonal first, then away from it: the cells that stand out are pairs of garments that look alike. The
images in the page were picked so that rare cells have some too, so count by the table, not by the gallery. In Jupyter
`FusionExplorer.from_run("runs/a")` does the same for a student of yours.""",
    )


# ---- the two tokens ----


def measured():
    """{"untrained" or a pair's name: [what is recorded of its tokens, for each seed]}."""
    of = evidence().results
    records = {name: [r for seed in of.seeds("tokens") if (r := of.record("tokens", name, seed))] for name in PAIRS}
    groups = {PAIRS[name]: [record["tokens"] for record in found] for name, found in records.items()}
    return {"untrained": [record["tokens_untrained"] for record in records["token_hard"]], **groups}


def draw_cosines(groups):
    fig, ax = plt.subplots(figsize=(figures.NARROW, 2.8))
    colours = ("#6b7480", figures.COLOURS["distillation"], figures.COLOURS["class"])
    for (name, found), style, colour in zip(groups.items(), (":", "-", "--"), colours, strict=True):
        for seed, tokens in enumerate(found):
            label = name if seed == 0 else None
            ax.plot(tokens["similarity"], style, color=colour, linewidth=1.2, alpha=0.8, label=label)
    layers = len(next(iter(groups.values()))[0]["similarity"])
    ticks = ["input", *range(1, layers)]
    ax.set(
        xticks=range(layers), xticklabels=ticks, xlabel="after layer", ylabel="cosine of the two", ylim=(-0.75, 1.02)
    )
    ax.legend(fontsize=8, loc="lower right")
    return fig


def cosines_figure():
    """The cosine of the two tokens after each layer, seed by seed."""
    groups = measured()
    ends = "; ".join(
        f"{name}: {np.mean([t['similarity'][0] for t in found]):.2f} at the input, "
        f"{np.mean([t['similarity'][-1] for t in found]):.2f} at the end"
        for name, found in groups.items()
    )
    alt = f"Cosine of the two tokens after each layer, a line for every seed. Means: {ends}."
    return drawn(lambda: draw_cosines(groups), alt)


def tokens_reading():
    groups, judged = measured(), evidence().judged
    (_, paper_input), (paper_control, _) = (
        judged[claim].claim.paper["DeiT"] for claim in ("tokens-converge", "class-tokens-converge-further")
    )
    first = {name: np.mean([tokens["similarity"][0] for tokens in found]) for name, found in groups.items()}
    last = {name: [tokens["similarity"][-1] for tokens in found] for name, found in groups.items()}
    with_teacher, control = last[PAIRS["token_hard"]], last[PAIRS["two_class_tokens"]]
    return said(
        f"""The two learned vectors stand at a cosine of {first[PAIRS["token_hard"]]:.2f}, before training at
{first["untrained"]:.2f}; the paper has {paper_input} after it, so ours stay more alike. The last embeddings are
alike, at {np.mean(with_teacher):.2f}, as in the paper. Two class tokens should end closer still, at {paper_control}.
Here they end between {min(control):.3f} and {max(control):.3f} over the seeds, class and distillation token between
{min(with_teacher):.3f} and {max(with_teacher):.3f}. Which pair ends closer is not resolved, with
{seeds_of("class-tokens-converge-further")} seeds: {ours("class-tokens-converge-further")}.""",
        tokens_converge="reproduced", class_tokens_converge_further="not resolved",
    )  # fmt: skip


def where_they_look():
    """Of what a token takes from the patches, the share that it takes from those on which the item lies."""
    groups = measured()
    rows = []
    for name, found in groups.items():
        cosines = [np.mean([tokens["similarity"][layer] for tokens in found]) for layer in (0, -1)]
        shares = [
            100 * np.mean([tokens["attention_in_box"][token][-1] for tokens in found])
            for token in ("class", "distillation")
        ]
        rows.append((name, *(f"{c:.2f}" for c in cosines), *(f"{share:.0f}" for share in shares), len(found)))
    columns = ("", "cosine, input", "last layer", "first on item, %", "second, %", "seeds")
    _, distilled, _ = groups.values()
    box = {t: np.mean([tokens["attention_in_box"][t][-1] for tokens in distilled]) for t in ("class", "distillation")}
    return fold(
        "Where the tokens look",
        table(columns, rows),
        f"""Of what a token takes from the patches in the last layer, the share from those on which the item lies (ours;
the paper has no such number). *Untrained* is the first pair before training. Both tokens look at the item, and as much
as each other: {box["class"]:.0%} for the class token, {box["distillation"]:.0%} for the distillation token. Attention
that does not look would give {distilled[0]["box_share"]:.0%}, the item's share of the picture. `deit-edu report` has
every layer.""",
    )
