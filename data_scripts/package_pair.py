"""Pack a trained pair into the package: fp16 weights, and the record of both runs.

Train the pair first. For fashion_clutter, which takes two cores the better part of an hour:

    deit-edu train --data fashion_clutter --teacher convnet --resume
    python data_scripts/package_pair.py

For cifar10, where the packed teachers teach, and which takes some hours:

    deit-edu ablate cifar10_teacher --scale small
    python data_scripts/package_pair.py cifar10 --role teacher
    deit-edu ablate cifar10_strong_teacher --scale small
    python data_scripts/package_pair.py cifar10 --role strong_teacher
    deit-edu ablate flagship --scale small
    python data_scripts/package_pair.py cifar10 --role student

This script looks at the test images once more, with the rounded weights that it ships.
"""

import argparse
import sys
from pathlib import Path

import torch

from deit_edu.data import load_dataset
from deit_edu.errors import DeiTEduError
from deit_edu.evidence.cells import Grid, data_label
from deit_edu.runs.checkpoints import CHECKPOINTS, PACKAGED, is_packaged, load_network, save_network, write_atomically
from deit_edu.runs.evaluate import accuracies, predict
from deit_edu.runs.folders import find_run, json_bytes, read_json

CLUTTER_RUNS = {
    "teacher": "fashion_clutter-convnet-seed0",
    "student": "fashion_clutter-deit_micro_patch4_28-hard-both-seed0",
}
# The strong teacher taught the student that ships, at least at the end; the first one taught those of `cifar10`.
CIFAR10_EXPERIMENTS = {
    "teacher": "cifar10_teacher", "strong_teacher": "cifar10_strong_teacher", "student": "flagship",
}  # fmt: skip
PAIRS = ("fashion_clutter", "cifar10")


def runs_of(pair, data):
    """The run folders of a pair: {role: name}."""
    if pair == "fashion_clutter":
        return CLUTTER_RUNS
    grid = Grid("small", data)
    return {role: grid.cells(experiment)[-1].key for role, experiment in CIFAR10_EXPERIMENTS.items()}


def package(pair, role, run, dataset):
    """Write one network in fp16; its record, with the accuracy of what is shipped."""
    folder = find_run(run)
    model, metadata = load_network(folder / "model.safetensors")
    record = read_json(folder / "result.json")
    record["config"]["data"] = record["data"]["name"] = data_label(record["config"]["data"])
    extra = {"data": pair, "classes": list(dataset.classes), "mean": list(dataset.mean), "std": list(dataset.std)}
    if role == "student":
        taught_by = record["config"]["teacher"]
        extra["teacher"] = taught_by if is_packaged(taught_by) else f"{PACKAGED}{pair}_teacher"
    path = CHECKPOINTS / f"{pair}_{role}.safetensors"
    save_network(path, model, metadata["name"], metadata["image_shape"], metadata["num_classes"], extra, torch.float16)
    shipped, _ = load_network(path)
    scores = accuracies(predict(shipped, dataset.test, dataset), dataset.test.labels)
    record["shipped_test"] = {head: score.to_dict() for head, score in scores.items()}
    print(f"{path.name}: {path.stat().st_size / 2**20:.2f} MB, " + ", ".join(f"{h} {s}" for h, s in scores.items()))
    return record


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pair", nargs="?", default=PAIRS[0], choices=PAIRS, help="which (default: %(default)s)")
    parser.add_argument("--data", help="where its data lie, such as folder:PATH (default: the name of the pair)")
    parser.add_argument("--role", choices=tuple(CIFAR10_EXPERIMENTS), help="one of them alone (default: all)")
    parser.add_argument("--dry-run", action="store_true", help="say what would be written, and how much")
    chosen = parser.parse_args()
    networks = f"the {chosen.role}" if chosen.role else "every network of the pair, some 2 to 4 MB each,"
    print(f"writes {networks} and {chosen.pair}.json into {CHECKPOINTS}")
    if chosen.dry_run:
        return 0
    try:
        data = chosen.data or chosen.pair
        runs, dataset = runs_of(chosen.pair, data), load_dataset(data)
        if chosen.role and chosen.role not in runs:
            raise DeiTEduError(f"{chosen.pair} has no {chosen.role}: choose one of {', '.join(runs)}")
        record_path = Path(CHECKPOINTS) / f"{chosen.pair}.json"
        records = read_json(record_path) if record_path.exists() else {}
        for role, run in runs.items():
            if chosen.role in (None, role):
                records[role] = package(chosen.pair, role, run, dataset)
                write_atomically(record_path, json_bytes(records))  # now: the weights of this one are replaced
    except DeiTEduError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
