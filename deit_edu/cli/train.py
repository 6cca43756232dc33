"""deit-edu train: a network, or a teacher and its student."""

import argparse
import inspect
import os
import re
from dataclasses import fields, replace
from pathlib import Path

from deit_edu.errors import DeiTEduError
from deit_edu.model import MODELS
from deit_edu.runs.evaluate import PerClass
from deit_edu.runs.folders import read_json, run_name, runs_root
from deit_edu.runs.recipes import recipe
from deit_edu.runs.run import train, train_pair
from deit_edu.teachers import CONVNETS
from deit_edu.train import SEEN_BY_BOTH, TrainConfig

MODEL_SETTINGS = {"patch_size": "P, in pixels", "embed_dim": "width D", "depth": "blocks L", "num_heads": "heads h"}


def add_arguments(parser):
    parser.add_argument(
        "--scale",
        help="tiny, small or paper: decides all that is not given (default: the environment variable "
        "DEIT_EDU_SCALE, or tiny)",
    )
    parser.add_argument("--out", metavar="FOLDER", help="the run folder (default: runs/, then data, model and seed)")
    parser.add_argument("--resume", action="store_true", help="go on with the run in the folder, with its settings")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    parser.add_argument("--data", metavar="NAME", help="a data set (deit-edu data lists them)")
    parser.add_argument("--model", metavar="NAME", help="a DeiT, a convnet or timm:NAME")
    parser.add_argument(
        "--teacher",
        metavar="NAME",
        help="a run folder or packaged:NAME, or several joined by +, an ensemble; or a convnet or timm:NAME, which is "
        "trained first, unless it has been",
    )
    parser.add_argument(
        "--distill", choices=("none", "soft", "hard"), help="what the teacher gives (default: hard with a teacher)"
    )
    parser.add_argument("--tokens", choices=("class", "both"), help="who listens to it (default: both with a teacher)")

    group = parser.add_argument_group("settings of one run (default: the scale's; they are told in deit_edu/train.py)")
    told = dict(re.findall(r"^    (\w+): .*?  # (.*)$", inspect.getsource(TrainConfig), re.MULTILINE))
    for setting in fields(TrainConfig):
        if setting.name in ("data", "model", "model_settings", "teacher", "distillation", "tokens"):
            continue
        kind = {float | None: float, str | None: str}.get(setting.type, setting.type)
        told_here = told.get(setting.name, "").replace("%", "%%")
        group.add_argument(f"--{setting.name.replace('_', '-')}", **setting_argument(kind), help=told_here)
    for name, told_here in MODEL_SETTINGS.items():
        group.add_argument(f"--{name.replace('_', '-')}", type=int, metavar="N", help=f"of a DeiT: {told_here}")


def setting_argument(kind):
    if kind is bool:
        return dict(action=argparse.BooleanOptionalAction, default=None)
    return dict(type=kind, metavar={int: "N", float: "X", str: "NAME"}[kind])


def run(chosen):
    typed = {field.name: getattr(chosen, field.name, None) for field in fields(TrainConfig)}
    typed["distillation"] = chosen.distill
    sizes = {name: getattr(chosen, name) for name in MODEL_SETTINGS}
    typed["model_settings"] = {name: size for name, size in sizes.items() if size is not None} or None
    typed = {name: value for name, value in typed.items() if value is not None}
    if chosen.teacher and chosen.distill == "none":
        raise DeiTEduError("--distill none learns nothing from --teacher: leave one of them out")
    scale = chosen.scale or os.environ.get("DEIT_EDU_SCALE") or "tiny"
    begun = Path(chosen.out or "") / "config.json"
    if chosen.resume and chosen.out and not chosen.scale and begun.exists():
        settings = read_json(begun)
        if "model_settings" in typed:
            typed["model_settings"] = settings["model_settings"] | typed["model_settings"]
    else:
        both = chosen.tokens == "both" or (chosen.teacher and chosen.tokens is None)  # a ViT of timm's may be a student
        role = "teacher" if is_teacher_name(chosen.model) and not both else "student"
        settings = recipe(scale, chosen.data, role)
        taught = dict(distillation="hard", tokens="both") if chosen.teacher else {}
        settings = settings | taught
    try:
        config = TrainConfig(**settings | typed)
    except TypeError as error:  # a setting that there is no more
        raise DeiTEduError(f"{begun} is of another version of deit_edu ({error}): train again") from None
    folder = Path(chosen.out or runs_root() / run_name(config))
    say = print if os.environ.get("RANK", "0") == "0" else lambda line: None  # torchrun: one process speaks
    finished = (folder / "result.json").exists()
    if is_teacher_name(chosen.teacher) or chosen.teacher in MODELS:
        role = "teacher" if is_teacher_name(chosen.teacher) else "student"  # a plain transformer of the student's size
        shared = {name: typed[name] for name in ("seed", "device", "precision", "compile") if name in typed}
        shared |= {name: getattr(config, name) for name in SEEN_BY_BOTH}
        teacher = TrainConfig(**recipe(scale, config.data, role) | shared | {"model": chosen.teacher})
        there = runs_root() / run_name(teacher)
        if (there / "result.json").exists():
            say(f"the teacher is there: {there}")
            teacher = replace(teacher, batch_size=read_json(there / "config.json")["batch_size"])
        elif "batch_size" in typed:  # data of the reader's may be too few for the recipe's
            teacher = replace(teacher, batch_size=config.batch_size)
        train_pair(teacher, config, folder, chosen.resume, not chosen.quiet)
    else:
        train(config, folder, chosen.resume, progress=not chosen.quiet)
    if finished:
        say(f"{folder} has finished: nothing is left to train")
    record = read_json(folder / "result.json")
    scores = record["test"]
    say(f"{folder}: " + ", ".join(f"{head} {score['accuracy']:.2%}" for head, score in scores.items()) + " on test")
    if "nats" in (kept := record.get("kept_answers", {})):
        say(f"  the kept answers are {kept['nats']:.1e} nats from the teacher's, {kept['largest_nats']:.1e} at most")
    if told := dict(record.get("test_classes", {})):  # classes of unequal sizes
        classes = told.pop("classes")
        say("  " + "\n  ".join(PerClass(**told).lines(classes)))


def is_teacher_name(name):
    """A network that a teacher's recipe trains: a convnet or a timm model that is not a run folder."""

    return name is not None and (name in CONVNETS or name.startswith("timm:"))
