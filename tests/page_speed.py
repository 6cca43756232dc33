"""How fast the page is, side by side with what it is compared with, in one browser and with one thread each.

    python tests/page_speed.py            # the networks of the figures, as a figure asks them: at 751d782, and now
    python tests/page_speed.py training   # a student that learns, in a worker of the page and in PyTorch
    python tests/page_speed.py team       # the same student, in one worker and in two: wants two idle cores

They take turns, so that a busy machine slows both; what counts is the ratio. Of a student that learns it is one of
processor times, which others that want the machine change little: on Linux only.
"""

import base64
import os
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from conftest import CHROMIUM, FLAGS, ROOT
from playwright.sync_api import sync_playwright

from deit_edu.data import load_dataset, normalise
from deit_edu.data.clutter import halve
from deit_edu.data.packaged import packaged_splits
from deit_edu.losses import DistillationObjective
from deit_edu.model import create_model
from deit_edu.runs.checkpoints import load_network, packaged_path
from deit_edu.teachers import FrozenTeacher
from deit_edu.train import TrainConfig, augmented_batch, make_optimizer, seeded_generator
from deit_edu.widgets.kernels.script import kernels_script, learning_script
from deit_edu.widgets.network import export

ROUNDS, BATCH = 8, 64
LESSON = {
    "teacher": "own",
    "objective": {"distillation": "hard", "tokens": "both"},
    "schedule": {"total": 1000, "warmup": 100, "peak": 1e-3},
    "weightDecay": 0.05,
    "labelSmoothing": 0.1,
}
HELPERS = """
    const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer;
    const numbers = (text) => new Float32Array(bytes(text));
    const median = (times) => times.sort((a, b) => a - b)[times.length >> 1];
    const opened = ({ manifest, weights }) => openNetwork(manifest, new DataView(bytes(weights)));
"""
# What the figures' networks ran on at the commit that later speeds are measured against.
BEFORE = "751d782:deit_edu/widgets/network.js"
FORWARD = """
    const before = (() => { BEFORE; return { openNetwork, forward }; })();
    const view = () => new DataView(bytes(given.weights)), own = given.manifest.preprocessing;
    const old = before.openNetwork(given.manifest, view()), image = prepared(numbers(given.pixels), given.shape, own);
    const { runs, open } = chooseBackend(), ask = open(given.manifest, view());
    const times = { before: [], now: [] };
    const timed = (list, run) => {
        for (let i = 0; i < 10; i++) {
            const started = performance.now();
            run();
            list.push(performance.now() - started);
        }
    };
    for (let round = 0; round < given.rounds; round++) {
        timed(times.before, () => before.forward(old, image));
        timed(times.now, () => ask(prepared(numbers(given.pixels), given.shape, own)));
    }
    return { runs, before: median(times.before), now: median(times.now) };
"""
# The worker keeps its learner between two questions: started once, asked once a round.
WORKER = """
    let learner, kernels, images;
    onmessage = ({ data: given }) => {
        if (given.config) {
            kernels = openKernels(KERNELS);
            const weights = Object.fromEntries(
                Object.entries(given.weights).map(([name, text]) => [name, numbers(text)]));
            const use = { ...given, teachers: { own: opened(given.teacher) } };
            learner = new Learner(kernels, given.config, weights, use);
            images = numbers(given.images);
        }
        const before = kernels.operations;
        for (let step = 0; step < given.steps; step++) learner.learn(images, given.labels);
        postMessage({ operations: kernels.operations - before, variant: kernels.variant,
                      megabytes: kernels.memory.buffer.byteLength / 2 ** 20 });
    };
"""
START = """(source) => {
    window.worker = new Worker(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
}"""
ASK = """(given) => new Promise((resolve, reject) => {
    worker.onmessage = ({ data }) => resolve(data);
    worker.onerror = ({ message }) => reject(new Error(message));
    worker.postMessage(given);
})"""


def packed_bytes(array):
    return base64.b64encode(array.tobytes()).decode()


def packed(tensor):
    return packed_bytes(np.ascontiguousarray(tensor.detach().numpy(), "<f4"))


def packed_network(name):
    model, seen = load_network(packaged_path(name))
    manifest, weights = export(model, model.preprocessing)
    return {"manifest": manifest, "weights": base64.b64encode(weights).decode()}, seen


def source():
    return kernels_script("../network.js", "kernels.js", "learner.js") + HELPERS


def forward_speed(page):
    torch.manual_seed(0)
    before = subprocess.run(["git", "show", BEFORE], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    script = kernels_script("networks_in_page.js", "../prepare.js") + HELPERS
    script += FORWARD.replace("BEFORE", re.sub("^export ", "", before, flags=re.M))
    for name in ("fashion_clutter_student", "fashion_clutter_teacher", "cifar10_student", "cifar10_teacher",
                 "cifar10_strong_teacher"):  # fmt: skip
        network, seen = packed_network(name)
        pixels = torch.randint(0, 256, seen["image_shape"]).float()
        given = network | {"pixels": packed(pixels), "shape": seen["image_shape"], "rounds": ROUNDS}
        found = page.evaluate("([text, given]) => new Function('given', text)(given)", [script, given])
        print(
            f"{name:24} at 751d782 {found['before']:6.1f} ms, now ({found['runs']}) {found['now']:5.1f} ms: "
            f"{found['before'] / found['now']:.1f} times as fast"
        )


def worker_seconds():
    """Processor time of all workers of the browsers that this process has started, so far."""
    return sum(int((task / "schedstat").read_text().split()[0]) / 1e9 for task in tasks_below(os.getpid(), "Dedicated"))


def tasks_below(process, name):
    """Folders in /proc of the threads whose names begin so, of a process and of all that it has started."""
    for task in Path(f"/proc/{process}/task").iterdir():
        if (task / "comm").read_text().startswith(name):
            yield task
        for child in (task / "children").read_text().split():
            yield from tasks_below(child, name)


def training_speed(page, steps=12):
    """A nano student of the packaged teacher's hard answers, batches of 64."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    data, config = load_dataset("fashion_clutter"), TrainConfig(data="fashion_clutter")
    student = create_model("deit_nano_patch7_28", distilled=True)
    teacher = FrozenTeacher(load_network(packaged_path("fashion_clutter_teacher"))[0])
    objective, optimizer = DistillationObjective("hard", "both"), make_optimizer(student, config)
    labels = data.train.labels[:BATCH]
    asked = {
        "config": student.config.to_dict(),
        "weights": {name: packed(parameter) for name, parameter in student.named_parameters()},
        "teacher": packed_network("fashion_clutter_teacher")[0],
        "batch": BATCH,
        "steps": steps,
        "images": packed(normalise(data.train.images[:BATCH], data.mean, data.std)),
        "labels": labels.tolist(),
        "lesson": LESSON,
    }
    page.evaluate(START, source() + WORKER)
    page.evaluate(ASK, asked)  # warm up
    generator, ratios = seeded_generator(0), []
    for _ in range(ROUNDS):
        before = worker_seconds()
        found = page.evaluate(ASK, {"steps": steps, "labels": asked["labels"]})
        in_page = worker_seconds() - before
        started = time.thread_time()
        for _ in range(steps):
            images, targets = augmented_batch(data.train.images[:BATCH], labels, config, data, generator)
            with torch.no_grad():
                answers = teacher(images)
            loss = objective(student(images), targets, answers)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        in_torch = time.thread_time() - started
        ratios.append(in_torch / in_page)
        print(
            f"page ({found['variant']}) {steps * BATCH / in_page:6.0f} images/s, "
            f"{found['operations'] / in_page / 1e9:5.1f} GFLOP/s of products, {found['megabytes']:.0f} MB; "
            f"PyTorch {steps * BATCH / in_torch:6.0f} images/s; ratio {ratios[-1]:.2f}"
        )
    print(f"median ratio {statistics.median(ratios):.2f}")


TEAMS = """async ({ team, script, given, rounds, steps }) => {
    const { LearningTeam } = new Function(`${team}; return { LearningTeam };`)();
    const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const own = { ...given, source: { ...given.source, items: bytes(given.source.items) }, teachers: { convnet: {
        manifest: given.teacher.manifest, weights: new DataView(bytes(given.teacher.weights).buffer) } } };
    const start = async (size) => {
        const learning = new LearningTeam(script, size, { step: () => {}, died: () => {} });
        await learning.begin(own);
        await learning.learn(steps);
        return learning;
    };
    const teams = [[await start(1)], [await start(2)], [await start(1), await start(1)]];
    const seconds = [];
    for (let round = 1; round <= rounds; round++) {
        const times = [];
        for (const together of teams) {
            const started = performance.now();
            await Promise.all(together.map((learning) => learning.learn((round + 1) * steps)));
            times.push((performance.now() - started) / 1000);
        }
        seconds.push(times);
    }
    return seconds;
}"""


def team_speed(page, steps=10):
    """The same with scenes drawn in the workers, and gradients exchanged.

    No team can be faster than two workers that share nothing: a machine's two cores may be halves of one.
    """
    images, labels = packaged_splits()[0]
    config = create_model("deit_nano_patch7_28", distilled=True).config
    source = {"items": packed_bytes(halve(images[:2000])), "labels": labels[:2000].tolist(),
              "mean": [0.12], "std": [0.26], "shape": [1, 28, 28], "scenes": True,
              "learnt": list(range(1900)), "aside": list(range(1900, 2000)), "padding": 2, "flip": True}  # fmt: skip
    teacher = packed_network("fashion_clutter_teacher")[0]
    given = {"config": config.to_dict(), "teacher": teacher, "lesson": LESSON | {"teacher": "convnet"}}
    given |= {"batch": BATCH, "seed": 0, "source": source}
    team = kernels_script("learning_team.js")
    asked = {"team": team, "script": learning_script(), "given": given, "rounds": ROUNDS, "steps": steps}
    ratios, most = [], []
    for one, two, apart in page.evaluate(TEAMS, asked):
        ratios.append(one / two)
        most.append(2 * one / apart)
        print(
            f"one worker {steps * BATCH / one:6.0f} images/s, two {steps * BATCH / two:6.0f}, two that share nothing "
            f"{2 * steps * BATCH / apart:6.0f}; ratios {ratios[-1]:.2f} and {most[-1]:.2f}"
        )
    share = statistics.median(one / other for one, other in zip(ratios, most, strict=True))
    print(
        f"median ratio {statistics.median(ratios):.2f}; of two that share nothing {statistics.median(most):.2f}, "
        f"of which the team reaches {share:.0%}"
    )


def main():
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page()
        page.goto("about:blank")
        {"training": training_speed, "team": team_speed}.get("".join(sys.argv[1:]), forward_speed)(page)
        browser.close()


if __name__ == "__main__":
    main()
