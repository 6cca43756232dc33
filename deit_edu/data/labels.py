"""A table of file names and labels beside the pictures: PATH/labels.csv, or another single *.csv or *.tsv."""

import csv
import io
import os
from collections import defaultdict
from typing import NamedTuple

from deit_edu.data.walk import LeftOut, printable
from deit_edu.errors import DeiTEduError

LABEL_COLUMNS = ("label", "labels", "class", "classes", "class_name", "classname", "category", "target", "y", "species")
PART_COLUMNS = ("split", "part", "set", "subset", "dataset", "data set", "data_set", "partition", "fold", "usage")
PARTS = {  # what folders and tables call the three parts
    "train": "train", "training": "train",
    "validation": "validation", "val": "validation", "valid": "validation", "dev": "validation",
    "test": "test", "testing": "test",
}  # fmt: skip


class Labelled(NamedTuple):
    """What a table says of the picture files."""

    rows: dict  # names on the way to a file -> (label as text, part as text or "")
    columns: tuple[str, str, str]  # as they are called: of names, of labels, of parts ("" if there is none)
    left_out: list[LeftOut]
    refused: set  # files that the table names, and gives no label or two


def read_table(path, files):
    """The labels of picture files in a table whose first line names its columns: a `Labelled`, or None.

    The column of names is the one that names files (whole paths below the folder, or names or stems that no two
    files share), of several the one that `names_best` says; the column of labels is called label, class, category or
    the like, or is the only other one. None if the table has no such two columns: it is about something else.

    path: of the table. files: as in a `Tree`. Raises DeiTEduError for a table that cannot be read.
    """
    rows = cells(path)
    if len(rows) < 2:
        return None
    known = names_of_files(files)
    header, body = [name.strip() for name in rows[0]], rows[1:]
    lower = [name.lower() for name in header]
    naming = [names_best(known, name, [row[column].strip() for row in body]) for column, name in enumerate(lower)]
    if not any(naming):
        return None
    names = naming.index(max(naming))
    parts = [lower.index(name) for name in PART_COLUMNS if name in lower and lower.index(name) != names]
    # A column of folds, say, has numbers and no parts.
    parts = next((column for column in parts if any(part_of(row[column]) for row in body)), None)
    others = [column for column in range(len(header)) if column not in (names, parts)]
    label = next((lower.index(name) for name in LABEL_COLUMNS if name in lower and lower.index(name) in others), None)
    if label is None and len(others) == 1:
        label = others[0]
    if label is None:
        return None
    found, left_out, refused = {}, [], set()
    said, put = defaultdict(set), defaultdict(set)  # labels and parts of each file
    for row in body:
        name, text = row[names].strip(), row[label].strip()
        file = look_up(known, name)
        where = f"{path}: {name}"
        if not file:
            shared = name in known or last_of(name) in known
            left_out.append(LeftOut(where, "a name that several files share" if shared else "named, but not there"))
        elif not text:
            refused.add(file)
            left_out.append(LeftOut(where, "a row without a label"))
        else:
            part = row[parts].strip() if parts is not None else ""
            found[file] = (text, part)
            said[file].add(text)
            put[file].add(part_of(part) or part)
    for what, texts_of in (("labels", said), ("parts", put)):
        for file in [file for file, texts in texts_of.items() if len(texts) > 1]:
            texts = ", ".join(sorted(map(printable, texts_of[file])))
            left_out.append(LeftOut(os.path.join(*file), f"two {what}: {texts}"))
            refused.add(file)
            found.pop(file, None)
    columns = (header[names], header[label], header[parts] if parts is not None else "")
    return Labelled(found, columns, left_out, refused - set(found))


def names_best(known, title, column):
    """How well a column names files, to compare with others; () for one that names none.

    Labels such as 0, 1 and 2 may be the stems of files too: a column that is called as labels are is taken last, then
    one that names fewer files, then one without endings, as the numbers that a program writes before its rows.
    """
    files = {look_up(known, name) or () for name in column} - {()}
    endings = sum(bool(os.path.splitext(name)[1]) for name in column)
    return (title not in LABEL_COLUMNS, len(files), endings) if files else ()


def part_of(name):
    return PARTS.get(name.strip().lower())


def cells(path):
    """The rows of a table as lists of text, all as long as the first; empty lines left out."""
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise DeiTEduError(f"{printable(path)} cannot be read: {error.strerror}") from None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    first = text.partition("\n")[0]
    delimiter = max("\t;,", key=first.count)
    try:
        rows = [
            row
            for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
            if any(cell.strip() for cell in row)
        ]
    except csv.Error as error:
        raise DeiTEduError(f"{printable(path)} is no table of columns with commas or tabs: {error}") from None
    width = len(rows[0]) if rows else 0
    return [(row + [""] * width)[:width] for row in rows]


def names_of_files(files):
    """How a table may call a file: its path, its name, its stem: {text: file}; () where several share a name."""
    known = {}
    for shorten in (stem_of, lambda names: names[-1], path_stem_of, "/".join):  # a later one wins
        level = {}
        for names in files:
            text = shorten(names)
            level[text] = () if text in level else names
        known |= level
    return known | {f"./{text}": names for text, names in known.items()}


def look_up(known, name):
    """The file that a table means; of a path from another machine its last name alone counts."""
    return known.get(name.replace("\\", "/")) or known.get(last_of(name))


def last_of(name):
    return name.replace("\\", "/").rsplit("/", 1)[-1]


def stem_of(names):
    return os.path.splitext(names[-1])[0]


def path_stem_of(names):
    return os.path.splitext("/".join(names))[0]
