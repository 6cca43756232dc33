"""The `deit-edu` command: data, train, evaluate, ablate, report, export, bench."""

import argparse
import json
import os
import sys
from dataclasses import fields
from pathlib import Path

from deit_edu.errors import DeiTEduError


def main(arguments=None):
    """Run one command; the exit status: 0, 2 for what was typed wrong, 130 for Ctrl-C."""
    parser = make_parser()
    chosen = parser.parse_args(arguments)
    try:
        chosen.run(chosen)
    except DeiTEduError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        go_on = "the same command goes on" if chosen.run is run_ablate else "the same command with --resume goes on"
        print(f"\nstopped; nothing before the last whole epoch is lost: {go_on}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader closed the pipe, as in `deit-edu data | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return 0


def make_parser():
    parser = argparse.ArgumentParser(prog="deit-edu", description="DeiT, step by step: train, distil and look inside.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    data = commands.add_parser("data", help="list the data sets, or load one and say what is in it")
    data.add_argument("name", nargs="?", help="a data set; without one, the list")
    data.set_defaults(run=show_data)

    train = commands.add_parser("train", help="train a network, or a teacher and its student")
    add_train_arguments(train)
    train.set_defaults(run=run_train)

    evaluate = commands.add_parser("evaluate", help="accuracy of each head and fusion, and who disagrees with whom")
    evaluate.add_argument("run_folder", metavar="RUN", help="a run folder, or packaged:NAME")
    evaluate.add_argument("--data", help="another data set of the same shape and classes")
    evaluate.add_argument("--split", choices=("validation", "test"), default="test")
    evaluate.set_defaults(run=run_evaluate)

    ablate = commands.add_parser("ablate", help="run an experiment of the paper again, with seeds, into the ledger")
    add_ablate_arguments(ablate)
    ablate.set_defaults(run=run_ablate)

    report = commands.add_parser("report", help="tables and verdicts from the ledger")
    add_grid_arguments(report)
    report.add_argument("--format", choices=("text", "markdown", "csv"), default="text")
    report.set_defaults(run=run_report)

    export = commands.add_parser("export", help="write a trained DeiT under timm's names")
    export.add_argument("run_folder", metavar="RUN", help="a run folder, or packaged:NAME")
    export.add_argument("file", help="the safetensors file to write")
    export.set_defaults(run=run_export)

    bench = commands.add_parser("bench", help="time one distillation step against timm's student in the same loop")
    bench.add_argument("--steps", type=int, default=40, help="steps in each of the rounds")
    bench.add_argument("--rounds", type=int, default=7)
    bench.set_defaults(run=run_bench)
    return parser


def add_train_arguments(parser):
    scale = os.environ.get("DEIT_EDU_SCALE", "tiny")
    parser.add_argument(
        "--scale", default=scale, help="tiny, small or paper: sets all that is not given (default: %(default)s)"
    )
    parser.add_argument("--out", help="the run folder (default: runs/DATA-MODEL-DISTILLATION-TOKENS-seedN)")
    parser.add_argument("--resume", action="store_true", help="go on with what is in the folder")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    parser.add_argument("--data", help="a data set's name (see deit-edu data), folder:PATH or imagenet:PATH")
    parser.add_argument("--model", help="a DeiT, a convnet or timm:NAME")
    parser.add_argument("--teacher", help="a run folder, packaged:NAME or timm:NAME; a model's name trains one first")
    parser.add_argument(
        "--distill", choices=("none", "soft", "hard"), help="what the teacher gives (default: hard with a teacher)"
    )
    parser.add_argument("--tokens", choices=("class", "both"), help="who listens to it (default: both with a teacher)")
    from deit_edu.train import TrainConfig

    shown = ("data", "model", "teacher", "distillation", "tokens")
    group = parser.add_argument_group("settings of one run (defaults: the scale's)")
    for setting in fields(TrainConfig):
        if setting.name in (*shown, "model_settings"):
            continue
        kind = float if setting.type == float | None else setting.type
        group.add_argument(f"--{setting.name.replace('_', '-')}", **setting_argument(kind))
    for name in ("patch_size", "embed_dim", "depth", "num_heads"):
        group.add_argument(f"--{name.replace('_', '-')}", type=int, metavar="N")


def add_grid_arguments(parser):
    scale = os.environ.get("DEIT_EDU_SCALE", "tiny")
    parser.add_argument("--scale", default=scale, help="tiny or small (default: %(default)s)")
    parser.add_argument("--data", help="a data set in place of the scale's own, such as folder:PATH")


def add_ablate_arguments(parser):
    parser.add_argument("name", nargs="?", metavar="NAME", help="an experiment, or all; without one, the list")
    add_grid_arguments(parser)
    parser.add_argument("--seeds", type=int, metavar="N", help="seeds 0 to N - 1 (default: the experiment's)")
    parser.add_argument("--jobs", type=int, metavar="N", help="runs at a time (default: one a GPU, or one a core)")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--list", action="store_true", help="name the experiments, or the cells of one; run nothing")
    what.add_argument("--dry-run", action="store_true", help="say how many runs and about how long; run nothing")
    what.add_argument("--verify", type=int, metavar="N", help="run N recorded cells again and compare")


def setting_argument(kind):
    if kind is bool:
        return dict(action=argparse.BooleanOptionalAction, default=None)
    return dict(type=kind, metavar={int: "N", float: "X", str: "NAME"}[kind])


def show_data(chosen):
    from deit_edu.data import DATASETS, load_dataset

    if chosen.name is None:
        for name, line in DATASETS.items():
            print(f"{name:18} {line}")
        return
    dataset = load_dataset(chosen.name)
    C, H, W = dataset.image_shape
    print(f"{dataset.name}: {C}x{H}x{W}, {dataset.num_classes} classes: {', '.join(dataset.classes[:10])}")
    for name in ("train", "validation", "test"):
        print(f"  {name:10} {len(getattr(dataset, name)):>8,} images")
    print(f"  checksum   {dataset.checksum}")


def run_train(chosen):
    from deit_edu.recipes import recipe
    from deit_edu.runs import run_name, runs_root, train, train_pair
    from deit_edu.train import TrainConfig

    given = {f.name: getattr(chosen, f.name, None) for f in fields(TrainConfig)}
    given = {name: value for name, value in given.items() if value is not None}
    sizes = ("patch_size", "embed_dim", "depth", "num_heads")
    given["model_settings"] = {name: getattr(chosen, name) for name in sizes if getattr(chosen, name) is not None}
    given["distillation"] = chosen.distill or ("hard" if chosen.teacher else "none")
    given["tokens"] = chosen.tokens or ("both" if chosen.teacher else "class")
    role = "teacher" if is_teacher_name(chosen.model) else "student"
    settings = recipe(chosen.scale, chosen.data, role) | given
    if is_teacher_name(chosen.teacher):
        shared = {name: given[name] for name in ("seed", "device", "precision", "compile") if name in given}
        teacher = recipe(chosen.scale, chosen.data, "teacher") | shared | {"model": chosen.teacher}
        student = TrainConfig(**settings | {"teacher": None})
        _, folder = train_pair(TrainConfig(**teacher), student, chosen.out, chosen.resume, not chosen.quiet)
    else:
        config = TrainConfig(**settings)
        folder = Path(chosen.out or runs_root() / run_name(config))
        train(config, folder, chosen.resume, progress=not chosen.quiet)
    record = json.loads((folder / "result.json").read_text())
    scores = ", ".join(f"{head} {score['accuracy']:.2%}" for head, score in record["test"].items())
    print(f"{folder}: {scores} on test")


def is_teacher_name(name):
    """A network that a teacher's recipe trains: a convnet or a timm model that is not a run folder."""
    from deit_edu.teachers import CONVNETS

    return name is not None and (name in CONVNETS or name.startswith("timm:"))


def open_run(name):
    """The network of a run folder or of packaged:NAME, its metadata, and its teacher's name or None."""
    from deit_edu.runs import find_run
    from deit_edu.teachers import load_teacher

    if name.startswith("packaged:"):
        model, metadata = load_teacher(name, 0, 0)
        return model, metadata, metadata.get("teacher")
    model, metadata = load_teacher(str(find_run(name)), 0, 0)
    config = json.loads((find_run(name) / "config.json").read_text())
    return model, metadata | {"data": config["data"]}, config["teacher"]


def run_evaluate(chosen):
    from deit_edu.data import load_dataset
    from deit_edu.evaluate import accuracies, decisions, predict
    from deit_edu.inspect import disagreement
    from deit_edu.runs import open_teacher
    from deit_edu.teachers import FrozenTeacher

    model, metadata, teacher = open_run(chosen.run_folder)
    dataset = load_dataset(chosen.data or metadata["data"])
    if list(dataset.image_shape) != metadata["image_shape"] or dataset.num_classes != metadata["num_classes"]:
        raise DeiTEduError(
            f"{chosen.run_folder} was trained on {metadata['num_classes']} classes of "
            f"{metadata['image_shape']} images; {dataset.name} has {dataset.num_classes} of {list(dataset.image_shape)}"
        )
    split = getattr(dataset, chosen.split)
    said = predict(model, split, dataset)
    print(f"{chosen.run_folder} on {len(split):,} {chosen.split} images of {dataset.name}, 95 % Wilson intervals")
    for head, accuracy in accuracies(said, split.labels).items():
        print(f"  {head:13} {accuracy}")
    deciders = {"truth": split.labels}
    if teacher:
        teacher = FrozenTeacher(open_teacher(teacher, dataset))
        deciders["teacher"] = decisions(predict(teacher, split, dataset))["class"]
    deciders |= decisions(said)
    print("\nshare of images on which two disagree")
    print(" " * 13 + "".join(f"{name:>14}" for name in deciders))
    for name, row in zip(deciders, disagreement(deciders), strict=True):
        print(f"{name:13}" + "".join(f"{share:14.4f}" for share in row))


def run_ablate(chosen):
    from deit_edu.experiments import EXPERIMENTS, Grid
    from deit_edu.ledger import Ledger, ledger_for_writing
    from deit_edu.runner import available_jobs, estimate_seconds, run_cells
    from deit_edu.verify import verify

    for name in ("seeds", "jobs", "verify"):
        if getattr(chosen, name) is not None and getattr(chosen, name) < 1:
            raise DeiTEduError(f"--{name} is {getattr(chosen, name)}: it must be 1 or more")
    grid = Grid(chosen.scale, chosen.data)
    names = list(EXPERIMENTS) if chosen.name in (None, "all") else [chosen.name]
    cells = [cell for name in names for cell in grid.cells(name, chosen.seeds)]
    if chosen.list or chosen.name is None:
        return list_cells(names, cells, Ledger())
    if chosen.dry_run:
        seconds, probed = estimate_seconds(cells, Ledger())
        jobs = min(chosen.jobs or available_jobs(), max(1, len(seconds)))
        hours = sum(seconds.values()) / 3600
        print(f"{len(seconds)} runs to do, about {hours:.1f} hours of one process, {hours / jobs:.1f} with {jobs}"
              + (f"; {probed} speeds measured now over 20 steps, without evaluation" if probed else ""))  # fmt: skip
    elif chosen.verify:
        answers = verify(cells, Ledger(), chosen.verify, chosen.jobs, not chosen.quiet)
        for cell, same, sentence in answers:
            print(f"{'same ' if same else 'OTHER'}  {cell}: {sentence}")
        if wrong := sum(not same for _, same, _ in answers):
            raise DeiTEduError(f"{wrong} of {len(answers)} runs came out differently")
    else:
        with ledger_for_writing() as ledger:
            done = run_cells(cells, ledger, chosen.jobs, progress=not chosen.quiet)
            print(f"{chosen.name}: {len(done)} runs done now, all recorded in {ledger.path}; see deit-edu report")


def list_cells(names, cells, ledger):
    from deit_edu.experiments import EXPERIMENTS

    for name in names:
        mine = [cell for cell in cells if cell.experiment == name]
        recorded = sum(ledger.find(cell) is not None for cell in mine)
        print(f"{name:28} {recorded:3} of {len(mine):3} cells recorded   {EXPERIMENTS[name].title}")
    if len(names) == 1:
        for cell in cells:
            print(f"  {cell.key}  {cell.configuration:24} seed {cell.seed}  {'recorded' if ledger.find(cell) else ''}")


def run_report(chosen):
    from deit_edu.ledger import Ledger
    from deit_edu.report import report

    print(report(Ledger(), chosen.scale, chosen.data, chosen.format))


def run_export(chosen):
    from deit_edu.checkpoints import save, to_timm_state_dict
    from deit_edu.model import DeiT

    model, _, _ = open_run(chosen.run_folder)
    if not isinstance(model, DeiT):
        raise DeiTEduError(f"{chosen.run_folder} is not a DeiT: only those have names in timm")
    save(chosen.file, to_timm_state_dict(model))
    print(f"{chosen.file}: timm's names; load it with safetensors and timm's VisionTransformerDistilled")


def run_bench(chosen):
    from deit_edu.bench import report

    report(chosen.steps, chosen.rounds)
