"""The `deit-edu` command: data, train, evaluate, ablate, report, export, bench."""

import argparse
import inspect
import os
import re
import sys
from dataclasses import fields, replace
from pathlib import Path

from deit_edu.errors import DeiTEduError


def main(arguments=None):
    """Run one command; the exit status: 0, 2 for what was typed wrong, 130 for Ctrl-C."""
    try:
        chosen = make_parser().parse_args(arguments)
        chosen.run(chosen)
    except DeiTEduError as error:
        return fail(error)
    except KeyboardInterrupt:
        go_on = "the same command goes on (deit-edu train: with --resume)"
        print(f"\nstopped; a training keeps its whole epochs: {go_on}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader closed the pipe, as in `deit-edu data | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        return fail(f"{error.filename}: {error.strerror}" if error.filename else error)
    except (MemoryError, RuntimeError) as error:
        if not (isinstance(error, MemoryError) or re.search("out of memory|can't allocate memory", str(error))):
            raise
        return fail("the memory is full: try half the --batch-size, a smaller --model, or --device cpu")
    return 0


def fail(message):
    print(f"error: {message}", file=sys.stderr)
    return 2


class Parser(argparse.ArgumentParser):
    """Says in one line what was typed wrong, without argparse's screen of usage."""

    def error(self, message):
        raise DeiTEduError(f"{message}; see {self.prog} --help")


def make_parser():
    parser = Parser(
        prog="deit-edu",
        description="DeiT, step by step: train, distil and look inside.",
        epilog="Begin with: deit-edu train --teacher convnet, which trains a small convnet and the DeiT it teaches, "
        "on images that are in the package. It takes two cores some minutes.",
    )
    parser.set_defaults(run=lambda chosen: parser.print_help())
    commands = parser.add_subparsers(metavar="COMMAND")

    data = commands.add_parser("data", help="list the data sets, or load one and say what is in it")
    data.add_argument("name", nargs="?", help="a data set; without one, the list")
    data.set_defaults(run=show_data)

    train = commands.add_parser(
        "train", usage="%(prog)s [options]", help="train a network, or a teacher and its student"
    )
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
    from deit_edu.train import TrainConfig

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


MODEL_SETTINGS = {"patch_size": "P, in pixels", "embed_dim": "width D", "depth": "blocks L", "num_heads": "heads h"}


def add_grid_arguments(parser):
    scale = os.environ.get("DEIT_EDU_SCALE") or "tiny"
    parser.add_argument("--scale", default=scale, help="tiny or small (default: %(default)s)")
    parser.add_argument("--data", help="a data set in place of the scale's own, such as folder:PATH")


def add_ablate_arguments(parser):
    parser.add_argument("name", nargs="?", metavar="NAME", help="an experiment, or all; without one, the list")
    add_grid_arguments(parser)
    parser.add_argument("--seeds", type=int, metavar="N", help="seeds 0 to N - 1 (default: the experiment's)")
    parser.add_argument(
        "--jobs",
        type=int,
        metavar="N",
        help="runs at a time, which share the cores (default: one a GPU, or one a core)",
    )
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
    from deit_edu.model import MODELS
    from deit_edu.recipes import recipe
    from deit_edu.run_folders import read_json, run_name, runs_root
    from deit_edu.runs import train, train_pair
    from deit_edu.train import SEEN_BY_BOTH, TrainConfig

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
        settings = recipe(scale, chosen.data, "teacher" if is_teacher_name(chosen.model) else "student")
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
    scores = read_json(folder / "result.json")["test"]
    say(f"{folder}: " + ", ".join(f"{head} {score['accuracy']:.2%}" for head, score in scores.items()) + " on test")


def is_teacher_name(name):
    """A network that a teacher's recipe trains: a convnet or a timm model that is not a run folder."""
    from deit_edu.teachers import CONVNETS

    return name is not None and (name in CONVNETS or name.startswith("timm:"))


def run_evaluate(chosen):
    from deit_edu.build import check_trained_on, open_teacher
    from deit_edu.data import RESIZABLE, keep_classes, load_dataset
    from deit_edu.evaluate import accuracies, decisions, predict
    from deit_edu.inspect import disagreement
    from deit_edu.run_folders import open_run
    from deit_edu.teachers import FrozenTeacher

    model, metadata = open_run(chosen.run_folder)
    name, side, kept = chosen.data or metadata["data"], metadata.get("image_size"), metadata.get("kept_classes", "")
    dataset = load_dataset(name, image_size=side if name.partition(":")[0] in RESIZABLE else None)
    if kept and (name == metadata["data"] or dataset.num_classes != metadata["num_classes"]):
        dataset = keep_classes(dataset, kept)
    check_trained_on(chosen.run_folder, metadata, dataset)
    split = getattr(dataset, chosen.split)
    said = predict(model, split, dataset)
    print(f"{chosen.run_folder} on {len(split):,} {chosen.split} images of {dataset.name}, 95 % Wilson intervals")
    for head, accuracy in accuracies(said, split.labels).items():
        print(f"  {head:13} {accuracy}")
    deciders = {"truth": split.labels}
    if metadata.get("teacher"):
        try:
            teacher = FrozenTeacher(open_teacher(metadata["teacher"], dataset))  # answers as it taught: fused
            deciders["teacher"] = decisions(predict(teacher, split, dataset))["class"]
        except DeiTEduError as error:
            print(f"  its teacher is left out: {error}")
    deciders |= decisions(said)
    print("\nshare of images on which two disagree")
    print(" " * 13 + "".join(f"{name:>14}" for name in deciders))
    for name, row in zip(deciders, disagreement(deciders), strict=True):
        print(f"{name:13}" + "".join(f"{share:14.4f}" for share in row))


def run_ablate(chosen):
    from deit_edu.cells import Grid, data_checksum
    from deit_edu.experiments import EXPERIMENTS
    from deit_edu.ledger import Ledger, ledger_for_writing
    from deit_edu.report import Results
    from deit_edu.runner import available_jobs, estimate_seconds, run_cells
    from deit_edu.verify import verify

    for name in ("seeds", "jobs", "verify"):
        if getattr(chosen, name) is not None and getattr(chosen, name) < 1:
            raise DeiTEduError(f"--{name} is {getattr(chosen, name)}: it must be 1 or more")
    if chosen.name is None and any((chosen.dry_run, chosen.verify, chosen.jobs, chosen.seeds)):
        raise DeiTEduError("name an experiment, or all: deit-edu ablate --list names them")
    listing = chosen.list or chosen.name is None
    if listing and not chosen.data:  # what the ledger knows need not be fetched to be listed
        grid = Results(Ledger(), chosen.scale, checksum=data_checksum).grid
    else:
        grid = Grid(chosen.scale, chosen.data)
    here = [name for name, experiment in EXPERIMENTS.items() if chosen.scale in experiment.scales]
    names = here if chosen.name in (None, "all") else [chosen.name]
    cells = [cell for name in names for cell in grid.cells(name, chosen.seeds)]
    if listing:
        return list_cells(names, cells, Ledger())
    if chosen.dry_run:
        seconds, probed = estimate_seconds(cells, Ledger(), jobs=chosen.jobs)
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
    from deit_edu.data import check_name
    from deit_edu.ledger import Ledger
    from deit_edu.report import report

    if chosen.data:
        check_name(chosen.data)
    print(report(Ledger(), chosen.scale, chosen.data, chosen.format))


def run_export(chosen):
    from deit_edu.checkpoints import save, to_timm_state_dict
    from deit_edu.model import DeiT
    from deit_edu.run_folders import open_run

    if not chosen.file.endswith(".safetensors"):
        raise DeiTEduError(f"{chosen.file} must end in .safetensors: by that name timm knows how to open it")
    if Path(chosen.file).exists():
        raise DeiTEduError(f"{chosen.file} is there already: delete it, or choose another name")
    model, _ = open_run(chosen.run_folder)
    if not isinstance(model, DeiT):
        raise DeiTEduError(f"{chosen.run_folder} is not a DeiT: only those have names in timm")
    save(chosen.file, to_timm_state_dict(model))
    c = model.config
    name = "deit_tiny_distilled_patch16_224" if c.distilled else "deit_tiny_patch16_224"
    print(
        f"{chosen.file} has timm's names. To open it:\n"
        f'timm.create_model("{name}", checkpoint_path="{chosen.file}", img_size={c.image_size}, '
        f"patch_size={c.patch_size}, in_chans={c.in_channels}, num_classes={c.num_classes}, "
        f"embed_dim={c.embed_dim}, depth={c.depth}, num_heads={c.num_heads}, mlp_ratio={c.mlp_ratio})"
    )


def run_bench(chosen):
    from deit_edu.bench import report

    report(chosen.steps, chosen.rounds)
