"""Which picture in a folder belongs to which class and part: the layouts that people have."""

import os
import unicodedata
from collections import Counter
from pathlib import Path

import torch

from deit_edu.data.found import Found, Listing
from deit_edu.data.labels import PARTS, part_of, read_table
from deit_edu.data.walk import LeftOut, is_table, printable, walk
from deit_edu.errors import DeiTEduError, counted

LAYOUTS = "CLASS/*.jpg, train/CLASS/*.jpg (with val, valid, validation, dev or test), or labels.csv"


def find(path, only_parts=False):
    """Look at a folder of pictures and say how it is read: a `Found` whose parts are those that lie there.

    The first of these that is there decides:
      1. path/labels.csv or labels.tsv: a table (`read_table`);
      2. path/train/CLASS/*, with any of val, valid, validation, dev and test beside it;
      3. another *.csv or *.tsv, a single one, that names picture files, or one for each part, as train.csv;
      4. path/CLASS/train/*, the second the other way round;
      5. path/CLASS/*, one part, called "train" until it is cut.
    Pictures in folders inside of a class belong to it. If all lies in one folder more, that is looked into.

    only_parts: take 2 alone. Raises DeiTEduError for a folder that holds none of them.
    """
    path = Path(path)
    if not path.is_dir():
        what = f"{printable(path)} is a file" if path.is_file() else f"there is no folder {printable(path)}"
        raise DeiTEduError(f"{what}: expected {printable(path)}/{LAYOUTS}")
    tree = walk(path)
    found = Found(str(path), left_out=tree.left_out)
    while wrapped(path, tree):
        inside = tree.folders[0][0]
        path /= inside
        tree = tree._replace(
            files=[names[1:] for names in tree.files],
            folders=[names[1:] for names in tree.folders if len(names) > 1],
            tables=walk_tables(path),
        )
        found.understood.append(f"all lies in {printable(inside)}/")
    tables = {} if only_parts else {os.path.splitext(name)[0].lower(): name for name in reversed(tree.tables)}
    others = list(tables.values()) if len(tables) == 1 else [tables[stem] for stem in tables if part_of(stem)]
    if "labels" in tables:
        if not from_tables(found, path, [tables["labels"]], tree):
            raise DeiTEduError(
                f"{printable(path / tables['labels'])} has no column that names the pictures here and one of labels: "
                f"expected a first line like filename,label"
            )
    elif any(part_of(names[0]) == "train" and len(names) > 2 for names in tree.files):
        from_parts(found, path, tree)
    elif only_parts:
        raise DeiTEduError(f"{printable(path)} has no folder train/: data_scripts/prepare_imagenet.py makes it")
    elif others and from_tables(found, path, others, tree):
        pass
    elif parts_inside_classes(tree):
        turned = tree._replace(
            files=sorted((names[1], names[0], *names[2:]) for names in tree.files),
            folders=[(names[1], names[0], *names[2:]) for names in tree.folders if len(names) > 1],
        )
        from_parts(found, path, turned, lambda names: (names[1], names[0], *names[2:]))
    else:
        from_classes(found, path, tree)
    return found


def wrapped(path, tree):
    """Whether all lies in one folder that is neither a part nor a class: with folders, or a table, right in it."""
    tops = {names[0] for names in tree.folders}
    if len(tops) != 1 or part_of(*tops) or tree.tables or not tree.files or min(map(len, tree.files)) < 2:
        return False
    return min(map(len, tree.files)) > 2 or bool(walk_tables(path.joinpath(*tops)))


def parts_inside_classes(tree):
    """Whether it is CLASS/train/*, and CLASS/test/* and the like, and nothing else."""
    inside = {part_of(names[1]) if len(names) > 2 and not part_of(names[0]) else None for names in tree.files}
    return "train" in inside and None not in inside


def walk_tables(path):
    return sorted(entry.name for entry in os.scandir(path) if is_table(entry))


# ---- the layouts ----


def from_parts(found, path, tree, real=lambda names: names):
    """path/PART/CLASS/*. real: from the names on the way to a file to those on the disk."""
    called = {}
    for name in sorted({names[0] for names in tree.folders}):
        called.setdefault(part_of(name), []).append(name)
    for name in called.pop(None, []):
        count = sum(names[0] == name for names in tree.files)
        why = f"a folder that is no part, with {counted(count, 'picture')}"
        found.left_out.append(LeftOut(str(path / name), why, count > 0))
    rows, classes = [], {}  # classes: of each part, also those of empty folders
    for names in tree.folders:
        if len(names) == 2 and part_of(names[0]):
            classes.setdefault(part_of(names[0]), set()).add(one_form(names[1]))
    for names in tree.files:
        part = part_of(names[0])
        if len(names) < 3:
            if len(names) == 1 or part in classes:
                found.left_out.append(LeftOut(str(path.joinpath(*real(names))), "beside the class folders, in none"))
        elif part:
            rows.append((part, one_form(names[1]), path.joinpath(*real(names))))
    unknown = {name for _, name, _ in rows} - classes["train"]
    if unknown:
        first = next(part for part, name, _ in rows if name in unknown)
        raise DeiTEduError(
            f"{printable(path / called[first][0])} has classes that {called['train'][0]}/ has not: "
            f"{', '.join(sorted(map(printable, unknown)))}"
        )
    for part in [part for part in called if part not in classes]:  # as a test without labels
        for name in called.pop(part):
            found.left_out.append(LeftOut(str(path / name), "a part without class folders"))
    for part, folders in called.items():
        if not any(row[0] == part for row in rows):
            raise DeiTEduError(f"{printable(path / folders[0])} has no images: expected {folders[0]}/CLASS/*.jpg")
    folders = ", ".join(f"{name}/" for names in called.values() for name in names)
    found.understood.append(f"the parts are the folders {folders}")
    fill(found, rows, {name for names in classes.values() for name in names})


def from_classes(found, path, tree):
    """path/CLASS/*, one part."""
    stray = [names for names in tree.files if len(names) == 1]
    found.left_out += [LeftOut(str(path.joinpath(*names)), "beside the class folders, in none") for names in stray]
    rows = [("train", one_form(names[0]), path.joinpath(*names)) for names in tree.files if len(names) > 1]
    tops = sorted({names[0] for names in tree.folders})
    parts = [name for name in tops if part_of(name)]
    if "train" in map(part_of, parts) and len(parts) == len(tops):
        train = path / next(name for name in parts if part_of(name) == "train")
        raise DeiTEduError(f"{printable(train)} has no class folders: expected {printable(train)}/CLASS/*.jpg")
    if parts and (len(parts) == len(tops) or any(len(names) > 2 and names[0] in parts for names in tree.files)):
        raise DeiTEduError(
            f"{printable(path)} has {parts[0]}/, but no folder train/: expected {printable(path)}/train/CLASS/*.jpg"
        )
    if not rows:
        read = f"; {found.left_out[0].why}: {printable(found.left_out[0].path)}" if found.left_out else ""
        raise DeiTEduError(f"{printable(path)} has no class folders with pictures: expected {LAYOUTS}{read}")
    found.undivided = True
    found.understood.append("each folder is a class")
    fill(found, rows, {one_form(name) for name in tops})


def from_tables(found, path, tables, tree):
    """A table in path, or one for each part; False if they are about something else."""
    rows, read, about = [], {}, []
    for name in tables:
        table = read_table(path / name, tree.files)
        if table is None or not table.rows:
            continue
        names, labels, parts = table.columns
        default = part_of(os.path.splitext(name)[0]) if len(tables) > 1 else "train"
        by_folder = not parts and len(tables) == 1 and "train" in {part_of(file[0]) for file in table.rows}
        found.undivided = not parts and len(tables) == 1 and not by_folder
        for file, (label, part) in table.rows.items():
            part = part if parts else file[0] if by_folder else default
            if part_of(part) is None:
                where = f"{parts} {part!r}" if parts else f"the folder {part!r}"
                raise DeiTEduError(
                    f"{printable(path / name)}: {printable('/'.join(file))} has {where}: "
                    f"expected one of {', '.join(PARTS)}"
                )
            rows.append((part_of(part), one_form(label), path.joinpath(*file)))
        read |= dict.fromkeys(table.rows, name) | dict.fromkeys(table.refused, name)
        about += table.left_out
        columns = f"names from {names!r}, labels from {labels!r}" + (f", parts from {parts!r}" if parts else "")
        found.understood.append(f"{printable(name)} names the pictures: {columns}")
        found.left_out[:] = [out for out in found.left_out if out.path != str(path / name)]
    twice = {place for place, count in Counter(place for _, _, place in rows).items() if count > 1}
    about += [LeftOut(str(place), f"named in two of {', '.join(tables)}") for place in sorted(twice)]
    rows = [row for row in rows if row[2] not in twice]
    if not rows:
        return False
    if "train" not in {part for part, _, _ in rows}:
        raise DeiTEduError(f"{printable(path / tables[0])} names no picture for training")
    found.left_out += about
    for file in tree.files:
        if file not in read:
            found.left_out.append(LeftOut(str(path.joinpath(*file)), f"not named in {' or '.join(tables)}"))
    fill(found, sorted(rows, key=lambda row: str(row[2])), set())
    return True


def fill(found, rows, folders):
    """Number the classes and list each part's files, class by class. rows: (part, class, path), sorted by path."""
    names = {name for _, name, _ in rows}
    for name in sorted(folders - names):
        found.left_out.append(LeftOut(os.path.join(found.path, name), "an empty class: a folder without pictures"))
    ordered = sorted(names, key=int) if all(is_number(name) for name in names) and not folders else sorted(names)
    label = {name: number for number, name in enumerate(ordered)}
    found.classes = tuple(map(printable, ordered))
    for part in ("train", "validation", "test"):
        of_part = [row for row in rows if row[0] == part]
        of_part.sort(key=lambda row: label[row[1]])  # and by path within a class: sorting is stable
        if of_part:
            paths, labels = [str(row[2]) for row in of_part], [label[row[1]] for row in of_part]
            found.parts[part] = Listing(paths, torch.tensor(labels))


def is_number(name):
    return name.isascii() and name.isdecimal() and str(int(name)) == name


def one_form(name):
    """One spelling for names that look alike: é is one sign or two, as the system that wrote it likes."""
    return unicodedata.normalize("NFC", name)
