"""What lies in a folder: its picture files, and everything else with the reason why it is not read."""

import os
from typing import NamedTuple

from deit_edu.data.decode import suffixes
from deit_edu.errors import counted

# Endings of what lies beside pictures and is none: named in the report, no reason for a warning.
BESIDE = (
    ".txt", ".md", ".rst", ".json", ".jsonl", ".csv", ".tsv", ".xml", ".yaml", ".yml", ".toml", ".html", ".htm",
    ".pdf", ".py", ".ipynb", ".sh", ".db", ".ini", ".log", ".cfg", ".sha256", ".md5", ".url", ".lnk",
)  # fmt: skip
BESIDE_NAMES = ("readme", "license", "licence", "copying", "makefile", "thumbs", "desktop", "classes", "icon\r")
NEEDS = {ending: "pip install pillow-heif" for ending in (".heic", ".heif", ".hif")} | {
    ".avif": "pip install -U pillow, 11.3 or later"
}


class LeftOut(NamedTuple):
    """Something in the folder that is not read."""

    path: str
    why: str
    loud: bool = True  # there may be a picture in it: load_dataset warns; else only the report tells


class Tree(NamedTuple):
    """All of a folder, its own name taken off."""

    files: list[tuple[str, ...]]  # names on the way to each picture file, sorted
    folders: list[tuple[str, ...]]  # to each folder that was looked into, sorted
    left_out: list[LeftOut]
    tables: list[str]  # *.csv and *.tsv right in the folder, sorted


def printable(name):
    """A file's name as a line of text: bytes that are no text, and line ends, are written as \\xff and \\n."""
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


def walk(folder):
    """Look into a folder and all below it, in the order of their names: a `Tree`.

    Names that begin with a dot are hidden, folders that begin with an underscore are put aside by whoever called
    them so: neither is read. Links to folders are followed, but never round in a circle.
    """
    tree = Tree([], [], [], [])
    _walk(str(folder), (), tree, {os.path.realpath(folder)})
    tree.files.sort(key=lambda names: os.path.join(*names))  # as paths are sorted
    return tree


def _walk(folder, names, tree, above):
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        tree.left_out.append(LeftOut(folder, f"cannot be opened: {error.strerror}"))
        return
    for entry in entries:
        here = (*names, entry.name)
        if answers(entry.is_dir):
            real = os.path.realpath(entry.path)
            if real in above:
                tree.left_out.append(LeftOut(entry.path, "a link to a folder above it"))
            elif entry.name[0] in "._":
                count = count_pictures(entry.path)
                why = f"a folder whose name begins with {entry.name[0]}"
                inside = f", with {counted(count, 'picture')}" if count else ""
                tree.left_out.append(LeftOut(entry.path, why + inside, loud=count > 0))
            else:
                tree.folders.append(here)
                _walk(entry.path, here, tree, above | {real})
        elif why := why_not(entry):
            tree.left_out.append(why)
            if len(here) == 1 and is_table(entry):
                tree.tables.append(entry.name)
        else:
            tree.files.append(here)


def answers(asked):
    """What a directory entry says of itself; a link to itself, which the system cannot follow, is nothing."""
    try:
        return asked()
    except OSError:
        return False


def is_table(entry):
    """Whether a directory entry is a file of rows."""
    return entry.name.lower().endswith((".csv", ".tsv")) and entry.name[0] not in "._" and answers(entry.is_file)


def why_not(entry):
    """A `LeftOut` for a directory entry that is no picture file; None for one that is, by its ending."""
    name = entry.name.lower()
    stem, ending = os.path.splitext(name)
    if name[0] == ".":
        return LeftOut(entry.path, "hidden", loud=False)
    if not answers(entry.is_file):
        return LeftOut(entry.path, "a link to nothing" if entry.is_symlink() else "no file")
    if ending in suffixes():
        return None
    if ending in NEEDS:
        return LeftOut(entry.path, f"{ending} needs a package: {NEEDS[ending]}")
    if ending in BESIDE or stem.startswith(BESIDE_NAMES):
        return LeftOut(entry.path, f"{printable(ending) or 'no ending'}, no picture", loud=False)
    return LeftOut(entry.path, f"{printable(ending)} is not read" if ending else "a name without an ending")


def count_pictures(folder):
    names = [name for _, _, files in os.walk(folder) for name in files]
    return sum(name.lower().endswith(suffixes()) and name[0] != "." for name in names)
