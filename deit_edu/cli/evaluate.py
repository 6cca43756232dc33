"""deit-edu evaluate: how good a trained network is, and who disagrees with whom."""

from pathlib import Path

from deit_edu.data.labelled import Network, load_labelled
from deit_edu.data.names import RESIZABLE, data_root, load_dataset
from deit_edu.data.splits import ImageDataset, keep_classes
from deit_edu.errors import DeiTEduError, counted
from deit_edu.inspect import disagreement
from deit_edu.runs.build import check_trained_on, open_teacher, place_of, say_if_changed
from deit_edu.runs.evaluate import accuracies, decisions, per_class, predict
from deit_edu.runs.folders import open_run
from deit_edu.runs.pictures import TrainedNetwork, ranges_of
from deit_edu.teachers import FrozenTeacher


def add_arguments(parser):
    parser.add_argument("run_folder", metavar="RUN", help="a run folder, or packaged:NAME")
    parser.add_argument("--data", help="another data set of the same classes, or folder:PATH of labelled pictures")
    parser.add_argument("--split", choices=("validation", "test"), default="test")


def run(chosen):
    model, metadata = open_run(chosen.run_folder)
    labelled = labelled_pictures(chosen, metadata)
    dataset = labelled or open_dataset(chosen, metadata, model)
    split, kind = getattr(dataset, chosen.split), "labelled" if labelled else chosen.split
    said = predict(model, split, dataset)
    print(f"{chosen.run_folder} on {counted(len(split), f'{kind} image')} of {dataset.name}, 95 % Wilson intervals")
    for head, accuracy in accuracies(said, split.labels).items():
        print(f"  {head:14} {accuracy}")
    found = per_class(said, split.labels, dataset.num_classes)
    if found.uneven:
        print("  " + "\n  ".join(found.lines(dataset.classes)))
    deciders = {"truth": split.labels}
    if metadata.get("teacher"):
        try:
            teacher = FrozenTeacher(open_teacher(metadata["teacher"], dataset))  # answers as it taught: fused
            deciders["teacher"] = decisions(predict(teacher, split, dataset))["class"]
        except DeiTEduError as error:
            print(f"  its teacher is left out: {error}")
    deciders |= decisions(said)
    print("\nshare of images on which two disagree")
    print(" " * 14 + "".join(f"{name:>15}" for name in deciders))
    for name, row in zip(deciders, disagreement(deciders), strict=True):
        print(f"{name:14}" + "".join(f"{share:15.4f}" for share in row))


def open_dataset(chosen, metadata, model):
    """The data that the run was trained on, or others of its classes. Raises DeiTEduError for data of others."""
    name = metadata["data"] if chosen.data is None else chosen.data
    side, kept = metadata.get("image_size"), metadata.get("kept_classes", "")
    side = side or metadata["image_shape"][1]  # photographs are brought to what it takes when they are read
    ranges = ranges_of(metadata)  # a file of 0.1 does not say them: then its own data do
    ranges = None if not ranges and place_of(name) == place_of(metadata["data"]) else ranges
    dataset = load_dataset(name, image_size=side if name.partition(":")[0] in RESIZABLE else None, ranges=ranges)
    if kept and (name == metadata["data"] or dataset.num_classes != metadata["num_classes"]):
        dataset = keep_classes(dataset, kept)
    check_trained_on(chosen.run_folder, metadata, dataset, model)
    say_if_changed(chosen.run_folder, metadata, dataset)
    return dataset


def labelled_pictures(chosen, metadata):
    """A folder of labelled pictures that is not divided into parts, as an ImageDataset of this one part alone.

    None where --data names other data, or those that the run was trained on: they are divided as they were then.
    """
    kind, _, path = (chosen.data or "").partition(":")
    if kind != "folder" or "classes" not in metadata or place_of(chosen.data) == place_of(metadata["data"]):
        return None
    network = TrainedNetwork(chosen.run_folder)
    known = Network(chosen.run_folder, network.classes, network.side, network.ranges)
    split = load_labelled(Path(path).expanduser(), known, chosen.split, data_root() / "decoded")
    own = network.preprocessing
    return split and ImageDataset(chosen.data, network.classes, own.mean, own.std, split, split, split, checksum="")
