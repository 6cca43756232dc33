"""Decoded pictures in one file, for more of them than memory holds: made once, checked, and gone on with."""

import errno
import hashlib
import json
import os
import shutil
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from tqdm import tqdm

from deit_edu.data.decode import Decoded, decode_picture, in_threads, resize_and_crop
from deit_edu.errors import DeiTEduError, counted

MEMORY_SHARE = 0.25  # of the machine's memory: decoded pictures that need more are kept on disk
CHUNK = 256  # pictures that are decoded, then written: what a kill can lose
VERSION = 2  # of what is written: another number makes all files anew


def wanted_on_disk(num_pictures, size, on_disk=None):
    """Whether pictures of size x size are kept on disk: as asked, or when they need more than a quarter of memory.

    on_disk: None is the environment variable DEIT_EDU_ON_DISK, 1 or 0; without it, their number decides.
    """
    if on_disk is None:
        asked = os.environ.get("DEIT_EDU_ON_DISK", "")
        if asked not in ("", "0", "1"):
            raise DeiTEduError(f"DEIT_EDU_ON_DISK is {asked!r}: say 1, always, or 0, never")
        on_disk = {"0": False, "1": True}.get(asked)
    return num_pictures * 3 * size**2 > MEMORY_SHARE * memory() if on_disk is None else on_disk


def memory():
    """Bytes of memory that this process may have: the machine's, or its container's."""
    try:
        whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows: nothing is known, so nothing is too much
        return float("inf")
    try:
        return min(whole, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    except (OSError, ValueError):
        return whole


class Store:
    """The pictures of one data set at one size, in a folder: pixels.u8, and what is known of each in pictures.jsonl.

    The folder's name follows from every file's name, length and time, from what they are labelled and from the ranges
    of deep greys: whatever changes, another folder is begun. It can be deleted at any time.

    Args:
        root: where such folders lie. paths: of all pictures. size: S, pixels. labels: of the pictures, anything that
            str() writes out. ranges: as for `decode_picture`.
    """

    def __init__(self, root, paths, size, labels, ranges):
        digest = hashlib.sha256(f"{VERSION} {size} {labels} {sorted(ranges.items())}".encode())
        for path in paths:
            there = os.stat(path) if os.path.exists(path) else None
            digest.update(os.fsencode(path) + (f" {there.st_size} {there.st_mtime_ns}\n" if there else "\n").encode())
        self.folder = Path(root) / digest.hexdigest()[:16]
        self.paths, self.shape, self.ranges = paths, (3, size, size), ranges
        self.pixels, self.pictures = self.folder / "pixels.u8", self.folder / "pictures.jsonl"
        self.done, self.summary = self.folder / "done.json", self.folder / "summary.json"

    def open(self):
        """Decode what is not there yet: (images (n, 3, S, S) uint8 on disk, of those that are sound; [Decoded])."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with locked(self.folder / "lock"):
                if self.can_read_more():
                    self.pixels.unlink(missing_ok=True)  # a new file: another process may look into this one
                    self.pictures.unlink()
                if not self.is_whole():
                    self.decode()
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise self.no_room(error.strerror) from None
            raise
        known = self.read_pictures()
        rows = sum(not picture.why for picture in known)
        # Private pages: what somebody writes into them by accident never reaches the file.
        images = np.memmap(self.pixels, np.uint8, "c", shape=(rows, *self.shape)) if rows else None
        return images, known

    def can_read_more(self):
        """Whether a picture that the disk did not give, and no fault of its own kept out, can be read now."""
        tried = [path for path, one in zip(self.paths, self.read_pictures(), strict=False) if one.passing]
        return any(not decode_picture(path, lambda image: image, self.ranges).passing for path in tried)

    def is_whole(self):
        """Whether all is there as it was finished; a file that was touched since is read through once."""
        try:
            done, there = json.loads(self.done.read_text()), self.pixels.stat()
            if there.st_size != done["bytes"] or len(self.read_pictures()) != len(self.paths):
                return False
            if there.st_mtime_ns != done["mtime_ns"]:
                if file_sha256(self.pixels) != done["sha256"]:
                    self.pictures.unlink()
                    return False
                self.finish(done["sha256"])
            return True
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def decode(self):
        size = self.shape[-1]
        self.done.unlink(missing_ok=True)
        self.summary.unlink(missing_ok=True)
        known = self.read_pictures()
        kept = sum(not picture.why for picture in known) * int(np.prod(self.shape))
        if (self.pixels.stat().st_size if self.pixels.exists() else 0) < kept:  # the file was cut: begin again
            known, kept = [], 0
        needed = len(self.paths) * int(np.prod(self.shape)) - kept
        free = shutil.disk_usage(self.folder).free
        if needed > free:
            raise self.no_room(f"{free / 1e9:.2f} GB are free")
        with open(self.pixels, "ab") as pixels, open(self.pictures, "ab") as pictures:
            pixels.truncate(kept)
            pictures.truncate(sum(len(line_of(picture)) for picture in known))
            bar = tqdm(total=len(self.paths), initial=len(known), desc=f"decoding to {self.folder}", disable=None)
            for first in range(len(known), len(self.paths), CHUNK):
                chunk = self.paths[first : first + CHUNK]
                decoded = in_threads(
                    lambda path: decode_picture(path, lambda image: resize_and_crop(image, size, size), self.ranges),
                    chunk,
                )
                pixels.write(b"".join(in_rgb(one.pixels).tobytes() for one in decoded if not one.why))
                pixels.flush()
                os.fsync(pixels.fileno())  # first the pixels, then the lines that speak of them
                pictures.write(b"".join(map(line_of, decoded)))
                pictures.flush()
                bar.update(len(chunk))
            bar.close()
        self.finish(file_sha256(self.pixels))

    def finish(self, sha256):
        there = self.pixels.stat()
        done = {"bytes": there.st_size, "mtime_ns": there.st_mtime_ns, "sha256": sha256}
        write_whole(self.done, json.dumps(done))

    def read_pictures(self):
        """[Decoded] without pixels, of the whole lines that are there."""
        known = []
        if self.pictures.exists():
            for line in self.pictures.read_bytes().splitlines(keepends=True):
                try:
                    size, *rest = json.loads(line)
                    picture = Decoded(None, size and tuple(size), *rest)
                except (ValueError, TypeError):
                    break
                if not line.endswith(b"\n"):
                    break
                known.append(picture)
        return known

    def recall(self, make):
        """A dictionary that is costly to make, kept beside the pictures: one process makes it, others wait for it."""
        with locked(self.folder / "lock"):
            try:
                return json.loads(self.summary.read_text())
            except (OSError, ValueError):
                made = make()
                write_whole(self.summary, json.dumps(made))
                return made

    def no_room(self, why):
        needed = len(self.paths) * int(np.prod(self.shape)) / 1e9
        return DeiTEduError(
            f"no room in {self.folder.parent} for {counted(len(self.paths), 'picture')} at {self.shape[-1]} pixels, "
            f"{needed:.2f} GB ({why}): set DEIT_EDU_DATA to a folder on another disk, or take a smaller image_size"
        )


def line_of(decoded):
    return json.dumps(decoded[1:]).encode() + b"\n"  # all but the pixels


def in_rgb(pixels):
    """(H, W) or (H, W, 3) as (3, H, W)."""
    return np.broadcast_to(pixels, (3, *pixels.shape)) if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def write_whole(path, text):
    """A file is there whole or not at all."""
    half = path.with_suffix(f".{os.getpid()}")  # where there are no locks, two processes may write it
    half.write_text(text)
    half.replace(path)


def file_sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def locked(path):
    """One process at a time; the lock goes with the process that holds it."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
