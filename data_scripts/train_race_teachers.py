"""Train the teachers of the races in the page, and pack them: a few minutes on one core.

They learn from the items and in the scenes of `deit_edu.evidence.races`, drawn by the library, and are kept in half
precision. On another kind of machine they come out a little different.
"""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

import torch

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))  # this clone's deit_edu, installed or not

from deit_edu.errors import DeiTEduError  # noqa: E402
from deit_edu.evidence.races import REGIME, STUDENT, TEACHERS, race_data  # noqa: E402
from deit_edu.losses import DistillationObjective  # noqa: E402
from deit_edu.model import DeiT  # noqa: E402
from deit_edu.runs.checkpoints import CHECKPOINTS, load_network, save_network, write_atomically  # noqa: E402
from deit_edu.runs.evaluate import accuracies, predict  # noqa: E402
from deit_edu.teachers import create_teacher  # noqa: E402
from deit_edu.train import TrainConfig, World, make_optimizer, train_epoch  # noqa: E402

NAMES = {"convnet": "convnet_light", "weak": "convnet_weak", "transformer": "deit"}
EPOCHS = {"convnet": 8, "weak": 3, "transformer": 12}
LEARNING_RATE = {"convnet": 32e-3, "weak": 32e-3, "transformer": 16e-3}  # per 512 images


def make(name):
    torch.manual_seed(1000)
    if name == "transformer":
        return DeiT(replace(STUDENT, distilled=False))
    return create_teacher(NAMES[name], STUDENT.in_channels, STUDENT.num_classes)


def train(name, dataset):
    """One of the teachers, trained."""
    model = make(name)
    config = TrainConfig(
        data="race", model=NAMES[name], epochs=EPOCHS[name], batch_size=128, learning_rate=LEARNING_RATE[name],
        warmup_epochs=1, weight_decay=REGIME["weight_decay"], label_smoothing=REGIME["label_smoothing"],
        crop_padding=REGIME["padding"], flip=REGIME["flip"], seed=1000, device="cpu", precision="float32",
    )  # fmt: skip
    objective, optimizer = DistillationObjective("none", "class"), make_optimizer(model, config)
    world = World(torch.device("cpu"), torch.float32)
    for epoch in range(config.epochs):
        loss = train_epoch(model, None, objective, optimizer, config, dataset, epoch, world, lambda loss, images: None)
        print(f"{name}, epoch {epoch + 1} of {config.epochs}: loss {loss:.3f}", flush=True)
    return model.eval()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of {', '.join(TEACHERS)} (default: all)")
    parser.add_argument("--dry-run", action="store_true", help="say what would be trained, and write nothing")
    chosen = parser.parse_args()
    if unknown := set(chosen.names) - set(TEACHERS):
        parser.error(f"there is no teacher {', '.join(sorted(unknown))}: choose of {', '.join(TEACHERS)}")
    if chosen.dry_run:
        for name in chosen.names or TEACHERS:
            print(f"would train {name} for {EPOCHS[name]} epochs and write {CHECKPOINTS / f'race_{name}.safetensors'}")
        return
    dataset = race_data()
    record_path = CHECKPOINTS / "race.json"
    record = json.loads(record_path.read_text()) if record_path.exists() else {}
    for name in chosen.names or TEACHERS:
        path = CHECKPOINTS / f"race_{name}.safetensors"
        shape = (STUDENT.in_channels, STUDENT.image_size, STUDENT.image_size)
        extra = {"data": "race", "classes": list(dataset.classes), "mean": list(dataset.mean), "std": list(dataset.std)}
        save_network(path, train(name, dataset), NAMES[name], shape, STUDENT.num_classes, extra, torch.float16)
        shipped, _ = load_network(path)
        scores = accuracies(predict(shipped, dataset.validation, dataset), dataset.validation.labels)
        record[name] = {"network": NAMES[name], "epochs": EPOCHS[name], "validation": scores["class"].to_dict()}
        write_atomically(record_path, (json.dumps(record, indent=1) + "\n").encode())
        print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB, {scores['class']} on validation", flush=True)


if __name__ == "__main__":
    try:
        main()
    except (DeiTEduError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
