"""deit-edu train: a network, or a teacher and its student."""

import argparse
import inspect
import os
import re
import sys
from dataclasses import fields, replace
from pathlib import Path

from deit_edu.errors import DeiTEduError, counted
from deit_edu.losses import DISTILLATIONS, TOKENS
from deit_edu.model import MODELS
from deit_edu.runs.build import open_dataset
from deit_edu.runs.choices import (
    Plan,
    fitted,
    in_words,
    is_open,
    is_teacher_name,
    plan_for,
    role_of,
    seconds_of,
)
from deit_edu.runs.evaluate import PerClass
from deit_edu.runs.folders import check_folder, read_json, run_name, runs_root
from deit_edu.runs.machine import peak_memory
from deit_edu.runs.recipes import recipe
from deit_edu.runs.run import train, train_pair
from deit_edu.train import SEEN_BY_BOTH, TrainConfig, join_world, steps_per_epoch

WAITS = 0.05  # of the training's time, at most, that needs no word
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
    parser.add_argument(
        "--dry-run", action="store_true", help="say steps, time and memory, by a few steps; write nothing"
    )
    parser.add_argument("--data", metavar="NAME", help="a data set (deit-edu data lists them)")
    parser.add_argument("--model", metavar="NAME", help="a DeiT, a convnet or timm:NAME")
    parser.add_argument(
        "--teacher",
        metavar="NAME",
        help="a run folder or packaged:NAME, or several joined by +, an ensemble; or a convnet or timm:NAME, which is "
        "trained first, unless it has been",
    )
    parser.add_argument(
        "--distill", choices=DISTILLATIONS, help="what the teacher gives (default: hard with a teacher)"
    )
    parser.add_argument(
        "--tokens",
        choices=TOKENS,
        help="who listens to it (default: both with a teacher); each: a token for each of A+B",
    )

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
    typed = what_was_typed(chosen)
    say = print if os.environ.get("RANK", "0") == "0" else lambda *line, **where: None  # torchrun: one process speaks
    begun = Path(chosen.out or "") / "config.json"
    if chosen.resume and chosen.out and not chosen.scale and begun.exists():
        folder, plan = Path(chosen.out), Plan(as_begun(begun, typed))
    else:
        plan = decide(chosen, typed)
        folder = Path(chosen.out or runs_root() / run_name(plan.config))
        if not (chosen.resume and (folder / "result.json").exists()):
            plan = made_to_fit(plan, say)
    if chosen.dry_run:
        rehearse(plan, say)
        return
    if not chosen.resume:
        check_folder(folder, plan.config, resume=False)
    finished = (folder / "result.json").exists()
    teacher_folder = plan.teacher and runs_root() / run_name(plan.teacher)
    if teacher_folder and (teacher_folder / "config.json").exists():
        plan = with_teacher_there(plan, teacher_folder, say)
    if plan.chosen is not None and not finished:
        tell(plan, say, measure=not chosen.quiet and not (folder / "resume.safetensors").exists())
    if plan.teacher:
        train_pair(plan.teacher, plan.config, folder, chosen.resume, not chosen.quiet, plan.dataset)
    else:
        train(plan.config, folder, chosen.resume, plan.dataset, progress=not chosen.quiet)
    if finished:
        say(f"{folder} has finished: nothing is left to train")
    record = read_json(folder / "result.json")
    scores = record["test"]
    say(f"{folder}: " + ", ".join(f"{head} {score['accuracy']:.2%}" for head, score in scores.items()) + " on test")
    if (waiting := record.get("waiting", 0)) > WAITS and record["config"]["data"].startswith("imagenet:"):
        say(f"  {waiting:.0%} of the time the network waited for pictures: folder:PATH decodes each of them once")
    if "nats" in (kept := record.get("kept_answers", {})):
        say(f"  the kept answers are {kept['nats']:.1e} nats from the teacher's, {kept['largest_nats']:.1e} at most")
    if told := dict(record.get("test_classes", {})):  # classes of unequal sizes
        classes = told.pop("classes")
        say("  " + "\n  ".join(PerClass(**told).lines(classes)))


def what_was_typed(chosen):
    """{field of TrainConfig: value} of the options that were given. Raises DeiTEduError where two contradict."""
    typed = {field.name: getattr(chosen, field.name, None) for field in fields(TrainConfig)}
    typed["distillation"] = chosen.distill
    sizes = {name: getattr(chosen, name) for name in MODEL_SETTINGS}
    typed["model_settings"] = {name: size for name, size in sizes.items() if size is not None} or None
    if chosen.teacher and chosen.distill == "none":
        raise DeiTEduError("--distill none learns nothing from --teacher: leave one of them out")
    return {name: value for name, value in typed.items() if value is not None}


def as_begun(begun, typed):
    """The config of a run that goes on, by its config.json. Raises DeiTEduError for one of another version."""
    settings = read_json(begun)
    if "model_settings" in typed:
        typed = typed | {"model_settings": settings["model_settings"] | typed["model_settings"]}
    try:
        return TrainConfig(**settings | typed)
    except TypeError as error:  # a setting that there is no more
        raise DeiTEduError(f"{begun} is of another version of deit_edu ({error}): train again") from None


def decide(chosen, typed):
    """A `Plan`: what the scale's recipe says of its own data, and for others what fits them."""
    scale = chosen.scale or os.environ.get("DEIT_EDU_SCALE") or "tiny"
    settings = recipe_for(scale, chosen.data, role_of(typed), typed)
    if is_open(scale, settings["data"]):
        TrainConfig(**typed)  # a number that cannot be is said before the pictures are read
        return plan_for(scale, typed, join_world(TrainConfig(**typed)))
    taught = dict(distillation="hard", tokens="both") if chosen.teacher else {}
    config = TrainConfig(**settings | taught | typed)
    if not (is_teacher_name(config.teacher) or config.teacher in MODELS):
        return Plan(config)
    role = "teacher" if is_teacher_name(config.teacher) else "student"  # a plain transformer of the student's size
    shared = {name: typed[name] for name in ("seed", "device", "precision", "compile") if name in typed}
    shared |= {name: getattr(config, name) for name in SEEN_BY_BOTH}
    if "batch_size" in typed:  # data of the reader's may be too few for the recipe's
        shared["batch_size"] = config.batch_size
    base = recipe_for(scale, config.data, role, typed)
    return Plan(config, TrainConfig(**base | shared | {"model": config.teacher}))


def recipe_for(scale, data, role, typed):
    """A recipe, but that a batch of the reader's is not learned from in the parts of the recipe's own."""
    settings = recipe(scale, data, role)
    if "batch_size" in typed:
        settings.pop("accumulate", None)
    return settings


def made_to_fit(plan, say):
    """A `Plan` with its data read and its numbers made to fit them; what does not is said."""
    world = join_world(plan.config)
    dataset = plan.dataset or open_dataset(plan.config)
    (config, said), (teacher, also) = (
        (None, []) if one is None else fitted(one, dataset, world) for one in (plan.config, plan.teacher)
    )
    for line in dict.fromkeys(said + also):
        say(f"note: {line}", file=sys.stderr)
    return replace(plan, config=config, teacher=teacher, dataset=dataset)


def with_teacher_there(plan, folder, say):
    """A `Plan` with the teacher that is there, or half of it. One that was chosen may have been begun otherwise."""
    was, trained = read_json(folder / "config.json"), (folder / "result.json").exists()
    if plan.chosen is None:
        if not trained:
            return plan
        say(f"the teacher is there: {folder}")
        return replace(plan, teacher=replace(plan.teacher, batch_size=was["batch_size"]))
    other = f", and not for {plan.teacher.epochs}" if was["epochs"] != plan.teacher.epochs else ""
    if trained:
        say(f"the teacher is there: {folder}, trained for {counted(was['epochs'], 'epoch')}{other}")
        return replace(plan, config=replace(plan.config, teacher=folder.name), teacher=None)
    say(f"the teacher goes on: {folder}, begun for {counted(was['epochs'], 'epoch')}{other}; delete it to begin anew")
    return replace(plan, teacher=as_begun(folder / "config.json", {}))


def rehearse(plan, say):
    """Say how many steps a plan has, how long they take and what memory, by the first steps of teacher and student."""
    world = join_world(plan.config)
    dataset = plan.dataset or open_dataset(plan.config)
    for role, config in (("teacher", plan.teacher), ("student" if plan.teacher else "run", plan.config)):
        if config is None:
            continue
        seconds, measured = seconds_of(config, dataset, world, plan.teacher if config is plan.config else None)
        steps = steps_per_epoch(config, dataset, world)
        length = f"{counted(config.epochs * steps, 'step')} ({counted(config.epochs, 'epoch')} of {steps:,})"
        say(f"{role}: {config.model}, {length}, about {in_words(seconds)}, measured over {counted(measured, 'step')}")
    say(f"memory: {peak_memory(world) / 1e6:,.0f} MB at most so far, on {world.device.type}; nothing was written")


def tell(plan, say, measure):
    """Say what was chosen, and how long it will take, by the first steps of student and teacher."""
    if told := plan.told():
        say(told)
    world = join_world(plan.config)
    if not measure or world.size > 1 or not plan.config.epochs:
        return
    student, steps = seconds_of(plan.config, plan.dataset, world, plan.teacher)
    first = seconds_of(plan.teacher, plan.dataset, world)[0] if plan.teacher else 0
    parts = f", the teacher {in_words(first)} of them" if first else ""
    say(f"about {in_words(first + student)}{parts}, measured over {steps} of its steps on {world.device.type}")
