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


def sturdier(setting, usual="batch_64_warmup_2"):
    """What a setting does to the distilled student, minus what it does to the plain one."""
    plain = ((-weight, *term) for weight, *term in change("none", setting, usual))
    return (*change("hard", setting, usual), *plain)


def carries_over(student, other, head="fused", others_head="fused"):
    """How much more of what it knows one student keeps than another, from places that it has seen to those it has not.

    A share, and not the points that are lost: who knows more has more to lose.
    """
    return minus((student, f"kept:{head}"), (other, f"kept:{others_head}"))


def best(kind, pool):
    """One of `pooling`'s students at the rate that is best on validation images."""
    return "|".join(f"{kind}_{pool}_{rate}" for rate in ("0.008", "0.016", "0.032"))


def gap_change(one, other):
    """How far the distillation head's lead over the class head differs between two students."""
    return (
        *minus((one, "distillation"), (one, "class")),
        *minus((other, "class"), (other, "distillation")),
    )


SECOND_CLAIMS = (
    # ---- 1. the twin ----
    ours("twin-token-helps", "twin",
         "With the whole recipe a distillation token, both heads, beats the same network without a teacher.",
         +1, minus(("hard_token", "fused"), ("none", "class")), "table 3"),
    ours("twin-class-helps", "twin",
         "With the whole recipe hard labels on the class token beat the same network without a teacher.",
         +1, minus(("hard_class", "class"), ("none", "class")), "table 3"),
    ours("twin-token-beats-class", "twin",
         "With the whole recipe a distillation token beats hard labels on the class token.",
         +1, minus(("hard_token", "fused"), ("hard_class", "class")), "table 3"),
    # ---- 2. is the bias inherited ----
    ours("convnet-carries-over", "unseen_places",
         "A convnet keeps more of what it knows where it has seen no item than a transformer does.",
         +1, carries_over("convnet", "none", "class", "class")),
    ours("bias-is-inherited", "unseen_places",
         "A convnet's student keeps more there than a student without a teacher.",
         +1, carries_over("by_convnet", "none", others_head="class"), "section 4"),
    ours("bias-is-the-convnets", "unseen_places",
         "A convnet's student keeps more there than a transformer's.",
         +1, carries_over("by_convnet", "by_transformer"), "section 4"),
    ours("bias-is-not-accuracy", "unseen_places",
         "So does the student of a convnet that was stopped where it is as good as the transformer.",
         +1, carries_over("by_convnet_early", "by_transformer"), "section 4"),
    ours("distillation-head-carries-over", "unseen_places",
         "Of a convnet's student the distillation head keeps more there than the class head.",
         +1, carries_over("by_convnet", "by_convnet", "distillation", "class")),
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
    ours("warmup-tames-a-high-rate", "warmup_and_rate",
         "At a rate four times too high, with a batch of 16, a warm-up of half the run is better than none.",
         +1, change("none", "batch_16_warmup_5_fixed", "batch_16_warmup_0_fixed")),
    ours("distilled-needs-less-warmup", "warmup_and_rate",
         "At a batch of 256 to leave out the warm-up costs the distilled student less than the plain one.",
         +1, sturdier("batch_256_warmup_0", "batch_256_warmup_5")),
    # ---- 4. class token or mean of the patches ----
    ours("mean-beats-class-token", "pooling",
         "Without a teacher the mean of the patches is better than the class token.",
         +1, minus((best("none", "mean"), "class"), (best("none", "token"), "class"))),
    ours("mean-beats-class-token-distilled", "pooling",
         "So it is with a distillation token beside it, both heads.",
         +1, both_heads(best("hard", "mean"), best("hard", "token"))),
    ours("distillation-helps-beside-mean", "pooling",
         "Beside the mean of the patches a distillation token, both heads, beats no teacher.",
         +1, minus((best("hard", "mean"), "fused"), (best("none", "mean"), "class")), "table 3"),
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
    # ---- 6. fine-tuning with distillation ----
    ours("teacher-helps-at-resolution", "resolution_taught",
         "Fine-tuned on larger images, a student is better with a teacher of that size than with labels alone.",
         +1, both_heads("taught_at_42", "labels"), "section 4"),
    ours("small-teacher-helps-at-resolution", "resolution_taught",
         "It is better with the teacher of the smaller images, too.",
         +1, both_heads("taught_at_28", "labels")),
    ours("larger-teacher-beats-smaller", "resolution_taught",
         "The teacher of the larger images teaches better there than the one of the smaller.",
         +1, both_heads("taught_at_42", "taught_at_28")),
    ours("teacher-helps-on-other-classes", "classes_taught",
         "Fine-tuned on other classes, a student is better with a teacher of these than with labels alone.",
         +1, both_heads("taught", "labels"), "section 4"),
    ours("start-helps-the-taught", "classes_taught",
         "With that teacher a student that began as another is better than one from nothing.",
         +1, both_heads("taught", "taught_from_nothing"), "table 7"),
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
    # ---- 8. can a student beat its teacher ----
    ours("student-beats-earlier-teacher", "student_beats_teacher",
         "A student beats a convnet that was stopped after one epoch.",
         +1, minus(("by_convnet_earlier", "fused"), ("convnet_earlier", "class")), "table 2"),
    ours("student-beats-early-teacher", "student_beats_teacher",
         "A student beats a convnet that was stopped after three epochs.",
         +1, minus(("by_convnet_early", "fused"), ("convnet_early", "class")), "table 2"),
    ours("student-beats-few-image-teacher", "student_beats_teacher",
         "A student of all images beats a convnet that saw a tenth of them.",
         +1, minus(("by_convnet_few", "fused"), ("convnet_few", "class")), "table 2"),
    ours("large-student-beats-early-teacher", "student_beats_teacher",
         "A student of twice the width beats a convnet that was stopped after three epochs.",
         +1, minus(("large_by_convnet_early", "fused"), ("convnet_early", "class")), "table 2"),
    ours("worse-teacher-still-helps", "student_beats_teacher",
         "A convnet that was stopped after one epoch still makes its student better.",
         +1, minus(("by_convnet_earlier", "fused"), ("none", "class"))),
    # ---- 9. the distillation head ----
    *(ours(f"errors-cost-the-head-{name}-{times}", "head_gap" if times < 4 else "head_gap_long",
           f"After {10 * times} epochs the distillation head is further behind the class head where the teacher {why}.",
           -1, gap_change(f"by_convnet_{name}_x{times}", f"by_convnet_x{times}"))
      for times in (1, 2, 4)
      for name, why in (("early", "was stopped early"), ("few", "saw few images"))),
    # ---- 10. register tokens ----
    ours("register-helps", "registers",
         "A student with a register token, both heads, is better than one without.",
         +1, both_heads("hard_registers_1", "hard")),
    ours("register-focuses-class-token", "registers",
         "With a register token more of the class token's attention in the last block falls inside the item's box.",
         +1, minus(("hard_registers_1", "inbox:class"), ("hard", "inbox:class"))),
    ours("register-focuses-distillation-token", "registers",
         "So it is with the distillation token's attention.",
         +1, minus(("hard_registers_1", "inbox:distillation"), ("hard", "inbox:distillation"))),
    ours("register-evens-the-patches", "registers",
         "With a register token the longest patch token after the last block stands out less.",
         -1, minus(("hard_registers_1", "outlier"), ("hard_measured", "outlier")), "Darcet et al."),
    # ---- 10. a token for each of two teachers ----
    ours("token-each-beats-ensemble", "two_teachers",
         "Two convnets with a distillation token each teach better than their ensemble with one, all heads.",
         +1, both_heads("each", "ensemble"), "RADIO"),
    ours("token-each-beats-one-teacher", "two_teachers",
         "Two convnets with a distillation token each teach better than one of them.",
         +1, both_heads("each", "one")),
    # ---- 11. the claims in a longer regime ----
    *(ours(f"{what.replace('_', '-')}-helps-{regime}", regime, f"{words} {helps} {where}.", +1,
           minus((what, "class"), ("base", "class")), "table 8")
      for regime, where in (("usual", "at the length of table 3"), ("longer", "four times as long"),
                            ("longest", "ten times as long"), ("wider", "at twice the width"))
      for what, words, helps in (("mixing", "Mixup and CutMix", "help"), ("rand_augment", "RandAugment", "helps"),
                                 ("repeated_augmentation", "Repeated augmentation", "helps"))),
    *(ours(f"larger-images-help-{name}", "larger_images", f"Fine-tuned {where}, a student is better on larger images.",
           +1, minus((f"tuned_at_56_{name}", "class"), (f"tuned_at_28_{name}", "class")), "table 10")
      for name, where in (("long", "four times as long"), ("wide", "at twice the width"))),
)  # fmt: skip
