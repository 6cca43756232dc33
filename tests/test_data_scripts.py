"""The scripts that prepare data: what they write, that it repeats, and that nothing half-written is left behind."""

import contextlib
import gzip
import hashlib
import importlib.util
import io
import resource
import runpy
import subprocess
import sys
import tarfile
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat

from deit_edu.data import drawn_pictures, load_dataset
from deit_edu.data.packaged import PACKAGED, PACKAGED_SIZES, PICTURES, unpack_split

SCRIPTS = Path(__file__).resolve().parents[1] / "data_scripts"
DEBIAN = Path("/usr/share/datasets/fashion-mnist")
needs_official_files = pytest.mark.skipif(
    not DEBIAN.is_dir(),
    reason="official Fashion-MNIST files not found: apt install dataset-fashion-mnist (Debian, Ubuntu)",
)


def run(script, *arguments):
    """What `python data_scripts/SCRIPT ARGUMENTS` does, in this process, which has imported torch already."""
    said, error, status = io.StringIO(), io.StringIO(), 0
    command = [str(SCRIPTS / script), *map(str, arguments)]
    path = [str(SCRIPTS), *sys.path]
    with mock.patch.object(sys, "argv", command), mock.patch.object(sys, "path", path):
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(error):
            try:
                runpy.run_path(command[0], run_name="__main__")
            except SystemExit as ended:
                status = ended.code or 0
    return subprocess.CompletedProcess(command, status, said.getvalue(), error.getvalue())


def files_below(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.fixture(scope="module")
def maker():
    spec = importlib.util.spec_from_file_location("make_fashion_mnist_10k", SCRIPTS / "make_fashion_mnist_10k.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("script", sorted(path.name for path in SCRIPTS.glob("*.py")))
def test_every_script_explains_itself_and_offers_a_dry_run(script):
    help_text = run(script, "--help")
    assert help_text.returncode == 0
    assert "--dry-run" in help_text.stdout and len(help_text.stdout.splitlines()) > 8


# ---- make_fashion_mnist_10k ----


@needs_official_files
def test_packaged_data_is_rebuilt_byte_for_byte(tmp_path):
    done = run("make_fashion_mnist_10k.py", "--source", DEBIAN, "--output", tmp_path / "new")
    assert done.returncode == 0, done.stderr
    assert files_below(tmp_path / "new") == sorted([*PACKAGED_SIZES, "SHA256SUMS"])
    for path in (tmp_path / "new").iterdir():
        assert path.read_bytes() == (PACKAGED / path.name).read_bytes(), path.name


@needs_official_files
def test_dry_run_of_the_packaged_data_says_the_size_and_writes_nothing(tmp_path):
    done = run("make_fashion_mnist_10k.py", "--source", DEBIAN, "--output", tmp_path / "new", "--dry-run")
    assert done.returncode == 0 and "about 11 MB" in done.stdout and "would be written" in done.stdout
    assert not (tmp_path / "new").exists()


def test_dry_run_without_a_source_downloads_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("DEIT_EDU_DATA", str(tmp_path / "root"))
    done = run("make_fashion_mnist_10k.py", "--dry-run")
    assert done.returncode == 0 and "downloads 31 MB" in done.stdout
    assert not (tmp_path / "root").exists()


@needs_official_files
def test_full_disk_leaves_no_half_written_file_under_the_final_name(tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, before[1]))  # bytes
    try:
        done = run("make_fashion_mnist_10k.py", "--source", DEBIAN, "--output", tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert done.returncode == 2 and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert not (tmp_path / "train.bin").exists()


OTHER_FILE = gzip.compress(b"\0\0\x08\x01\0\0\0\x01\0", mtime=0)


@pytest.mark.parametrize(
    "contents", [OTHER_FILE, OTHER_FILE[:15], OTHER_FILE[:10] + b"\xff" + OTHER_FILE[11:], b"not gzip"]
)
def test_files_that_are_not_the_official_ones_are_refused(contents, tmp_path):
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(contents)
    done = run("make_fashion_mnist_10k.py", "--source", tmp_path, "--output", tmp_path / "new")
    assert done.returncode == 2 and "not the official file" in done.stderr and done.stderr.count("\n") == 1
    assert not (tmp_path / "new").exists()


def test_packing_a_split_and_unpacking_it_is_the_identity(maker):
    random = np.random.RandomState(0)
    images = random.randint(0, 256, (30, 28, 28)).astype(np.uint8) * random.randint(0, 2, (30, 28, 28)).astype(np.uint8)
    labels = random.randint(0, 10, 30).astype(np.uint8)
    unpacked_images, unpacked_labels = unpack_split(maker.pack(images, labels), 30)
    assert (unpacked_images == images).all() and (unpacked_labels == labels).all()


def test_duplicates_and_test_images_are_never_chosen(maker):
    random = np.random.RandomState(0)
    distinct = random.randint(0, 256, (300, 28, 28)).astype(np.uint8)
    test_images, images = distinct[:50], np.concatenate([distinct, distinct[100:200]])
    labels = np.arange(400) % 10
    train, validation = maker.choose(images, labels, test_images, [100, 50])
    chosen = np.concatenate([train, validation])
    assert len(set(chosen)) == 150 and chosen.min() >= 50 and chosen.max() < 300
    assert np.bincount(labels[train]).tolist() == [10] * 10 and np.bincount(labels[validation]).tolist() == [5] * 10


def test_checksum_file_is_what_sha256sum_writes():
    expected = [f"{hashlib.sha256((PACKAGED / name).read_bytes()).hexdigest()}  {name}" for name in PACKAGED_SIZES]
    assert (PACKAGED / "SHA256SUMS").read_text().splitlines() == expected


def test_licence_of_the_images_is_beside_them():
    text = (PACKAGED / "LICENSE").read_text()
    assert "The MIT License" in text and "Zalando SE" in text


# ---- prepare_imagenet ----

WNIDS = {3: "n01440764", 1: "n02102040", 2: "n03000684"}  # ILSVRC2012_ID: not in the order of the names


def add(archive, name, contents):
    member = tarfile.TarInfo(name)
    member.size = len(contents)
    archive.addfile(member, io.BytesIO(contents))


def jpeg(grey):
    contents = io.BytesIO()
    Image.new("RGB", (16, 16), (grey, grey, grey)).save(contents, "JPEG")
    return contents.getvalue()


@pytest.fixture
def official(tmp_path):
    """Three archives laid out as the official ones: 2 training images for each of 3 classes, 4 validation images."""
    source = tmp_path / "official"
    source.mkdir()
    with tarfile.open(source / "ILSVRC2012_img_train.tar", "w") as outer:
        for wnid in WNIDS.values():
            contents = io.BytesIO()
            with tarfile.open(fileobj=contents, mode="w") as inner:
                for index in range(2):
                    add(inner, f"{wnid}_{index}.JPEG", jpeg(100 + index))
            add(outer, f"{wnid}.tar", contents.getvalue())
    truth = [2, 3, 3, 1]
    with tarfile.open(source / "ILSVRC2012_img_val.tar", "w") as images:
        for number, label in enumerate(truth, 1):
            add(images, f"ILSVRC2012_val_{number:08d}.JPEG", jpeg(10 * label))
    synsets = np.zeros(len(WNIDS), [("ILSVRC2012_ID", object), ("WNID", object)])
    synsets[:] = list(WNIDS.items())
    meta = io.BytesIO()
    savemat(meta, {"synsets": synsets})
    with tarfile.open(source / "ILSVRC2012_devkit_t12.tar.gz", "w:gz") as devkit:
        add(devkit, "ILSVRC2012_devkit_t12/data/meta.mat", meta.getvalue())
        lines = "".join(f"{label}\n" for label in truth).encode()
        add(devkit, "ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt", lines)
    return source


def test_prepared_imagenet_has_every_image_in_the_folder_of_its_class(official, tmp_path):
    done = run("prepare_imagenet.py", official, tmp_path / "imagenet")
    assert done.returncode == 0, done.stderr
    assert "train: 3 classes, 6 images" in done.stdout and "val: 3 classes, 4 images" in done.stdout
    dataset = load_dataset(f"imagenet:{tmp_path / 'imagenet'}", image_size=8)
    assert dataset.classes == tuple(sorted(WNIDS.values()))
    number_of = {wnid: number for number, wnid in WNIDS.items()}
    images = dataset.test.batch(torch.arange(4))
    for image, label in zip(images, dataset.test.labels.tolist(), strict=True):
        assert abs(int(image[0, 4, 4]) - 10 * number_of[dataset.classes[label]]) <= 2  # the grey tells the class

    again = run("prepare_imagenet.py", official, tmp_path / "imagenet")
    assert again.returncode == 0 and "Writes nothing" in again.stdout


def test_dry_run_of_imagenet_says_the_size_and_writes_nothing(official, tmp_path):
    done = run("prepare_imagenet.py", official, tmp_path / "imagenet", "--dry-run")
    assert done.returncode == 0 and " GB to " in done.stdout and " GB free" in done.stdout
    assert not (tmp_path / "imagenet").exists()


def test_imagenet_goes_on_where_it_was_cut_off(official, tmp_path):
    output = tmp_path / "imagenet"
    finished = output / "train.partial" / WNIDS[3]
    finished.mkdir(parents=True)
    (finished / "marker.JPEG").write_bytes(jpeg(0))  # a finished class is not unpacked again
    unfinished = output / "train.partial" / f"{WNIDS[1]}.partial"
    unfinished.mkdir()
    (unfinished / "half.JPEG").write_bytes(b"half")
    assert run("prepare_imagenet.py", official, output).returncode == 0
    assert files_below(output / "train" / WNIDS[3]) == ["marker.JPEG"]
    assert files_below(output / "train" / WNIDS[1]) == [f"{WNIDS[1]}_0.JPEG", f"{WNIDS[1]}_1.JPEG"]
    assert not list(output.rglob("*.partial"))


@pytest.mark.parametrize("part", ["train", "val"])
def test_an_archive_with_a_folder_in_it_is_not_the_official_one(official, tmp_path, part):
    path = official / f"ILSVRC2012_img_{part}.tar"
    with tarfile.open(path, "a") as archive:
        folder = tarfile.TarInfo("n99")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
    done = run("prepare_imagenet.py", official, tmp_path / "imagenet")
    assert done.returncode != 0 and "Traceback" not in done.stderr
    assert "is not the official file" in done.stderr and "it holds n99" in done.stderr


@pytest.mark.parametrize("part", ["train", "val"])
@pytest.mark.parametrize("kept", [0.5, "between members"])
def test_cut_off_archive_never_becomes_a_finished_folder(official, tmp_path, part, kept):
    path = official / f"ILSVRC2012_img_{part}.tar"
    with tarfile.open(path) as members:
        last = members.getmembers()[-1].offset
    path.write_bytes(path.read_bytes()[: last if kept == "between members" else int(last * kept)])
    done = run("prepare_imagenet.py", official, tmp_path / "imagenet")
    assert done.returncode == 2 and "error: " in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "imagenet" / part).exists()


@pytest.mark.parametrize("damage", ["cut", "garbled", "empty", "no meta.mat"])
def test_a_damaged_devkit_gets_one_line(official, tmp_path, damage):
    path = official / "ILSVRC2012_devkit_t12.tar.gz"
    whole = path.read_bytes()
    middle = len(whole) // 2
    broken = {"cut": whole[:middle], "garbled": whole[:middle] + b"\xff" * 40 + whole[middle + 40 :], "empty": b""}
    if damage in broken:
        path.write_bytes(broken[damage])
    else:
        with tarfile.open(path, "w:gz") as devkit:
            add(devkit, "ILSVRC2012_devkit_t12/readme.txt", b"nothing else")
    done = run("prepare_imagenet.py", official, tmp_path / "imagenet")
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "devkit_t12.tar.gz is not the official file (or damaged): fetch it again" in done.stderr


@pytest.mark.parametrize("name", ["cat.JPEG", "ILSVRC2012_val_00000000.JPEG", "ILSVRC2012_val_00000009.JPEG"])
def test_another_archive_in_place_of_the_validation_images_gets_one_line(official, tmp_path, name):
    with tarfile.open(official / "ILSVRC2012_img_val.tar", "w") as images:
        add(images, name, jpeg(0))
    done = run("prepare_imagenet.py", official, tmp_path / "imagenet")
    assert done.returncode == 2 and f"is not the official file: it holds {name}" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr and not (tmp_path / "imagenet" / "val").exists()


def test_missing_archive_is_named(tmp_path):
    done = run("prepare_imagenet.py", tmp_path, tmp_path / "imagenet")
    assert done.returncode == 2 and "ILSVRC2012_img_train.tar" in done.stderr and done.stderr.count("\n") == 1


# ---- make_pictures ----


def test_pictures_are_drawn_on_two_colours_and_say_where_they_come_from(tmp_path):
    spec = importlib.util.spec_from_file_location("make_pictures", SCRIPTS / "make_pictures.py")
    maker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(maker)
    for path, *_ in maker.DRAWINGS.values():
        (tmp_path / "clipart" / path).parent.mkdir(parents=True, exist_ok=True)
        item = Image.new("RGBA", (40, 20))
        item.paste("red", (10, 5, 30, 15))
        item.save(tmp_path / "clipart" / path)
    Image.new("RGB", (451, 300), "orange").save(tmp_path / "cat.png")
    sources = ("--clipart", tmp_path / "clipart", "--photo", tmp_path / "cat.png", "--output", tmp_path / "new")
    done = run("make_pictures.py", *sources)
    assert done.returncode == 0, done.stderr
    assert files_below(tmp_path / "new") == sorted(
        [*(f"{name}.png" for name in (*maker.DRAWINGS, "cat_photo")), "LICENSE"]
    )
    ship = np.array(Image.open(tmp_path / "new" / "ship.png"))
    assert ship.shape == (32, 32, 3)
    assert tuple(ship[16, 16]) == (255, 0, 0) and tuple(ship[0, 0]) != tuple(ship[-1, 0])  # the item, sky, sea
    assert "ship.png: transportation" in (tmp_path / "new" / "LICENSE").read_text()
    packaged = files_below(PICTURES)
    assert packaged == files_below(tmp_path / "new")

    (tmp_path / "clipart" / maker.DRAWINGS["dog"][0]).unlink()
    done = run("make_pictures.py", *sources)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "openclipart-png" in done.stderr

    (tmp_path / "clipart" / maker.DRAWINGS["dog"][0]).write_bytes(b"no picture")
    done = run("make_pictures.py", *sources)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "a picture cannot be read" in done.stderr
    item.save(tmp_path / "clipart" / maker.DRAWINGS["dog"][0])
    done = run("make_pictures.py", *sources[:-1], tmp_path / "cat.png" / "new")
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "could not write" in done.stderr


def test_the_packaged_pictures_fit_the_networks_of_cifar10():
    images, names = drawn_pictures()
    assert images.shape == (len(names), 3, 32, 32) and images.dtype == torch.uint8
    assert {"cat", "dog", "ship"} <= set(names) and names.count("cat") == 2
    assert images.float().std(dim=(1, 2, 3)).min() > 10  # none of them is empty
