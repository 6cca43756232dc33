"""The second series: which networks are trained for the questions that the paper's tables leave open.

What should come out is written in `deit_edu.evidence.second_claims`. Beside each question stands what its runs cost, in
hours of one core that trains 800 images a second; what the first series has recorded is not run again.
"""

from deit_edu.evidence.experiment import Experiment
from deit_edu.evidence.regime import BASE, HALF, NONE, QUARTER, TOKEN_HARD

KINDS = {"none": NONE, "hard": TOKEN_HARD}
STUDENT = BASE["tiny"]["student"]


# ---- 3. batch, warm-up, rate ----

WARMUP = 2  # epochs; the regime's


def batches(sizes, warmups, rates=("", "_fixed")):
    """Plain and distilled student at other batches and warm-ups.

    The optimiser's rate grows with the batch, as the paper's rule has it, or is fixed at that of the regime's batch.
    """
    return {
        f"{kind}_batch_{batch}_warmup_{warmup}{rate}": dict(
            settings,
            **QUARTER,
            batch_size=batch,
            warmup_epochs=float(warmup),
            learning_rate=STUDENT["learning_rate"] * (STUDENT["batch_size"] / batch if rate else 1),
        )
        for batch in sizes
        for warmup in warmups
        for rate in rates
        for kind, settings in KINDS.items()
    }


# ---- 7. why hard beats soft ----

PAPERS_SHARE = {"hard": 0.5, "drawn": 0.5, "soft": 0.1}
BY_CLASS_TOKEN = dict(TOKEN_HARD, tokens="class", **QUARTER)


def shares(distillation, weights, **settings):
    """One way to distil by the class token, with several shares of the loss: {"hard_0.3": settings}.

    The paper's share is left to the objective, so that these runs are those of the first series.
    """
    named = distillation + "".join(f"_{name}_{value:g}" for name, value in settings.items())
    settings = BY_CLASS_TOKEN | dict(distillation=distillation) | settings
    return {
        f"{named}_{weight:g}": settings
        | ({} if weight == PAPERS_SHARE[distillation] else dict(distillation_weight=weight))
        for weight in weights
    }


# ---- 5. kept answers ----

TAUGHT = TOKEN_HARD | HALF


SECOND = {
    # 60 runs to do, 2.1 hours, and half as much again where the batch is 16.
    "batch_and_rate": Experiment(
        "Smaller and larger batches, the rate scaled with them or not; no warm-up, and a long one",
        "section 6 and table 9",
        batches((16, 256), (WARMUP,)) | batches((STUDENT["batch_size"],), (0, WARMUP, 5), rates=("",)),
        scales=("tiny",),
    ),
    # 80 runs to do, 2.8 hours.
    "warmup_and_rate": Experiment(
        "No warm-up, and a long one, where batch or rate are not the recipe's",
        "section 6 and table 9",
        batches((16, 256), (0, 5)),
        scales=("tiny",),
    ),
    # 74 runs to do, 2.6 hours.
    "hard_or_soft": Experiment(
        "Hard and soft answers on the class token at equal shares of the loss, and labels drawn from the soft ones",
        "equations 2 and 3",
        {
            "none": QUARTER,
            **shares("hard", (0.1, 0.3, 0.5, 0.7, 0.9)),
            **shares("soft", (0.1, 0.3, 0.5, 0.7, 0.9)),
            **shares("drawn", (0.5, 0.9)),
            **shares("soft", (0.5, 0.9), temperature=1.0),
            **shares("soft", (0.5, 0.9), temperature=5.0),
        },
        scales=("tiny",),
    ),
    # 30 runs to do, 2.1 hours.
    "kept_answers": Experiment(
        "The teacher asked anew, about each image once, about the pictures of few epochs; and those pictures kept too",
        "section 4",
        {
            "none": HALF,
            "asked_anew": TAUGHT,
            "answers_of_image": dict(TAUGHT, ask_about="image"),
            **{f"answers_of_{epochs}": dict(TAUGHT, ask_about=str(epochs)) for epochs in (1, 5)},
            # What is kept with the answers is how each picture was made: the student sees it again.
            **{f"pictures_of_{epochs}": dict(TAUGHT, replay=epochs, keep_answers=1) for epochs in (1, 5)},
            "none_pictures_of_5": dict(HALF, replay=5),
        },
        scales=("tiny",),
    ),
}
