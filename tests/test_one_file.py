"""book/deit_in_one_file.py is the library's method: same weights, same answers, same losses, same steps."""

import ast
import contextlib
import importlib.util
import io
import runpy
import subprocess
import sys
from dataclasses import replace
from unittest import mock

import pytest
import torch
from conftest import ROOT
from toy import CPU

from deit_edu import augment, losses, model, train
from deit_edu.data import load_dataset
from deit_edu.teachers import FrozenTeacher

FILE = ROOT / "book" / "deit_in_one_file.py"
RENAMED = {"patch_embedding.projection": "patch_embedding", "mlp.fc1": "mlp.0", "mlp.fc2": "mlp.2"}


@pytest.fixture
def one_file():
    spec = importlib.util.spec_from_file_location("deit_in_one_file", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def dataset():
    return load_dataset("fashion_mnist_10k")


def renamed(state_dict):
    """The library's weights under the one file's names; its patch projection is a matrix."""
    weights = {}
    for name, tensor in state_dict.items():
        for ours, theirs in RENAMED.items():
            name = name.replace(ours, theirs)
        weights[name] = tensor.flatten(1) if name == "patch_embedding.weight" else tensor
    return weights


def a_pair(one_file):
    """The library's DeiT of the tiny recipe, and the one file's with the same weights."""
    torch.manual_seed(0)
    ours = model.create_model("deit_nano_patch7_28", distilled=True).eval()
    for parameter in ours.parameters():  # a new model's answers are all alike
        torch.nn.init.normal_(parameter, std=0.3)
    theirs = one_file.DeiT().eval()
    theirs.load_state_dict(renamed(ours.state_dict()))
    return ours, theirs


def test_it_is_at_most_200_lines_of_120_columns_and_imports_torch_and_the_standard_library_alone():
    lines = FILE.read_text("utf8").splitlines()
    assert 100 < len(lines) <= 200
    assert max(map(len, lines)) <= 120
    imported = set()
    for node in ast.walk(ast.parse("\n".join(lines))):
        if isinstance(node, ast.Import):
            imported |= {name.name.split(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module.split(".")[0])
    assert imported - set(sys.stdlib_module_names) == {"torch"}


def run(*arguments):
    """What `python deit_in_one_file.py ARGUMENTS` does, in this process, which has imported torch already."""
    said, error, status = io.StringIO(), io.StringIO(), 0
    with mock.patch.object(sys, "argv", [str(FILE), *arguments]), contextlib.redirect_stdout(said):
        with contextlib.redirect_stderr(error):
            try:
                runpy.run_path(str(FILE), run_name="__main__")
            except SystemExit as ended:
                status = ended.code or 0
    return subprocess.CompletedProcess(FILE, status, said.getvalue(), error.getvalue())


@pytest.mark.parametrize("distillation", ["hard", "soft"])
def test_it_runs_as_a_script_and_says_the_accuracy_of_every_head(distillation):
    done = run("--epochs", "1", "2", "--images", "256", "--distillation", distillation)
    assert done.returncode == 0, done.stderr
    for line in ("teacher, epoch 1 of 1", "student, epoch 2 of 2"):
        assert line in done.stdout
    for name in ("teacher", "class head", "distillation head", "both"):
        (line,) = (line for line in done.stdout.splitlines() if line.startswith(f"test accuracy, {name}: "))
        assert 0 <= float(line.split(": ")[1].rstrip("%")) <= 100


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["--data", "elsewhere"], "train.bin is missing: name the folder of the packaged images with --data"),
        (["--epochs", "0", "2"], "expected one epoch or more for each"),
        (["--images", "10"], "64 to 10,000 images"),
        (["--distillation", "firm"], "invalid choice"),
    ],
)
def test_what_is_typed_wrong_gets_one_line(arguments, said):
    done = run(*arguments)
    assert done.returncode == 2
    assert said in done.stderr.splitlines()[-1] and "Traceback" not in done.stderr


def test_its_images_are_the_librarys(one_file, dataset):
    folder = ROOT / "deit_edu" / "assets" / "fashion_mnist_10k"
    for name in ("train", "test"):
        images, labels = one_file.read_split(folder / f"{name}.bin", 10_000)
        split = getattr(dataset, name)
        assert torch.equal(labels, split.labels)
        pixels = ((images * one_file.STD + one_file.MEAN) * 255).round().to(torch.uint8)
        assert torch.equal(pixels, split.images)
    assert (one_file.MEAN, one_file.STD) == pytest.approx((*dataset.mean, *dataset.std), abs=1e-6)


@torch.no_grad()
def test_with_the_same_weights_both_heads_and_their_fusion_give_the_librarys_logits(one_file):
    ours, theirs = a_pair(one_file)
    images = torch.randn(8, 1, 28, 28)
    expected = ours.double()(images.double())
    found = theirs.double()(images.double())
    assert expected.class_logits.std() > 0.1 and expected.distillation_logits.std() > 0.1
    for one, other in zip(expected, found, strict=True):
        torch.testing.assert_close(other, one, rtol=0, atol=1e-6)
    torch.testing.assert_close(one_file.fuse(*found), model.fuse(expected), rtol=0, atol=1e-6)


def test_with_the_same_weights_every_block_attends_as_the_librarys(one_file, monkeypatch):
    ours, theirs = a_pair(one_file)
    images, maps, plain = torch.randn(8, 1, 28, 28), [], one_file.attention

    def remembering(*queries_keys_values):
        answers, weights = plain(*queries_keys_values)
        maps.append(weights)
        return answers, weights

    monkeypatch.setattr(one_file, "attention", remembering)
    theirs.double()(images.double())
    torch.testing.assert_close(torch.stack(maps), ours.double().attention_maps(images.double()), rtol=0, atol=1e-6)


def test_a_new_model_starts_as_the_librarys(one_file):
    ours = renamed(model.create_model("deit_nano_patch7_28", distilled=True).state_dict())
    theirs = one_file.DeiT().state_dict()
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        spread = 0.3 if tensor.numel() < 1000 else 0.05  # of an estimate from so few numbers
        assert theirs[name].std().item() == pytest.approx(tensor.std().item(), rel=spread), name
        assert theirs[name].mean().item() == pytest.approx(tensor.mean().item(), abs=0.02), name


def test_the_losses_are_the_librarys(one_file):
    student, teacher = 3 * torch.randn(2, 64, 10)
    other, labels = torch.randn(64, 10), torch.randint(10, (64,))
    targets = one_file.smooth_labels(labels, 10)
    torch.testing.assert_close(targets, losses.smooth_labels(labels, 10, 0.1, over="others"))
    torch.testing.assert_close(
        one_file.soft_distillation(student, teacher), losses.soft_distillation(student, teacher, 3.0)
    )
    torch.testing.assert_close(one_file.hard_distillation(student, teacher), losses.hard_distillation(student, teacher))
    for distillation in ("hard", "soft"):
        heads = model.HeadLogits(other, student)
        expected = losses.DistillationObjective(distillation, "both")(heads, targets, teacher)
        torch.testing.assert_close(one_file.objective(other, student, targets, teacher, distillation), expected)


def test_the_learning_rate_is_the_librarys(one_file):
    for step in range(100):
        expected = train.learning_rate_at(step, 100, 12.5, 1e-3)
        assert one_file.learning_rate_at(step, 100, 12.5, 1e-3) == pytest.approx(expected, rel=1e-12)


class InDouble(torch.nn.Module):
    """A student that computes in float64: AdamW would blow up the rounding of a zero gradient, the keys' bias's."""

    def __init__(self, student):
        super().__init__()
        self.student = student.double()

    def forward(self, images):
        return model.HeadLogits(*(logits.float() for logits in self.student(images.double())))


@pytest.mark.parametrize("distillation", ["hard", "soft"])
def test_the_first_ten_steps_are_the_librarys(one_file, dataset, monkeypatch, distillation):
    torch.manual_seed(0)
    ours = model.create_model("deit_nano_patch7_28", distilled=True)
    theirs = one_file.DeiT()
    theirs.load_state_dict(renamed(ours.state_dict()))
    teacher = one_file.convnet().eval()
    start = {name: tensor.clone() for name, tensor in theirs.state_dict().items()}
    raw, labels = dataset.train.images[:640], dataset.train.labels[:640]

    # The library: one epoch of ten steps, three of warm-up. All draws come from PyTorch's own generator, as in the
    # file, which has no Mixup: off as it is, the library's draws two numbers a batch.
    monkeypatch.setattr(train, "seeded_generator", lambda *numbers: torch.default_generator)
    monkeypatch.setattr(augment, "mix", lambda images, targets, *settings: (images, targets))
    few = replace(dataset, train=replace(dataset.train, images=raw, labels=labels))
    few = replace(few, mean=(one_file.MEAN,), std=(one_file.STD,))
    config = train.TrainConfig(epochs=1, warmup_epochs=0.3, distillation=distillation, tokens="both", device="cpu")
    student = InDouble(ours)
    expected, objective = [], losses.DistillationObjective(distillation, "both")
    optimizer = train.make_optimizer(student, config)
    torch.manual_seed(1)
    every = (config, few, 0, CPU, lambda loss, count: expected.append(loss))
    train.train_epoch(student, FrozenTeacher(teacher), objective, optimizer, *every)

    found, plain = [], one_file.objective

    def remembering(*arguments):
        loss = plain(*arguments)
        found.append(loss.detach())
        return loss

    monkeypatch.setattr(one_file, "objective", remembering)
    torch.manual_seed(1)
    images = (raw / 255 - one_file.MEAN) / one_file.STD
    one_file.train(InDouble(theirs), images, labels, 1, teacher, distillation, warmup_epochs=0.3)

    assert len(found) == len(expected) == 10
    torch.testing.assert_close(torch.stack(found), torch.stack(expected), rtol=0, atol=1e-5)
    for name, tensor in renamed(ours.state_dict()).items():
        torch.testing.assert_close(theirs.state_dict()[name], tensor, rtol=0, atol=1e-6)
    moved = [name for name, tensor in theirs.state_dict().items() if (tensor - start[name]).abs().max() > 1e-4]
    assert len(moved) > len(start) / 2
