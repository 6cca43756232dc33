"""What we expect of the second series: each a signed difference, written down before its own first run.

They are no claims of the paper's, but for those whose `where` names a place in it. A measure beside those of the first
series: "FIRST|SECOND" in the place of a configuration is the one that is best on validation images.
"""

from deit_edu.evidence.experiment import Claim, minus


def ours(name, experiment, sentence, sign, terms, where="ours"):
    return Claim(name, experiment, sentence, where, sign, terms, {})


def both_heads(one, other):
    """The fusion of two distilled students' heads."""
    return minus((one, "fused"), (other, "fused"))


def change(kind, setting, usual="batch_64_warmup_2"):
    """What a setting does to a student, against the regime's."""
    head = "fused" if kind == "hard" else "class"
    return minus((f"{kind}_{setting}", head), (f"{kind}_{usual}", head))


def sturdier(setting):
    """What a setting does to the distilled student, minus what it does to the plain one."""
    return (*change("hard", setting), *((-weight, *term) for weight, *term in change("none", setting)))


SECOND_CLAIMS = (
    # ---- 3. batch, warm-up, rate ----
    ours("large-batch-hurts", "batch_and_rate",
         "At equal epochs a batch of 256 is worse than one of 64, its rate scaled.",
         -1, change("none", "batch_256_warmup_2"), "issue 63 of their code"),
    ours("small-batch-helps", "batch_and_rate",
         "At equal epochs a batch of 16 is better than one of 64, its rate scaled.",
         +1, change("none", "batch_16_warmup_2")),
    ours("scaled-rate-helps-large-batch", "batch_and_rate",
         "At a batch of 256 the scaled rate is better than the one of batch 64.",
         +1, change("none", "batch_256_warmup_2", "batch_256_warmup_2_fixed"), "table 9"),
    ours("scaled-rate-helps-small-batch", "batch_and_rate",
         "At a batch of 16 the scaled rate is better than the one of batch 64.",
         +1, change("none", "batch_16_warmup_2", "batch_16_warmup_2_fixed"), "table 9"),
    ours("warmup-helps", "batch_and_rate",
         "Two warm-up epochs are better than none.",
         -1, change("none", "batch_64_warmup_0"), "table 9"),
    ours("long-warmup-hurts", "batch_and_rate",
         "A warm-up of half the run is worse than one of a fifth.",
         -1, change("none", "batch_64_warmup_5"), "issue 63 of their code"),
    ours("distilled-is-sturdier-to-batch", "batch_and_rate",
         "A batch of 256 costs the distilled student less than the plain one.",
         +1, sturdier("batch_256_warmup_2")),
    ours("distilled-is-sturdier-to-rate", "batch_and_rate",
         "A rate four times too high, at a batch of 16, costs the distilled student less than the plain one.",
         +1, sturdier("batch_16_warmup_2_fixed")),
    ours("distilled-is-sturdier-to-warmup", "batch_and_rate",
         "To leave out the warm-up costs the distilled student less than the plain one.",
         +1, sturdier("batch_64_warmup_0")),
    # ---- 5. kept answers ----
    ours("anew-beats-answers-of-image", "kept_answers",
         "A teacher that is asked about every picture teaches better than one asked once about each image as it is.",
         +1, both_heads("asked_anew", "answers_of_image"), "section 4"),
    ours("anew-beats-answers-of-one", "kept_answers",
         "It teaches better than one whose answers to the pictures of one epoch are kept.",
         +1, both_heads("asked_anew", "answers_of_1"), "section 4"),
    ours("anew-beats-answers-of-five", "kept_answers",
         "It teaches better than one whose answers to the pictures of five epochs are kept.",
         +1, both_heads("asked_anew", "answers_of_5"), "section 4"),
    ours("five-beat-one", "kept_answers",
         "Answers kept from five epochs teach better than answers kept from one.",
         +1, both_heads("answers_of_5", "answers_of_1")),
    ours("pictures-beat-answers", "kept_answers",
         "Answers of five epochs teach better when their pictures are kept with them.",
         +1, both_heads("pictures_of_5", "answers_of_5"), "TinyViT"),
    ours("kept-answers-beat-none", "kept_answers",
         "Answers kept from one epoch teach better than labels alone.",
         +1, minus(("answers_of_1", "fused"), ("none", "class"))),
    # ---- 7. why hard beats soft ----
    ours("hard-beats-soft-at-tenth", "hard_or_soft",
         "With a tenth of the loss each, hard answers beat soft ones.",
         +1, minus(("hard_0.1", "class"), ("soft_0.1", "class")), "table 3"),
    ours("hard-beats-soft-at-half", "hard_or_soft",
         "With half of the loss each, hard answers beat soft ones.",
         +1, minus(("hard_0.5", "class"), ("soft_0.5", "class")), "table 3"),
    ours("hard-beats-soft-at-nine-tenths", "hard_or_soft",
         "With nine tenths of the loss each, hard answers beat soft ones.",
         +1, minus(("hard_0.9", "class"), ("soft_0.9", "class")), "table 3"),
    ours("larger-share-helps-soft", "hard_or_soft",
         "Soft answers teach better with half of the loss than with a tenth.",
         +1, minus(("soft_0.5", "class"), ("soft_0.1", "class"))),
    ours("larger-share-helps-hard", "hard_or_soft",
         "Hard answers teach better with half of the loss than with a tenth.",
         +1, minus(("hard_0.5", "class"), ("hard_0.1", "class"))),
    ours("decision-beats-draw", "hard_or_soft",
         "The teacher's decision teaches better than a label drawn from its probabilities, with half of the loss each.",
         +1, minus(("hard_0.5", "class"), ("drawn_0.5", "class"))),
    ours("cool-answers-beat-hot", "hard_or_soft",
         "With half of the loss soft answers teach better at temperature 1 than at 5.",
         +1, minus(("soft_temperature_1_0.5", "class"), ("soft_temperature_5_0.5", "class"))),
)  # fmt: skip
