"""A network from its settings to a folder with weights and a record.

`recipes` says what a scale means, `build` makes what a config names, `run` trains it, `folders` and `checkpoints` keep
it, `evaluate` says how good it is, `pictures` what it says of yours, `bench` how fast.
"""

from deit_edu.runs.checkpoints import load_network, packaged_path
from deit_edu.runs.evaluate import accuracies, predict
from deit_edu.runs.folders import open_run
from deit_edu.runs.pictures import predict_pictures
from deit_edu.runs.recipes import recipe
from deit_edu.runs.run import tiny_pair, train, train_pair
from deit_edu.runs.weights import load_state_dict_from, resize_model, to_timm_state_dict

__all__ = [
    "accuracies",
    "load_network",
    "load_state_dict_from",
    "open_run",
    "packaged_path",
    "predict",
    "predict_pictures",
    "recipe",
    "resize_model",
    "tiny_pair",
    "to_timm_state_dict",
    "train",
    "train_pair",
]
