"""A run: from a config to a folder with a trained network and its record, and back to work after a stop."""

import dataclasses
import sys
import time
from contextlib import contextmanager, nullcontext, suppress
from datetime import UTC, datetime
from pathlib import Path

import torch
import torch.distributed as dist
from tqdm import tqdm

import deit_edu
from deit_edu.data.splits import nested_subset
from deit_edu.errors import DeiTEduError, counted
from deit_edu.losses import smooth_labels
from deit_edu.runs.ahead import made_ahead
from deit_edu.runs.answers import Answers, SharedAnswers, answers_key
from deit_edu.runs.build import (
    as_initial_sees,
    build_model,
    build_objective,
    build_teacher,
    open_dataset,
    place_of,
    position_norm,
    start_from,
    wrap,
)
from deit_edu.runs.checkpoints import load, save, save_network, write_atomically
from deit_edu.runs.earlier import EarlierAnswers, check_asks, epochs_asked
from deit_edu.runs.evaluate import accuracies, predict, save_predictions
from deit_edu.runs.folders import (
    check_folder,
    check_same_data,
    data_of_run,
    held,
    is_trained,
    json_bytes,
    read_json,
    run_name,
    runs_root,
)
from deit_edu.runs.machine import machine, seconds_since, source_digest
from deit_edu.runs.preprocess import Preprocessing, for_network
from deit_edu.runs.recipes import recipe
from deit_edu.runs.record import ask_teacher, describe_network, speed_and_curve
from deit_edu.runs.remembered import remembering
from deit_edu.runs.resume import pack, unpack
from deit_edu.runs.sharing import shared_learning
from deit_edu.train import (
    SEEN_BY_BOTH,
    MovingAverage,
    TrainConfig,
    batches_of_epoch,
    join_world,
    make_optimizer,
    shown_epoch,
    steps_per_epoch,
    train_epoch,
)


def train_pair(teacher, student, folder=None, resume=False, progress=True, dataset=None):
    """Train a teacher, or take the one that is there, then its student.

    Args:
        teacher, student: TrainConfig; the student's `teacher` is filled in.
        folder: the student's run folder; None: its `run_name` under `runs_root`.
        resume: go on with the student's folder. The teacher's is always gone on with.
        dataset: an ImageDataset in place of the student's `data`, where it has been opened already.

    Returns:
        The two folders.

    Raises:
        DeiTEduError: as `train`; and when the two would not see the same images.
    """
    teacher_folder = runs_root() / run_name(teacher)
    try:
        check_folder(teacher_folder, teacher, resume=True)
    except DeiTEduError as error:
        raise DeiTEduError(f"its teacher: {error}, or take what is there: --teacher {teacher_folder}") from None
    student = dataclasses.replace(student, teacher=teacher_folder.name)
    folder = Path(folder or runs_root() / run_name(student))
    dataset = dataset or open_dataset(student)
    check_folder(folder, student, resume)
    for kept in (teacher_folder, folder):
        check_same_data(kept, data_of_run(kept), dataset, "delete the folder, or choose another --out")
    begun = any((folder / name).exists() for name in ("resume.safetensors", "result.json"))
    seen = dataset if begun else as_initial_sees(student, dataset)
    prepare(student, seen, join_world(student), begun)  # what cannot be is said before the teacher trains
    if differs := [name for name in SEEN_BY_BOTH if getattr(teacher, name) != getattr(student, name)]:
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


def train(config, folder, resume=False, dataset=None, progress=True, on_images=None, shared=None):
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
        shared: Path of a folder, where students that see the same pictures share what their teacher says of them.

    Returns:
        The record, a dictionary; `deit_edu.runs.evaluate` says what its accuracies are.

    Raises:
        DeiTEduError: for a config that cannot be, a loss that diverges, a folder in use.
    """
    folder = Path(folder)
    if place_of(config.data)[1] == str(folder.resolve()):
        raise DeiTEduError(f"{folder} is the folder of the pictures: choose another --out")
    check_folder(folder, config, resume)
    if is_trained(folder) and dataset is None and ":" not in config.data:
        return finished(folder)  # data of ours do not change, and may not have been fetched here
    dataset = dataset or open_dataset(config)
    check_same_data(folder, data_of_run(folder), dataset, "choose another --out, or delete the folder")
    if is_trained(folder):
        return finished(folder)
    world = join_world(config)
    with held(folder) if world.rank == 0 else nullcontext():
        check_folder(folder, config, resume)  # once more: now nobody else writes to it
        begun = resume and (folder / "resume.safetensors").exists()
        if not begun:
            dataset = as_initial_sees(config, dataset)
        elif own := Preprocessing.of_metadata(load(folder / "resume.safetensors")[1]):
            dataset = for_network(dataset, own)
        student, optimizer, objective, norms = prepare(config, dataset, world, begun)
        teacher = build_teacher(config, dataset)
        teacher = None if teacher is None else teacher.to(world.device)
        average = MovingAverage(student, config.ema_decay) if config.ema_decay else None
        run = Run(folder, config, world, student, optimizer, average, dataset, norms)
        run.open(resume)
        with run.undone_before_the_first_epoch():
            answers = train_epochs(run, dataset, teacher, objective, progress, on_images, shared)
        return run.close(dataset, teacher, answers)


def finished(folder):
    """The record of a run that has finished; what a kill at its very end left is taken away."""
    with suppress(OSError):  # somebody may read a folder and not write to it
        (folder / "resume.safetensors").unlink(missing_ok=True)
    return read_json(folder / "result.json")


def prepare(config, dataset, world, begun=False):
    """What a run needs before its first step, except its teacher: (student, optimizer, objective, norms).

    Nothing is written, so it also says what a config cannot be, ahead of time.

    Args:
        begun: the run goes on, and its weights are not those of `config.initial`.

    Raises:
        DeiTEduError: for a name nobody knows, settings that cannot be, images or a batch that the data do not have.
    """
    steps_per_epoch(config, dataset, world)
    if dataset.num_classes < 2:
        raise DeiTEduError(f"{dataset.name} has one class, {dataset.classes[0]}: nothing to tell apart; give two")
    if config.repeats > len(dataset.train):
        raise DeiTEduError(f"repeats is {config.repeats}: {dataset.name} has only {len(dataset.train)} training images")
    if not config.crop_padding < min(dataset.image_shape[1:]):
        H, W = dataset.image_shape[1:]
        raise DeiTEduError(f"crop_padding is {config.crop_padding}: it must be less than a side of the {H}x{W} images")
    smooth_labels(dataset.train.labels[:1], dataset.num_classes, config.label_smoothing, config.smoothing_over)
    asks = {"keep_answers": config.keep_answers, "ask_about": config.ask_about != "pictures"}
    if config.distillation == "none" and any(asks.values()):
        name = next(name for name, said in asks.items() if said)
        raise DeiTEduError(f"{name} is about a teacher's answers: name a teacher, or leave it out")
    check_asks(config, world)
    if config.train_images:
        nested_subset(dataset.train.labels, config.train_images)
    torch.manual_seed(config.seed)
    student = build_model(config, dataset)
    norms = start_from(student, config, dataset) if config.initial and not begun else None
    student = student.to(world.device)
    return student, make_optimizer(student, config), build_objective(config), norms


def train_epochs(run, dataset, teacher, objective, progress, on_images, shared=None):
    """The epochs that a Run still has before it, each evaluated on validation and written down.

    Args:
        run: an open `Run`. teacher: frozen, or None. objective: from `build_objective`.
        progress, on_images, shared: as for `train`.

    Returns:
        The `Answers` that were kept or shared, or the `EarlierAnswers`, or None.
    """
    config, world, student = run.config, run.world, run.student
    fast_student, fast_teacher = wrap(student, config, world), wrap(teacher, config, world)
    answers, asked = None, remembering(fast_teacher, config, dataset, world)
    if teacher and epochs_asked(config.ask_about) is not None:
        answers = EarlierAnswers(teacher, config, dataset, world)
    elif config.keep_answers:
        answers = Answers(fast_teacher, answers_key(teacher, config, dataset, world), config, dataset, world)
        if progress and world.rank == 0:
            size = f"{answers.bytes / 1e6:,.1f} MB"
            tqdm.write(f"the teacher's answers, {size}, are kept in {answers.folder}", sys.stderr)
    elif shared:
        answers = SharedAnswers(fast_teacher, Path(shared), config, dataset, world)
    if answers and run.metrics:
        answers.go_on(run.metrics[-1].get("answers", {}))
    of_epoch = getattr(answers, "of_epoch", nullcontext)
    total = steps_per_epoch(config, dataset, world) * config.batch_size * world.size
    done = run.epoch * total
    shown = {}  # beside the progress bar

    with shared_learning(fast_student, config, world) as learn, made_ahead(dataset, config) as ahead, tqdm(
            total=config.epochs * total, initial=done, unit="img", unit_scale=True, desc=run.folder.name,
            disable=not progress or world.rank > 0, mininterval=0.5) as bar:  # fmt: skip

        def on_step(loss, count):
            nonlocal done
            if run.average:
                run.average.update(student)
            done += count * world.size
            if on_images:
                on_images(done)
            if bar.update(count * world.size):  # only when the bar is drawn: reading a loss makes a GPU wait
                bar.set_postfix({"loss": f"{loss:.3f}"} | shown, refresh=False)

        while run.epoch < config.epochs:
            started = time.perf_counter()
            with of_epoch(shown_epoch(config, run.epoch)):
                loss = train_epoch(
                    fast_student, answers or asked, objective, run.optimizer, config, dataset, run.epoch, world,
                    on_step, learn=learn, show=ahead or batches_of_epoch,
                )  # fmt: skip
            seconds = seconds_since(started)
            with run.evaluated_weights():
                scores = accuracies(predict(student, dataset.validation, dataset), dataset.validation.labels)
            validation = {head: score.value for head, score in scores.items()}
            waiting = {"waiting": ahead.waited / seconds} if ahead else {}
            counts = {"answers": answers.counts()} if answers else {}
            run.finish_epoch({"loss": loss, "seconds": seconds, "images_per_second": total / seconds, **waiting,
                              **counts, "validation": validation})  # fmt: skip
            shown["validation"] = f"{max(validation.values()):.1%}"
            shown |= {what: f"{share:.0%}" for what, share in waiting.items()}
            bar.set_postfix({"loss": f"{loss:.3f}"} | shown)
    return answers


class Run:
    """One run's folder: what is written when, and what is read back.

    Args:
        folder: Path. config, world, student, optimizer, average: what the run works with.
        dataset: an ImageDataset. norms: what `start_from` gave, where the run starts from another's weights.
    """

    def __init__(self, folder, config, world, student, optimizer, average, dataset, norms=None):
        self.seen = Preprocessing.of_dataset(dataset).to_dict()  # what every file of weights says
        self.seen |= {"classes": list(dataset.classes), "data": dataset.name, "checksum": dataset.checksum}
        if dataset.found and dataset.found.ranges:
            self.seen["value_ranges"] = dataset.found.ranges
        self.folder, self.config, self.world = folder, config, world
        self.student, self.optimizer, self.average, self.norms = student, optimizer, average, norms
        self.source = source_digest()
        self.machine = machine(world)
        self.earlier = []  # on what, and with which code, the epochs before a stop were trained, where that was another
        self.epoch = 0  # whole epochs done
        self.metrics = []
        self.started = datetime.now(UTC).isoformat(timespec="seconds")
        self.clock, self.seconds_before = time.perf_counter(), 0.0  # before the last stop

    def seconds(self):
        """Wall time spent on the epochs that are kept, evaluation included."""
        return self.seconds_before + seconds_since(self.clock)

    def open(self, resume):
        """Begin the folder, or read back where the run stood."""
        resumable = self.folder / "resume.safetensors"
        if resume and resumable.exists():
            tensors, metadata = load(resumable)
            self.check_processes((metadata.get("machine") or {}).get("processes", 1))
            try:
                unpack(tensors, self.student, self.optimizer, self.average)
            except RuntimeError:
                raise DeiTEduError(
                    f"{self.folder} was begun with another version of {self.config.model}: delete it and begin again"
                ) from None
            self.metrics = metadata["metrics"]
            self.epoch = len(self.metrics)
            self.started, self.seconds_before = metadata["started"], metadata["seconds"]
            self.norms = metadata.get("norms")
            self.earlier = metadata.get("earlier", [])
            before = {name: metadata.get(name) for name in ("machine", "source")}
            if before != {"machine": self.machine, "source": self.source}:
                self.earlier.append({"epochs": self.epoch, **before})
            self.write_metrics()
        elif self.world.rank == 0:
            write_atomically(self.folder / "config.json", json_bytes(dataclasses.asdict(self.config)))
        self.check_one_folder()

    def check_processes(self, before):
        """Refuse to go on in another number of processes: with it, batch, learning rate and steps would change."""
        if before != self.world.size:
            raise DeiTEduError(
                f"{self.folder} was begun in {counted(before, 'process')}, not in {self.world.size}: go on "
                f"with {f'torchrun --nproc-per-node {before}' if before > 1 else 'one, without torchrun'}, or choose "
                f"another --out"
            )

    def check_one_folder(self):
        """Refuse processes of which one does not see what another has written: they would wait for each other."""
        if self.world.size > 1:
            dist.all_gather_object(epochs := [None] * self.world.size, self.epoch)
            if len(set(epochs)) > 1:
                raise DeiTEduError(
                    f"the processes find {min(epochs)} to {max(epochs)} whole epochs in {self.folder}: give all "
                    f"machines a folder that they share"
                )

    def finish_epoch(self, metrics):
        """Write the epoch down: first all that a resume needs, in one piece, then the readable metrics."""
        self.epoch += 1
        self.metrics.append({"epoch": self.epoch, **metrics})
        if self.world.rank == 0:
            metadata = {
                "metrics": self.metrics, "started": self.started, "seconds": self.seconds(), "norms": self.norms,
                "machine": self.machine, "source": self.source, "earlier": self.earlier, **self.seen,
            }  # fmt: skip
            state = pack(self.student, self.optimizer, self.average)
            save(self.folder / "resume.safetensors", state, metadata)
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

    def close(self, dataset, teacher, answers=None):
        """Save the network, look at the test images once, and write the record."""
        with self.evaluated_weights():
            record = {
                "config": dataclasses.asdict(self.config),
                "data": {"name": dataset.name, "checksum": dataset.checksum},
                "library": {"version": deit_edu.__version__, "source": self.source},
                "machine": self.machine,
                "started": self.started,
                "seconds": self.seconds(),
                **speed_and_curve(self.metrics),
            }
            measured, said = describe_network(self.student, self.config, dataset)
            record |= measured
            if teacher:
                record["teacher_on_train"] = ask_teacher(teacher, self.config, dataset)
            if answers:
                which = "shared_answers" if isinstance(answers, SharedAnswers) else "kept_answers"
                record[which] = answers.to_dict()
            if self.earlier:
                record["earlier"] = self.earlier
            if self.norms:
                record["position_norm"] = self.norms | {"trained": position_norm(self.student)}
            if self.world.rank == 0:
                path = self.folder / "model.safetensors"
                name, shape = self.config.model, dataset.image_shape
                save_network(path, self.student, name, shape, dataset.num_classes, self.seen)
                save_predictions(self.folder / "predictions.safetensors", said)
                write_atomically(self.folder / "result.json", json_bytes(record))
                (self.folder / "resume.safetensors").unlink(missing_ok=True)
        if self.world.size > 1:
            dist.barrier()  # who goes on, to teach a student, finds the files
        return record
