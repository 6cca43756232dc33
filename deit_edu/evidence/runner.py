"""The runner: cells in processes of their own, with a share of the cores or a GPU each, every run recorded once.

``python -m deit_edu.evidence.runner`` is one such process; `run_cells` starts them.
"""

import dataclasses
import hashlib
import json
import os
import queue
import shutil
import subprocess
import sys
import threading
import time
from contextlib import suppress
from functools import cache, lru_cache
from pathlib import Path

import torch
from tqdm import tqdm

import deit_edu
from deit_edu.data.names import load_dataset
from deit_edu.errors import DeiTEduError
from deit_edu.evidence.cells import data_label, unique_runs
from deit_edu.evidence.grids import EXPERIMENTS
from deit_edu.losses import DistillationObjective
from deit_edu.runs.answers import PICTURES
from deit_edu.runs.build import build_model, open_dataset, open_teacher, teacher_names, wrap
from deit_edu.runs.checkpoints import digest, is_packaged, load_network, packaged_path, write_atomically
from deit_edu.runs.folders import is_trained, runs_root
from deit_edu.runs.machine import machine, machine_name
from deit_edu.runs.run import train
from deit_edu.runs.sharing import shared_learning
from deit_edu.teachers import Ensemble, FrozenTeacher, SideBySide, fold_norms
from deit_edu.train import TrainConfig, join_world, make_optimizer, steps_per_epoch, train_epoch

load_once = cache(load_dataset)
load_last = lru_cache(maxsize=1)(load_dataset)  # for a process that trains one cell after the other


def available_jobs():
    """How many runs go on at once: one for every GPU, or else one for every core."""
    return torch.cuda.device_count() or os.cpu_count()


def job_threads(jobs):
    """How many threads each of so many runs at once has: the cores, shared out."""
    return max(1, (os.cpu_count() or 1) // jobs)


def epoch_images(config):
    """How many images an epoch of a run in one process shows."""
    world = join_world(config)
    return steps_per_epoch(config, open_dataset(config, load_once), world) * config.batch_size


def pending(cells, ledger, root):
    """The runs still to do, each after those it needs.

    That is what is not recorded, and the teachers of such a run, or the one it starts from, whose weights are not
    here, recorded or not: the ledger holds numbers, and a student needs the network.
    """
    missing = {cell.key: cell for cell in unique_runs(cells) if not ledger.find(cell)}
    waiting = list(missing.values())
    while waiting:
        for needed in waiting.pop().needs:
            if needed.key not in missing and not is_trained(root / needed.key):
                missing[needed.key] = needed
                waiting.append(needed)
    return [cell for cell in unique_runs(cells) if cell.key in missing]


def shared_bytes(config):
    """What all that a run's teacher says takes on the disk: four bytes for each class of each picture."""
    heads = len(teacher_names(config.teacher)) if config.tokens == "each" else 1
    return 4 * heads * epoch_images(config) * config.epochs * open_dataset(config, load_once).num_classes


# ---- a process for each job ----


class Job:
    """A cell that a process trains, saying how far it is.

    The process goes on to another cell when it has finished one: to start takes as long as some epochs.

    Args:
        cell: what to train. root: Path of the run folders. slot: which of the jobs, for the choice of a GPU.
        threads: how many it computes with. shared: as for `train`.
        events: a queue that gets (job, message), a message being {"images": done so far} or {"exit": status}.
        before: the job whose process is to go on with this one, if there is such a process.
    """

    def __init__(self, cell, root, slot, threads, events, shared=None, before=None):
        self.cell, self.folder, self.slot, self.threads = cell, root / cell.key, slot, threads
        self.images, self.error = 0, None
        self.folder.mkdir(parents=True, exist_ok=True)
        if before and before.threads != threads:
            before.stop()
            before = None
        self.process = before.process if before else self.start(root)
        order = {"config": dataclasses.asdict(cell.config), "folder": str(self.folder), "threads": threads}
        order["shared"] = shared and str(shared)
        with suppress(BrokenPipeError):  # it has died: `listen` says so
            self.process.stdin.write(json.dumps(order).encode() + b"\n")
            self.process.stdin.flush()
        threading.Thread(target=self.listen, args=(events,), daemon=True).start()

    def start(self, root):
        """A process that waits for orders."""
        package = str(Path(deit_edu.__file__).resolve().parent.parent)
        environment = os.environ | {
            "DEIT_EDU_RUNS": str(root),  # where its teachers are found
            "PYTHONPATH": os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")])),
            "OMP_NUM_THREADS": str(self.threads),
        }
        if gpus := torch.cuda.device_count():
            visible = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(gpus)))).split(",")
            environment["CUDA_VISIBLE_DEVICES"] = visible[self.slot % gpus]
        with open(self.folder / "log.txt", "ab") as log:
            # A session of its own: Ctrl-C reaches the parent alone, which then stops its jobs.
            return subprocess.Popen(
                # -P: a queue.py in the folder where the reader stands is not the library's
                [sys.executable, "-P", "-m", "deit_edu.evidence.runner"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=log, env=environment, start_new_session=True,
            )  # fmt: skip

    def listen(self, events):
        """Hand on what the process says of this cell, to its end or the process's."""
        for line in self.process.stdout:
            message = json.loads(line)
            events.put((self, message))
            if "exit" in message:
                return
        events.put((self, {"exit": self.process.wait(), "died": True}))

    def stop(self):
        """End the process now; its whole epochs are on the disk."""
        self.process.kill()
        self.process.wait()


def work():
    """What the process of a Job does: train what stdin orders, line by line, and say on stdout how far it is, as JSON.

    What else is printed belongs in the log of the run.
    """
    messages = os.fdopen(os.dup(1), "w", buffering=1)  # one line at a time
    orders = queue.SimpleQueue()
    threading.Thread(target=hear_orders, args=(orders,), daemon=True).start()
    while True:
        order = orders.get()
        with open(Path(order["folder"], "log.txt"), "ab") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        print(json.dumps({"exit": carry_out(order, messages)}), file=messages)


def hear_orders(orders):
    """Stop at once when the parent is gone: its end of our stdin closes, even when it was killed."""
    for line in sys.stdin:
        orders.put(json.loads(line))
    os._exit(1)


def carry_out(order, messages):
    """Train one cell. Returns 0, or 2 after an error that was said."""
    torch.set_num_threads(order["threads"])
    said = time.monotonic()

    def on_images(images):
        nonlocal said
        if time.monotonic() - said > 0.5:
            said = time.monotonic()
            print(json.dumps({"images": images}), file=messages)

    config = TrainConfig(**order["config"])
    try:
        train(
            config, order["folder"], resume=True, dataset=open_dataset(config, load_last), progress=False,
            on_images=on_images, shared=order["shared"],
        )  # fmt: skip
    except DeiTEduError as error:
        print(json.dumps({"error": str(error)}), file=messages)
        return 2
    return 0


# ---- the whole grid ----

SHARED = "shared-answers"  # in the folder of runs, while a grid is under way
MOST_SHARED = 2**29  # bytes of the answers of one teacher and seed


def shared_folders(cells, root, threads):
    """Where students share what their teacher says: {key: Path}, of those that have someone to share with.

    They see the same pictures, in the same batches, and compute with one thread: with several, each of which asks
    about its part of a batch, an answer could be rounded in another way.

    Args:
        cells: [Cell]. root: Path of the run folders. threads: {key: number} of each.
    """
    groups = {}
    for cell in cells:
        config = cell.config
        alone = config.distillation == "none" or config.ask_about != "pictures" or config.keep_answers
        if alone or threads[cell.key] > 1 or torch.cuda.is_available():
            continue
        names = {"data", "teacher", "initial", "replay", "precision", *PICTURES} - {"distillation"}
        told = {name: getattr(config, name) for name in sorted(names)} | {"each": config.tokens == "each"}
        if shared_bytes(config) <= MOST_SHARED:
            groups.setdefault(json.dumps(told), []).append(cell.key)
    return {
        key: root / SHARED / hashlib.sha256(told.encode()).hexdigest()[:16]
        for told, keys in groups.items()
        if len(keys) > 1
        for key in keys
    }


class Crew:
    """The jobs at work on a list of runs, one in each slot.

    Args:
        waiting: [Cell], the runs to do, each after those it needs. root: Path of the run folders.
        slots: how many at a time. threads: {key: number} of those that want another than their share of the cores.
    """

    def __init__(self, waiting, root, slots, threads):
        self.waiting, self.root, self.slots = waiting, root, list(range(slots))
        self.threads = {cell.key: job_threads(slots) for cell in waiting} | threads
        self.running, self.failed, self.events = [], {}, queue.Queue()
        self.idle = {}  # {slot: a job that is done, whose process waits}
        self.shared = shared_folders(waiting, root, self.threads)
        unmade = {cell.key for cell in waiting}
        for cell in waiting:  # what a teacher said that is trained again is not what it will say
            if cell.key in self.shared and any(teacher.key in unmade for teacher in cell.teachers):
                shutil.rmtree(self.shared[cell.key], ignore_errors=True)
        self.total = {cell.key: cell.config.epochs * epoch_images(cell.config) for cell in waiting}  # images
        self.before = {cell.key: epochs_done(root / cell.key) * epoch_images(cell.config) for cell in waiting}

    def start(self):
        """A job for every free slot and run whose needs are done. A run that needs one that failed fails too."""
        for cell in list(self.waiting):
            if any(needed.key in self.failed for needed in cell.needs):
                self.waiting.remove(cell)
                self.failed[cell.key] = f"{cell}: a run it needs failed"
        busy = {cell.key for cell in self.waiting} | {job.cell.key for job in self.running}
        ready = [cell for cell in self.waiting if not busy & {needed.key for needed in cell.needs}]
        # First those whose teacher is not being asked right now: when it has been, its answers are there.
        asked = {self.shared.get(job.cell.key) for job in self.running} - {None}
        ready.sort(key=lambda cell: self.shared.get(cell.key) in asked)
        while self.slots and ready:
            cell = ready.pop(0)
            self.waiting.remove(cell)
            threads, shared = self.threads[cell.key], self.shared.get(cell.key)
            slot = self.slots.pop(0)
            job = Job(cell, self.root, slot, threads, self.events, shared, self.idle.pop(slot, None))
            job.images = self.before[cell.key]
            self.running.append(job)

    def hear(self):
        """Wait for a job's next message: (images it has done since the last, the cell it has finished or None)."""
        job, message = self.events.get()
        job.error = message.get("error", job.error)
        finished = message.get("exit") == 0
        images = self.total[job.cell.key] if finished else message.get("images", job.images)
        since, job.images = images - job.images, images
        if "exit" in message:
            self.running.remove(job)
            self.slots.append(job.slot)
            if "died" not in message:
                self.idle[job.slot] = job
            if not finished:
                why = job.error or f"its process ended with {message['exit']}, see {job.folder / 'log.txt'}"
                self.failed[job.cell.key] = f"{job.cell}: {why}"
        return since, job.cell if finished else None

    def stop(self):
        for job in (*self.running, *self.idle.values()):
            job.stop()


def run_cells(cells, ledger, jobs=None, root=None, record=True, progress=True, threads=None):
    """Train every run of these cells that is not recorded, and record it.

    Args:
        cells: [Cell]. ledger: from `ledger_for_writing`. jobs: processes at a time; by default `available_jobs`.
            Each has its share of the cores, so fewer at a time are faster each.
        root: Path of the run folders, `runs_root` by default.
        record: False trains all of them in `root`, recorded or not, and writes nothing to the ledger.
        progress: show one bar for all. threads: {key: number} of threads, of runs that want another than their share.

    Returns:
        {key: the record of the run}, of the runs done now.

    Raises:
        DeiTEduError: after all others are done, when runs failed.
    """
    root = Path(root or runs_root()).resolve()
    waiting = pending(cells, ledger, root) if record else unique_runs(cells)
    crew = Crew(waiting, root, jobs or available_jobs(), threads or {})
    count, done = len(crew.waiting), {}
    if crew.shared and progress:
        sizes = {crew.shared[cell.key]: shared_bytes(cell.config) for cell in waiting if cell.key in crew.shared}
        size = f"{sum(sizes.values()) / 1e6:,.0f} MB"
        print(f"{root / SHARED} has what teachers say until the grid is done, {size} at most", file=sys.stderr)
    if record:
        for cell in cells:
            keep_predictions(cell, ledger, root)

    with tqdm(total=sum(crew.total.values()), initial=sum(crew.before.values()), unit="img", unit_scale=True,
              smoothing=0, disable=not (progress and count)) as bar:  # fmt: skip
        try:
            while crew.waiting or crew.running:
                crew.start()
                bar.set_description(f"{len(done)} of {count} runs")
                if not crew.running:
                    continue
                images, finished = crew.hear()
                bar.update(images)
                if finished:
                    done[finished.key] = make_record(finished, root)
                if finished and record:
                    known = ledger.find(finished)
                    if not known:
                        ledger.append(done[finished.key])
                    elif known["checkpoint"] != done[finished.key]["checkpoint"]:
                        told = (
                            "its weights were gone, and trained again they came out different; is this another type of"
                        )
                        bar.write(f"{finished}: {told} machine? Its students learn from these.", sys.stderr)
                    for cell in cells:  # experiments share runs, and each says for itself what it keeps
                        if cell.key == finished.key:
                            keep_predictions(cell, ledger, root)
        finally:
            crew.stop()
    shutil.rmtree(root / SHARED, ignore_errors=True)  # a grid that is stopped keeps them until it is gone on with
    if crew.failed:
        listed = "; ".join(list(crew.failed.values())[:3])
        listed += f"; and {len(crew.failed) - 3} more" if len(crew.failed) > 3 else ""
        raise DeiTEduError(f"{len(crew.failed)} of {count} runs failed, the others are done: {listed}")
    return done


def epochs_done(folder):
    """Whole epochs of a run that was cut off; 0 for one that goes on from nothing."""
    metrics = folder / "metrics.jsonl"
    return len(metrics.read_text().splitlines()) if metrics.exists() else 0


def make_record(cell, root):
    """A ledger record: the run's own, and which cell it is, with which other runs' weights."""
    result = json.loads((root / cell.key / "result.json").read_text())
    weights = {
        needed.key: json.loads((root / needed.key / "result.json").read_text())["checkpoint"] for needed in cell.needs
    }
    teachers = {teacher.key: weights[teacher.key] for teacher in cell.teachers}
    teachers |= {name: digest_of_packaged(name) for name in cell.shipped}
    config = result["config"] | {"data": data_label(result["config"]["data"])}
    data = result["data"] | {"name": config["data"]}
    first = {"key": cell.key, "experiment": cell.experiment, "configuration": cell.configuration, "seed": cell.seed}
    first |= {"epochs": cell.config.epochs}
    initial = {"initial": {cell.initial.key: weights[cell.initial.key]}} if cell.initial else {}
    if is_packaged(cell.config.initial or ""):
        initial = {"initial": {cell.config.initial: digest_of_packaged(cell.config.initial)}}
    return first | result | {"config": config, "data": data, "teachers": teachers} | initial


def digest_of_packaged(name):
    return digest(load_network(packaged_path(name))[0].state_dict())


def keep_predictions(cell, ledger, root):
    """Copy a run's test predictions beside the ledger, where its experiment asks for it and they are here."""
    source, kept = root / cell.key / "predictions.safetensors", ledger.predictions(cell.key)
    wanted = cell.seed < EXPERIMENTS[cell.experiment].keep_predictions and not kept.exists()
    if wanted and source.exists() and ledger.find(cell):
        write_atomically(kept, source.read_bytes())


# ---- how long will it take ----


def speed_class(cell):
    """What decides a run's images per second: runs that agree in it are about equally fast."""
    config = cell.config
    kinds = [(run.config.model, json.dumps(run.config.model_settings)) for run in (cell, *cell.teachers)]
    settings = (config.image_size, config.tokens, config.batch_size, config.compile, config.precision)
    settings += (config.rand_augment, config.auto_augment, config.drop_rate > 0)
    return (data_label(config.data), *settings, *kinds, *cell.shipped)


def estimate_seconds(cells, ledger, root=None, jobs=None):
    """Seconds of one job for every run still to do: ({key: seconds}, number of speeds that a probe measured).

    The speed is that of a recorded run of the same kind on the same machine, with as many threads as each of `jobs`
    has (`available_jobs` by default), or else of a probe of 20 steps.
    """
    threads = job_threads(jobs or available_jobs())
    root = Path(root or runs_root()).resolve()
    here = machine_name(machine(join_world(TrainConfig())))
    speeds, seconds, probed = {}, {}, 0
    for cell in unique_runs(cells):
        record = ledger.find(cell)
        as_here = record and machine_name(record["machine"]) == here and record["machine"]["threads"] == threads
        if as_here and cell.config.epochs:
            speeds[speed_class(cell)] = cell.config.epochs * epoch_images(cell.config) / record["seconds"]
    for cell in pending(cells, ledger, root):
        if cell.config.epochs == 0:  # only measured
            seconds[cell.key] = 0.0
            continue
        if speed_class(cell) not in speeds:
            speeds[speed_class(cell)] = probe(cell, threads)
            probed += 1
        left = cell.config.epochs - epochs_done(root / cell.key)
        seconds[cell.key] = left * epoch_images(cell.config) / speeds[speed_class(cell)]
    return seconds, probed


def probe(cell, threads, steps=20, warm_up=5):
    """Images per second of a run's first steps, in so many threads, its teachers untrained: they take as long."""
    config, dataset = cell.config, open_dataset(cell.config, load_once)
    world = join_world(config)
    threads_before = torch.get_num_threads()
    torch.set_num_threads(threads)
    student = wrap(build_model(config, dataset).to(world.device), config, world)
    teachers = [build_model(teacher.config, dataset) for teacher in cell.teachers]
    teachers += [open_teacher(name, dataset) for name in cell.shipped]
    answer = SideBySide if config.tokens == "each" else Ensemble
    teacher = FrozenTeacher(fold_norms(answer(teachers))).to(world.device) if teachers else None
    objective = DistillationObjective(config.distillation, config.tokens)
    times = []

    class Enough(Exception):
        pass

    def on_step(loss, count):
        times.append(time.perf_counter())
        if len(times) > steps:
            raise Enough

    try:
        with shared_learning(student, config, world) as learn:
            train_epoch(student, wrap(teacher, config, world), objective, make_optimizer(student, config), config,
                        dataset, 0, world, on_step, learn=learn)  # fmt: skip
    except Enough:
        pass
    finally:
        torch.set_num_threads(threads_before)
    if len(times) <= warm_up + 1:
        raise DeiTEduError(f"{cell}: an epoch of {len(times)} steps is too short to time: choose a smaller batch size")
    return config.batch_size * (len(times) - 1 - warm_up) / (times[-1] - times[warm_up])


if __name__ == "__main__":
    sys.exit(work())
