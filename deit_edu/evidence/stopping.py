"""When a convnet is stopped so that it is as good as a transformer: the rule, and what the ledger makes of it.

Our rows of table 2 cannot part what kind of teacher teaches from how good it is. A convnet that is no better than the
transformer can, if nobody has chosen it by what its students do: it is chosen by accuracy on validation images alone,
and these lie where its students learn.
"""

import numpy as np

from deit_edu.errors import DeiTEduError
from deit_edu.evidence.grids import EXPERIMENTS
from deit_edu.evidence.regime import STOPPED_AFTER
from deit_edu.evidence.second_grids import STOPS

CHOOSES, WAITS = "when_to_stop", "unseen_places"  # the experiment that the rule looks at, and the one that it is for


def distances(results):
    """{epochs: how far the convnet is from the transformer on validation images, in points}, means over all seeds.

    None until all of these runs are recorded: a choice among some of them is another.

    Args:
        results: `Results` of scale tiny.
    """
    seeds = range(EXPERIMENTS[CHOOSES].seeds)

    def mean(configuration):
        found = [results.measure(CHOOSES, configuration, seed, "class") for seed in seeds]
        return None if None in found else np.mean(found)

    means = {epochs: mean(f"convnet_{epochs}") for epochs in STOPS}
    transformer = mean("transformer")
    if transformer is None or None in means.values():
        return None
    return {epochs: float(found - transformer) for epochs, found in means.items()}


def stopped_after(results):
    """The rule: the epochs whose convnet is nearest, the fewer of two that are; None until all is recorded."""
    found = distances(results)
    return found and min(found, key=lambda epochs: (abs(found[epochs]), epochs))


def check_stopped(names, results):
    """Refuse to train students of a convnet that was not stopped where the rule says.

    Args:
        names: of the experiments to run. results: `Results`.
    """
    if WAITS not in names or results.grid.scale != "tiny":
        return
    found = stopped_after(results)
    if found is None and CHOOSES not in names:
        raise DeiTEduError(f"{WAITS} waits for {CHOOSES}, which says when its convnet is stopped: run that first")
    if found not in (None, STOPPED_AFTER):
        raise DeiTEduError(
            f"{CHOOSES} says to stop the convnet after {found} epochs, not {STOPPED_AFTER}: write it into "
            f"deit_edu.evidence.regime.STOPPED_AFTER"
        )
