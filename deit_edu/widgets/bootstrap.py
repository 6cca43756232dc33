"""What a page needs to draw the resamples that `deit_edu.evidence.verdicts` draws: bootstrap.js reads it."""

import numpy as np

from deit_edu.evidence.verdicts import ENOUGH_SEEDS, RANDOM_SEED, RESAMPLES, expanded_level


def resampling(most):
    """What the page needs to draw the resamples that SciPy's bootstrap draws, for up to so many seeds."""
    generator = np.random.PCG64(RANDOM_SEED).state["state"]
    tails = {str(seeds): (1 - expanded_level(seeds)) / 2 for seeds in range(2, most + 1)}
    return {"state": str(generator["state"]), "increment": str(generator["inc"]), "resamples": RESAMPLES,
            "tails": tails, "enough": ENOUGH_SEEDS}  # fmt: skip
