"""Run folders: where they lie, what they are called, what is read back from them.

`deit_edu.runs.train` writes them and says what they hold.
"""

import dataclasses
import json
import os
from contextlib import contextmanager, suppress
from pathlib import Path

import deit_edu
from deit_edu.errors import DeiTEduError
from deit_edu.runs.checkpoints import is_packaged, load, load_network, packaged_path


def runs_root():
    """Where run folders lie: the environment variable DEIT_EDU_RUNS, a clone's runs/, or runs/ right here."""
    if folder := os.environ.get("DEIT_EDU_RUNS"):
        return Path(folder)
    clone = Path(deit_edu.__file__).resolve().parent.parent
    return (clone if (clone / "pyproject.toml").exists() else Path()) / "runs"


def find_run(name):
    """The folder of a run, given as a path or as a name under `runs_root`."""
    folder = Path(name)
    return folder if folder.is_dir() else runs_root() / name


def run_name(config):
    """What a run's folder is called, unless the reader says otherwise: data, model, what it learns from, seed."""
    sees = [f"{config.image_size}px"] if config.image_size else []
    sees += [f"classes{config.classes.replace(',', '_')}"] if config.classes else []
    sees += [f"{config.train_images}images"] if config.train_images else []
    sees += [] if config.redraw else ["fixed"]
    start = ["tuned"] if config.initial else []
    learns_from = [] if config.distillation == "none" else [config.distillation]
    tokens = [config.tokens] if config.tokens != "class" else []
    parts = [config.data, config.model, *sees, *learns_from, *tokens, *start, f"seed{config.seed}"]
    return "-".join(parts).replace(":", "-").replace("/", "-")


def read_json(path, remedy="delete the folder and train again"):
    """The dictionary in a json file of a run folder. Raises DeiTEduError when it is missing or damaged."""
    try:
        if isinstance(found := json.loads(path.read_text()), dict):
            return found
    except FileNotFoundError:
        raise DeiTEduError(f"{path.parent} has no {path.name}: name the folder of a run that has finished") from None
    except (OSError, ValueError):
        pass
    raise DeiTEduError(f"{path} is damaged: {remedy}")


def json_bytes(value, indent=1):
    return (json.dumps(value, indent=indent) + "\n").encode()


def check_folder(folder, config, resume):
    """Refuse a folder that holds another run, this one without `resume`, or a network that is no run of ours.

    One that holds the config.json of a run without a whole epoch is free; a run of no epochs may have been cut off
    when its network was written already.
    """
    if not any((folder / name).exists() for name in ("resume.safetensors", "result.json")):
        begun, network = folder / "config.json", folder / "model.safetensors"
        epochs = read_json(begun).get("epochs") if begun.exists() else None
        if (begun.exists() and epochs is None) or (network.exists() and epochs != 0):
            raise DeiTEduError(f"{folder} holds files that deit-edu did not write there: choose another --out")
        return
    if not resume:
        raise DeiTEduError(f"{folder} holds a run already: go on with --resume, choose another --out, or delete it")
    stored, given = (json.loads(json_bytes(dataclasses.asdict(one))) for one in (type(config)(), config))
    stored |= read_json(folder / "config.json")  # a folder from before a setting was added ran with its default
    where = ("device", "compile")  # it may go on elsewhere
    where += ("accumulate",) if config.model.startswith("deit_") else ()  # in others batch norms see the parts
    differs = [name for name in given if name not in where and stored[name] != given[name]]
    if differs:
        was = ", ".join(f"{name}={stored[name]}" for name in differs)
        now = ", ".join(f"{name}={given[name]}" for name in differs)
        raise DeiTEduError(f"{folder} was begun with {was}, not {now}: choose another --out, or delete the folder")


def data_of_run(folder):
    """What a run was trained on, by its record or the file of an unfinished one; None where nobody wrote it down.

    Returns {"name": what the reader typed, "checksum": , and "image_shape": [C, H, W] where it is known}.
    """
    for name in ("model.safetensors", "resume.safetensors"):
        if (folder / name).exists():
            metadata = load(folder / name)[1]
            seen = {"name": metadata.get("data"), "checksum": metadata.get("checksum")}
            seen |= {"image_shape": metadata["image_shape"]} if "image_shape" in metadata else {}
            if seen["checksum"]:
                return seen
            if (folder / "result.json").exists() and "data" in (record := read_json(folder / "result.json")):
                return seen | record["data"]
    return None


def check_same_data(what, seen, dataset, remedy):
    """Refuse to reuse what other data made, whatever they are called: another checksum is other data.

    Args:
        what: a teacher or a run, in words. seen: from `data_of_run`. dataset: an ImageDataset. remedy: what to do.
    """
    if seen is not None and seen["checksum"] != dataset.checksum:
        raise DeiTEduError(
            f"{what} was trained on {seen['name']} with checksum {seen['checksum'][:12]}, but {dataset.name} is "
            f"{dataset.checksum[:12]} now: other pictures or other labels; {remedy}"
        )


def is_trained(folder):
    """Whether a run has finished in a folder. Raises DeiTEduError when only its record is left."""
    if not (folder / "result.json").exists():
        return False
    if not (folder / "model.safetensors").exists():
        raise DeiTEduError(f"{folder} has a record, but its network is gone: delete the folder and train it again")
    return True


@contextmanager
def held(folder):
    """A run folder, made where it is missing, while this process alone trains in it; left empty, it goes again.

    The lock goes with its process, however that ends; where the system has no such locks (Windows, some network
    drives) nothing is held.

    Raises:
        DeiTEduError: when the folder cannot be made, or another process trains in it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DeiTEduError(f"could not make {folder}: {error.strerror}; choose another folder") from None
    handle = None
    try:
        import fcntl

        handle = os.open(folder, os.O_RDONLY)
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise DeiTEduError(f"another process is training in {folder}: let it end, or choose another --out") from None
    except (ImportError, OSError):
        pass
    try:
        yield
    finally:
        with suppress(OSError):
            folder.rmdir()  # only where it is empty
        if handle is not None:
            os.close(handle)


def open_run(name):
    """The network of a run folder or of packaged:NAME, and its metadata with what it was trained on and by whom.

    Raises:
        DeiTEduError: when there is no such run, or it has not finished.
    """
    if is_packaged(name):
        return load_network(packaged_path(name))
    folder = find_run(name)
    if not (folder / "config.json").exists():
        known = ", ".join(sorted(path.parent.name for path in runs_root().glob("*/result.json")))
        raise DeiTEduError(f"no run {name}: give a run folder" + (f", or one of {known}" if known else ""))
    if not (folder / "model.safetensors").exists() and not is_trained(folder):
        raise DeiTEduError(f"{name} has not finished: deit-edu train --out {folder} --resume goes on with it")
    config = read_json(folder / "config.json")
    model, metadata = load_network(folder / "model.safetensors")
    trained = {"data": config["data"], "teacher": config["teacher"], "kept_classes": config.get("classes", "")}
    return model, metadata | trained | {"image_size": config.get("image_size") or None}
