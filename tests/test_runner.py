"""The runner: two processes, kills, no run twice, and the same bits when run again."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import forked
import pytest
import torch

from deit_edu.cli import main
from deit_edu.data import clutter, packaged
from deit_edu.errors import DeiTEduError
from deit_edu.evidence import regime, runner
from deit_edu.evidence.cells import Grid, unique_runs
from deit_edu.evidence.grids import EXPERIMENTS, Experiment
from deit_edu.evidence.ledger import Ledger, ledger_for_writing
from deit_edu.evidence.report import retrained
from deit_edu.evidence.verify import compare, noise_of_experiment, seed_noise, verify
from deit_edu.runs.checkpoints import digest, load_network, packaged_path
from deit_edu.runs.machine import machine_name

SMALLEST = dict(batch_size=100, crop_padding=0, flip=False)
TOY_BASE = dict(
    data="fashion_mnist_10k",
    student=dict(SMALLEST, model="deit_nano_patch7_28", model_settings={"embed_dim": 16, "depth": 1}, epochs=4),
    teacher=dict(SMALLEST, model="convnet_weak", epochs=1, train_images=500),
)
DISTILLED = dict(teacher=("convnet",), distillation="hard", tokens="both")
TOY = Experiment("a toy", "nowhere", {"none": {}, "token_hard": DISTILLED}, seeds=1, keep_predictions=1)
TUNED = Experiment("a toy's toy", "nowhere", {"tuned": dict(DISTILLED, initial=DISTILLED, epochs=0)}, seeds=1)
KILLS = 20

ALL_IMAGES = packaged.packaged_splits


@pytest.fixture
def toy(monkeypatch):
    use_toy(monkeypatch.setitem)
    return Grid("tiny").cells("toy")


def use_toy(setitem):
    setitem(regime.BASE, "tiny", TOY_BASE)
    setitem(EXPERIMENTS, "toy", TOY)


@pytest.fixture(autouse=True)
def small_and_forked(monkeypatch):
    make_small_and_forked(monkeypatch.setattr)


def make_small_and_forked(setattr=setattr):
    """The first thousand images stand for all, and a run's process is forked, which takes no seconds to start."""
    for module in (packaged, clutter):
        setattr(module, "packaged_splits", few_images)
    popen = partial(forked.Popen, make_small_and_forked)
    setattr(runner, "subprocess", SimpleNamespace(Popen=popen, PIPE=subprocess.PIPE))


def few_images():
    sizes = (1000, 200, 400)
    return [(images[:n], labels[:n]) for (images, labels), n in zip(ALL_IMAGES(), sizes, strict=True)]


def run_toy(folder):
    """What the process does that is killed: main's part of a grid, in a folder of its own."""
    use_toy(dict.__setitem__)
    with ledger_for_writing(folder / "ledger") as ledger:
        return runner.run_cells(Grid("tiny").cells("toy"), ledger, jobs=2, root=folder / "runs", progress=False)


def run_small_toy(folder):
    torch.set_num_threads(1)
    forked.Popen.start = forked.Fork
    make_small_and_forked()
    run_toy(folder)


def is_alive(pid):
    """Whether a process still runs; one that is dead and that nobody has asked for does not."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", pid], capture_output=True, text=True).stdout.strip()
    return bool(state) and not state.startswith("Z")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A toy grid, and the seconds that it took."""
    folder, begun = tmp_path_factory.mktemp("undisturbed"), time.monotonic()
    process = forked.start(run_small_toy, folder)
    process.join()
    assert process.exitcode == 0
    return dict(folder=folder, seconds=time.monotonic() - begun)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, undisturbed):
    """A toy grid that was killed at random moments, begun anew when it was done too soon, and then finished.

    The moments lie in the first half of what the whole took, or sooner where that was longer than it takes now.
    """
    moments, kills, folder, children = random.Random(0), 0, tmp_path_factory.mktemp("killed"), {}
    longest = undisturbed["seconds"] / 2
    while kills < KILLS:
        process = forked.start(run_small_toy, folder)
        process.join(moments.uniform(0, longest))
        if process.is_alive():
            process.kill()
            process.join()
            kills += 1
        else:
            assert process.exitcode == 0
            folder, longest = tmp_path_factory.mktemp("killed"), 0.8 * longest
        for path in folder.glob("runs/*/pid"):
            children[path.read_text()] = ended(path.read_text())
    # TOY is put in place by hand: monkeypatch does not live as long as this fixture.
    with pytest.MonkeyPatch.context() as patch:
        use_toy(patch.setitem)
        make_small_and_forked(patch.setattr)
        done = run_toy(folder)
        done_again = run_toy(folder)
    return dict(folder=folder, children=children, done=done, done_again=done_again)


def ended(pid, patience=120):
    """Whether a process ends by itself in so many seconds."""
    deadline = time.monotonic() + patience
    while is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not is_alive(pid)


def test_the_children_of_a_killed_grid_stop_with_it(finished):
    assert finished["children"] and all(finished["children"].values())


def test_a_grid_killed_twenty_times_ends_as_one_that_nobody_disturbed(finished, undisturbed):
    """Weights, curves and tests of every run; what differs is when, how long and how often it was begun."""
    killed, whole = (Ledger(grid["folder"] / "ledger").records for grid in (finished, undisturbed))
    assert set(killed) == set(whole) and len(whole) == 3
    for key, record in whole.items():
        for part in ("checkpoint", "config", "test", "validation", "teachers"):
            assert killed[key][part] == record[part], (key, part)
        assert killed[key]["curve"] == record["curve"], key


def test_a_killed_grid_is_finished_without_duplicates(finished, toy):
    lines = (finished["folder"] / "ledger" / "runs.jsonl").read_text().splitlines()
    keys = [json.loads(line)["key"] for line in lines]
    assert sorted(keys) == sorted(cell.key for cell in unique_runs(toy))
    assert len(keys) == 3 and finished["done_again"] == {}


def test_a_new_record_is_written_with_its_length_among_its_first_fields(finished):
    for line in (finished["folder"] / "ledger" / "runs.jsonl").read_text().splitlines():
        record = json.loads(line)
        assert list(record)[4] == "epochs" and record["epochs"] == record["config"]["epochs"]


def test_a_record_holds_what_a_reader_must_know(finished, toy):
    ledger = Ledger(finished["folder"] / "ledger")
    student = ledger.find(toy[1])
    assert {
        "key", "experiment", "configuration", "seed", "config", "data", "library", "machine", "started", "seconds",
        "images_per_second", "curve", "validation", "test", "checkpoint", "teachers", "parameters", "tokens",
    } <= set(student)  # fmt: skip
    assert student["machine"]["threads"] == runner.job_threads(2) and student["seconds"] > 0
    assert [line["epoch"] for line in student["curve"]] == [1, 2, 3, 4]
    assert set(student["test"]) == {"class", "distillation", "fused", "fused_logits"}
    (teacher,) = toy[1].teachers
    assert student["teachers"] == {teacher.key: ledger.find(teacher)["checkpoint"]}
    assert len(student["tokens"]["similarity"]) == 2
    assert ledger.predictions(toy[1].key).exists()


def test_a_run_starts_from_weights_that_are_trained_again_where_they_are_gone(finished, toy, monkeypatch, tmp_path):
    monkeypatch.setitem(EXPERIMENTS, "tuned", TUNED)
    (cell,) = Grid("tiny").cells("tuned")
    assert cell.initial.key == toy[1].key
    recorded = Ledger(finished["folder"] / "ledger")
    here, gone = finished["folder"] / "runs", tmp_path
    assert [run.key for run in runner.pending([cell], recorded, here)] == [cell.key]
    needed = [run.key for run in runner.pending([cell], recorded, gone)]
    assert needed == [toy[1].teachers[0].key, toy[1].key, cell.key]  # its teachers' teacher too, recorded or not
    with ledger_for_writing(tmp_path / "ledger") as ledger:
        runner.run_cells([cell], ledger, jobs=2, root=here, progress=False)
        record = ledger.find(cell)
    first = recorded.find(toy[1])
    assert record["initial"] == {toy[1].key: first["checkpoint"]} and record["test"] == first["test"]
    assert runner.estimate_seconds([cell], recorded, here) == ({cell.key: 0.0}, 0)


def test_a_teacher_that_ships_teaches_every_seed_and_is_not_trained(monkeypatch, tmp_path):
    teacher = "packaged:fashion_clutter_teacher"
    taught = dict(DISTILLED, data="fashion_clutter", teacher=(teacher,), epochs=1)
    monkeypatch.setitem(regime.BASE, "tiny", TOY_BASE)
    monkeypatch.setitem(EXPERIMENTS, "shipped", Experiment("a toy", "nowhere", {"taught": taught}, seeds=2))
    cells = Grid("tiny").cells("shipped")
    assert [cell.config.teacher for cell in cells] == [teacher] * 2 and not any(cell.needs for cell in cells)
    assert cells[0].shipped == [teacher] and runner.speed_class(cells[0]) == runner.speed_class(cells[1])
    for slower in (dict(precision="bfloat16"), dict(rand_augment=True), dict(auto_augment=True), dict(drop_rate=0.1)):
        other = replace(cells[0], config=replace(cells[0].config, **slower))
        assert runner.speed_class(other) != runner.speed_class(cells[0])
    with ledger_for_writing(tmp_path / "ledger") as ledger:
        runner.run_cells(cells[:1], ledger, jobs=1, root=tmp_path / "runs", progress=False)
        record = ledger.find(cells[0])
    shipped, _ = load_network(packaged_path(teacher))
    assert record["teachers"] == {teacher: digest(shipped.state_dict())}
    assert record["teacher_on_train"]["accuracy"] > 0.8


def test_verify_finds_every_run_equal_and_a_tampered_record_other(finished, toy, monkeypatch):
    ledger = Ledger(finished["folder"] / "ledger")
    tampered = ledger.records[toy[0].key]
    tampered["test"]["class"]["correct"] += 1
    answers = {cell.key: (same, sentence) for cell, same, sentence in verify(toy, ledger, 9, jobs=2, progress=False)}
    assert len(answers) == 3
    assert answers.pop(toy[0].key) == (False, "on the same type of machine, with the same code, these differ: test")
    assert all(answer == (True, "equal to the last bit") for answer in answers.values())


def test_verify_computes_with_the_threads_of_the_record(finished, toy):
    ledger = Ledger(finished["folder"] / "ledger")
    record = ledger.records[toy[0].key]
    record["machine"]["threads"] = runner.job_threads(1) + 1
    ((_, _, sentence),) = verify(toy[:1], ledger, 1, jobs=1, progress=False)
    assert sentence.startswith(("equal to the last bit", "on the same type of machine"))  # other threads, other bits


def test_the_noise_of_seeds_is_of_runs_that_differ_in_the_seed_alone():
    def record(accuracy, seed, **settings):
        config = {"seed": seed, "teacher": f"of seed {seed}", **settings}
        return record_with(accuracy) | {"experiment": "e", "configuration": "c", "config": config}

    several = [
        record(0.50, 0),
        record(0.52, 1, rand_augment=False),
        record(0.7, 0, epochs=40),
        record(0.9, 0, epochs=50),
    ]
    deviation, freedom = seed_noise(SimpleNamespace(records=dict(enumerate(several))))
    assert (round(deviation, 6), freedom) == (round(2**0.5, 6), 1)


def test_a_run_is_held_against_the_spread_of_its_own_experiment_where_that_is_known(toy, tmp_path, monkeypatch):
    ledger = Ledger(tmp_path)
    known = Experiment("a toy", "nowhere", {"steady": {}, "other": dict(epochs=2)}, seeds=5)
    monkeypatch.setitem(EXPERIMENTS, "known", known)
    cells = Grid("tiny").cells("known")
    for cell in cells:
        ledger.records[cell.key] = record_with(0.5 + cell.seed / 1000) | {
            "experiment": "known", "configuration": cell.configuration, "config": {"seed": cell.seed}}  # fmt: skip
    broken = [record_with(0.1 + 0.4 * seed) | {"experiment": "e", "configuration": "c", "config": {"seed": seed}}
              for seed in range(2)]  # fmt: skip
    ledger.records |= dict(enumerate(broken))
    deviation, freedom = noise_of_experiment(ledger, cells + toy, "known")
    assert (round(deviation, 6), freedom) == (round(0.1 * 2.5**0.5, 6), 8)  # of 0 to 4 tenths of a point
    assert noise_of_experiment(ledger, cells + toy, "toy") == seed_noise(ledger) and seed_noise(ledger)[0] > 5


def test_a_run_is_kept_for_every_experiment_that_wants_it(toy, tmp_path, monkeypatch):
    for name, kept in {"first": 0, "second": 1}.items():
        monkeypatch.setitem(
            EXPERIMENTS, name, Experiment("", "", {"none": dict(epochs=1)}, seeds=1, keep_predictions=kept)
        )
    cells = [cell for name in ("first", "second") for cell in Grid("tiny").cells(name)]
    with ledger_for_writing(tmp_path) as ledger:
        runner.run_cells(cells, ledger, jobs=1, root=tmp_path / "runs", progress=False)
        assert ledger.predictions(cells[0].key).exists() and len(ledger.records) == 1


def test_a_network_trained_again_and_different_is_told(finished, toy, tmp_path, capsys):
    (teacher,) = toy[1].teachers
    first = Ledger(finished["folder"] / "ledger").records[teacher.key] | {"checkpoint": "another"}
    with ledger_for_writing(tmp_path) as ledger:
        ledger.append(first)
        done = runner.run_cells(toy[1:], ledger, jobs=1, root=tmp_path / "runs", progress=False)
        assert ledger.records[teacher.key]["checkpoint"] == "another"
    assert "trained again they came out different" in capsys.readouterr().err
    assert done[toy[1].key]["teachers"] == {teacher.key: done[teacher.key]["checkpoint"]}
    assert retrained(ledger) == 1


def record_with(accuracy, processor="one", checkpoint="a"):
    test = {"class": {"accuracy": accuracy}}
    return {"machine": {"processor": processor}, "library": {"source": "s"}, "checkpoint": checkpoint, "test": test,
            "validation": {}, "curve": [], "teachers": {}, "parameters": 1}  # fmt: skip


def test_other_weights_on_the_same_machine_are_not_the_same_run():
    same, sentence = compare(record_with(0.5), record_with(0.5, checkpoint="b"), (1.0, 4))
    assert not same and sentence.endswith("these differ: checkpoint")


def test_one_processor_name_with_other_instructions_is_another_type_of_machine():
    again = record_with(0.5, checkpoint="b")
    again["machine"]["instructions"] = "AVX2"
    assert compare(record_with(0.5), again, (1.0, 4)) == (
        True, "another type of machine, test accuracy differs by +0.00 points, seeds differ by up to 6.51"
    )  # fmt: skip
    again["checkpoint"] = "a"
    assert compare(record_with(0.5), again, (1.0, 4)) == (True, "equal to the last bit")
    assert machine_name(again["machine"]) == "one with AVX2" and machine_name({"processor": "one"}) == "one"


@pytest.mark.parametrize("change", [{"teachers": {"t": "b"}}, {"initial": {"i": "b"}}, {"earlier": [{"epochs": 1}]}])
def test_what_began_elsewhere_is_held_against_the_noise_of_seeds(change):
    same, sentence = compare(record_with(0.5) | change, record_with(0.5, checkpoint="b"), (1.0, 4))
    assert same and sentence.endswith("test accuracy differs by +0.00 points, seeds differ by up to 6.51")


def test_on_another_machine_the_noise_of_seeds_decides():
    bound = 4.604 * 1.0 * 2**0.5 / 100  # t of 0.995 with 4 degrees of freedom, from a printed table
    for difference, same in ((bound - 0.001, True), (bound + 0.001, False)):
        again = record_with(0.5 + difference, processor="two", checkpoint="b")
        assert compare(record_with(0.5), again, (1.0, 4))[0] is same
    assert compare(record_with(0.5), record_with(0.5, "two", "b"), (0.0, 0))[0] is False


def test_a_recorded_teacher_whose_weights_are_gone_is_trained_again(finished, toy, tmp_path):
    ledger = Ledger(finished["folder"] / "ledger")
    (teacher,) = toy[1].teachers
    del ledger.records[toy[1].key]  # the student is to be run, in a folder where nothing lies
    assert [cell.key for cell in runner.pending(toy, ledger, tmp_path)] == [teacher.key, toy[1].key]
    assert [cell.key for cell in runner.pending(toy, ledger, finished["folder"] / "runs")] == [toy[1].key]


def test_a_failing_run_does_not_stop_the_others(tmp_path, monkeypatch):
    use_toy(monkeypatch.setitem)
    configurations = {"teacher_fails": DISTILLED, "works": dict(epochs=1)}
    monkeypatch.setitem(EXPERIMENTS, "toy", Experiment("", "", configurations, seeds=1))
    monkeypatch.setitem(regime.TEACHERS, "convnet", dict(role="teacher", train_images=10_001))
    cells = Grid("tiny").cells("toy")
    with ledger_for_writing(tmp_path) as ledger:
        with pytest.raises(DeiTEduError, match="2 of 3 runs failed, .*: .*10001 of 1000 .*a run it needs failed"):
            runner.run_cells(cells, ledger, jobs=1, root=tmp_path / "runs", progress=False)
    assert list(Ledger(tmp_path).records) == [cells[1].key]


def test_a_second_writer_is_refused(tmp_path):
    with ledger_for_writing(tmp_path):
        with pytest.raises(DeiTEduError, match="another deit-edu ablate is writing"):
            with ledger_for_writing(tmp_path):
                pass


def test_a_dry_run_measures_what_no_record_tells(toy, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(regime.BASE, "tiny", dict(TOY_BASE, student=dict(TOY_BASE["student"], batch_size=50),
                                                       teacher=dict(TOY_BASE["teacher"], batch_size=50)))  # fmt: skip
    monkeypatch.setenv("DEIT_EDU_LEDGER", str(tmp_path / "ledger"))
    monkeypatch.setenv("DEIT_EDU_RUNS", str(tmp_path / "runs"))
    assert main(["ablate", "toy", "--dry-run", "--jobs", "2"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("3 runs to do, about 0.0 hours of one process, 0.0 with 2; 3 speeds measured now")
    assert not (tmp_path / "ledger").exists() and not (tmp_path / "runs").exists()


HARD = dict(DISTILLED, epochs=1)
BY_ONE = {"none": {}, "soft": HARD | dict(distillation="soft"), "hard": HARD, "two": dict(tokens="both")}


@pytest.fixture
def by_one_teacher(monkeypatch):
    """The runs of a toy grid in which two students have one teacher, without that teacher's."""
    monkeypatch.setitem(regime.BASE, "tiny", TOY_BASE)
    monkeypatch.setitem(EXPERIMENTS, "shared", Experiment("a toy", "nowhere", BY_ONE, seeds=2))
    monkeypatch.setattr(runner.os, "cpu_count", lambda: 2)
    return Grid("tiny").cells("shared")


def test_students_of_one_teacher_and_seed_share_its_answers(by_one_teacher, tmp_path):
    one, two = ({cell.key: threads for cell in by_one_teacher} for threads in (1, 2))
    folders = runner.shared_folders(by_one_teacher, tmp_path, one)
    shared = [folders.get(cell.key) for cell in by_one_teacher]
    first, second = shared[1], shared[5]
    assert (
        shared == [None, first, first, None, None, second, second, None]
        and None not in (first, second)
        and first != second
    )
    assert runner.shared_folders(by_one_teacher, tmp_path, two) == {}  # parts of a batch would be asked about
    assert runner.shared_folders(by_one_teacher[:2], tmp_path, one) == {}  # nobody to share with
    longer = replace(by_one_teacher[1], key="longer", config=replace(by_one_teacher[1].config, epochs=10**5))
    assert "longer" not in runner.shared_folders([*by_one_teacher, longer], tmp_path, one | {"longer": 1})


def test_two_teachers_that_answer_each_for_itself_share_nothing_with_those_that_answer_as_one(tmp_path, monkeypatch):
    cells = [cell for cell in Grid("tiny").cells("two_teachers", 2) if len(cell.teachers) == 2]
    monkeypatch.setattr(
        runner, "open_dataset", lambda config, load: SimpleNamespace(num_classes=10, train=range(10_000))
    )
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    twice = [replace(cell, key=f"{cell.key} again") for cell in cells]
    folders = runner.shared_folders([*cells, *twice], tmp_path, dict.fromkeys((c.key for c in [*cells, *twice]), 1))
    of = {kind: {folders[cell.key] for cell in cells if cell.configuration == kind} for kind in ("ensemble", "each")}
    assert len(of["ensemble"]) == len(of["each"]) == 2 and not of["ensemble"] & of["each"]  # a folder a seed
    sizes = {cell.configuration: runner.shared_bytes(cell.config) for cell in cells}
    assert sizes["each"] == 2 * sizes["ensemble"]


def test_what_a_teacher_said_is_forgotten_when_it_is_trained_again(by_one_teacher, tmp_path):
    students = by_one_teacher[1:3]
    folder = runner.shared_folders(students, tmp_path, {cell.key: 1 for cell in students})[students[0].key]
    folder.mkdir(parents=True)
    runner.Crew(students, tmp_path, 2, {})
    assert folder.exists()
    runner.Crew([*students[0].teachers, *students], tmp_path, 2, {})
    assert not folder.exists()


def test_who_would_ask_what_another_asks_right_now_waits_for_the_answers(by_one_teacher, tmp_path, monkeypatch):
    started = []
    monkeypatch.setattr(runner, "Job", lambda cell, root, slot, *rest: SimpleNamespace(cell=cell, slot=slot))
    crew = runner.Crew(by_one_teacher[:4], tmp_path, 2, {})
    while crew.waiting:
        crew.start()
        started.append([job.cell.configuration for job in crew.running])
        crew.slots.append(crew.running.pop(0).slot)
    assert started == [["none", "soft"], ["soft", "two"], ["two", "hard"]]


def test_a_grid_keeps_what_a_teacher_says_until_it_is_done(by_one_teacher, tmp_path, monkeypatch, capsys):
    kept = []

    def remove(folder, **how):
        kept.extend(path.name for path in folder.glob("*/*"))
        shutil.rmtree(folder, **how)

    monkeypatch.setattr(runner, "shutil", SimpleNamespace(rmtree=remove))
    cells = [cell for cell in by_one_teacher[:4] if cell.teachers]
    with ledger_for_writing(tmp_path) as ledger:
        done = runner.run_cells(cells, ledger, jobs=2, root=tmp_path / "runs")
    assert kept == ["epoch0000.safetensors"] and len(done) == 3
    assert not (tmp_path / "runs" / runner.SHARED).exists()
    assert "what teachers say until the grid is done, 0 MB at most" in capsys.readouterr().err
    monkeypatch.setenv("DEIT_EDU_RUNS", str(tmp_path / "runs"))  # where its teacher is
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)  # as in a job: a batch is not shared out
    alone = runner.train(cells[1].config, tmp_path / "alone", progress=False)
    assert done[cells[1].key]["checkpoint"] == alone["checkpoint"]


def test_jobs_share_the_cores(finished, monkeypatch):
    threads = {record["machine"]["threads"] for record in Ledger(finished["folder"] / "ledger").records.values()}
    assert threads == {runner.job_threads(2)}  # as many as `finished` had at a time
    monkeypatch.setattr(runner.os, "cpu_count", lambda: 8)
    assert [runner.job_threads(jobs) for jobs in (1, 3, 8, 20)] == [8, 2, 1, 1]


def test_a_dry_run_takes_recorded_speeds(finished, toy):
    ledger = Ledger(finished["folder"] / "ledger")
    del ledger.records[toy[0].key]
    other_seed = Grid("tiny").cells("toy", seeds=2)[3]
    seconds, probed = runner.estimate_seconds([toy[1], other_seed], ledger, finished["folder"] / "runs", jobs=2)
    recorded = ledger.find(toy[1])["seconds"]
    assert probed == 0 and seconds[other_seed.key] == pytest.approx(recorded)


def test_control_c_stops_the_grid_with_one_line(tmp_path):
    tests = Path(__file__).parent
    code = (
        "import sys; from test_runner import use_toy; from deit_edu.cli import main; "
        "use_toy(dict.__setitem__); sys.exit(main(['ablate', 'toy', '--quiet']))"
    )
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(tests.parent), str(tests)]),
        "DEIT_EDU_LEDGER": str(tmp_path / "ledger"),
        "DEIT_EDU_RUNS": str(tmp_path / "runs"),
    }
    parent = subprocess.Popen([sys.executable, "-c", code], env=environment, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("runs/*/log.txt")):
        assert parent.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    parent.send_signal(signal.SIGINT)
    _, said = parent.communicate(timeout=60)
    assert parent.returncode == 130
    assert said == (
        "\nstopped; a training keeps its whole epochs: the same command goes on (deit-edu train: with --resume)\n"
    )


def test_who_needs_a_run_that_failed_is_never_started(tmp_path, monkeypatch):
    monkeypatch.setitem(EXPERIMENTS, "tuned", TUNED)
    monkeypatch.setitem(regime.BASE, "tiny", TOY_BASE)
    monkeypatch.setitem(regime.TEACHERS, "convnet", dict(role="teacher", train_images=10_001))
    cells, started = Grid("tiny").cells("tuned"), []

    class Watched(runner.Job):
        def __init__(self, cell, *rest):
            started.append(cell.key)
            super().__init__(cell, *rest)

    monkeypatch.setattr(runner, "Job", Watched)
    with ledger_for_writing(tmp_path) as ledger, pytest.raises(DeiTEduError, match="3 of 3 runs failed"):
        runner.run_cells(cells, ledger, jobs=1, root=tmp_path / "runs", progress=False)
    assert started == [cells[0].initial.teachers[0].key]


def test_the_readers_own_files_do_not_stand_in_for_the_librarys(toy, tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "subprocess", subprocess)  # a process that starts as it does for the reader
    (tmp_path / "queue.py").write_text("raise SystemExit(9)")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", "")
    with ledger_for_writing(tmp_path / "ledger") as ledger:
        assert runner.run_cells(toy[:1], ledger, jobs=1, root=tmp_path / "runs", progress=False)
