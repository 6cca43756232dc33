"""Pictures as they lie on people's disks: what is read, as what, and that nothing is passed over silently."""

import errno
import json
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, features
from toy import CPU, SMALL_DEIT, toy_config

from deit_edu.cli import main
from deit_edu.data import balanced_order, class_counts, class_weights, decode, load_dataset, normalise, ondisk, report
from deit_edu.data.decode import decode_picture, has_heif, value_ranges
from deit_edu.data.found import cut_parts
from deit_edu.data.labelled import Network, load_labelled
from deit_edu.data.tree import find
from deit_edu.data.walk import printable, suffixes
from deit_edu.errors import DeiTEduError, counted
from deit_edu.runs import train
from deit_edu.runs.build import as_initial_sees
from deit_edu.train import batches_of_epoch

PARTS = ("train", "validation", "test")


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("DEIT_EDU_DATA", str(tmp_path_factory.mktemp("data")))
    monkeypatch.delenv("DEIT_EDU_ON_DISK", raising=False)


def picture(seed, size=(16, 16), mode="RGB"):
    noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(noise).convert(mode)


def fill(folder, count, first=0, suffix=".png", **kind):
    """count pictures, no two alike, in a folder."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(first, first + count):
        seed = [index, *os.fsencode(folder.as_posix())]
        picture(seed, **kind).save(folder / f"{index:03}{suffix}")


def loaded(path, **asked):
    """The data set and the one line that warns, or ""."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        dataset = load_dataset(f"folder:{path}", **asked)
    assert len(caught) <= 1
    line = str(caught[0].message) if caught else ""
    assert "\n" not in line
    return dataset, line


def counts(dataset):
    return [class_counts(getattr(dataset, part), dataset.num_classes).tolist() for part in PARTS]


def said_by(capsys, *arguments):
    status = main(list(map(str, arguments)))
    out, err = capsys.readouterr()
    return status, out + err


# ---- layouts ----


@pytest.mark.parametrize("validation", ["val", "valid", "validation", "dev", "Valid"])
@pytest.mark.parametrize("train", ["train", "Training"])
def test_every_name_of_a_part_is_understood(tmp_path, train, validation):
    for part, count in ((train, 5), (validation, 3), ("test", 2)):
        for name in ("cat", "dog"):
            fill(tmp_path / part / name, count)
    dataset, warned = loaded(tmp_path)
    assert counts(dataset) == [[5, 5], [3, 3], [2, 2]] and not warned


@pytest.mark.parametrize("there", [(), ("val",), ("test",), ("dev", "test"), ("valid", "validation")])
def test_parts_that_are_missing_are_cut_from_train(tmp_path, there):
    for part in ("train", *there):
        fill(tmp_path / part / "cat", 20)
        fill(tmp_path / part / "dog", 10)
    dataset, warned = loaded(tmp_path)
    got = dict(zip(PARTS, counts(dataset), strict=True))
    has_validation = any(part != "test" for part in there)
    assert got["test"] == ([20, 10] if "test" in there else [2, 1])
    expected = [40, 20] if len(there) == 2 and "test" not in there else [20, 10] if has_validation else [2, 1]
    assert got["validation"] == expected
    held_out = sum(part not in ("test",) and part in got and got[part] == [2, 1] for part in got)
    assert sum(map(sum, got.values())) == 30 * (1 + len(there)) and held_out <= 2 and not warned


def test_classes_alone_are_split_nine_to_one_to_one_and_always_alike(tmp_path):
    fill(tmp_path / "cat", 40)
    fill(tmp_path / "dog", 20)
    dataset, warned = loaded(tmp_path)
    assert counts(dataset) == [[32, 16], [4, 2], [4, 2]] and not warned
    assert dataset.checksum == loaded(tmp_path)[0].checksum
    assert dataset.found.understood[0] == "each folder is a class"


def test_a_class_may_be_called_train(tmp_path):
    for name in ("bus", "car", "train"):
        fill(tmp_path / name, 5)
    assert loaded(tmp_path)[0].classes == ("bus", "car", "train")


def test_pictures_in_folders_inside_a_class_belong_to_it(tmp_path):
    fill(tmp_path / "cat" / "2024" / "may", 6)
    fill(tmp_path / "cat", 6)
    fill(tmp_path / "dog" / "mine", 6)
    dataset, warned = loaded(tmp_path)
    assert np.sum(counts(dataset), 0).tolist() == [12, 6] and not warned


def test_parts_inside_of_classes_are_parts(tmp_path):
    for part, count in (("train", 5), ("val", 3), ("test", 2)):
        fill(tmp_path / "cat" / part, count)
        fill(tmp_path / "dog" / part, count)
    dataset, warned = loaded(tmp_path)
    assert dataset.classes == ("cat", "dog") and counts(dataset) == [[5, 5], [3, 3], [2, 2]] and not warned


def test_one_folder_around_everything_is_looked_into(tmp_path):
    fill(tmp_path / "archive" / "train" / "cat", 5)
    fill(tmp_path / "archive" / "train" / "dog", 5)
    dataset, _ = loaded(tmp_path)
    assert dataset.classes == ("cat", "dog") and "all lies in archive/" in dataset.found.understood


def test_pictures_without_labels_in_test_are_said_and_a_test_is_cut(tmp_path):
    fill(tmp_path / "train" / "cat", 20)
    fill(tmp_path / "train" / "dog", 20)
    fill(tmp_path / "test", 7)
    dataset, warned = loaded(tmp_path)
    assert counts(dataset)[2] == [2, 2] and "a part without class folders" in warned


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("filename,label", "{name}.png,{label}"),
        ("label;file", "{label};pictures/{name}.png"),
        ("id\tx\tclass", "{name}\t7\t{label}"),
        ("image_path,species", "C:\\there\\{name}.png,{label}"),
    ],
)
@pytest.mark.parametrize("table", ["labels.csv", "what.tsv"])
def test_a_table_of_names_and_labels_is_read(tmp_path, table, header, row):
    fill(tmp_path / "pictures", 21)
    lines = [row.format(name=f"{index:03}", label=("kitten", "puppy")[index % 2]) for index in range(20)]
    (tmp_path / table).write_text("\n".join([header, *lines]), encoding="utf-8-sig")
    dataset, warned = loaded(tmp_path)
    assert dataset.classes == ("kitten", "puppy") and np.sum(counts(dataset), 0).tolist() == [10, 10]
    assert f"not named in {table}" in warned and "020.png" in warned
    for path, label in zip(dataset.found.parts["train"].paths, dataset.train.labels.tolist(), strict=True):
        assert int(Path(path).stem) % 2 == label


def test_a_table_can_say_the_parts_and_its_numbers_are_ordered_as_numbers(tmp_path):
    fill(tmp_path, 24)
    part = ["train"] * 12 + ["valid"] * 6 + ["test"] * 6
    lines = [f"{index:03}.png,{(2, 10)[index % 2]},{part[index]}" for index in range(24)]
    (tmp_path / "labels.csv").write_text("\n".join(["name,y,split", *lines]))
    dataset, warned = loaded(tmp_path)
    assert dataset.classes == ("2", "10") and counts(dataset) == [[6, 6], [3, 3], [3, 3]] and not warned


def test_a_column_of_folds_is_no_column_of_parts(tmp_path):
    fill(tmp_path, 20)
    lines = [f'{index:03}.png,"a {"bc"[index % 2]}\nd",{index % 5}' for index in range(20)]
    (tmp_path / "labels.csv").write_text("\n".join(["name,label,fold", *lines]))
    dataset, warned = loaded(tmp_path)
    assert dataset.classes == ("a b\\nd", "a c\\nd") and np.sum(counts(dataset), 0).tolist() == [10, 10]
    assert not warned


def test_a_part_that_nobody_knows_is_an_error(tmp_path):
    fill(tmp_path, 3)
    lines = ["000.png,a,train", "001.png,b,train", "002.png,b,trian"]
    (tmp_path / "labels.csv").write_text("\n".join(["name,label,split", *lines]))
    with pytest.raises(DeiTEduError, match="002.png has split 'trian': expected one of train"):
        load_dataset(f"folder:{tmp_path}")


def test_a_table_for_each_part_is_read(tmp_path):
    for part in ("train", "val", "test"):
        fill(tmp_path / "images" / part, 4)
        lines = [f"images/{part}/{index:03}.png,{'ab'[index % 2]}" for index in range(4)]
        (tmp_path / f"{part}.csv").write_text("\n".join(["file,label", *lines]))
    assert counts(loaded(tmp_path)[0]) == [[2, 2]] * 3


@pytest.mark.parametrize("there", [40, 39])
@pytest.mark.parametrize("header", ["filename,label", "label,filename", "label,id", ",id,label", "row,label,file"])
def test_labels_that_look_like_names_are_not_taken_for_them(tmp_path, header, there):
    """Files 0.png to 39.png, labels 0 to 2, in one table the numbers of its rows; a file may be missing."""
    titles = header.split(",")
    for index in range(there):
        picture(index).save(tmp_path / f"{index}.png")
    lines = []
    for row, index in enumerate(np.random.default_rng(0).permutation(40)):
        cells = {"label": index % 3, "id": index if len(titles) == 2 else f"{index}.png", "": row, "row": row}
        lines.append(",".join(str(cells.get(title, f"{index}.png")) for title in titles))
    (tmp_path / "labels.csv").write_text("\n".join([header, *lines]))
    dataset, _ = loaded(tmp_path)
    assert dataset.classes == ("0", "1", "2") and sum(map(sum, counts(dataset))) == there
    for path, label in zip(dataset.found.parts["train"].paths, dataset.train.labels.tolist(), strict=True):
        assert int(Path(path).stem) % 3 == label


def test_a_file_in_two_parts_is_in_neither(tmp_path, capsys):
    fill(tmp_path, 24)
    lines = [f"{index:03}.png,{'ab'[index % 2]},{('train', 'val', 'test')[index % 3]}" for index in range(24)]
    lines += ["000.png,a,test", "001.png,b,valid"]  # val and valid are one part
    (tmp_path / "labels.csv").write_text("\n".join(["name,label,split", *lines]))
    dataset, warned = loaded(tmp_path)
    assert "left out (two parts: test, train): 1, as " in warned and "000.png" in warned and "001.png" not in warned
    assert sum(map(sum, counts(dataset))) == 23


def test_a_file_in_two_tables_is_in_no_part(tmp_path):
    fill(tmp_path, 20)
    for part, numbers in (("train", range(11)), ("test", range(10, 20))):
        lines = [f"{index:03}.png,{'ab'[index % 2]}" for index in numbers]
        (tmp_path / f"{part}.csv").write_text("\n".join(["file,label", *lines]))
    dataset, warned = loaded(tmp_path)
    assert re.search("named in two of t[a-z.]*csv, t[a-z.]*csv[)]: 1, as .*010.png", warned)
    assert sum(map(sum, counts(dataset))) == 19


def test_rows_of_a_table_that_cannot_be_used_are_said(tmp_path, capsys):
    fill(tmp_path, 20)
    lines = [f"{index:03}.png,{'ab'[index % 2]}" for index in range(20)]
    lines += ["gone.png,a", "000.png,b", "001.png,"]
    (tmp_path / "labels.csv").write_text("\n".join(["name,label", *lines]))
    dataset, warned = loaded(tmp_path)
    assert sum(map(sum, counts(dataset))) == 19
    for why in ("named, but not there", "two labels: a, b", "a row without a label"):
        assert why in warned
    assert all(name in said_by(capsys, "data", f"folder:{tmp_path}")[1] for name in ("gone.png", "000.png", "001.png"))


def test_a_table_about_something_else_leaves_the_folders_their_say(tmp_path):
    fill(tmp_path / "cat", 5)
    fill(tmp_path / "dog", 5)
    (tmp_path / "prices.csv").write_text("day,price\n1,2\n")
    assert loaded(tmp_path)[0].classes == ("cat", "dog")


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda path: fill(path, 3), "no class folders with pictures"),
        (lambda path: (path / "cat").mkdir(), "no class folders with pictures"),
        (lambda path: fill(path / "test" / "cat", 3), "but no folder train/"),
        (lambda path: (path / "labels.csv").write_text("a,b\n1,2\n"), "no column that names the pictures"),
        (lambda path: fill(path / "cat", 1), "too few images of each class"),
    ],
)
def test_a_folder_that_cannot_be_read_gives_one_line(tmp_path, capsys, make, expected):
    make(tmp_path)
    status, said = said_by(capsys, "data", f"folder:{tmp_path}")
    assert status == 2 and said.count("\n") == 1 and expected in said


# ---- nothing is passed over ----


def sound(path):
    for name in ("cat", "dog"):
        fill(path / "train" / name, 10)
        fill(path / "test" / name, 4)


def write(path, data=b"?"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


LEFT_OUT = {
    "an ending": (lambda path: write(path / "train/cat/a.cr2"), ".cr2 is not read", "a.cr2"),
    "no ending": (lambda path: write(path / "train/cat/IMG_1"), "a name without an ending", "IMG_1"),
    "another folder": (lambda path: fill(path / "extra/cat", 2), "no part, with 2 pictures", "extra"),
    "an underscored class": (lambda path: fill(path / "train/_old", 2), "begins with _, with 2 pictures", "_old"),
    "a hidden class": (lambda path: fill(path / "train/.old", 1), "begins with ., with 1 picture", ".old"),
    "an empty class": (lambda path: (path / "train/horse").mkdir(), "an empty class", "horse"),
    "a picture beside classes": (lambda path: fill(path / "train", 1), "beside the class folders", "000.png"),
    "a picture beside parts": (lambda path: fill(path, 1), "beside the class folders", "000.png"),
    "a link to nothing": (
        lambda path: (path / "train/cat/gone.png").symlink_to("/nowhere/gone.png"), "a link to nothing", "gone.png",
    ),
    "a link to itself": (
        lambda path: (path / "train/cat/loop").symlink_to("loop"), "a link to nothing", "loop",
    ),
    "a link to itself beside the parts": (lambda path: (path / "loop").symlink_to("loop"), "a link to nothing", "loop"),
    "a table that is a link to itself": (
        lambda path: (path / "labels.csv").symlink_to("labels.csv"), "a link to nothing", "labels.csv",
    ),
    "one picture in another folder": (lambda path: fill(path / "extra/cat", 1), "no part, with 1 picture", "extra"),
    "a circle": (lambda path: (path / "train/cat/again").symlink_to(path), "a link to a folder above it", "again"),
    "a class of the test alone": (
        lambda path: [(path / "train/horse").mkdir(), fill(path / "test/horse", 2)], "no training picture of horse",
        "horse",
    ),
    "a picture in two parts": (
        lambda path: shutil.copy(path / "train/cat/000.png", path / "test/cat/copy.png"), "in two parts", "copy.png",
    ),
    "a picture in two classes": (
        lambda path: shutil.copy(path / "train/cat/000.png", path / "train/dog/copy.png"), "in two classes", "copy.png",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", LEFT_OUT)
def test_what_is_left_out_is_said_with_an_example(tmp_path, capsys, kind):
    make, why, name = LEFT_OUT[kind]
    sound(tmp_path)
    assert not loaded(tmp_path)[1]
    make(tmp_path)
    _, warned = loaded(tmp_path)
    assert why in warned and name in warned
    status, said = said_by(capsys, "data", f"folder:{tmp_path}")
    assert status == 0 and why in said and name in said
    assert not re.search(r"\b1 (pictures|images|files|classes)", warned + said)


def test_only_what_may_be_a_picture_warns_but_the_report_names_all(tmp_path, capsys):
    sound(tmp_path)
    for name in ("notes.txt", ".DS_Store", "Thumbs.db", "README"):
        write(tmp_path / "train/cat" / name)
    assert not loaded(tmp_path)[1]
    _, said = said_by(capsys, "data", f"folder:{tmp_path}")
    assert all(name in said for name in ("notes.txt", ".DS_Store", "Thumbs.db", "README"))


def cut(path, length):
    path.write_bytes(path.read_bytes()[:length])


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".gif", ".bmp", ".webp", ".tif", ".ppm"])
@pytest.mark.parametrize("length", [0, 3, 20, 30, 60])
def test_a_cut_off_head_is_named_even_as_the_first_of_its_class(tmp_path, suffix, length):
    sound(tmp_path)
    bad = tmp_path / f"train/cat/!{suffix}"
    picture(0).save(bad)
    cut(bad, length)
    dataset, warned = loaded(tmp_path)
    assert warned.startswith("1 of 29 images cannot be decoded") and str(bad) in warned
    assert dataset.image_shape == (3, 16, 16)


def test_a_class_whose_pictures_are_all_damaged_is_said(tmp_path):
    sound(tmp_path)
    for path in (tmp_path / "train/dog").iterdir():
        cut(path, 20)
    fill(tmp_path / "validation/cat", 2)
    _, warned = loaded(tmp_path)
    assert warned.startswith("10 of 30 images") and "no training picture of dog" in warned


def test_the_report_counts_sizes_classes_and_copies(tmp_path, capsys):
    for name, count in (("cat", 30), ("dog", 10)):
        fill(tmp_path / name, count, size=(20, 30))
    shutil.copy(tmp_path / "cat/000.png", tmp_path / "cat/copy.png")
    fill(tmp_path / "dog", 1, first=50, size=(50, 10))
    sheet = tmp_path / "out" / "sheet.png"
    status, said = said_by(capsys, "data", f"folder:{tmp_path}", "--sheet", sheet)
    assert status == 0
    assert "20x10 to 50x30, 2 different, 20x30 most often (41)" in said and "brought to 64x64" in said
    assert "copies     1 of pictures" in said and "uneven: always saying cat is right on" in said
    with Image.open(sheet) as image:
        assert len(image.convert("RGB").getcolors(10**6)) > 100


def test_without_an_option_the_sheet_lies_with_the_data(tmp_path, capsys):
    sound(tmp_path)
    _, said = said_by(capsys, "data", f"folder:{tmp_path}")
    sheet = Path(said.split("to look at ")[1].strip())
    assert sheet.exists() and sheet.is_relative_to(os.environ["DEIT_EDU_DATA"])


def test_names_in_any_script_and_any_bytes_are_read_and_printed(tmp_path, capsys):
    names = ["猫", "пёс", "Straße", "ع", "a\nb", os.fsdecode(b"b\xff"), "e\u0301"]
    for name in names:
        fill(tmp_path / "train" / name, 3)
    fill(tmp_path / "test" / "é", 1)  # one sign here, two in train/
    fill(tmp_path / "test" / "猫", 1, first=9)
    write(tmp_path / "train" / "猫" / os.fsdecode(b"\xfe.xyz"))
    dataset, warned = loaded(tmp_path)
    assert {"猫", "пёс", "Straße", "ع", "a\\nb", "b\\xff", "é"} == set(dataset.classes) and "\\xfe.xyz" in warned
    status, said = said_by(capsys, "data", f"folder:{tmp_path}")
    assert status == 0 and "b\\xff" in said
    said.encode()


def test_a_terminal_without_the_letters_is_no_error(tmp_path):
    fill(tmp_path / "猫", 4)
    fill(tmp_path / "犬", 4)
    command = [
        sys.executable,
        "-c",
        "from deit_edu.cli import main; raise SystemExit(main())",
        "data",
        f"folder:{tmp_path}",
    ]
    done = subprocess.run(command, capture_output=True, env=os.environ | {"PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0 and b"\\u732b" in done.stdout, done.stderr


# ---- as a viewer shows it ----


def shown(path, image, **saved):
    """The pixels of an image after it was saved and read, at its own size."""
    image.save(path, **saved)
    decoded = decode_picture(path, lambda image: image)
    assert not decoded.why
    return decoded.pixels.astype(int)


@pytest.mark.parametrize("tag", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp"])
def test_every_orientation_tag_is_followed(tmp_path, tag, suffix):
    upright = np.zeros((24, 16, 3), np.uint8)
    upright[:8, :8] = (255, 0, 0)
    upright[8:, 8:] = (0, 0, 255)
    undo = [None, None, "FLIP_LEFT_RIGHT", "ROTATE_180", "FLIP_TOP_BOTTOM", "TRANSPOSE", "ROTATE_90", "TRANSVERSE",
            "ROTATE_270"][tag]  # fmt: skip
    stored = Image.fromarray(upright)
    stored = stored.transpose(Image.Transpose[undo]) if undo else stored
    exif = Image.Exif()
    exif[0x0112] = tag
    lossless = {".jpg": {"quality": 100, "subsampling": 0}, ".webp": {"lossless": True}}.get(suffix, {})
    pixels = shown(tmp_path / f"a{suffix}", stored, exif=exif, **lossless)
    assert pixels.shape == upright.shape and abs(pixels - upright).max() < 12


def half_clear(mode):
    """Black, its left half transparent."""
    image = Image.new("LA" if mode == "LA" else "RGBA", (8, 8), 0)
    alpha = Image.new("L", (8, 8), 255)
    alpha.paste(0, (0, 0, 4, 8))
    image.putalpha(alpha)
    return image


def palette_with_transparency():
    image = Image.new("P", (8, 8), 1)
    image.putpalette([9, 200, 9, 0, 0, 0])
    image.paste(0, (0, 0, 4, 8))
    return image


@pytest.mark.parametrize(
    ("suffix", "image", "saved"),
    [
        (".png", half_clear("RGBA"), {}),
        (".png", half_clear("LA"), {}),
        (".webp", half_clear("RGBA"), {"lossless": True}),
        (".tif", half_clear("RGBA"), {}),
        (".png", palette_with_transparency(), {"transparency": 0}),
        (".png", palette_with_transparency(), {"transparency": bytes([0, 255])}),
        (".gif", palette_with_transparency(), {"transparency": 0}),
        (".png", palette_with_transparency().convert("RGB"), {"transparency": (9, 200, 9)}),
        (".png", palette_with_transparency().convert("L"), {"transparency": 121}),
    ],
)
def test_what_is_transparent_is_white(tmp_path, suffix, image, saved):
    pixels = shown(tmp_path / f"a{suffix}", image, **saved)
    assert (pixels[:, :4] == 255).all() and (pixels[:, 4:] == 0).all()
    assert pixels.ndim == (2 if image.mode in ("L", "LA") else 3)


def test_half_transparent_is_half_white(tmp_path):
    assert shown(tmp_path / "a.png", Image.new("RGBA", (2, 2), (100, 0, 200, 128))).tolist()[0][0] == [177, 127, 227]


@pytest.mark.parametrize(
    ("suffix", "mode"),
    [
        (".jpg", "CMYK"),
        (".tif", "CMYK"),
        (".jpg", "YCbCr"),
        (".png", "P"),
        (".gif", "P"),
        (".tif", "LAB"),
        (".bmp", "RGB"),
    ],
)
def test_colours_stay_the_colours_that_they_are(tmp_path, suffix, mode):
    if mode == "LAB":
        image = Image.merge("LAB", [Image.new("L", (16, 16), value) for value in (137, 208, 195)])  # red, in Lab
    else:
        image = Image.new("RGB", (16, 16), (250, 10, 5))
        image = image.quantize(4) if mode == "P" else image.convert(mode)
    pixels = shown(tmp_path / f"a{suffix}", image)
    assert abs(pixels - [250, 10, 5]).max() < 15


def test_one_bit_is_black_and_white(tmp_path):
    image = Image.new("1", (8, 8), 0)
    image.paste(1, (0, 0, 8, 4))
    pixels = shown(tmp_path / "a.png", image)
    assert (pixels[:4] == 255).all() and (pixels[4:] == 0).all()


DEEP = {
    "16 bits, 12 used": (np.uint16, 500, 4000, ".png"),
    "16 bits in a TIFF": (np.uint16, 1000, 1400, ".tif"),
    "32 bits, below 0": (np.int32, -1000, 3000, ".tif"),
    "32 bits, large": (np.int32, 10**6, 10**9, ".tif"),
    "floats from 0 to 1": (np.float32, 0.0, 1.0, ".tif"),
    "floats": (np.float32, -3e-5, 2e-5, ".tif"),
}


@pytest.mark.parametrize("kind", DEEP)
def test_deep_greys_are_scaled_by_the_range_of_the_whole_data_set(tmp_path, kind):
    dtype, low, high, suffix = DEEP[kind]
    ramp = np.linspace(0, 1, 64).reshape(8, 8)
    for part in ("train", "validation", "test"):
        for name, brightness in (("bright", 1.0), ("dark", 0.5)):
            (tmp_path / part / name).mkdir(parents=True)
            for index in range(2):
                values = low + (high - low) * brightness * np.roll(ramp, index)
                Image.fromarray(values.astype(dtype)).save(tmp_path / part / name / f"{index}{suffix}")
    dataset, _ = loaded(tmp_path)
    assert dataset.image_shape == (1, 8, 8)
    bright, dark = dataset.train.images[0, 0].double(), dataset.train.images[2, 0].double()
    assert (bright - torch.from_numpy(ramp) * 255).abs().max() <= 1
    assert (dark - torch.from_numpy(ramp) * 127.5).abs().max() <= 1


def test_the_range_is_that_of_training_pictures_and_beyond_is_cut_off(tmp_path):
    for index, top in enumerate((1000, 2000)):
        Image.fromarray(np.linspace(0, top, 64).reshape(8, 8).astype(np.uint16)).save(tmp_path / f"{index}.png")
    (tmp_path / "damaged.png").write_bytes(b"no picture, and so no picture of eight bits")
    ranges = value_ranges([str(tmp_path / name) for name in ("0.png", "damaged.png")])
    assert ranges == {"integer": (0, 1000)}
    assert decode_picture(tmp_path / "1.png", lambda image: image, ranges).pixels.max() == 255


def test_beside_eight_bits_a_deep_grey_has_its_types_range(tmp_path):
    picture(0).save(tmp_path / "0.png")
    Image.fromarray(np.full((8, 8), 3000, np.uint16)).save(tmp_path / "1.png")
    assert value_ranges([str(tmp_path / "0.png"), str(tmp_path / "1.png")]) == {"integer": (0, 4095)}


@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "CMYK", "LA", "P", "I;16", "I", "F"])
def test_a_tiff_is_turned_in_every_mode_packed_or_not(tmp_path, mode, compression):
    pixels = np.arange(6, dtype=np.uint16).reshape(2, 3) * 51
    upright = Image.fromarray(pixels) if mode == "I;16" else Image.fromarray(pixels.astype(np.uint8)).convert(mode)
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = upright.transpose(Image.Transpose.ROTATE_90)
    stored.save(tmp_path / "a.tif", exif=exif, compression=compression)
    shown = decode_picture(tmp_path / "a.tif", lambda image: image, {"integer": (0, 255), "float": (0, 255)}).pixels
    shown = shown if shown.ndim == 2 else shown[..., 0]
    assert (shown == pixels).all()


@pytest.mark.parametrize("size", [(1, 60_000), (60_000, 1)])
def test_a_line_of_pixels_is_brought_to_size_without_filling_the_memory(tmp_path, size):
    sound(tmp_path)
    Image.new("RGB", size, (9, 8, 7)).save(tmp_path / "train/cat/!.png")
    dataset, _ = loaded(tmp_path, image_size=64)
    assert (dataset.train.images == torch.tensor([9, 8, 7]).view(1, 3, 1, 1)).flatten(1).all(1).sum() == 1


def test_what_is_no_number_among_floats_is_the_lowest_value(tmp_path):
    values = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    values[0, :3] = np.nan, np.inf, -np.inf
    Image.fromarray(values).save(tmp_path / "a.tif")
    assert decode_picture(tmp_path / "a.tif", lambda image: image).pixels[0, :3].tolist() == [0, 255, 0]


@pytest.mark.parametrize("suffix", [".jfif", ".jpe", ".JPG", ".jif", ".avif", ".heic", ".webp", ".tga", ".jp2"])
def test_every_ending_of_a_picture_is_read(tmp_path, suffix):
    if suffix.lower() not in suffixes():
        pytest.skip(f"nothing here reads {suffix}")
    sound(tmp_path)
    kind = {".jfif": "JPEG", ".jpe": "JPEG", ".jif": "JPEG", ".JPG": "JPEG"}.get(suffix)
    picture(1).save(tmp_path / f"train/cat/a{suffix}", kind)
    dataset, warned = loaded(tmp_path)
    assert len(dataset.train) + len(dataset.validation) == 21 and not warned


def test_without_its_package_a_phones_picture_is_said_with_the_package(tmp_path, monkeypatch):
    sound(tmp_path)
    write(tmp_path / "train/cat/a.heic")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    try:
        for cached in (suffixes, has_heif):
            cached.cache_clear()
        _, warned = loaded(tmp_path)
        assert "pip install pillow-heif" in warned and "a.heic" in warned
    finally:
        for cached in (suffixes, has_heif):
            cached.cache_clear()


@pytest.mark.parametrize("suffix", [".gif", ".tif", ".png", ".webp"])
def test_of_several_frames_the_first_is_taken_and_that_is_said(tmp_path, capsys, suffix):
    sound(tmp_path)
    first, second = Image.new("RGB", (16, 16), (250, 0, 0)), Image.new("RGB", (16, 16), (0, 0, 250))
    path = tmp_path / f"train/cat/!{suffix}"
    first.save(path, save_all=True, append_images=[second])
    assert abs(decode_picture(path, lambda image: image).pixels.astype(int) - [250, 0, 0]).max() < 9
    assert "of 1 file with several the first is taken" in said_by(capsys, "data", f"folder:{tmp_path}")[1]


def test_avif_is_known_where_pillow_knows_it():
    assert (".avif" in suffixes()) == features.check("avif")


# ---- what the numbers are ----


def test_a_channel_that_never_changes_is_said_and_divides_by_one(tmp_path):
    for index in range(20):
        red = picture(index)
        red.putdata([(r, g, 77) for r, g, _ in red.get_flattened_data()])
        (tmp_path / "ab"[index % 2]).mkdir(exist_ok=True)
        red.save(tmp_path / "ab"[index % 2] / f"{index}.png")
    dataset, warned = loaded(tmp_path)
    assert "channel 2 of 0 to 2" in warned and "77 of 255" in warned and dataset.std[2] == 1
    assert torch.isfinite(normalise(dataset.train.images, dataset.mean, dataset.std)).all()


def test_pictures_of_one_colour_alone_are_said(tmp_path):
    for index in range(20):
        (tmp_path / "ab"[index % 2]).mkdir(exist_ok=True)
        Image.new("L", (8 + index, 8 + index), 9).save(tmp_path / "ab"[index % 2] / f"{index}.png")
    dataset, warned = loaded(tmp_path)
    assert "every picture is the same" in warned and dataset.std == (1.0,)


def test_classes_weigh_the_same_together():
    sizes = torch.tensor([90, 10, 0])
    labels = torch.repeat_interleave(torch.arange(3), sizes)

    class Some:
        pass

    Some.labels = labels
    assert class_counts(Some, 3).tolist() == [90, 10, 0]
    weights = class_weights(sizes)
    assert (weights * sizes).tolist() == pytest.approx([50, 50, 0]) and weights.dtype == torch.float32


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.integers(0, 200), st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_a_balanced_order_has_every_class_and_every_image_equally_often(labels, length, seed):
    labels = torch.tensor(labels)
    order = balanced_order(labels, length, torch.Generator().manual_seed(seed))
    assert len(order) == length
    of_class = torch.stack([(labels[order] == label).sum() for label in labels.unique()])
    assert of_class.max() - of_class.min() <= 1
    for label in labels.unique():
        seen = torch.bincount(order, minlength=len(labels))[labels == label]
        assert seen.max() - seen.min() <= 1


# ---- random trees ----

NAMES = st.sampled_from(["a", "b", "Ünï", "猫", "_c", ".d", "val", "x y"])
FILES = st.sampled_from(["0.png", "1.PNG", "2.bmp", "3.txt", "4", "5.xyz", ".6.png", "7.png", "8.png"])
PLACES = st.lists(NAMES, max_size=3).flatmap(
    lambda folders: st.tuples(st.sampled_from([(), ("train",), ("test",), ("valid",)]), st.just(tuple(folders)), FILES)
)


@given(st.dictionaries(PLACES, st.integers(0, 12), min_size=1, max_size=40))
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_every_file_is_in_one_part_or_reported_and_no_content_is_in_two_that_were_cut(tree):
    with tempfile.TemporaryDirectory() as folder:
        for (part, folders, name), content in tree.items():
            path = Path(folder, *part, *folders, name)
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(f"content {content}".encode())
            except OSError:  # a folder has the name of a file
                continue
        there = {str(path) for path in Path(folder).rglob("*") if path.is_file()}
        try:
            found = find(folder)
            given_parts = set(found.parts)
            cut_parts(found)
        except DeiTEduError as error:
            assert "\n" not in str(error)
            return
        read = [path for listing in found.parts.values() for path in listing.paths]
        assert len(read) == len(set(read)) and set(read) <= there
        reported = [out.path for out in found.left_out]
        for path in there - set(read):
            assert any(path == out or path.startswith(out + os.sep) for out in reported), path
        assert not [path for path in read if path in reported]
        cut_here = set(PARTS) - given_parts
        for _, parts, _ in found.same:
            assert not (len(set(parts)) > 1 and cut_here & set(parts) and set(parts) <= cut_here | {"train"})


# ---- more pictures than memory ----


@pytest.fixture
def some(tmp_path):
    path = tmp_path / "pictures"
    fill(path / "cat", 300, size=(9, 8))
    fill(path / "dog", 30, mode="L")
    cut(path / "cat/007.png", 30)
    return path


def same_data(one, other):
    for part in PARTS:
        a, b = getattr(one, part), getattr(other, part)
        assert torch.equal(a.images, b.images) and torch.equal(a.labels, b.labels)
    assert (one.checksum, one.mean, one.std, one.classes) == (other.checksum, other.mean, other.std, other.classes)


def stores():
    return sorted(Path(os.environ["DEIT_EDU_DATA"], "decoded").iterdir())


def test_pictures_on_disk_are_those_in_memory(some):
    in_memory, warned = loaded(some, image_size=12)
    on_disk, warned_too = loaded(some, image_size=12, on_disk=True)
    same_data(in_memory, on_disk)
    assert warned == warned_too and "cat/007.png" in warned
    assert on_disk.found.sizes == in_memory.found.sizes
    indices = torch.tensor([3, 1, 3])
    assert torch.equal(on_disk.train.batch(indices), in_memory.train.images[indices])
    before = (stores()[0] / "pixels.u8").stat().st_mtime_ns
    same_data(in_memory, loaded(some, image_size=12, on_disk=True)[0])
    assert (stores()[0] / "pixels.u8").stat().st_mtime_ns == before and len(stores()) == 1


def test_grey_pictures_on_disk_stay_grey(tmp_path):
    fill(tmp_path / "cat", 10, mode="L")
    fill(tmp_path / "dog", 10, mode="L")
    in_memory, on_disk = (loaded(tmp_path, on_disk=kept)[0] for kept in (False, True))
    same_data(in_memory, on_disk)
    assert on_disk.train.on_disk and on_disk.image_shape[0] == 1


def test_classes_of_pictures_on_disk_stay_there(some):
    fill(some / "emu", 20)
    fill(some / "fox", 20)
    in_memory, on_disk = (loaded(some, image_size=12, on_disk=kept, classes="3,0-1")[0] for kept in (False, True))
    assert on_disk.classes == in_memory.classes == ("fox", "cat", "dog") and on_disk.train.on_disk
    assert on_disk.image_shape == in_memory.image_shape and counts(on_disk) == counts(in_memory)
    for part in PARTS:
        whole, kept = getattr(in_memory, part), getattr(on_disk, part)
        every = torch.randperm(len(whole))
        assert torch.equal(kept.labels, whole.labels) and torch.equal(kept.batch(every), whole.images[every])
        assert torch.equal(kept.images, whole.images)
    config = toy_config(epochs=1, tokens="both", model_settings=SMALL_DEIT)
    ours, theirs = (batches_of_epoch(config, dataset, 0, CPU) for dataset in (on_disk, in_memory))
    for one, other in zip(ours, theirs, strict=True):
        assert torch.equal(one[0], other[0])


@pytest.mark.parametrize("kind", ["imagenet", "folder"])
def test_pictures_on_disk_are_not_made_grey_for_the_weights_to_start_from(tmp_path, kind):
    for part in ("train", "val", "test"):
        fill(tmp_path / part / "cat", 4)
        fill(tmp_path / part / "dog", 4)
    dataset = load_dataset(f"{kind}:{tmp_path}", image_size=28, **({"on_disk": True} if kind == "folder" else {}))
    config = toy_config(data=dataset.name, initial="packaged:fashion_clutter_student")
    with pytest.raises(DeiTEduError, match="from the disk with 3 channels, and the weights .* take 1: start from weig"):
        as_initial_sees(config, dataset)


def test_the_disk_is_used_when_a_quarter_of_memory_is_not_enough(some, monkeypatch):
    monkeypatch.setattr(ondisk, "memory", lambda: 4 * 330 * 3 * 12 * 12)
    loaded(some, image_size=12)
    assert not Path(os.environ["DEIT_EDU_DATA"], "decoded").exists()
    monkeypatch.setattr(ondisk, "memory", lambda: 4 * 330 * 3 * 12 * 12 - 4)
    dataset, _ = loaded(some, image_size=12)
    assert len(stores()) == 1 and any("kept on disk" in line for line in dataset.found.understood)


@pytest.mark.parametrize(("value", "there"), [("1", True), ("0", False)])
def test_the_environment_can_ask_for_the_disk(some, monkeypatch, value, there):
    monkeypatch.setattr(ondisk, "memory", lambda: 1)
    monkeypatch.setenv("DEIT_EDU_ON_DISK", value)
    loaded(some, image_size=12)
    assert Path(os.environ["DEIT_EDU_DATA"], "decoded").exists() == there


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_decoding_goes_on_where_it_was_stopped(some, monkeypatch, stop):
    whole = loaded(some, image_size=12)[0]
    decode, seen = ondisk.decode_picture, []

    def stopping(path, *rest):
        seen.append(path)
        if len(seen) > ondisk.CHUNK + 5:
            raise stop
        return decode(path, *rest)

    monkeypatch.setattr(ondisk, "decode_picture", stopping)
    with pytest.raises(stop):
        loaded(some, image_size=12, on_disk=True)
    seen.clear()
    monkeypatch.setattr(ondisk, "decode_picture", lambda *told: seen.append(told[0]) or decode(*told))
    same_data(whole, loaded(some, image_size=12, on_disk=True)[0])
    assert len(seen) == 330 - ondisk.CHUNK  # the first chunk was not decoded again


def torn(pixels, pictures):
    with open(pictures, "ab") as file:
        file.write(b"[[9, 8], 1")
    with open(pixels, "ab") as file:
        file.write(b"half a picture")


@pytest.mark.parametrize(
    "damage",
    [
        lambda pixels, pictures: cut(pixels, 1000),
        lambda pixels, pictures: pixels.write_bytes(bytes(pixels.stat().st_size)),
        lambda pixels, pictures: pixels.unlink(),
        lambda pixels, pictures: cut(pictures, 500),
        torn,
        lambda pixels, pictures: (pixels.parent / "done.json").write_text("{"),
    ],
)
def test_a_damaged_file_of_pictures_is_mended(some, damage):
    whole = loaded(some, image_size=12, on_disk=True)[0]
    images = [getattr(whole, part).images.clone() for part in PARTS]
    folder = stores()[0]
    damage(folder / "pixels.u8", folder / "pictures.jsonl")
    again = loaded(some, image_size=12, on_disk=True)[0]
    assert again.checksum == whole.checksum
    assert all(torch.equal(getattr(again, part).images, before) for part, before in zip(PARTS, images, strict=True))
    assert json.loads((folder / "done.json").read_text())["bytes"] == 329 * 3 * 12 * 12


def test_a_touched_file_of_pictures_is_read_through_and_kept(some, monkeypatch):
    whole = loaded(some, image_size=12, on_disk=True)[0]
    os.utime(stores()[0] / "pixels.u8")
    monkeypatch.setattr(ondisk, "decode_picture", None)
    assert loaded(some, image_size=12, on_disk=True)[0].checksum == whole.checksum


def test_changed_pictures_are_decoded_anew(some):
    before = loaded(some, image_size=12, on_disk=True)[0]
    picture(77).save(some / "cat/000.png")
    after = loaded(some, image_size=12, on_disk=True)[0]
    assert after.checksum != before.checksum and after.checksum == loaded(some, image_size=12)[0].checksum


def test_a_full_disk_gives_one_line_before_anything_is_decoded(some, monkeypatch):
    monkeypatch.setattr(ondisk.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 10, 0))
    monkeypatch.setattr(ondisk, "decode_picture", None)
    with pytest.raises(DeiTEduError, match="no room in .* for 330 pictures at 12 pixels.*DEIT_EDU_DATA"):
        load_dataset(f"folder:{some}", image_size=12, on_disk=True)


def test_a_disk_that_fills_up_gives_one_line(some, monkeypatch):
    def full(file):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ondisk.os, "fsync", full)
    with pytest.raises(DeiTEduError, match="no room in .*No space left on device"):
        load_dataset(f"folder:{some}", image_size=12, on_disk=True)


def deep_pictures(root):
    """Twelve-bit greys of two classes, twelve of each."""
    for name in ("a", "b"):
        (root / name).mkdir(parents=True)
        for index in range(12):
            values = np.random.default_rng([index, ord(name)]).integers(0, 4096, (8, 8))
            Image.fromarray(values.astype(np.uint16)).save(root / name / f"{index}.png")


def test_a_link_to_itself_hides_no_labelled_pictures(tmp_path):
    fill(tmp_path / "a", 3)
    (tmp_path / "loop").symlink_to("loop")
    with pytest.warns(UserWarning, match="a link to nothing"):
        assert len(load_labelled(tmp_path, Network("n", ("a", "b"), 8, {}))) == 3


def test_one_picture_of_an_unknown_class_is_one_warning(tmp_path):
    fill(tmp_path / "a", 1)
    fill(tmp_path / "z", 1)
    with pytest.warns(UserWarning) as warned:
        assert len(load_labelled(tmp_path, Network("n", ("a", "b"), 8, {}))) == 1
    assert [str(one.message) for one in warned] == [
        "1 picture is left out, of classes that n does not know: z; it knows a, b"
    ]


def test_networks_of_other_ranges_share_no_pictures_on_disk(tmp_path, monkeypatch):
    deep_pictures(tmp_path / "deep")
    for high in (4095, 65535):
        network = Network("n", ("a", "b"), 8, {"integer": (0, high)})
        in_memory = load_labelled(tmp_path / "deep", network)
        with monkeypatch.context() as patch:
            patch.setenv("DEIT_EDU_ON_DISK", "1")
            on_disk = load_labelled(tmp_path / "deep", network, store_root=tmp_path / "store")
        assert torch.equal(on_disk.images, in_memory.images) and torch.equal(on_disk.labels, in_memory.labels)
    assert len(list((tmp_path / "store").iterdir())) == 2
    same_data(
        *(load_dataset(f"folder:{tmp_path}/deep", on_disk=kept, ranges={"integer": (0, 99)}) for kept in (False, True))
    )


@pytest.mark.parametrize("refused", [errno.EACCES, errno.EIO, errno.EMFILE])
def test_what_the_disk_did_not_give_is_read_another_time(some, monkeypatch, refused):
    def reading(path, *rest):
        if str(path).endswith("cat/003.png"):
            raise OSError(refused, os.strerror(refused), path)
        return open(path, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(decode, "open", reading, raising=False)
        without, warned = loaded(some, image_size=12, on_disk=True)
        kept = (stores()[0] / "pixels.u8").stat().st_mtime_ns
        same_data(without, loaded(some, image_size=12, on_disk=True)[0])
        assert (stores()[0] / "pixels.u8").stat().st_mtime_ns == kept  # nothing more can be read: nothing is made anew
    assert "cat/003.png" in warned and "2 of 330 images" in warned
    before = [getattr(without, part).images.clone() for part in PARTS]
    again, warned = loaded(some, image_size=12, on_disk=True)
    assert "cat/003.png" not in warned and "1 of 330 images" in warned
    same_data(again, loaded(some, image_size=12)[0])
    # Who has the pictures of then open keeps them.
    assert all(torch.equal(getattr(without, part).images, old) for part, old in zip(PARTS, before, strict=True))


def summarise(store, times):
    for _ in range(times):
        store.summary.unlink(missing_ok=True)
        assert store.recall(lambda: {"mean": 1}) == {"mean": 1}
        ondisk.write_whole(store.summary, '{"mean": 1}')


def test_two_processes_write_one_summary(tmp_path):
    store = ondisk.Store(tmp_path, [], 8, [], {})
    store.open()
    context = multiprocessing.get_context("fork")
    others = [context.Process(target=summarise, args=(store, 500)) for _ in range(2)]
    for process in others:
        process.start()
    for process in others:
        process.join(120)
    assert [process.exitcode for process in others] == [0, 0]


def test_only_folders_are_kept_on_disk():
    with pytest.raises(DeiTEduError, match="on_disk is for folder:PATH"):
        load_dataset("fashion_mnist_10k", on_disk=True)


# ---- imagenet ----


@pytest.mark.parametrize("called", ["val", "valid", "dev", "test"])
def test_imagenet_is_tested_on_the_part_that_is_there_whatever_it_is_called(tmp_path, called):
    fill(tmp_path / "train/n01/more", 20)
    fill(tmp_path / "train/n02", 20)
    fill(tmp_path / called / "n02", 4)
    dataset = load_dataset(f"imagenet:{tmp_path}", image_size=8)
    assert [len(getattr(dataset, part)) for part in PARTS] == [38, 2, 4]


def test_imagenet_with_two_more_parts_takes_each_for_what_it_is_called(tmp_path):
    for part, count in (("train", 5), ("val", 3), ("test", 2)):
        fill(tmp_path / part / "n01", count)
        fill(tmp_path / part / "n02", count)
    dataset = load_dataset(f"imagenet:{tmp_path}", image_size=8)
    assert [len(getattr(dataset, part)) for part in PARTS] == [10, 6, 4]


def test_a_deit_with_both_tokens_is_trained_on_lazy_pictures_to_its_record(tmp_path):
    for part in ("train", "val"):
        fill(tmp_path / part / "n01", 8)
        fill(tmp_path / part / "n02", 8)
    config = toy_config(data=f"imagenet:{tmp_path}", image_size=8, tokens="both", epochs=1, batch_size=4)
    record = train(config, tmp_path / "run", progress=False)
    assert record["test"]["fused"]["total"] == 16 and len(record["tokens"]["similarity"]) == 3


def test_a_lazy_picture_is_upright_and_on_white(tmp_path):
    for name in ("n01", "n02"):
        fill(tmp_path / "train" / name, 3)
        fill(tmp_path / "val" / name, 3)
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    image.paste((255, 0, 0, 255), (0, 0, 8, 4))
    image.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "val/n01/!.png", exif=exif)
    shown = load_dataset(f"imagenet:{tmp_path}", image_size=7).test.batch(torch.tensor([0]))[0]
    assert (shown[:, 0, 3] == torch.tensor([255, 0, 0])).all() and (shown[:, 6, 3] == 255).all()


def test_printable_is_one_line_of_text():
    assert printable("a\n\t" + os.fsdecode(b"\xff") + "é猫") == "a\\n\\t\\xffé猫"


@pytest.mark.parametrize(
    ("number", "noun", "expected"),
    [(1, "picture", "1 picture"), (0, "picture", "0 pictures"), (2000, "training picture", "2,000 training pictures"),
     (1, "class", "1 class"), (2, "class", "2 classes"), (3, "batch", "3 batches"),
     (5, "epoch", "5 epochs"), (4, "process", "4 processes")],
)  # fmt: skip
def test_one_thing_is_no_plural(number, noun, expected):
    assert counted(number, noun) == expected


def test_a_report_of_one_is_no_plural(tmp_path, monkeypatch):
    for part, count in (("train", 2), ("val", 1), ("test", 1)):
        fill(tmp_path / part / "a", count)
    (tmp_path / "train/a/000.png").rename(tmp_path / "train/a/000.gif")
    picture(0).save(tmp_path / "train/a/000.gif", save_all=True, append_images=[picture(1)])
    monkeypatch.setattr(report, "SHOWN_CLASSES", 0)
    said = "\n".join(report.describe(loaded(tmp_path)[0]))
    for line in (": 3x16x16, 1 class: a\n", " 2 images\n", "       1 image\n", "and 1 class more\n", "of 1 file with"):
        assert line in said, line
    assert "1 images" not in said and "1 classes" not in said
