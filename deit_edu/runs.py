"""A run: from a config to a folder with a trained network and its record, and back to work after a stop."""

import dataclasses
import json
import os
import time
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import torch
import torch.distributed as dist
from tqdm import tqdm

import deit_edu
from deit_edu.checkpoints import digest, load, resize_model, save, write_atomically
from deit_edu.data import load_dataset, nested_subset
from deit_edu.errors import DeiTEduError
from deit_edu.evaluate import accuracies, predict, save_predictions
from deit_edu.inspect import describe_tokens
from deit_edu.losses import DistillationObjective
from deit_edu.machine import can_compile, compiled, machine
from deit_edu.model import MODELS, DeiT, create_model
from deit_edu.recipes import recipe
from deit_edu.source import source_digest
from deit_edu.teachers import (
    CONVNETS,
    Ensemble,
    FrozenTeacher,
    create_teacher,
    load_network,
    load_teacher,
    packaged_path,
    save_network,
)
from deit_edu.train import (
    MovingAverage,
    TrainConfig,
    join_world,
    make_optimizer,
    steps_per_epoch,
    train_epoch,
    training_split,
)

ASKED_OF_TEACHER = 10_000  # training images at most, of which the record says how often the teacher is right


def runs_root():
    """Where run folders lie: the environment variable DEIT_EDU_RUNS, a clone's runs/, or runs/ right here."""
    if folder := os.environ.get("DEIT_EDU_RUNS"):
        return Path(folder)
    clone = Path(deit_edu.__file__).resolve().parent.parent
    return (clone if (clone / "pyproject.toml").exists() else Path()) / "runs"


def open_dataset(config, load=load_dataset):
    """The data a config names, at its image size, of its classes."""
    return load(config.data, image_size=config.image_size or None, classes=config.classes)


def find_run(name):
    """The folder of a run, given as a path or as a name under `runs_root`."""
    folder = Path(name)
    return folder if folder.is_dir() else runs_root() / name


def open_run(name):
    """The network of a run folder or of packaged:NAME, and its metadata with what it was trained on and by whom.

    Raises:
        DeiTEduError: when there is no such run, or it has not finished.
    """
    if name.startswith("packaged:"):
        return load_network(packaged_path(name.removeprefix("packaged:")))
    folder = find_run(name)
    if not (folder / "config.json").exists():
        known = ", ".join(sorted(path.parent.name for path in runs_root().glob("*/result.json")))
        raise DeiTEduError(f"no run {name}: give a run folder" + (f", or one of {known}" if known else ""))
    if not (folder / "model.safetensors").exists():
        raise DeiTEduError(f"{name} has not finished: deit-edu train --out {folder} --resume goes on with it")
    config = read_json(folder / "config.json")
    model, metadata = load_network(folder / "model.safetensors")
    trained = {"data": config["data"], "teacher": config["teacher"], "kept_classes": config.get("classes", "")}
    return model, metadata | trained | {"image_size": config.get("image_size") or None}


def run_name(config):
    """What a run's folder is called, unless the reader says otherwise: data, model, what it learns from, seed."""
    sees = [f"{config.image_size}px"] if config.image_size else []
    sees += [f"classes{config.classes.replace(',', '_')}"] if config.classes else []
    start = ["tuned"] if config.initial else []
    learns_from = [] if config.distillation == "none" else [config.distillation]
    tokens = ["both"] if config.tokens == "both" else []
    parts = [config.data, config.model, *sees, *learns_from, *tokens, *start, f"seed{config.seed}"]
    return "-".join(parts).replace(":", "-").replace("/", "-")


def train_pair(teacher, student, folder=None, resume=False, progress=True):
    """Train a teacher, or take the one that is there, then its student.

    Args:
        teacher, student: TrainConfig; the student's `teacher` is filled in.
        folder: the student's run folder; None: its `run_name` under `runs_root`.
        resume: go on with the student's folder. The teacher's is always gone on with.

    Returns:
        The two folders.
    """
    teacher_folder = runs_root() / run_name(teacher)
    student = dataclasses.replace(student, teacher=teacher_folder.name)
    folder = Path(folder or runs_root() / run_name(student))
    dataset = open_dataset(student)
    check_folder(folder, student, resume)  # what the student cannot be is said before the teacher trains for minutes
    build_model(student, dataset)
    build_objective(student)
    seen = ("data", "image_size", "classes")
    if differs := [name for name in seen if getattr(teacher, name) != getattr(student, name)]:
        raise DeiTEduError(f"teacher and student differ in {', '.join(differs)}: give both the same")
    train(teacher, teacher_folder, resume=True, dataset=dataset, progress=progress)
    train(student, folder, resume=resume, dataset=dataset, progress=progress)
    return teacher_folder, folder


def tiny_pair(progress=False):
    """The folders of the tiny pair: a convnet and the DeiT it taught, on the packaged data.

    They are trained now where they are missing, which takes two cores some minutes; `make book` has done it before.
    """
    student = recipe("tiny", role="student") | dict(distillation="hard", tokens="both")
    return train_pair(
        TrainConfig(**recipe("tiny", role="teacher")), TrainConfig(**student), resume=True, progress=progress
    )


def build_model(config, dataset):
    """The network a config names, fitted to the data's image size, channels and classes.

    Raises:
        DeiTEduError: for a name nobody knows, images that are not square, tokens that the network does not have.
    """
    C, H, W = dataset.image_shape
    if config.model in MODELS:
        if H != W:
            raise DeiTEduError(f"{dataset.name} has images of {H}x{W}: DeiT needs square ones, give an image size")
        fitted = dict(image_size=H, in_channels=C, num_classes=dataset.num_classes)
        rates = dict(drop_rate=config.drop_rate, drop_path_rate=config.drop_path_rate)
        return create_model(config.model, config.tokens == "both", **fitted, **rates, **config.model_settings)
    if config.model not in CONVNETS and not config.model.startswith("timm:"):
        known = ", ".join([*MODELS, *CONVNETS])
        raise DeiTEduError(f"unknown model {config.model!r}: choose one of {known}, or timm:NAME")
    if config.tokens == "both" or config.model_settings or config.drop_rate or config.drop_path_rate:
        raise DeiTEduError(f"{config.model} has no distillation token, no size and no dropout to set: a DeiT has")
    model = create_teacher(config.model, C, dataset.num_classes)
    check_sees(model, config.model, dataset)
    return model.train()


INTERPOLATIONS = {"bicubic": ("bicubic", False), "bilinear": ("bilinear", False), "antialias": ("bicubic", True)}


def start_from(student, config, dataset):
    """Give a student the weights of the run that `TrainConfig.initial` names, to be fine-tuned.

    Paper: section 3.2, another resolution, and table 7, other classes. The position embedding is resized where the
    image sizes differ. Heads that were trained on other classes are left behind: the student keeps those it drew.

    Returns:
        {"before": , "resized": }: the mean l2 norm of the patches' position embeddings before and after.

    Raises:
        DeiTEduError: when the two networks are not of one shape.
    """
    if config.interpolation not in INTERPOLATIONS:
        known = ", ".join(INTERPOLATIONS)
        raise DeiTEduError(f"unknown interpolation {config.interpolation!r}: choose one of {known}")
    model, metadata = open_run(config.initial)
    if not (isinstance(model, DeiT) and isinstance(student, DeiT)):
        raise DeiTEduError(f"only a DeiT starts from another's weights: {config.initial} or {config.model} is none")
    shapes = {name: (getattr(model.config, name), getattr(student.config, name)) for name in SHAPE}
    if differs := [f"{name} {theirs}, not {ours}" for name, (theirs, ours) in shapes.items() if theirs != ours]:
        tokens = "both" if model.config.distilled else "class"
        hint = f", with --tokens {tokens}" if model.config.distilled != student.config.distilled else ""
        raise DeiTEduError(f"{config.initial} has {', '.join(differs)}: start from a network of the same shape{hint}")
    before = position_norm(model)
    model = resize_model(model, student.config.image_size, *INTERPOLATIONS[config.interpolation])
    known = metadata.get("classes")
    same = metadata["num_classes"] == dataset.num_classes if known is None else known == list(dataset.classes)
    heads = {} if same else {name: tensor for name, tensor in student.state_dict().items() if "head" in name}
    student.load_state_dict(model.state_dict() | heads)
    return {"before": before, "resized": position_norm(student)}


SHAPE = ("patch_size", "in_channels", "embed_dim", "depth", "num_heads", "mlp_ratio", "distilled")


def position_norm(model):
    """The mean l2 norm of the patches' position embeddings of a DeiT."""
    return model.position_embedding[0, model.config.num_prefix_tokens :].norm(dim=-1).mean().item()


def check_sees(model, name, dataset):
    """Refuse a network that cannot take this data's images; timm's models may want a size of their own."""
    try:
        model.eval()(torch.zeros(1, *dataset.image_shape))
    except (RuntimeError, AssertionError, ValueError) as error:
        C, H, W = dataset.image_shape
        reason = str(error).split("\n")[0]
        raise DeiTEduError(f"{name} cannot see images of {C}x{H}x{W} ({reason}): choose another model") from None


def build_teacher(config, dataset):
    """The frozen teacher a config names, or None. Raises DeiTEduError when it does not fit the data."""
    if config.distillation == "none":
        return None
    if config.teacher is None:
        raise DeiTEduError(f"{config.distillation} distillation needs a teacher: name a run folder or a model")
    return FrozenTeacher(open_teacher(config.teacher, dataset))


def open_teacher(name, dataset):
    """The network that `TrainConfig.teacher` names; names joined by + are an ensemble.

    Raises DeiTEduError when it does not fit the data.
    """
    if "+" in name and not find_run(name).is_dir():
        return Ensemble([open_teacher(part, dataset) for part in name.split("+")])
    path = name if ":" in name else str(find_run(name))
    model, trained_on = load_teacher(path, dataset.image_shape[0], dataset.num_classes)
    for what, here in (("image_shape", list(dataset.image_shape)), ("num_classes", dataset.num_classes)):
        if trained_on.get(what, here) != here:
            raise DeiTEduError(
                f"teacher {name} was trained with {what} {trained_on[what]}, but {dataset.name} has {here}: "
                f"train a teacher on this data"
            )
    known = trained_on.get("classes")
    if known is not None and known != list(dataset.classes):
        raise DeiTEduError(
            f"teacher {name} was trained on the classes {', '.join(known[:5])}, not on "
            f"{', '.join(dataset.classes[:5])}: train a teacher on these"
        )
    check_sees(model, name, dataset)
    return model


def build_objective(config):
    """The loss a config names. Raises DeiTEduError for settings that cannot be."""
    return DistillationObjective(
        config.distillation, config.tokens, config.temperature, config.distillation_weight, config.soft_reduction
    )


def check_folder(folder, config, resume):
    """Refuse a folder that holds another run, or this one without `resume`. One without a whole epoch is free."""
    if not any((folder / name).exists() for name in ("resume.safetensors", "result.json")):
        return
    if not resume:
        raise DeiTEduError(f"{folder} holds a run already: go on with --resume, choose another --out, or delete it")
    stored, given = read_json(folder / "config.json"), json.loads(json_bytes(dataclasses.asdict(config)))
    where = ("device", "compile")  # it may go on elsewhere
    differs = [name for name in given if name not in where and stored.get(name, given[name]) != given[name]]
    if differs:
        was = ", ".join(f"{name}={stored[name]}" for name in differs)
        now = ", ".join(f"{name}={given[name]}" for name in differs)
        raise DeiTEduError(f"{folder} was begun with {was}, not {now}: choose another --out, or delete the folder")


def read_json(path):
    """What a json file of a run folder holds. Raises DeiTEduError when it is missing or damaged."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise DeiTEduError(f"{path.parent} has no {path.name}: name the folder of a run that has finished") from None
    except (OSError, ValueError):
        raise DeiTEduError(f"{path} is damaged: delete the folder and train again") from None


def train(config, folder, resume=False, dataset=None, progress=True, on_images=None):
    """Train one network into a run folder: the whole of a `deit-edu train` run.

    The folder holds config.json, metrics.jsonl (one line an epoch), model.safetensors (the network),
    predictions.safetensors (what it says of the test images) and result.json (the record), and while the run is
    under way resume.safetensors, written after every epoch.

    Args:
        config: TrainConfig. folder: where; must be new unless `resume`.
        resume: go on after the last whole epoch; on a CPU the final weights are the same to the last bit.
        dataset: an ImageDataset in place of config.data, for your own.
        progress: show a bar.
        on_images: called after each step with the number of images of the whole run done so far.

    Returns:
        The record, a dictionary; `deit_edu.evaluate` says what its accuracies are.

    Raises:
        DeiTEduError: for a config that cannot be, a loss that diverges, a folder in use.
    """
    folder = Path(folder)
    check_folder(folder, config, resume)
    if (folder / "result.json").exists():
        return read_json(folder / "result.json")
    world = join_world(config)
    dataset = dataset or open_dataset(config)
    torch.manual_seed(config.seed)
    student = build_model(config, dataset)
    begun = resume and (folder / "resume.safetensors").exists()
    norms = start_from(student, config, dataset) if config.initial and not begun else None
    student = student.to(world.device)
    teacher = build_teacher(config, dataset)
    teacher = None if teacher is None else teacher.to(world.device)
    objective = build_objective(config)
    optimizer = make_optimizer(student, config)
    average = MovingAverage(student, config.ema_decay) if config.ema_decay else None
    run = Run(folder, config, world, student, optimizer, average, norms)
    total = steps_per_epoch(config, dataset, world) * config.batch_size * world.size
    run.open(resume)
    fast_student, fast_teacher = wrap(student, config, world), wrap(teacher, config, world)
    shown = {}  # beside the progress bar

    with run.undone_before_the_first_epoch(), tqdm(
        total=config.epochs * total, initial=run.epoch * total, unit="img", unit_scale=True, desc=folder.name,
        disable=not progress or world.rank > 0, mininterval=0.5,
    ) as bar:  # fmt: skip
        done = run.epoch * total

        def on_step(loss, count):
            nonlocal done
            if average:
                average.update(student)
            done += count * world.size
            if on_images:
                on_images(done)
            if bar.update(count * world.size):  # only when the bar is drawn: reading a loss makes a GPU wait
                bar.set_postfix({"loss": f"{loss:.3f}"} | shown, refresh=False)

        while run.epoch < config.epochs:
            started = time.perf_counter()
            loss = train_epoch(
                fast_student, fast_teacher, objective, optimizer, config, dataset, run.epoch, world, on_step
            )
            seconds = time.perf_counter() - started
            with run.evaluated_weights():
                scores = accuracies(predict(student, dataset.validation, dataset), dataset.validation.labels)
            validation = {head: score.value for head, score in scores.items()}
            run.finish_epoch({"loss": loss, "seconds": seconds, "images_per_second": total / seconds,
                              "validation": validation})  # fmt: skip
            shown["validation"] = f"{max(validation.values()):.1%}"
            bar.set_postfix({"loss": f"{loss:.3f}"} | shown)
    return run.close(dataset, teacher)


def json_bytes(value, indent=1):
    return (json.dumps(value, indent=indent) + "\n").encode()


def wrap(model, config, world):
    """Compile a network where the config says so and it can be, and join it to its copies in other processes."""
    if model is None:
        return None
    if config.compile and can_compile():
        model = compiled(model)
    if world.size > 1 and any(parameter.requires_grad for parameter in model.parameters()):
        model = torch.nn.parallel.DistributedDataParallel(model)
    return model


class Run:
    """One run's folder: what is written when, and what is read back.

    Args:
        folder: Path. config, world, student, optimizer, average: what the run works with.
        norms: what `start_from` gave, where the run starts from another's weights.
    """

    def __init__(self, folder, config, world, student, optimizer, average, norms=None):
        self.folder, self.config, self.world = folder, config, world
        self.student, self.optimizer, self.average, self.norms = student, optimizer, average, norms
        self.source = source_digest()  # now: who edits the library while a run is under way changes the next run
        self.epoch = 0  # whole epochs done
        self.metrics = []
        self.started = datetime.now(UTC).isoformat(timespec="seconds")
        self.clock, self.seconds_before = time.perf_counter(), 0.0  # before the last stop

    def seconds(self):
        """Wall time spent on the epochs that are kept, evaluation included."""
        return self.seconds_before + time.perf_counter() - self.clock

    def open(self, resume):
        """Begin the folder, or read back where the run stood."""
        resumable = self.folder / "resume.safetensors"
        if resume and resumable.exists():
            tensors, metadata = load(resumable)
            self.restore(tensors)
            self.metrics = metadata["metrics"]
            self.epoch = len(self.metrics)
            self.started, self.seconds_before = metadata["started"], metadata["seconds"]
            self.norms = metadata.get("norms")
            self.write_metrics()
        elif self.world.rank == 0:
            write_atomically(self.folder / "config.json", json_bytes(dataclasses.asdict(self.config)))

    def state(self):
        """Everything the next epoch needs, as {name: tensor}."""
        tensors = {f"model.{name}": tensor for name, tensor in self.student.state_dict().items()}
        if self.average:
            tensors |= {f"average.{name}": tensor for name, tensor in self.average.state.items()}
        for index, slots in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{slot}": tensor for slot, tensor in slots.items() if tensor is not None}
        return tensors

    def restore(self, tensors):
        """Put back what `state` gave."""

        def part(prefix):
            return {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}

        try:
            self.student.load_state_dict(part("model."))
        except RuntimeError:
            raise DeiTEduError(
                f"{self.folder} was begun with another version of {self.config.model}: delete it and begin again"
            ) from None
        if self.average:
            self.average.state = {name: t.to(self.world.device) for name, t in part("average.").items()}
        parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        slots = {}
        for name, tensor in part("optimizer.").items():
            index, slot = name.split(".")
            if tensor.shape == parameters[int(index)].shape:
                # In the parameter's own memory layout, channels last for convolutions: PyTorch's fused optimisers
                # pair the numbers as they lie in memory, and would pair wrong ones without a word.
                tensor = torch.empty_like(parameters[int(index)]).copy_(tensor)
            slots.setdefault(int(index), {})[slot] = tensor
        self.optimizer.load_state_dict({"state": slots, "param_groups": self.optimizer.state_dict()["param_groups"]})

    def finish_epoch(self, metrics):
        """Write the epoch down: first all that a resume needs, in one piece, then the readable metrics."""
        self.epoch += 1
        self.metrics.append({"epoch": self.epoch, **metrics})
        if self.world.rank == 0:
            metadata = {"metrics": self.metrics, "started": self.started, "seconds": self.seconds(),
                        "norms": self.norms}  # fmt: skip
            save(self.folder / "resume.safetensors", self.state(), metadata)
            self.write_metrics()

    def write_metrics(self):
        if self.world.rank == 0:
            lines = b"".join(json_bytes(line, indent=None) for line in self.metrics)
            write_atomically(self.folder / "metrics.jsonl", lines)

    @contextmanager
    def undone_before_the_first_epoch(self):
        """A run that stops inside, by an error or Ctrl-C, leaves no folder behind unless an epoch is whole."""
        try:
            yield
        except BaseException:
            if self.world.rank == 0 and not (self.folder / "resume.safetensors").exists():
                (self.folder / "config.json").unlink(missing_ok=True)
                with suppress(OSError):  # it was there before, with files of the reader's
                    self.folder.rmdir()
            raise

    @contextmanager
    def evaluated_weights(self):
        """Inside, the student has the weights that count: the moving average where there is one."""
        if not self.average:
            yield
            return
        own = {name: tensor.clone() for name, tensor in self.student.state_dict().items()}
        self.student.load_state_dict(self.average.state)
        try:
            yield
        finally:
            self.student.load_state_dict(own)

    def close(self, dataset, teacher):
        """Save the network, look at the test images once, and write the record."""
        with self.evaluated_weights():
            record = {
                "config": dataclasses.asdict(self.config),
                "data": {"name": dataset.name, "checksum": dataset.checksum},
                "library": {"version": deit_edu.__version__, "source": self.source},
                "machine": machine(self.world),
                "parameters": sum(p.numel() for p in self.student.parameters()),
                "started": self.started,
                "seconds": self.seconds(),
                "images_per_second": median(m["images_per_second"] for m in self.metrics) if self.metrics else None,
                "curve": [{"epoch": m["epoch"], "loss": m["loss"], **m["validation"]} for m in self.metrics],
                "checkpoint": digest(self.student.state_dict()),
            }
            for name in ("validation", "test"):
                split = getattr(dataset, name)
                said = predict(self.student, split, dataset)
                scores = accuracies(said, split.labels)
                record[name] = {head: score.to_dict() for head, score in scores.items()}
            if teacher:  # who knows these images by heart says little more of them than their labels do
                taught = training_split(self.config, dataset, max(0, self.config.epochs - 1))
                asked = nested_subset(taught.labels, min(self.config.train_images or len(taught), ASKED_OF_TEACHER))
                said_by_teacher = predict(teacher, taught, dataset, indices=asked)
                record["teacher_on_train"] = accuracies(said_by_teacher, taught.labels[asked])["class"].to_dict()
            if self.norms:
                record["position_norm"] = self.norms | {"trained": position_norm(self.student)}
            if isinstance(self.student, DeiT) and self.student.config.distilled:
                torch.manual_seed(self.config.seed)
                untrained = build_model(self.config, dataset).to(self.world.device)
                for name, model in (("tokens", self.student), ("tokens_untrained", untrained)):
                    record[name] = describe_tokens(model, dataset)
            if self.world.rank == 0:
                path = self.folder / "model.safetensors"
                known = {"classes": list(dataset.classes)}
                save_network(path, self.student, self.config.model, dataset.image_shape, dataset.num_classes, known)
                save_predictions(self.folder / "predictions.safetensors", said)
                write_atomically(self.folder / "result.json", json_bytes(record))
                (self.folder / "resume.safetensors").unlink(missing_ok=True)
        if self.world.size > 1:
            dist.barrier()  # who goes on, to teach a student, finds the files
        return record
