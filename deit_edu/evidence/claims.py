"""The paper's claims that the reruns judge: each a signed difference, written down before its own first run.

Paper: tables 2, 3, 4, 7, 8 and 10, figure 3, sections 3.2 and 4; the numbers are the arXiv version's.
"""

from deit_edu.evidence.experiment import Claim, minus


def of_own_pictures(n):
    """What we expect of a folder of n pictures: no claim of the paper's, and written down before its runs as well."""
    alone = (f"none_{n}", "class")
    return (
        Claim(
            f"own-convnet-ahead-{n}", "own_pictures",
            f"With {n:,} pictures a convnet is better than a transformer that learns them alone.",
            "ours", +1, minus((f"convnet_{n}", "class"), alone), {},
        ),
        Claim(
            f"own-teacher-helps-{n}", "own_pictures",
            f"With {n:,} pictures a student is better with that convnet for a teacher than alone.",
            "ours", +1, minus((f"taught_{n}", "fused"), alone), {},
        ),
        Claim(
            f"own-start-helps-{n}", "own_pictures",
            f"With {n:,} pictures a trained student, fine-tuned, is better than one from nothing.",
            "ours", +1, minus((f"started_{n}", "fused"), alone), {},
        ),
        Claim(
            f"own-longer-helps-{n}", "own_longer",
            f"With {n:,} pictures a student that learns alone is better after seven times as many steps.",
            "ours", +1, minus((f"longer_{n}", "class"), alone), {},
        ),
    )  # fmt: skip


CLAIMS = (
    Claim(
        "hard-beats-none", "distillation", "Hard distillation on the class token beats no distillation.",
        "table 3", +1, minus(("hard_class", "class"), ("none", "class")),
        {"Ti": (74.3, 72.2), "S": (80.9, 79.8), "B": (83.0, 81.8)},
    ),
    Claim(
        "hard-beats-soft", "distillation", "Hard distillation beats soft distillation.",
        "table 3", +1, minus(("hard_class", "class"), ("soft_class", "class")),
        {"Ti": (74.3, 72.2), "S": (80.9, 79.8), "B": (83.0, 81.8)},
    ),
    Claim(
        "token-beats-none", "distillation", "The distillation token, both heads, beats no distillation.",
        "table 3", +1, minus(("token_hard", "fused"), ("none", "class")),
        {"Ti": (74.5, 72.2), "S": (81.2, 79.8), "B": (83.4, 81.8)},
    ),
    Claim(
        "token-beats-class-token", "distillation", "A distillation token beats hard distillation on the class token.",
        "table 3", +1, minus(("token_hard", "fused"), ("hard_class", "class")),
        {"Ti": (74.5, 74.3), "S": (81.2, 80.9), "B": (83.4, 83.0)},
    ),
    Claim(
        "distillation-head-beats-class-head", "distillation", "The distillation head beats the class head beside it.",
        "table 3", +1, minus(("token_hard", "distillation"), ("token_hard", "class")),
        {"Ti": (74.6, 73.9), "S": (81.1, 80.9), "B": (83.1, 83.0)},
    ),
    Claim(
        "both-beat-class-head", "distillation", "Both heads together beat the class head.",
        "table 3", +1, minus(("token_hard", "fused"), ("token_hard", "class")),
        {"Ti": (74.5, 73.9), "S": (81.2, 80.9), "B": (83.4, 83.0)},
    ),
    Claim(
        "both-beat-distillation-head", "distillation",
        "Both heads together beat the distillation head (S and B; on Ti they do not).",
        "table 3", +1, minus(("token_hard", "fused"), ("token_hard", "distillation")),
        {"Ti": (74.5, 74.6), "S": (81.2, 81.1), "B": (83.4, 83.1)},
    ),
    Claim(
        "token-beats-second-class-token", "distillation",
        "A distillation token beats a second class token.",
        "section 4", +1, minus(("token_hard", "fused"), ("two_class_tokens", "fused")), {},
    ),
    Claim(
        "convnet-beats-transformer", "teachers", "A convnet teaches better than a transformer.",
        "table 2", +1, minus(("by_convnet", "fused"), ("by_transformer", "fused")), {"B": (83.1, 81.9)},
    ),
    Claim(
        "weak-convnet-beats-transformer", "teachers",
        "Even the weakest convnet, which is less accurate, teaches better than a transformer.",
        "table 2", +1, minus(("by_convnet_weak", "fused"), ("by_transformer", "fused")), {"B": (82.7, 81.9)},
    ),
    Claim(
        "better-convnet-teaches-better", "teachers", "Among convnets, the most accurate teaches better than the least.",
        "table 2", +1, minus(("by_convnet_wide", "fused"), ("by_convnet_weak", "fused")), {"B": (83.1, 82.7)},
    ),
    Claim(
        "student-beats-teacher", "teachers", "The student beats the convnet that taught it.",
        "table 2", +1, minus(("by_convnet", "fused"), ("convnet", "class")), {"B": (83.1, 82.9)},
    ),
    Claim(
        "distillation-head-nearer-convnet", "agreement",
        "The distillation head disagrees less with the convnet than the class head does.",
        "table 4", -1,
        minus(("token_hard", "disagreement:distillation:convnet"), ("token_hard", "disagreement:class:convnet")),
        {"B": (10.0, 11.2)},
    ),
    Claim(
        "class-head-nearer-plain", "agreement",
        "The class head disagrees less with the DeiT without distillation than the distillation head does.",
        "table 4", -1,
        minus(("token_hard", "disagreement:class:none"), ("token_hard", "disagreement:distillation:none")),
        {"B": (10.9, 11.0)},
    ),
    Claim(
        "distilled-nearer-convnet", "agreement",
        "The distilled student disagrees less with the convnet than the DeiT without distillation does.",
        "table 4", -1, minus(("token_hard", "disagreement:fused:convnet"), ("token_hard", "disagreement:none:convnet")),
        {"B": (10.2, 13.3)},
    ),
    Claim(
        "tokens-converge", "tokens", "The two tokens start out unlike and end up alike.",
        "section 4", +1, minus(("token_hard", "similarity:last"), ("token_hard", "similarity:input")),
        {"DeiT": (0.93, 0.06)},
    ),
    Claim(
        "class-tokens-converge-further", "tokens",
        "Two class tokens end up more alike than class and distillation token.",
        "section 4", +1, minus(("two_class_tokens", "similarity:last"), ("token_hard", "similarity:last")),
        {"DeiT": (0.999, 0.93)},
    ),
    Claim(
        "longer-helps-distilled", "schedule",
        "Longer training makes the distilled student better (300 to 1000 epochs there, x1 to x4 here).",
        "figure 3", +1, minus(("token_hard_x4", "fused"), ("token_hard_x1", "fused")), {"B": (84.2, 83.4)},
    ),
    Claim(
        "distilled-gains-more", "schedule",
        "Longer training gives the distilled student more than the plain one, which saturates.",
        "figure 3", +1,
        (*minus(("token_hard_x4", "fused"), ("token_hard_x1", "fused")),
         *minus(("none_x1", "class"), ("none_x4", "class"))), {},
    ),
    Claim("adamw-beats-sgd", "recipe", "AdamW beats SGD.",
          "table 8", +1, minus(("base", "class"), ("sgd", "class")), {"B": (81.8, 74.5)}),
    Claim("rand-augment-helps", "recipe", "RandAugment helps.",
          "table 8", +1, minus(("rand_augment", "class"), ("base", "class")), {"B": (81.8, 79.6)}),
    Claim("rand-augment-beats-auto-augment", "recipe", "RandAugment beats AutoAugment.",
          "table 8", +1, minus(("rand_augment", "class"), ("auto_augment", "class")), {"B": (81.8, 81.2)}),
    Claim("mixup-helps", "recipe", "Mixup helps, beside CutMix.",
          "table 8", +1, minus(("mixup_and_cutmix", "class"), ("cutmix", "class")), {"B": (81.8, 78.7)}),
    Claim("cutmix-helps", "recipe", "CutMix helps, beside Mixup.",
          "table 8", +1, minus(("mixup_and_cutmix", "class"), ("mixup", "class")), {"B": (81.8, 80.0)}),
    Claim("mixing-helps", "recipe", "Mixup and CutMix together help.",
          "table 8", +1, minus(("mixup_and_cutmix", "class"), ("base", "class")), {"B": (81.8, 75.8)}),
    Claim("repeated-augmentation-helps", "recipe", "Repeated augmentation helps.",
          "table 8", +1, minus(("repeated_augmentation", "class"), ("base", "class")), {"B": (81.8, 76.5)}),
    Claim("dropout-hurts", "recipe", "Dropout hurts.",
          "table 8", -1, minus(("dropout", "class"), ("base", "class")), {"B": (81.3, 81.8)}),
    Claim(
        "larger-images-help", "resolution",
        "Fine-tuned on larger images, the student is better (384 against 224 there, 56 against 28 pixels here).",
        "table 10", +1, minus(("tuned_at_56", "class"), ("tuned_at_28", "class")), {"B": (83.1, 81.8)},
    ),
    Claim(
        "smaller-images-hurt", "resolution",
        "Fine-tuned on smaller images, it is worse (160 against 224 there, 21 against 28 pixels here).",
        "table 10", -1, minus(("tuned_at_21", "class"), ("tuned_at_28", "class")), {"B": (79.9, 81.8)},
    ),
    Claim(
        "bicubic-keeps-the-norm", "resolution",
        "Bilinear interpolation shortens the position embeddings, bicubic does so less (percent of the norm kept).",
        "section 3.2", +1, minus(("tested_at_56", "norm"), ("tested_at_56_bilinear", "norm")), {},
    ),
    Claim(
        "short-positions-hurt", "resolution",
        "The blocks are not adapted to shortened vectors; so, we read, bicubic beats bilinear before fine-tuning.",
        "section 3.2", +1, minus(("tested_at_56", "class"), ("tested_at_56_bilinear", "class")), {},
    ),
    Claim(
        "transfer-beats-from-nothing", "transfer",
        "A student trained on other classes and fine-tuned beats one trained from nothing.",
        "table 7, and the text on CIFAR-10 without ImageNet", +1,
        minus(("from_plain_all", "class"), ("from_nothing_all", "class")), {"CIFAR-10": (99.1, 97.5)},
    ),
    Claim(
        "distilled-transfers-better", "transfer",
        "A distilled student transfers better than a plain one.",
        "table 7", +1, minus(("from_distilled_all", "fused"), ("from_plain_all", "class")),
        {"CIFAR-10": (99.1, 99.1), "CIFAR-100": (91.3, 90.8), "Flowers": (98.8, 98.4), "Cars": (92.9, 92.1),
         "iNat-18": (73.7, 73.2), "iNat-19": (78.4, 77.7)},
    ),
    *of_own_pictures(50),
    *of_own_pictures(300),
    *of_own_pictures(3000),
    Claim(
        "own-start-helps-few-more", "own_pictures",
        "A start from a trained student brings more where pictures are few (50) than where they are many (3,000).",
        "ours", +1,
        (*minus(("started_50", "fused"), ("none_50", "class")),
         *minus(("none_3000", "class"), ("started_3000", "fused"))),
        {},
    ),
    Claim(
        "own-start-and-teacher", "own_classes",
        "A trained student learns other classes better from a convnet that learned them than from their labels alone.",
        "ours", +1, minus(("started_taught_300", "fused"), ("started_300", "fused")), {},
    ),
)  # fmt: skip
