"""Pack the trained fashion_clutter pair into the package: fp16 weights and the record of both runs.

Train the pair first, which takes two cores the better part of an hour:

    deit-edu train --data fashion_clutter --teacher convnet --resume

then run this script. It looks at the test images once more, with the rounded weights that it ships.
"""

import argparse
import json
import sys
from pathlib import Path

import torch

from deit_edu.checkpoints import write_atomically
from deit_edu.data import load_dataset
from deit_edu.errors import DeiTEduError
from deit_edu.evaluate import accuracies, predict
from deit_edu.runs import find_run, json_bytes
from deit_edu.teachers import CHECKPOINTS, load_network, save_network

NAMES = {"teacher": "fashion_clutter_teacher", "student": "fashion_clutter_student"}
RUNS = {
    "teacher": "fashion_clutter-convnet-seed0",
    "student": "fashion_clutter-deit_micro_patch4_28-hard-both-seed0",
}


def package(role, run, dataset):
    """Write one network in fp16; its record, with the accuracy of what is shipped."""
    folder = find_run(run)
    model, metadata = load_network(folder / "model.safetensors")
    record = json.loads((folder / "result.json").read_text())
    extra = {"data": dataset.name} | ({"teacher": f"packaged:{NAMES['teacher']}"} if role == "student" else {})
    path = CHECKPOINTS / f"{NAMES[role]}.safetensors"
    save_network(path, model, metadata["name"], metadata["image_shape"], metadata["num_classes"], extra, torch.float16)
    shipped, _ = load_network(path)
    scores = accuracies(predict(shipped, dataset.test, dataset), dataset.test.labels)
    record["shipped_test"] = {head: score.to_dict() for head, score in scores.items()}
    print(f"{path.name}: {path.stat().st_size / 2**20:.2f} MB, " + ", ".join(f"{h} {s}" for h, s in scores.items()))
    return record


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for role, run in RUNS.items():
        parser.add_argument(f"--{role}", default=run, help="its run folder (default: %(default)s)")
    parser.add_argument("--dry-run", action="store_true", help="say what would be written, and how much")
    chosen = parser.parse_args()
    print(f"writes two networks, under 2 MB together, and fashion_clutter.json into {CHECKPOINTS}")
    if chosen.dry_run:
        return 0
    try:
        dataset = load_dataset("fashion_clutter")
        records = {role: package(role, getattr(chosen, role), dataset) for role in RUNS}
        write_atomically(Path(CHECKPOINTS) / "fashion_clutter.json", json_bytes(records))
    except DeiTEduError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
