"""The training that runs in the page, held against torch: gradients, a hundred steps, and the weights it writes."""

import base64
import math

import numpy as np
import pytest
import torch

from deit_edu.data import normalise
from deit_edu.data.clutter import CANVAS, CLUTTER_CROPS, ITEM, ClutterSource, halve
from deit_edu.data.packaged import packaged_splits
from deit_edu.losses import DistillationObjective, smooth_labels
from deit_edu.model import DeiT, DeiTConfig
from deit_edu.runs.checkpoints import load, load_model
from deit_edu.runs.preprocess import Preprocessing
from deit_edu.teachers import FrozenTeacher, create_teacher
from deit_edu.train import TrainConfig, learning_rate_at, make_optimizer
from deit_edu.widgets.kernels.script import kernels_script
from deit_edu.widgets.network import asked_as_in_the_page, export, in_half_precision

MODULES = ("../network.js", "kernels.js", "learner.js", "random.js", "scenes.js", "safetensors.js")
HELPERS = """
    const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer;
    const numbers = (text) => new Float32Array(bytes(text));
    const mapped = (all, change) => Object.fromEntries(Object.entries(all).map(([name, own]) => [name, change(own)]));
    const listed = (tensors) => mapped(tensors, ({ numbers }) => Array.from(numbers));
    const opened = (given) => openNetwork(given.manifest, new DataView(bytes(given.weights)));
"""
LEARNER = """
    const kernels = openKernels(KERNELS);
    const learner = new Learner(kernels, given.config, mapped(given.weights, numbers),
        { batch: given.batch, lesson: given.lesson, teachers: mapped(given.teachers, opened) });
"""


@pytest.fixture(scope="module")
def page(browser):
    """run(body, given): what the JavaScript `body` returns, in one page for the module."""
    opened = browser.new_page()
    source = kernels_script(*MODULES) + HELPERS
    run = "([text, given]) => new Function('given', text)(given)"
    yield lambda body, given: opened.evaluate(run, [source + body, given])
    opened.close()


def packed(tensor):
    return base64.b64encode(np.ascontiguousarray(tensor.detach().numpy(), "<f4").tobytes()).decode()


def packed_weights(model):
    return {name: packed(parameter) for name, parameter in model.named_parameters()}


def packed_network(model):
    manifest, weights = export(model)
    return {"manifest": manifest, "weights": base64.b64encode(weights).decode()}


def small_student(distilled, std=0.2, **sizes):
    torch.manual_seed(0)
    sizes = dict(image_size=12, patch_size=4, in_channels=1, num_classes=5, embed_dim=24, depth=3, num_heads=3) | sizes
    model = DeiT(DeiTConfig(**sizes, distilled=distilled))
    for name, parameter in model.named_parameters():
        torch.nn.init.normal_(parameter, mean=float("norm" in name and "weight" in name), std=std)
    return model


def small_teacher(kind, config):
    torch.manual_seed(1)
    if kind == "deit":
        teacher = small_student(True, image_size=config.image_size, in_channels=config.in_channels, embed_dim=18)
    else:
        teacher = create_teacher(kind, config.in_channels, config.num_classes)
        teacher.train()(torch.randn(16, config.in_channels, config.image_size, config.image_size))
    return in_half_precision(teacher)  # what the page computes


def as_page_lesson(objective, schedule=None, weight_decay=0.05, label_smoothing=0.1):
    return {
        "teacher": "own",
        "objective": {
            "distillation": objective.distillation,
            "tokens": objective.tokens,
            "temperature": objective.temperature,
            "weight": objective.weight,
            "reduction": objective.reduction,
        },
        "schedule": schedule,
        "weightDecay": weight_decay,
        "labelSmoothing": label_smoothing,
    }


def loss_in_torch(model, teacher, objective, images, labels, label_smoothing=0.1):
    targets = smooth_labels(labels, model.config.num_classes, label_smoothing)
    return objective(model(images), targets, None if teacher is None else FrozenTeacher(teacher)(images))


def apart(found, expected):
    """The largest difference, relative to the largest number."""
    return (torch.tensor(found).reshape(expected.shape) - expected).abs().max() / max(expected.abs().max(), 1e-12)


# ---- gradients ----

OBJECTIVES = [
    (False, "convnet_weak", DistillationObjective("none", "class")),
    (False, "convnet_weak", DistillationObjective("soft", "class", temperature=3.0, weight=0.4)),
    (False, "deit", DistillationObjective("hard", "class")),
    (True, None, DistillationObjective("none", "both")),
    (True, "convnet_weak", DistillationObjective("soft", "both", temperature=1.5, weight=0.7)),
    (True, "convnet_whitening", DistillationObjective("soft", "both", reduction="official")),
    (True, "convnet_weak", DistillationObjective("hard", "both")),
    (True, "convnet_weak", DistillationObjective("hard", "class")),
]


@pytest.mark.parametrize(("distilled", "kind", "objective"), OBJECTIVES)
def test_every_gradient_is_torchs(page, distilled, kind, objective):
    model = small_student(distilled)
    teacher = kind and small_teacher(kind, model.config)
    images, labels = torch.randn(7, 1, 12, 12), torch.randint(5, (7,))
    loss = loss_in_torch(model, teacher, objective, images, labels)
    loss.backward()
    body = """
        const loss = learner.gradients(numbers(given.images), given.labels);
        return { loss, gradients: listed(learner.student.tensors(learner.student.gradients)) };"""
    found = page(LEARNER + body, learner_of(model, teacher, as_page_lesson(objective), images, labels))
    assert found["loss"] == pytest.approx(loss.item(), rel=1e-5)
    assert found["gradients"].keys() == dict(model.named_parameters()).keys()
    for name, parameter in model.named_parameters():
        expected = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        assert apart(found["gradients"][name], expected) < 1e-4, name


@pytest.mark.parametrize(
    "sizes",
    [
        dict(in_channels=3, image_size=14, patch_size=7, embed_dim=30, num_heads=5),
        dict(depth=1, embed_dim=7, num_heads=1, mlp_ratio=1.5, num_classes=2),
        dict(image_size=28, patch_size=7, embed_dim=64, depth=2, num_heads=4, num_classes=10),
    ],
)
def test_every_gradient_of_a_deit_of_any_size(page, sizes):
    model, objective = small_student(True, **sizes), DistillationObjective("none", "both")
    side, K = model.config.image_size, model.config.num_classes
    images, labels = torch.randn(3, model.config.in_channels, side, side), torch.randint(K, (3,))
    loss_in_torch(model, None, objective, images, labels).backward()
    body = """
        learner.gradients(numbers(given.images), given.labels);
        return listed(learner.student.tensors(learner.student.gradients));"""
    found = page(LEARNER + body, learner_of(model, None, as_page_lesson(objective), images, labels))
    for name, parameter in model.named_parameters():
        assert apart(found[name], parameter.grad) < 1e-4, name


@pytest.mark.parametrize(("kind", "channels"), [("convnet_weak", 1), ("convnet_weak", 3), ("deit", 3)])
def test_a_teacher_sees_the_images_in_its_own_statistics(page, kind, channels):
    model = small_student(False, in_channels=channels)
    teacher = small_teacher(kind, model.config)
    own = Preprocessing((channels, 12, 12), (0.7, 0.4, 0.5)[:channels], (0.1, 0.3, 0.2)[:channels])
    given = Preprocessing((channels, 12, 12), (0.2, 0.5, 0.4)[:channels], (0.3, 0.1, 0.2)[:channels])
    images = given(torch.randint(256, (7, channels, 12, 12), dtype=torch.uint8))
    body = """
        const own = opened(given.prepared), { config, batch, lesson, statistics } = given;
        const learner = new Learner(openKernels(KERNELS), config, mapped(given.weights, numbers),
            { batch, lesson, teachers: { own }, statistics });
        return Array.from(learner.teacherSays("own", numbers(given.images), batch));"""
    manifest, weights = export(teacher, own)
    asked = learner_of(model, teacher, as_page_lesson(OBJECTIVES[0][2]), images, torch.zeros(7, dtype=torch.int64))
    asked["prepared"] = {"manifest": manifest, "weights": base64.b64encode(weights).decode()}
    found = page(body, asked | {"statistics": given.to_dict()})
    expected = asked_as_in_the_page(teacher, own, given)(images)
    assert apart(found, expected) < 1e-4
    assert apart(found, FrozenTeacher(teacher)(images)) > 1e-2  # it matters


def learner_of(model, teacher, lesson, images, labels):
    return {
        "config": model.config.to_dict(),
        "weights": packed_weights(model),
        "batch": images.shape[-4],
        "lesson": lesson,
        "teachers": {"own": packed_network(teacher)} if teacher else {},
        "images": packed(images),
        "labels": labels.flatten().tolist(),
    }


# ---- a hundred steps ----


@pytest.mark.parametrize(
    ("distilled", "kind", "objective"),
    [
        (False, None, DistillationObjective("none", "class")),
        (True, "convnet_weak", DistillationObjective("hard", "both")),
        (True, "convnet_weak", DistillationObjective("soft", "both")),
    ],
)
def test_a_hundred_steps_go_as_in_torch(page, distilled, kind, objective):
    steps, batch = 100, 16
    model = small_student(distilled, std=0.02)
    given = packed_weights(model)
    teacher = kind and small_teacher(kind, model.config)
    images, labels = torch.randn(steps, batch, 1, 12, 12), torch.randint(5, (steps, batch))
    images += 0.5 * labels[:, :, None, None, None]  # something to learn
    config = TrainConfig(weight_decay=0.05)
    optimizer, schedule = make_optimizer(model, config), dict(total=steps, warmup=10, peak=2e-3)
    expected = []
    for step in range(steps):
        optimizer.zero_grad()
        loss = loss_in_torch(model, teacher, objective, images[step], labels[step])
        loss.backward()
        for group in optimizer.param_groups:
            group["lr"] = learning_rate_at(step, steps, 10, 2e-3)
        optimizer.step()
        expected.append(loss.item())
    body = """
        const images = numbers(given.images), size = images.length / given.labels.length, losses = [];
        const before = kernels.memory.buffer.byteLength;
        for (let at = 0; at < given.labels.length; at += given.batch) {
            const end = at + given.batch;
            losses.push(learner.learn(images.subarray(at * size, end * size), given.labels.slice(at, end)));
        }
        return { losses, grown: kernels.memory.buffer.byteLength - before,
                 weights: listed(learner.student.tensors()) };"""
    asked = learner_of(model, teacher, as_page_lesson(objective, schedule), images, labels) | {"weights": given}
    found = page(LEARNER + body, asked)
    assert found["grown"] == 0
    assert expected[-1] < expected[0] - 0.1  # it learns
    assert np.abs(np.array(found["losses"]) - expected).max() < 1e-3
    for name, parameter in model.named_parameters():
        assert apart(found["weights"][name], parameter.detach()) < 0.02, name


def test_a_head_that_nobody_asks_stays_as_it_is_as_in_torch(page):
    model = small_student(True)
    given, before = packed_weights(model), {name: p.detach().clone() for name, p in model.named_parameters()}
    images, labels = torch.randn(8, 1, 12, 12), torch.randint(5, (8,))
    objective, optimizer = DistillationObjective("none", "class"), make_optimizer(model, TrainConfig(weight_decay=5.0))
    for _ in range(3):
        optimizer.zero_grad()
        loss_in_torch(model, None, objective, images, labels).backward()
        for group in optimizer.param_groups:
            group["lr"] = 1e-2
        optimizer.step()
    body = """
        const images = numbers(given.images);
        for (let step = 0; step < 3; step++) learner.learn(images, given.labels);
        return listed(learner.student.tensors());"""
    lesson = as_page_lesson(objective, dict(total=3, warmup=0, peak=1e-2, end=1e-2), weight_decay=5.0)
    found = page(LEARNER + body, learner_of(model, None, lesson, images, labels) | {"weights": given})
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1:  # a key's bias has no gradient but noise, of which AdamW makes steps
            assert apart(found[name], parameter.detach()) < 1e-2, name
        heard = not name.startswith("distillation_head")
        assert heard != (torch.tensor(found[name]).view(parameter.shape) == before[name]).all().item(), name


def test_the_learning_rate_is_the_librarys(page):
    schedule = dict(total=50, warmup=7, peak=1e-3)
    found = page("return given.steps.map((step) => learningRateAt(step, given.schedule));",
                 {"schedule": schedule, "steps": list(range(50))})  # fmt: skip
    assert found == pytest.approx([learning_rate_at(step, 50, 7, 1e-3) for step in range(50)], rel=1e-12)
    assert not math.isclose(found[0], found[10])


# ---- weights that come and go ----


def test_the_weights_that_a_page_writes_open_in_the_library_and_give_its_logits(page, tmp_path):
    config = DeiTConfig(image_size=28, patch_size=7, in_channels=1, num_classes=4, embed_dim=32, depth=2, num_heads=2)
    images, labels = torch.randn(6, 1, 28, 28), torch.randint(4, (6,))
    body = """
        const kernels = openKernels(KERNELS), images = numbers(given.images);
        const weights = initialWeights(given.config, new Random(3));
        const learner = new Learner(kernels, given.config, weights, { batch: 6, lesson: given.lesson });
        for (let step = 0; step < 5; step++) learner.learn(images, given.labels);
        kernels.numbers(learner.student.images, images.length).set(images);
        const { class: one, distillation: other } = learner.student.forward(6);
        const file = writeSafetensors(learner.student.tensors(), { kind: "deit", config: given.config, seed: 3 });
        const { tensors, metadata } = readSafetensors(file), own = learner.student.tensors();
        const same = (name) => own[name].numbers.every((value, i) => value === tensors[name].numbers[i]);
        return { file: Array.from(file), logits: [Array.from(one), Array.from(other)],
                 back: Object.keys(own).every(same) && metadata.seed === 3 };"""
    schedule = dict(total=100, warmup=0, peak=1e-3)
    found = page(body, {
        "config": config.to_dict(),
        "lesson": as_page_lesson(DistillationObjective("none", "both"), schedule),
        "images": packed(images),
        "labels": labels.tolist(),
    })  # fmt: skip
    path = tmp_path / "student.safetensors"
    path.write_bytes(bytes(found["file"]))
    model = load_model(path)
    assert model.config == config and load(path)[1]["seed"] == 3 and found["back"]
    for said, expected in zip(found["logits"], model(images), strict=True):
        assert (torch.tensor(said).view(6, 4) - expected).abs().max() < 1e-5


@pytest.mark.parametrize("damage", ["file.subarray(0, 5)", "file.subarray(0, file.length - 4)", "file.fill(7)"])
def test_a_damaged_file_is_said_to_be_one(page, damage):
    body = f"""
        const file = writeSafetensors({{ x: {{ shape: [3], numbers: new Float32Array(3) }} }}, {{}});
        try {{ readSafetensors({damage}); }} catch (error) {{ return error.message; }}"""
    assert "safetensors file" in page(body, {})


def test_a_student_begins_as_the_librarys_do(page):
    config = DeiTConfig(image_size=28, patch_size=7, in_channels=1, num_classes=10, embed_dim=64, depth=2, num_heads=4)
    body = "return mapped(initialWeights(given, new Random(0)), (numbers) => Array.from(numbers));"
    drawn, again = page(body, config.to_dict()), page(body, config.to_dict())
    assert drawn == again
    torch.manual_seed(0)
    for name, parameter in DeiT(config).named_parameters():
        found, expected = torch.tensor(drawn[name], dtype=torch.float), parameter.detach().flatten()
        assert len(found) == len(expected), name
        spread = expected.std(correction=0).item()
        assert found.std(correction=0).item() == pytest.approx(spread, rel=0.3), name
        assert found.mean().item() == pytest.approx(expected.mean().item(), abs=0.4 * spread + 1e-9), name


# ---- scenes ----


def librarys_draws(n, *seed, side=CANVAS):
    """The whole numbers that ClutterSource.draw asks for, in order: (n, 18)."""
    random, columns = np.random.RandomState(seed), []
    for size in CLUTTER_CROPS:
        columns += [random.randint(1, n, n, np.int64), random.randint(0, 2**30, n, np.int64)]
        columns += list(random.randint(0, side - size + 1, (2, n), np.int64))
    columns += list(random.randint(0, side - ITEM + 1, (2, n), np.int64))
    return np.stack(columns, axis=1)


@pytest.mark.parametrize("side", [CANVAS, 21])
def test_scenes_are_the_librarys_to_the_pixel(page, side):
    images, labels = packaged_splits()[0]
    images, labels = images[:300], labels[:300]
    expected = ClutterSource(images, labels, canvas=side).draw(7, 1).images
    body = """
        const scenes = new Scenes(Uint8Array.from(given.items), given.side), drawn = [];
        const canvas = new Uint8Array(given.side ** 2);
        given.draws.forEach((draws, item) => { scenes.draw(canvas, item, draws); drawn.push(Array.from(canvas)); });
        return drawn;"""
    draws = librarys_draws(300, 7, 1, side=side).tolist()
    found = page(body, {"items": halve(images).flatten().tolist(), "draws": draws, "side": side})
    assert (torch.tensor(found).view(expected.shape) == expected).all()


def test_the_pages_own_draws_cover_what_the_librarys_do(page):
    images = packaged_splits()[0][0][:100]
    body = """
        const scenes = new Scenes(Uint8Array.from(given.items), 28), random = new Random(1);
        return Array.from({ length: 4000 }, () => scenes.drawsFrom(random));"""
    found = np.array(page(body, {"items": halve(images).flatten().tolist()}))
    expected = librarys_draws(100, 0)
    for seed in range(1, 40):
        expected = np.concatenate([expected, librarys_draws(100, seed)])
    assert found.shape == expected.shape
    corner = np.arange(1, 17, 4)  # of 2^30 numbers: their mean; of the others: the whole range
    assert np.abs(found[:, corner].mean(0) / 2**29 - 1).max() < 0.05
    places = np.setdiff1d(np.arange(18), corner)
    assert (found[:, places].min(0) == expected[:, places].min(0)).all()
    assert (found[:, places].max(0) == expected[:, places].max(0)).all()


@pytest.mark.parametrize(("channels", "flip"), [(1, False), (1, True), (3, True)])
def test_shifted_and_mirrored_as_augmented_in_the_library(page, channels, flip):
    torch.manual_seed(0)
    image = torch.randint(256, (1, channels, 28, 28), dtype=torch.uint8)
    padded = torch.nn.functional.pad(image, [2] * 4)
    body = """
        const out = new Float32Array(given.image.length);
        normaliseInto(Uint8Array.from(given.image), out, given.change, given);
        return Array.from(out);"""
    statistics = {"mean": [0.2, 0.5, 0.4][:channels], "std": [0.3, 0.1, 0.2][:channels]}
    for top, left in [(0, 0), (2, 2), (4, 1)]:
        window = padded[:, :, top : top + 28, left : left + 28]
        expected = normalise(window.flip(-1) if flip else window, *statistics.values())
        change = {"down": top - 2, "right": left - 2, "flip": flip}
        given = {"image": image.flatten().tolist(), "change": change, "shape": [channels, 28, 28]}
        found = page(body, given | statistics)
        assert (torch.tensor(found).view(expected.shape) - expected).abs().max() < 1e-6
