"""What is typed wrong, on the command line and in Python: each is answered in one line that says what to do."""

import errno
import os
import re
import shlex
import shutil
import warnings

import pytest
import torch
from PIL import Image
from toy import toy_config, toy_dataset

from deit_edu import augment
from deit_edu.cli import main
from deit_edu.data import load_dataset, normalise
from deit_edu.data.splits import keep_classes, nested_subset
from deit_edu.errors import DeiTEduError
from deit_edu.inspect import attention_rollout, disagreement, token_similarity
from deit_edu.losses import (
    DistillationObjective,
    hard_distillation,
    smooth_labels,
    soft_cross_entropy,
    soft_distillation,
)
from deit_edu.model import HeadLogits, create_model, fuse
from deit_edu.patches import patchify, resize_position_embedding, unpatchify
from deit_edu.runs import checkpoints
from deit_edu.runs.evaluate import accuracies
from deit_edu.runs.run import train
from deit_edu.runs.weights import load_state_dict_from, resize_model
from deit_edu.teachers import create_teacher
from deit_edu.train import TrainConfig

# ---- the command line: what is typed, what is answered; the status is 2 ----

SMALL = "--patch-size 4 --embed-dim 16 --depth 1 --num-heads 2"
TOY = f"train --quiet --device cpu --batch-size 9 --epochs 1 --tokens class {SMALL}"  # or a teacher would be chosen
PICTURES = f"{TOY} --data folder:toy"
LINES = [
    # numbers that cannot be
    ("--epochs -1", "epochs is -1: it must be a finite number, 0 or more"),
    ("--epochs 1.5", "argument --epochs: invalid int value: '1.5'; see deit-edu train --help"),
    ("--batch-size -5", "batch_size is -5: it must be a finite number, 1 or more"),
    ("--learning-rate -1", "learning_rate is -1.0: it must be a finite number, 0 or more"),
    ("--learning-rate 1e400", "learning_rate is inf: it must be a finite number"),
    ("--learning-rate 1e30", "the loss is not a finite number by step 9 .*: try a tenth of the learning rate"),
    ("--weight-decay nan", "weight_decay is nan: it must be a finite number"),
    ("--ema-decay 1.5", "ema_decay is 1.5: it must be between 0 and 1"),
    ("--warmup-epochs nan", "warmup_epochs is nan: it must be a finite number"),
    ("--mixup-alpha nan", "mixup_alpha is nan: it must be a finite number"),
    ("--cutmix-alpha -1", "cutmix_alpha is -1.0: it must be a finite number, 0 or more"),
    ("--mix-probability 2", "mix_probability is 2.0: it must be between 0 and 1"),
    ("--erasing 2", "erasing is 2.0: it must be between 0 and 1"),
    ("--repeats 0", "repeats is 0: it must be a finite number, 1 or more"),
    ("--repeats 1000", "repeats is 1000: folder:toy has only 96 training images"),
    ("--crop-padding -2", "crop_padding is -2: it must be a finite number, 0 or more"),
    ("--crop-padding 100000", "crop_padding is 100000: it must be less than a side of the 8x8 images"),
    ("--train-images 20000", "cannot take 20000 of 96 training images: choose 1 to 96"),
    ("--image-size -1", "image_size is -1: it must be a finite number, 0 or more"),
    ("--image-size 5", "patch size 4 does not divide image side 5: say --patch-size 1 or 5, or --image-size 4 or 8"),
    ("--image-size 10000000", "no room in .*: set DEIT_EDU_DATA to .* or take a smaller image_size"),
    ("--embed-dim 0", "embed_dim is 0: it must be 1 or more"),
    ("--embed-dim 10000000000", "the memory is full: try half the --batch-size, a smaller --model"),
    ("--depth -1", "depth is -1: it must be 1 or more"),
    ("--num-heads 3", "3 heads do not divide width 16: try embed_dim="),
    ("--patch-size -4", "patch_size is -4: it must be 1 or more"),
    ("--label-smoothing nan", r"label smoothing nan must lie in \[0, 1\)"),
    ("--drop-path-rate 1", r"drop_path_rate is 1.0: it must lie in \[0, 1\)"),
    ("--seed 1.5", "argument --seed: invalid int value: '1.5'"),
    ("--keep-answers -1", "keep_answers is -1: it must be a finite number, 0 or more"),
    ("--keep-answers 3", "keep_answers is about a teacher's answers: name a teacher, or leave it out"),
    ("--teacher taught --distill soft --temperature nan", "temperature nan must be positive and finite"),
    ("--teacher taught --distillation-weight 2", r"distillation weight 2.0 must lie in \[0, 1\]"),
    # names that nobody has
    ("--model ''", "model is '': a name is empty; give one, or leave it out"),
    ("--model deit_nano_patch7_82", "unknown model 'deit_nano_patch7_82': .*; did you mean deit_nano_patch7_28"),
    ("--model convnt", "unknown model 'convnt': choose one of .*; did you mean convnet"),
    ("--model timm:", "unknown teacher 'timm:': choose one of convnet, .* or timm:NAME"),
    ("--model timm:resnt18", "timm has no model 'resnt18'; did you mean .*resnet18"),
    ("--teacher ''", "teacher is '': a name is empty; give one, or leave it out"),
    ("--teacher taught+", r"teacher is 'taught\+': a name is empty"),
    ("--teacher taught+nobody", "teacher .*nobody is not a run folder: train it first with deit-edu train"),
    ("--teacher timm:resnt18", "timm has no model 'resnt18'; did you mean .*resnet18"),
    ("--initial ''", "initial is '': a name is empty"),
    ("--initial nowhere", "no run nowhere: give a run folder"),
    ("--initial timm:nobody", "timm has no weights for 'timm:nobody': look them up with timm.list_pretrained"),
    ("--initial taught --interpolation cubic", "unknown interpolation 'cubic': choose one of bicubic, bilinear"),
    ("--optimizer adam", 'unknown optimiser .adam.: choose "adamw" or "sgd"'),
    ("--precision half", "unknown precision 'half': choose auto, float32 or bfloat16"),
    ("--device cpu:3", "device 'cpu:3' is not here: choose auto or one of .*cpu"),
    ("--classes 0-99", "classes '0-99' are not some of folder:toy's, each once: they are 0 to 2"),
    ("--classes a-b", "classes 'a-b' are not understood: say 0-4, or 0,2,5"),
    ("--classes 1", "folder:toy has one class, .*: nothing to tell apart"),
    # files and folders that are others
    ("--initial text", "text holds more than weights, or is damaged: save its state_dict with torch.save"),
    ("--initial text.pth", "text.pth holds more than weights, or is damaged"),
    ("--initial cut.pth", "cut.pth holds more than weights, or is damaged"),
    ("--initial picture.png", "picture.png holds more than weights, or is damaged"),
    ("--initial text.safetensors", "text.safetensors is damaged or no safetensors file: fetch it again"),
    ("--initial cut", "cut/model.safetensors is damaged or no safetensors file: fetch it again or train it again"),
    ("--initial garbled", "garbled/config.json is damaged: delete the folder and train again"),
    ("--initial empty", "no run empty: give a run folder"),
    ("--initial taught", "only a DeiT starts from another's weights, and taught is none: choose a DeiT for both"),
    ("--initial packaged:fashion_clutter_student", "or say --embed-dim 96 --depth 4 --num-heads 4"),
    ("--teacher empty", "teacher empty has not finished training: train it first with deit-edu train"),
    ("--teacher cut", "cut/model.safetensors is damaged or no safetensors file"),
    ("--teacher text", "text is not a run folder: train it first with deit-edu train"),
    ("--teacher packaged:fashion_clutter_teacher", "was trained with num_classes 10, but folder:toy has 3: train a"),
    ("--out text", "could not make text: File exists; choose another folder"),
    ("--out text/inside", "could not make text/inside: Not a directory; choose another folder"),
    ("--out /proc/nowhere/run", "could not make /proc/nowhere/run: .*; choose another folder"),
    ("--out taught", "taught holds a run already: go on with --resume, choose another --out, or delete it"),
    ("--out garbled --resume", "garbled/config.json is damaged: delete the folder and train again"),
    ("--out toy", "toy is the folder of the pictures: choose another --out"),
    (f"{TOY} --data ''", "unknown data set '': did you mean|data is '': a name is empty"),
    (f"{TOY} --data folder:", "unknown data set 'folder:': did you mean folder:PATH"),
    (f"{TOY} --data folder:text", "text is a file: expected text/CLASS/"),
    (f"{TOY} --data folder:empty", "empty has no class folders with pictures: expected CLASS/"),
    (f"{TOY} --data folder:one", "one: train has too few images of each class to hold one out .*: add images"),
    (f"{TOY} --data folder:nowhere", "there is no folder nowhere: expected nowhere/CLASS/"),
    (f"{TOY} --data imagenet:empty", "empty has no folder train/: data_scripts/prepare_imagenet.py makes it"),
    (f"{TOY} --data toy", "unknown data set 'toy', but there is such a folder: say folder:toy"),
    (f"{TOY} --data cifar11", "unknown data set 'cifar11': did you mean cifar10"),
    (f"{TOY} --data fashion_mnist_10k --image-size 32", "fashion_mnist_10k comes in one image size: leave image_size"),
    # the other commands
    ("evaluate taught --data folder:nowhere", "there is no folder nowhere"),
    ("evaluate taught --data fashion_mnist_10k", "trained with num_classes 3, but fashion_mnist_10k has 10: train a"),
    ("evaluate taught --data ''", "unknown data set ''"),
    ("evaluate taught --split training", "argument --split: invalid choice: 'training'"),
    ("evaluate cut", "cut/model.safetensors is damaged"),
    ("evaluate garbled", "garbled/config.json is damaged"),
    ("evaluate text", "no run text: give a run folder"),
    ("evaluate ''", "no run .*: give a run folder"),
    ("evaluate unfinished", "unfinished has not finished: deit-edu train --out unfinished --resume goes on with it"),
    ("export taught x.safetensors", "taught is not a DeiT: only those have names in timm"),
    ("export packaged:fashion_clutter_student text", "text must end in .safetensors"),
    ("export packaged:fashion_clutter_student text.safetensors", "text.safetensors is there already: delete it"),
    ("export packaged:fashion_clutter_student text/x.safetensors", "could not write text/x.safetensors .* folder"),
    ("export taught x --to tensorflow", "argument --to: invalid choice: 'tensorflow'"),
    ("export taught", "the following arguments are required: file; see deit-edu export --help"),
    ("data folder:text", "text is a file: expected text/CLASS/"),
    ("data nobody", "unknown data set 'nobody': did you mean"),
    ("ablate distilation", "unknown experiment 'distilation': choose one of .*; did you mean distillation"),
    ("ablate distillation --seeds 0", "--seeds is 0: it must be 1 or more"),
    ("ablate distillation --scale huge", "no experiments at scale 'huge': choose one of tiny"),
    ("ablate distillation --data folder:nowhere --dry-run", "there is no folder nowhere"),
    ("report --scale huge", "no experiments at scale 'huge'"),
    ("bench --rounds 0", "bench needs at least 1 step and 1 round, got 40 and 0"),
    ("nobody", "argument COMMAND: invalid choice: 'nobody'"),
]


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """A folder with what a reader may have lying about, good and bad."""
    root = tmp_path_factory.mktemp("desk")
    toy = toy_dataset()
    for part, split in (("train", toy.train), ("validation", toy.validation), ("test", toy.test)):
        for number, (image, label) in enumerate(zip(split.images, split.labels.tolist(), strict=True)):
            path = root / "toy" / part / toy.classes[label] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image[0].numpy()).save(path)
    seen = load_dataset(f"folder:{root}/toy")
    train(toy_config(model="convnet_weak", epochs=1), root / "taught", dataset=seen, progress=False)
    for name in ("cut", "garbled", "unfinished"):
        shutil.copytree(root / "taught", root / name)
    whole = (root / "taught/model.safetensors").read_bytes()
    (root / "cut/model.safetensors").write_bytes(whole[: len(whole) // 2])
    (root / "garbled/config.json").write_text("{")
    for name in ("model.safetensors", "result.json", "predictions.safetensors"):
        (root / "unfinished" / name).unlink()
    for name in ("text", "text.pth", "text.safetensors"):
        (root / name).write_text("hello")
    torch.save({"a": torch.zeros(100)}, root / "whole.pth")
    (root / "cut.pth").write_bytes((root / "whole.pth").read_bytes()[:300])
    (root / "empty").mkdir()
    (root / "one/only").mkdir(parents=True)
    Image.new("L", (8, 8)).save(root / "one/only/0.png")
    Image.new("L", (8, 8)).save(root / "picture.png")
    return root


def contents(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("line", "told"), LINES, ids=[f"{number}" for number in range(len(LINES))])
def test_a_line_typed_wrong_is_answered_in_one_line_and_leaves_nothing(line, told, desk, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(desk)
    monkeypatch.setenv("DEIT_EDU_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("DEIT_EDU_DATA", str(tmp_path / "data"))
    monkeypatch.delenv("DEIT_EDU_SCALE", raising=False)
    before = contents(desk)
    assert main(shlex.split(f"{PICTURES} {line}" if line.startswith("--") else line)) == 2, line
    said = capsys.readouterr()
    assert re.fullmatch(rf"error: .*({told}).*\n", said.err), f"{line}: {said.err}"
    left = [path for path in contents(tmp_path) if path.name != "lock"]  # of a folder of decoded pictures
    assert contents(desk) == before and not left, f"{line} left something behind"


def test_the_table_is_as_long_as_it_was_meant_to_be():
    assert len(LINES) + len(CALLS) >= 50 and len({line for line, _ in LINES}) == len(LINES)


# ---- what the machine does ----


def test_a_disk_without_space_is_one_line_on_every_command_that_writes(desk, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(desk)
    monkeypatch.setenv("DEIT_EDU_RUNS", str(tmp_path / "runs"))

    def full(number):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(checkpoints.os, "fsync", full)
    for line in (PICTURES, f"export packaged:fashion_clutter_student {tmp_path}/x.safetensors",
                 f"export packaged:fashion_clutter_student {tmp_path}/x --to timm"):  # fmt: skip
        assert main(shlex.split(line)) == 2
        said = capsys.readouterr().err
        assert re.fullmatch(r"error: could not write .*: No space left on device; free some space or .*\n", said), said
    assert not contents(tmp_path)


def test_ctrl_c_is_status_130_and_the_same_line_goes_on(desk, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(desk)
    monkeypatch.setenv("DEIT_EDU_RUNS", str(tmp_path / "runs"))
    line = f"{PICTURES} --epochs 2 --resume --out {tmp_path}/run"

    def interrupted(*arguments, **named):
        if (tmp_path / "run/resume.safetensors").exists():  # an epoch is whole
            raise KeyboardInterrupt
        return original(*arguments, **named)

    original = torch.Tensor.backward
    with monkeypatch.context() as patch:
        patch.setattr(torch.Tensor, "backward", interrupted)
        assert main(shlex.split(line)) == 130
    assert re.fullmatch(r"\nstopped; .*with --resume\)\n", capsys.readouterr().err)
    kept = checkpoints.load(tmp_path / "run/resume.safetensors")[1]["metrics"]
    assert main(shlex.split(line)) == 0
    record = (tmp_path / "run/metrics.jsonl").read_text().splitlines()
    assert len(kept) == 1 and len(record) == 2 and f'"loss": {kept[0]["loss"]}' in record[0]


# ---- Python: what is called, what is answered ----

z, labels = torch.zeros, torch.tensor


def generator():
    return torch.Generator().manual_seed(0)


def deit(**settings):
    return create_model("deit_nano_patch7_28", **{"embed_dim": 8, "depth": 1, "num_heads": 2} | settings)


def hard(logits, targets, teacher=None):
    return DistillationObjective("hard", "both")(logits, targets, teacher)


CALLS = [
    (lambda: patchify(z(1, 28, 28), 7), r"images of shape \(1, 28, 28\) are no batch: expected \(B, C, H, W\)"),
    (lambda: patchify(z(1, 1, 28, 28), 5), r"patch size 5 does not divide image height 28: try one of \[1, 2, 4"),
    (lambda: patchify(z(1, 1, 28, 28), 0), "patch size 0 does not divide image height 28"),
    (lambda: unpatchify(z(16, 49), 7, 1, 28, 28), r"do not make a 1x28x28 image .*: expected \(B, 16, 49\)"),
    (lambda: resize_position_embedding(z(17, 8), (4, 4), (2, 2), 1), r"of shape \(17, 8\) are not \(1, T, D\)"),
    (lambda: resize_position_embedding(z(1, 17, 8), (4, 4), (2, 2), 2), "17 position embeddings are not 2 prefix"),
    (lambda: resize_position_embedding(z(1, 17, 8), (4, 4), (2, 2), 1, "cubic"), "unknown interpolation 'cubic'"),
    (lambda: resize_position_embedding(z(1, 17, 8), (4, 4), (0, 2), 1), "a grid of 0x2 has no patches"),
    (lambda: deit()(z(1, 3, 28, 28)), r"do not fit this model: expected \(B, 1, 28, 28\); resize them"),
    (lambda: deit()(z(1, 28, 28)), r"images of shape \(1, 28, 28\) do not fit this model"),
    (lambda: deit()(z(1, 1, 28, 28, dtype=torch.uint8)), "images of torch.uint8 are not normalised: give them to"),
    (lambda: deit().attention_maps(z(1, 1, 14, 14)), "do not fit this model"),
    (lambda: deit(heads=2), "unknown model setting 'heads': choose one of"),
    (lambda: create_model("deit_tinny_patch16_224"), "unknown model .*; did you mean deit_tiny_patch16_224"),
    (lambda: fuse(HeadLogits(z(1, 3), z(1, 3)), "mean"), "unknown fusion 'mean': choose 'probabilities'"),
    (lambda: smooth_labels(labels([0, 3]), 3, 0.1), "labels from 0 to 3 are not all of 3 classes: number them from 0"),
    (lambda: smooth_labels(labels([-1]), 3, 0.1), "labels from -1 to -1 are not all of 3 classes"),
    (lambda: smooth_labels(labels([0.5]), 3, 0.1), "labels of type torch.float32 are no numbers of classes: give"),
    (lambda: smooth_labels(labels([1]).int(), 3, 0.1), "labels of type torch.int32 are no numbers of classes: give"),
    (lambda: smooth_labels(labels([0]), 3, 1.0), r"label smoothing 1.0 must lie in \[0, 1\)"),
    (lambda: soft_cross_entropy(z(2, 3), labels([0, 3])), "labels from 0 to 3 are not all of 3 classes"),
    (lambda: soft_cross_entropy(z(2, 3), z(2, 4)), r"targets of shape \(2, 4\) do not fit logits \(2, 3\): give"),
    (lambda: soft_cross_entropy(z(2, 3), labels([0, 1, 2])), r"targets of shape \(3,\) do not fit logits \(2, 3\)"),
    (lambda: soft_cross_entropy(z(0, 3), labels([])), "a batch without images has no loss"),
    (lambda: soft_distillation(z(2, 3), z(2, 4), 3.0), "do not match the student's .*: give both the same number"),
    (lambda: soft_distillation(z(2, 3), z(2, 3), float("nan")), "temperature nan must be positive and finite"),
    (lambda: soft_distillation(z(2, 3), z(2, 3), 0), "temperature 0 must be positive and finite"),
    (lambda: hard_distillation(z(2, 3), z(3, 3)), "do not match the student's"),
    (lambda: hard(HeadLogits(z(2, 3), z(2, 3)), labels([0, 1])), "needs the teacher's logits: name a teacher"),
    (lambda: hard(HeadLogits(z(2, 3), None), labels([0, 1]), z(2, 3)), "needs a distillation token: build the model"),
    (lambda: hard(HeadLogits(z(2, 3), z(2, 3)), labels([0, 5]), z(2, 3)), "labels from 0 to 5 are not all of 3"),
    (lambda: normalise(z(1, 3, 4, 4), (0.5, 0.5), (1, 1)), r"do not fit 2 means and 2 deviations: give \(B, C, H, W\)"),
    (lambda: normalise(z(3, 4, 4), (0.5,) * 3, (1,) * 3), r"images of shape \(3, 4, 4\) do not fit 3 means"),
    (lambda: nested_subset(labels([0, 1]), 3), "cannot take 3 of 2 training images: choose 1 to 2"),
    (lambda: keep_classes(toy_dataset(), "0,x"), "classes '0,x' are not understood: say 0-4, or 0,2,5"),
    (lambda: attention_rollout(z(1, 2, 4, 4)), r"attention of shape \(1, 2, 4, 4\) has no layers: expected \(L, B,"),
    (lambda: attention_rollout(z(2, 1, 2, 4, 4), "median"), "unknown head fusion 'median': choose one of mean"),
    (lambda: attention_rollout(z(2, 1, 2, 4, 4), discard_ratio=2), r"discard ratio 2 must lie in \[0, 1\)"),
    (lambda: token_similarity(deit(), z(2, 1, 28, 28)), "this model has no distillation token"),
    (lambda: disagreement({}), "there is nobody to compare: give {name"),
    (lambda: disagreement({"a": labels([1, 2]), "b": labels([1])}), "are for different numbers of images"),
    (lambda: load_state_dict_from(deit(), None), "these are not weights but a NoneType: pass {name: tensor}"),
    (lambda: load_state_dict_from(deit(), {}), "these are not weights but a dictionary with nothing in it"),
    (lambda: load_state_dict_from(deit(), {"a": z(1)}), "do not fit the model: they are not those of a DeiT"),
    (lambda: load_state_dict_from(deit(), deit(num_classes=3).state_dict()), "create the model with num_classes=3"),
    (lambda: resize_model(deit(), 30), "patch size 7 does not divide image height 30"),
    (lambda: resize_model(deit(), 56, "lanczos"), "unknown interpolation 'lanczos': choose one of bicubic"),
    (lambda: augment.random_crop(z(1, 1, 4, 4), 4, generator()), "of 4 does not fit images of 4x4: choose 0 to 3"),
    (lambda: augment.random_crop(z(1, 1, 4, 4), -1, generator()), "a crop padding of -1 does not fit"),
    (lambda: augment.rand_augment(z(1, 1, 8, 8), (0.5,), generator()), "RandAugment takes uint8 images, not torch"),
    (lambda: augment.auto_augment(z(1, 1, 8, 8), (0.5,), generator()), "AutoAugment takes uint8 images"),
    (lambda: augment.mixing_coefficient(-1, generator()), "alpha is -1: the Beta distribution needs a positive number"),
    (lambda: augment.cutmix(z(2, 1, 4, 4), z(2, 2), 1.5, generator()), "lambda is 1.5: the share that an image keeps"),
    (lambda: augment.epoch_order(4, generator(), 0), "repeats is 0: every image is shown once or more often"),
    (lambda: accuracies(HeadLogits(z(2, 3), None), labels([0, 1, 2])), "3 labels for 2 answers: an image has one of"),
    (lambda: accuracies(HeadLogits(z(0, 3), None), labels([])), "0 labels for 0 answers: .* one is needed"),
    (lambda: create_teacher("convnt", 1, 3), "unknown teacher 'convnt': .*; did you mean convnet"),
    (lambda: TrainConfig(epochs="3"), "epochs is '3': it must be a whole number"),
    (lambda: TrainConfig(batch_size=2.5), "batch_size is 2.5: it must be a whole number"),
    (lambda: TrainConfig(learning_rate=None), "learning_rate is None: it must be a number"),
    (lambda: TrainConfig(teacher="a++b"), r"teacher is 'a\+\+b': a name is empty"),
]


@pytest.mark.parametrize(("call", "told"), CALLS, ids=[f"{number}" for number in range(len(CALLS))])
def test_a_call_that_cannot_be_is_answered_in_one_line(call, told):
    with pytest.raises(DeiTEduError, match=told) as error, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        call()
    assert "\n" not in str(error.value)
