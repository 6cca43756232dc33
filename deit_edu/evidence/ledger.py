"""The ledger: what was measured, one JSON line a record, only ever added to."""

import dataclasses
import errno
import json
import os
import sys
from contextlib import contextmanager
from pathlib import Path

import deit_edu
from deit_edu.errors import DeiTEduError
from deit_edu.train import TrainConfig


def ledger_folder():
    """Where the ledger lies: the environment variable DEIT_EDU_LEDGER, a clone's book/ledger, or ledger/ right here."""
    if folder := os.environ.get("DEIT_EDU_LEDGER"):
        return Path(folder)
    clone = Path(deit_edu.__file__).resolve().parent.parent
    return clone / "book" / "ledger" if (clone / "pyproject.toml").exists() else Path("ledger")


class Ledger:
    """Records of runs, by key: the file runs.jsonl of a folder, and the predictions kept beside it.

    Args:
        folder: where; by default `ledger_folder`.

    Raises:
        DeiTEduError: when a line that is not the last is no record. A torn last line, from a machine that stopped
            while writing, is left out with a notice.
    """

    def __init__(self, folder=None):
        self.folder = Path(folder or ledger_folder())
        self.path = self.folder / "runs.jsonl"
        self.records = {}
        data = self.path.read_bytes() if self.path.exists() else b""
        for record in parse(data[: len(data) - len(torn_tail(data))], self.path):
            if record["key"] in self.records:
                raise DeiTEduError(f"{self.path} holds two records of {record['key']}: keep the first of them")
            self.records[record["key"]] = record
        if torn_tail(data):
            print(f"{self.path}: the last line is torn and left out; the next ablate moves it aside", file=sys.stderr)

    def find(self, cell):
        """The record of a cell, or None.

        Raises:
            DeiTEduError: when the record's settings are others, because a default of TrainConfig has changed since.
        """
        record = self.records.get(cell.key)
        for name, recorded in (record or {"config": {}})["config"].items():
            now = getattr(cell.config, name, recorded)
            if name != "data" and now != recorded:
                raise DeiTEduError(
                    f"{cell}: recorded with {name} {recorded}, which is {now} now: a default of TrainConfig has "
                    f"changed; write {name} into deit_edu.evidence.regime.BASE"
                )
        return record

    def append(self, record):
        """Add one record, in one write that is on the disk when this returns. Only in `ledger_for_writing`.

        Raises:
            DeiTEduError: for a record that is there, or one that cannot be written; then the file is as it was.
        """
        if record["key"] in self.records:
            raise DeiTEduError(f"{record['key']} is in {self.path} already")
        with open(self.path, "ab", buffering=0) as file:
            before = file.tell()
            try:
                line = json.dumps(record).encode() + b"\n"
                if file.write(line) < len(line):  # what is left of a full disk takes a part
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(file.fileno())
            except OSError as error:
                file.truncate(before)
                raise DeiTEduError(
                    f"could not write {self.path}: {error.strerror}; free some space, and the same command goes on"
                ) from None
        self.records[record["key"]] = record

    def predictions(self, key):
        """Where the test predictions of a run are kept, if they are."""
        return self.folder / "predictions" / f"{key}.safetensors"


@contextmanager
def ledger_for_writing(folder=None):
    """The ledger, while this process alone writes to it; a torn last line is moved to runs.jsonl.torn first.

    Raises:
        DeiTEduError: when another process is writing. The lock goes with its process, however that ends.
    """
    try:
        import fcntl
    except ImportError:
        raise DeiTEduError("deit-edu ablate needs Linux or macOS; on Windows, run it in WSL") from None
    path = Path(folder or ledger_folder()) / "runs.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "ab+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DeiTEduError(f"another deit-edu ablate is writing {path}: let it end, or stop it") from None
        file.seek(0)
        data = file.read()
        if tail := torn_tail(data):
            aside = path.with_name("runs.jsonl.torn")
            with open(aside, "ab") as torn:
                torn.write(tail + b"\n")
            file.truncate(len(data) - len(tail))
            print(f"{path}: moved a torn last line to {aside}", file=sys.stderr)
        yield Ledger(folder)


def torn_tail(data):
    """What stands after the last line's end: the beginning of a record whose writing was cut off."""
    return data[data.rfind(b"\n") + 1 :]


def parse(data, path):
    """Records of whole lines, each with its length."""
    records = []
    for number, line in enumerate(data.splitlines(), 1):
        try:
            record = json.loads(line)
            if not all(
                isinstance(record[name], kind) for name, kind in (("key", str), ("config", dict), ("data", dict))
            ):
                raise TypeError
            records.append(with_length(record))
        except (ValueError, KeyError, TypeError):
            raise DeiTEduError(f"{path}, line {number} is no record: restore the file with git") from None
    return records


def with_length(record):
    """A record with its epochs among its first fields, for two runs of one name and two lengths are no pair.

    Records written before there was the field get it here, from their own config, which is what was trained: the file
    is only ever added to, and a script that rewrites it would leave nobody able to tell a record from a correction.

    Raises:
        ValueError: when the record says another length than its config.
    """
    trained = record["config"].get("epochs")
    if record.get("epochs", trained) != trained:
        raise ValueError
    return record if trained is None else {**named(record), "epochs": trained, **record}


def named(record):
    """Which run a record is of: what stands before its length."""
    return {name: record[name] for name in ("key", "experiment", "configuration", "seed") if name in record}


def settings_of(record):
    """What makes a configuration: its settings without its seed and the runs it learned from or began as.

    Runs under one name whose settings have changed since are two configurations.
    """
    settings = dataclasses.asdict(TrainConfig()) | record["config"]  # the oldest records lack settings that came later
    return {name: value for name, value in settings.items() if name not in ("seed", "teacher", "initial")}
