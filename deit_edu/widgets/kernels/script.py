"""The modules of this folder as one text, for a worker of the page."""

from deit_edu.widgets.bundle import bundled
from deit_edu.widgets.kernels.build import FOLDER


def kernels_script(*names):
    """The modules of this folder by their names, and what they import: by default the networks' forward pass."""
    return bundled(*(FOLDER / name for name in names or ("kernels.js", "networks_in_page.js")))


def learning_script():
    """The script of a worker in which a student learns: `LearningTeam` of learning_team.js starts it."""
    return kernels_script("learning_worker.js")
