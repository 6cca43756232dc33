"""A finished run, opened for a page: its student, its data, and its teacher where a page can run it."""

from dataclasses import dataclass

from torch import nn

from deit_edu.data.names import RESIZABLE, load_dataset
from deit_edu.data.splits import ImageDataset
from deit_edu.errors import DeiTEduError
from deit_edu.model import DeiT
from deit_edu.runs.build import check_trained_on
from deit_edu.runs.checkpoints import load_teacher
from deit_edu.runs.folders import check_same_data, data_of_run, find_run, open_run
from deit_edu.widgets.network import check_runs_here


@dataclass(frozen=True)
class OpenedRun:
    """What a page shows of a run."""

    student: DeiT
    teacher: nn.Module | None
    remark: str  # why its teacher is not asked; empty where it is, or where it had none
    data: ImageDataset
    metadata: dict  # as `deit_edu.runs.open_run` gives it


def open_for_the_page(run):
    """A run folder, or its name below runs/, opened.

    Raises:
        DeiTEduError: when there is no such run, it has not finished, its network is no DeiT of ours, or its data are
            gone or have changed.
    """
    student, metadata = open_run(str(run))
    if not isinstance(student, DeiT):
        raise DeiTEduError(f"{run} holds {metadata['name']}, and a page shows a DeiT of deit_edu: name the run of one")
    check_runs_here(student)
    data = data_of(run, metadata)
    check_trained_on(f"run {run}", metadata, data, student)
    teacher, remark = teacher_of(metadata, data)
    return OpenedRun(student, teacher, remark, data, metadata)


def data_of(run, metadata):
    """The data that a run was trained on, as they are now, its photographs at the size that it takes.

    Raises DeiTEduError when they are gone, or no longer those.
    """
    name = metadata["data"]
    side = metadata["image_size"] or metadata["image_shape"][1]
    size = side if name.partition(":")[0] in RESIZABLE else None
    data = load_dataset(name, image_size=size, classes=metadata["kept_classes"])
    check_same_data(f"run {run}", data_of_run(find_run(str(run))), data, "train it again on these")
    return data


def teacher_of(metadata, data):
    """The teacher of a run: (the network, ""), or (None, why it is not asked); (None, "") where it had none."""
    name = metadata["teacher"]
    if not name:
        return None, ""
    if name.startswith("timm:") or ("+" in name and not find_run(name).is_dir()):
        return None, f"Its teacher, {name}, is not asked: a page runs one network of deit_edu."
    try:
        path = name if ":" in name else str(find_run(name))
        teacher, seen = load_teacher(path, data.image_shape[0], data.num_classes)
        check_runs_here(teacher)
    except DeiTEduError as error:
        return None, f"Its teacher, {name}, is not asked: {error}."
    if seen.get("classes", list(data.classes)) != list(data.classes):
        return None, f"Its teacher, {name}, is not asked: it knows other classes."
    return teacher, ""
