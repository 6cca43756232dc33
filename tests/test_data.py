"""The data: what load_dataset gives, the same on every machine, and one clear line for everything that can go wrong."""

import dataclasses
import gzip
import hashlib
import pickle
import random
import shutil
import time
import urllib.error
import urllib.request
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat
from torchvision import datasets, transforms
from toy import toy_dataset

from deit_edu import data
from deit_edu.data import (
    Split,
    clutter,
    denormalise,
    downloads,
    hold_out,
    keep_classes,
    load_dataset,
    normalise,
    packaged,
    splits,
)
from deit_edu.data.decode import decode_picture
from deit_edu.data.imagenet import random_crop_box
from deit_edu.errors import DeiTEduError

DEBIAN = Path("/usr/share/datasets/fashion-mnist")


@pytest.fixture(scope="module")
def fashion():
    return load_dataset("fashion_mnist_10k")


@pytest.fixture(scope="module")
def cluttered():
    return load_dataset("fashion_clutter")


def splits_of(dataset):
    return dataset.train, dataset.validation, dataset.test


def digest(*tensors):
    sha = hashlib.sha256()
    for tensor in tensors:
        sha.update(np.ascontiguousarray(tensor))
    return sha.hexdigest()


def one_line(error):
    assert "\n" not in str(error.value)
    return str(error.value)


# ---- fashion_mnist_10k ----


def test_packaged_splits_are_class_balanced(fashion):
    assert fashion.image_shape == (1, 28, 28) and fashion.num_classes == 10
    for split, per_class in zip(splits_of(fashion), (1000, 200, 1000), strict=True):
        assert split.images.dtype == torch.uint8 and split.labels.dtype == torch.int64
        assert torch.bincount(split.labels).tolist() == [per_class] * 10
        assert len(split) == len(split.images) == 10 * per_class


def test_no_packaged_image_is_in_two_splits(fashion):
    train, validation, test = ({image.tobytes() for image in split.images.numpy()} for split in splits_of(fashion))
    assert not (train & validation or train & test or validation & test)
    assert len(train) == 10_000 and len(validation) == 2_000  # nor twice in one split that we chose


def test_packaged_images_are_the_same_on_every_machine(fashion):
    assert fashion.checksum == "d976fd295b298b5593e526a23dc6678e1c3273dca30ffa54ccdf9623a3652d69"


def test_checksum_covers_every_image_and_label(fashion):
    train = data.Split(fashion.train.images.clone(), fashion.train.labels)
    train.images[-1, 0, -1, -1] += 1
    other_image = data.make_dataset("", fashion.classes, train, fashion.validation, fashion.test)
    test = data.Split(fashion.test.images, fashion.test.labels.roll(1))
    other_label = data.make_dataset("", fashion.classes, fashion.train, fashion.validation, test)
    assert len({fashion.checksum, other_image.checksum, other_label.checksum}) == 3


def test_packaged_data_loads_within_a_second_and_a_half():
    for name in ("fashion_mnist_10k", "fashion_clutter"):
        start = time.process_time()
        load_dataset(name)
        assert time.process_time() - start < 1.5, name


def flip_a_bit(path):
    contents = bytearray(path.read_bytes())
    contents[len(contents) // 2] ^= 1
    path.write_bytes(contents)


def cut_in_half(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("file", ["train.bin", "validation.bin", "test.bin", "SHA256SUMS"])
@pytest.mark.parametrize(
    "damage",
    [flip_a_bit, Path.unlink, cut_in_half, lambda path: path.write_bytes(b"")],
    ids=["one bit", "missing", "truncated", "empty"],
)
def test_damaged_package_gives_one_line_that_names_a_file_and_the_repair(tmp_path, monkeypatch, file, damage):
    shutil.copytree(packaged.PACKAGED, tmp_path / "copy")
    monkeypatch.setattr(packaged, "PACKAGED", tmp_path / "copy")
    assert len(load_dataset("fashion_mnist_10k").train) == 10_000
    damage(tmp_path / "copy" / file)
    with pytest.raises(DeiTEduError) as error:
        load_dataset("fashion_mnist_10k")
    line = one_line(error)
    assert str(tmp_path / "copy") in line and "make_fashion_mnist_10k.py" in line
    assert file in line


# ---- fashion_clutter ----


def test_clutter_is_the_same_on_every_machine(cluttered):
    redrawn = cluttered.redraw(1, 2)
    found = [digest(split.images, split.labels, split.boxes) for split in (*splits_of(cluttered), redrawn)]
    assert found == CLUTTER_DIGESTS


CLUTTER_DIGESTS = [
    "2c65ffe4fdc08eebf35067513d497bae04b36c4ad04ee27c248b570cf58c7081",
    "dbb74220fa11e844979f6db3852b2950955a5a8789e0aa02e4be62fef888ca72",
    "f948df88468fc7321282bf0e28fe069227ade6b1020077230e52e38f0cddd38d",
    "6bdcfa8e84fe1f011599fafe5258b94261b5e96ec806cda6a839e011e49adba5",
]


def test_clutter_keeps_the_items_and_their_order(fashion, cluttered):
    drawn = (*splits_of(cluttered), cluttered.redraw(0, 0))
    for split, source in zip(drawn, (*splits_of(fashion), fashion.train), strict=True):
        assert split.images.shape == (len(source), 1, 28, 28) and split.images.dtype == torch.uint8
        assert torch.equal(split.labels, source.labels)


def test_item_is_in_front_of_the_clutter_and_its_box_is_tight(fashion, cluttered):
    quads = fashion.test.images.reshape(-1, 14, 2, 14, 2).double()
    items = ((quads.sum(dim=(2, 4)) + 2) / 4).floor()  # (n, 14, 14): each pixel the mean of four
    for canvas, item, (top, left, height, width) in zip(
        cluttered.test.images[:500, 0], items, cluttered.test.boxes.tolist(), strict=False
    ):
        rows, columns = item.nonzero().T
        assert (height, width) == (rows.max() - rows.min() + 1, columns.max() - columns.min() + 1)
        tight = item[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        shown = canvas[top : top + height, left : left + width]
        assert torch.equal(shown[tight > 0].double(), tight[tight > 0])


def test_clutter_at_twice_the_size_is_the_same_scenes_in_detail(fashion, cluttered):
    large = load_dataset("fashion_clutter", image_size=56)
    assert large.image_shape == (1, 56, 56) and large.checksum != cluttered.checksum
    for small, fine in zip(splits_of(cluttered), splits_of(large), strict=True):
        quads = fine.images.reshape(-1, 28, 2, 28, 2).double().mean(dim=(2, 4))
        assert (quads - small.images[:, 0]).abs().mean() < 1  # of 255; where an item meets clutter they differ
        same = (fine.boxes[:, :2] // 2 == small.boxes[:, :2]).all(dim=1)  # but for pixels too faint for the small one
        assert same.double().mean() > 0.95 and torch.equal(fine.labels, small.labels)
    item, (top, left, height, width) = fashion.test.images[7, 0], large.test.boxes[7].tolist()
    rows, columns = item.nonzero().T
    tight = item[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    assert torch.equal(large.test.images[7, 0, top : top + height, left : left + width][tight > 0], tight[tight > 0])


def test_clutter_at_other_sizes_is_brought_down_from_there():
    large, between = load_dataset("fashion_clutter", image_size=56), load_dataset("fashion_clutter", image_size=42)
    scaled = large.redraw(1, 2).boxes * 42 / 56
    redrawn = between.redraw(1, 2)
    assert redrawn.image_shape == (1, 42, 42) and (redrawn.boxes - scaled).abs().max() <= 0.5
    brightness = [dataset.train.images.double().mean().item() for dataset in (large, between)]
    assert brightness[0] == pytest.approx(brightness[1], rel=0.01)
    # Pillow resizes in whole numbers: the same pixels on every machine.
    found = digest(redrawn.images)
    assert found == "7f4402b744fc7ce9d2c71f36a358ac1b774c29f723e67954b69bf376741a4c39"
    for side in (13, 57):
        with pytest.raises(DeiTEduError, match=f"drawn at 14 to 56 pixels a side, not {side}"):
            load_dataset("fashion_clutter", image_size=side)


def test_redraw_repeats_for_the_same_seed_and_epoch_only(cluttered):
    first = cluttered.redraw(0, 0)
    assert torch.equal(first.images, cluttered.redraw(0, 0).images)
    for seed, epoch in ((0, 1), (1, 0)):
        other = cluttered.redraw(seed, epoch)
        assert (first.images == other.images).flatten(1).all(1).float().mean() < 0.001
        assert (first.boxes == other.boxes).all(1).float().mean() < 0.01  # 1 in 225 by chance
    assert not torch.equal(first.images, cluttered.train.images)


def test_places_are_uniform():
    items = np.full((10_000, 28, 28), 255, np.uint8)  # fills its cell: the box is the place
    boxes = clutter.ClutterSource(items, np.zeros(10_000, np.int64)).draw(0).boxes
    counts = torch.bincount(boxes[:, 0] * 15 + boxes[:, 1], minlength=225).double()
    chi_squared = ((counts - 10_000 / 225) ** 2 / (10_000 / 225)).sum()
    assert len(counts) == 225 and chi_squared < 310  # 224 degrees of freedom: p < 0.0001


def test_items_of_the_left_half_have_their_middle_there_and_the_test_is_the_same(cluttered):
    items = np.full((2_000, 28, 28), 255, np.uint8)  # fills its cell: the box is the place
    source = clutter.ClutterSource(items, np.zeros(2_000, np.int64))
    for half, columns in (("left", range(7)), ("right", range(8, 15))):
        boxes = source.draw(0, columns=clutter.HALVES[half]).boxes
        assert set(boxes[:, 1].tolist()) == set(columns) and set(boxes[:, 0].tolist()) == set(range(15))
    data = load_dataset("fashion_clutter_left", classes="0-4")
    assert torch.equal(clutter.fashion_clutter_left().test.images, cluttered.test.images)
    for half, split in data.places.items():  # of these items none is as wide as its cell
        middles = split.boxes[:, 1] + split.boxes[:, 3] / 2
        assert (middles < 14.5).float().mean() == (1 if half == "left" else 0) and split.labels.unique().numel() == 5
    for split in (data.train, data.validation, data.redraw(1, 2)):
        assert (split.boxes[:, 1] + split.boxes[:, 3] / 2 < 14.5).all()


def test_clutter_comes_from_other_items_of_the_same_split(monkeypatch):
    bases = (1, 101, 176)  # the items of a split are of one brightness each, and no two splits share any
    sizes = (100, 75, 75)
    parts = []
    for base, size in zip(bases, sizes, strict=True):
        brightness = np.arange(base, base + size, dtype=np.uint8)
        parts.append((np.broadcast_to(brightness[:, None, None], (size, 28, 28)), np.zeros(size, np.int64)))
    monkeypatch.setattr(clutter, "packaged_splits", lambda: parts)
    dataset = clutter.fashion_clutter()
    for split, base, size in zip(splits_of(dataset), bases, sizes, strict=True):
        for index, (top, left, height, width) in enumerate(split.boxes.tolist()):
            image = split.images[index, 0]
            assert (image[top : top + height, left : left + width] == base + index).all()
            image[top : top + height, left : left + width] = 0
            others = set(image.unique().tolist()) - {0}
            assert others and base + index not in others
            assert all(base <= value < base + size for value in others)


def test_clutter_shows_something_in_every_image(cluttered):
    for split in splits_of(cluttered):
        around = split.images[:, 0].clone()
        for image, (top, left, height, width) in zip(around, split.boxes.tolist(), strict=True):
            image[top : top + height, left : left + width] = 0
        shown = (around > 0).flatten(1).sum(1)
        assert (shown >= 10).float().mean() > 0.99


def test_redrawing_the_training_split_takes_a_fraction_of_a_second(cluttered):
    start = time.process_time()
    cluttered.redraw(0, 7)
    assert time.process_time() - start < 0.3


# ---- normalisation, validation, names ----


def test_normalised_training_images_have_mean_0_and_deviation_1(cluttered):
    images = normalise(cluttered.train.images, cluttered.mean, cluttered.std)
    assert images.dtype == torch.float32
    assert abs(images.double().mean()) < 1e-6 and abs(images.double().std(correction=0) - 1) < 1e-6


def test_channel_statistics_are_those_of_each_channel():
    images = torch.randint(256, (2500, 3, 5, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    images[:, 1] //= 3
    mean, std = splits.channel_statistics(images)
    scaled = images.double() / 255
    assert torch.allclose(torch.tensor(mean).double(), scaled.mean(dim=(0, 2, 3)), atol=1e-7)
    assert torch.allclose(torch.tensor(std).double(), scaled.std(dim=(0, 2, 3), correction=0), atol=1e-7)


def test_denormalise_undoes_normalise():
    images = torch.arange(2 * 3 * 256).reshape(2, 3, 16, 16).to(torch.uint8)
    mean, std = (0.1, 0.5, 0.9), (0.2, 0.3, 0.4)
    assert torch.equal((denormalise(normalise(images, mean, std), mean, std) * 255).round().to(torch.uint8), images)


def test_hold_out_takes_one_in_ten_of_each_class_and_repeats():
    labels = torch.arange(1000) % 7 % 4
    kept, held_out = hold_out(labels)
    assert sorted([*kept.tolist(), *held_out.tolist()]) == list(range(1000))
    counts = torch.bincount(labels)
    assert torch.equal(torch.bincount(labels[held_out]), counts // 10)
    assert torch.equal(held_out, hold_out(labels)[1])
    assert held_out[:5].tolist() == HELD_OUT and torch.equal(kept, kept.sort().values)


HELD_OUT = [30, 41, 42, 51, 53]


def test_hold_out_leaves_something_of_a_small_class_on_both_sides():
    kept, held_out = hold_out(torch.tensor([0, 0, 0, 1]))
    assert len(held_out) == 1 and held_out[0] < 3 and 3 in kept


def test_unknown_name_lists_the_known_names_nearest_first():
    with pytest.raises(DeiTEduError) as error:
        load_dataset("fashion_mist_10k")
    line = one_line(error)
    assert "did you mean fashion_mnist_10k?" in line
    assert all(name in line for name in data.DATASETS)
    with pytest.raises(DeiTEduError, match="did you mean folder:PATH"):
        load_dataset("folder:")
    for name in ("imagenet", "cifar10:", "cifar10:/tmp", ""):
        with pytest.raises(DeiTEduError, match="unknown data set .* did you mean"):
            load_dataset(name)


def test_a_path_alone_is_told_to_say_folder(tmp_path):
    with pytest.raises(DeiTEduError, match=f"say folder:{tmp_path}"):
        load_dataset(str(tmp_path))


@pytest.mark.parametrize("name", ["fashion_mnist_10k", "fashion_mnist", "cifar10", "cifar100"])
def test_image_size_is_refused_where_images_have_one_size(name):
    with pytest.raises(DeiTEduError, match="leave image_size out"):
        load_dataset(name, image_size=32)


# ---- some classes alone ----


def test_classes_are_kept_and_numbered_anew(cluttered):
    some = load_dataset("fashion_clutter", classes="7,0-2")
    assert some.classes == ("Sneaker", "T-shirt/top", "Trouser", "Pullover")
    assert some.checksum == cluttered.checksum and (some.mean, some.std) == (cluttered.mean, cluttered.std)
    for part, whole in zip((*splits_of(some), some.redraw(3, 4)), (*splits_of(cluttered), cluttered.redraw(3, 4)),
                           strict=True):  # fmt: skip
        kept = torch.isin(whole.labels, torch.tensor([7, 0, 1, 2]))
        assert torch.equal(part.images, whole.images[kept]) and torch.equal(part.boxes, whole.boxes[kept])
        assert [some.classes[label] for label in part.labels] == [cluttered.classes[n] for n in whole.labels[kept]]


@pytest.mark.parametrize("classes", ["all", "0-", "-3", "1,,2", "a-b"])
def test_classes_that_are_no_numbers_are_refused(classes):
    with pytest.raises(DeiTEduError, match="are not understood: say 0-4, or 0,2,5"):
        load_dataset("fashion_mnist_10k", classes=classes)


@pytest.mark.parametrize("classes", ["10", "0-10", "1,1", "5-2", "0-4,9-7", "0-9999999999"])
def test_classes_that_are_not_there_are_refused(classes):
    with pytest.raises(DeiTEduError, match="each once: they are 0 to 9"):
        load_dataset("fashion_mnist_10k", classes=classes)


# ---- downloads ----


@pytest.fixture
def offline(monkeypatch):
    def refuse(*args, **kwargs):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)


@pytest.mark.parametrize(
    ("name", "file", "md5", "folder"),
    [
        ("fashion_mnist", "t10k-labels-idx1-ubyte.gz", "bb300cfdad3c16e7a12a480ee83cd310", "FashionMNIST/raw"),
        ("cifar10", "cifar-10-python.tar.gz", "c58f30108f718f92721af3b95e74349a", ""),
        ("cifar100", "cifar-100-python.tar.gz", "eb9058c3a382ffc7106e4002c42a8d85", ""),
        ("imagenette", "imagenette2-160.tgz", "e793b78cc4c9e9a4ccc0c1155377a412", ""),
        ("flowers102", "102flowers.tgz", "52808999861908f626f3c1f4e79d11fa", "flowers-102"),
    ],
)
def test_offline_names_the_file_to_fetch_and_the_folder(offline, tmp_path, monkeypatch, name, file, md5, folder):
    monkeypatch.setenv("DEIT_EDU_DATA", str(tmp_path))
    with pytest.raises(DeiTEduError) as error:
        load_dataset(name)
    line = one_line(error)
    assert f"{file} (md5 {md5})" in line and f"into {tmp_path / folder}," in line and "http" in line
    assert "no network" in line


def test_download_folder_is_root_then_environment_then_cache(monkeypatch):
    monkeypatch.setenv("DEIT_EDU_DATA", "/elsewhere")
    assert data.data_root("~/here") == Path.home() / "here"
    assert data.data_root() == Path("/elsewhere")
    monkeypatch.delenv("DEIT_EDU_DATA")
    assert data.data_root() == Path.home() / ".cache" / "deit_edu"


@pytest.fixture
def fashion_root(tmp_path):
    if not DEBIAN.is_dir():
        pytest.skip("official Fashion-MNIST files not found: apt install dataset-fashion-mnist (Debian, Ubuntu)")
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for path in DEBIAN.glob("*.gz"):
        (raw / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
    return tmp_path


def test_fashion_mnist_holds_out_a_balanced_tenth(offline, fashion_root, fashion):
    dataset = load_dataset("fashion_mnist", fashion_root)
    assert torch.bincount(dataset.train.labels).tolist() == [5400] * 10
    assert torch.bincount(dataset.validation.labels).tolist() == [600] * 10
    assert dataset.image_shape == (1, 28, 28)
    assert torch.equal(dataset.test.images, fashion.test.images)
    assert torch.equal(dataset.test.labels, fashion.test.labels)


def test_cut_off_download_gives_one_line(offline, fashion_root):
    raw = fashion_root / "FashionMNIST" / "raw" / "train-images-idx3-ubyte"
    raw.write_bytes(raw.read_bytes()[:1_000_000])
    with pytest.raises(DeiTEduError) as error:
        load_dataset("fashion_mnist", fashion_root)
    assert "delete what is damaged there" in one_line(error) and str(raw.parent) in one_line(error)


def test_cifar_channels_come_first_and_labels_stay_with_their_images(offline, tmp_path, monkeypatch):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    pixels = np.random.RandomState(0).randint(0, 256, (40, 3, 32, 32)).astype(np.uint8)

    def write(name, contents):
        (folder / name).write_bytes(pickle.dumps(contents))
        return [name, hashlib.md5((folder / name).read_bytes()).hexdigest()]

    def batch(part):
        return {"data": pixels[part].reshape(-1, 3072), "labels": [index % 2 for index in range(40)][part]}

    monkeypatch.setattr(datasets.CIFAR10, "train_list", [write("data_batch_1", batch(slice(30)))])
    monkeypatch.setattr(datasets.CIFAR10, "test_list", [write("test_batch", batch(slice(30, 40)))])
    name, md5 = write("batches.meta", {"label_names": ["cat", "dog"]})
    monkeypatch.setattr(datasets.CIFAR10, "meta", {"filename": name, "key": "label_names", "md5": md5})

    dataset = load_dataset("cifar10", tmp_path)
    assert dataset.classes == ("cat", "dog") and dataset.image_shape == (3, 32, 32)
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (28, 2, 10)
    assert torch.equal(dataset.test.images, torch.from_numpy(pixels[30:]))
    original = {image.tobytes(): index % 2 for index, image in enumerate(pixels)}
    for split in (dataset.train, dataset.validation):
        assert [original[image.numpy().tobytes()] for image in split.images] == split.labels.tolist()

    (folder / "test_batch").write_bytes(b"damaged")
    with pytest.raises(DeiTEduError, match="cannot get cifar10"):
        load_dataset("cifar10", tmp_path)


def test_imagenette_is_tested_on_its_official_validation_images(offline, tmp_path, monkeypatch):
    for part, count in (("train", 20), ("val", 3)):
        counts = {"n01440764": count, "n02102040": count}
        write_images(tmp_path / "imagenette2-160" / part, counts, (50, 40), suffix=".JPEG")
    with pytest.raises(DeiTEduError, match="holds 46 of 13394 images"):
        load_dataset("imagenette", tmp_path)
    monkeypatch.setattr(downloads, "IMAGENETTE_IMAGES", 46)
    dataset = load_dataset("imagenette", tmp_path, image_size=32)
    assert dataset.classes == ("tench", "English springer") and dataset.image_shape == (3, 32, 32)
    assert [torch.bincount(split.labels).tolist() for split in splits_of(dataset)] == [[18, 18], [2, 2], [3, 3]]


def test_classes_of_which_a_split_has_no_image_are_refused():
    data = toy_dataset()
    data = dataclasses.replace(data, validation=Split(data.validation.images[:1], data.validation.labels[:1]))
    with pytest.raises(DeiTEduError, match="a split of toy has no image of classes 1: choose others"):
        keep_classes(data, "1")


def test_flowers_keep_their_official_splits(offline, tmp_path, monkeypatch):
    folder = tmp_path / "flowers-102"
    write_images(folder, {"jpg": 6}, (50, 40), name="image_{:05d}", first=1)
    savemat(folder / "imagelabels.mat", {"labels": [[1, 2, 102, 1, 2, 102]]})
    savemat(folder / "setid.mat", {"trnid": [[6, 1]], "valid": [[2, 5]], "tstid": [[3, 4, 5]]})
    md5 = {file: hashlib.md5((folder / file).read_bytes()).hexdigest() for file in ("imagelabels.mat", "setid.mat")}
    monkeypatch.setitem(datasets.Flowers102._file_dict, "label", ("imagelabels.mat", md5["imagelabels.mat"]))
    monkeypatch.setitem(datasets.Flowers102._file_dict, "setid", ("setid.mat", md5["setid.mat"]))
    dataset = load_dataset("flowers102", tmp_path)
    assert [split.labels.tolist() for split in splits_of(dataset)] == [[101, 0], [1, 1], [101, 0, 1]]
    assert dataset.image_shape == (3, 64, 64) and dataset.num_classes == 102


# ---- folders ----


def write_images(folder, counts, size=(32, 32), mode="RGB", suffix=".jpg", name="{:03d}", first=0):
    """counts[class] noise images of size (width, height) in folder/class."""
    noise = np.random.RandomState(len(str(folder)) % 97)
    for label, count in counts.items():
        (folder / label).mkdir(parents=True, exist_ok=True)
        for index in range(first, first + count):
            pixels = noise.randint(0, 256, (size[1], size[0], 3)).astype(np.uint8)
            Image.fromarray(pixels).convert(mode).save(folder / label / f"{name.format(index)}{suffix}")


@pytest.fixture
def tree(tmp_path):
    write_images(tmp_path / "train", {"cat": 20, "dog": 10})
    write_images(tmp_path / "test", {"cat": 3, "dog": 2})
    return tmp_path


def test_folder_without_validation_holds_out_a_tenth_of_each_class(tree):
    dataset = load_dataset(f"folder:{tree}")
    assert dataset.name == f"folder:{tree}" and dataset.classes == ("cat", "dog")
    assert [torch.bincount(split.labels).tolist() for split in splits_of(dataset)] == [[18, 9], [2, 1], [3, 2]]
    assert dataset.image_shape == (3, 32, 32) and dataset.train.images.dtype == torch.uint8


def test_folder_images_are_the_files_pixels_in_the_order_of_their_names(tree):
    files = sorted((tree / "test").glob("*/*.jpg"))
    for image, file in zip(load_dataset(f"folder:{tree}").test.images, files, strict=True):
        assert torch.equal(image, torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1))


@pytest.mark.parametrize("part", ["val", "validation"])
def test_folder_uses_its_own_validation_images(tree, part):
    write_images(tree / part, {"dog": 4})
    dataset = load_dataset(f"folder:{tree}")
    assert (len(dataset.train), dataset.validation.labels.tolist()) == (30, [1, 1, 1, 1])


def test_folder_is_grey_only_if_all_images_are(tmp_path):
    for part in ("train", "test"):
        write_images(tmp_path / part, {"cat": 2, "dog": 2}, mode="L", suffix=".png")
    grey = load_dataset(f"folder:{tmp_path}")
    assert grey.image_shape == (1, 32, 32)
    write_images(tmp_path / "test", {"dog": 1}, name="colour{}", suffix=".png")
    mixed = load_dataset(f"folder:{tmp_path}")
    assert mixed.image_shape == (3, 32, 32)
    assert torch.equal(mixed.train.images, grey.train.images.expand(-1, 3, -1, -1))


@pytest.mark.parametrize(
    ("sizes", "asked", "expected"),
    [
        ([(48, 48), (48, 48)], None, 48),  # all agree
        ([(48, 48), (50, 50)], None, 64),
        ([(48, 40), (48, 40)], None, 64),  # not square
        ([(300, 300), (300, 300)], None, 64),  # too large to keep many of
        ([(48, 48), (50, 70)], 16, 16),
    ],
)
def test_folder_brings_all_images_to_one_size(tmp_path, sizes, asked, expected):
    for label, size in zip(("cat", "dog"), sizes, strict=True):
        for part in ("train", "test"):
            write_images(tmp_path / part, {label: 2}, size)
    assert load_dataset(f"folder:{tmp_path}", image_size=asked).image_shape == (3, expected, expected)


def test_corrupt_images_are_named_and_counted_and_left_out(tree):
    (tree / "train" / "cat" / "000.jpg").write_bytes(b"no image")
    whole = (tree / "train" / "dog" / "003.jpg").read_bytes()
    (tree / "train" / "dog" / "003.jpg").write_bytes(whole[: len(whole) // 2])
    (tree / "test" / "cat" / "001.jpg").write_bytes(b"")
    with pytest.warns(UserWarning) as caught:
        dataset = load_dataset(f"folder:{tree}")
    (warning,) = caught
    line = str(warning.message)
    assert line.startswith("3 of 35 images") and "\n" not in line
    assert all(name in line for name in ("cat/000.jpg", "dog/003.jpg", "cat/001.jpg"))
    assert len(dataset.train) + len(dataset.validation) == 28 and dataset.test.labels.tolist() == [0, 0, 1, 1]


def test_a_sound_folder_gives_no_warning_and_hidden_files_are_no_images(tree):
    (tree / "train" / "cat" / "._000.jpg").write_bytes(b"a copy that macOS leaves")
    (tree / "train" / "cat" / "notes.txt").write_text("no image")
    (tree / "train" / ".ipynb_checkpoints").mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_dataset(f"folder:{tree}").num_classes == 2


def remove_train(tree):
    shutil.rmtree(tree / "train")


def add_class_to_test(tree):
    write_images(tree / "test", {"horse": 1})


def empty_test(tree):
    for path in (tree / "test").glob("*/*"):
        path.unlink()


def corrupt_test(tree):
    for path in (tree / "test").glob("*/*"):
        path.write_bytes(b"no image")


def thin_train(tree):
    for folder in (tree / "train").iterdir():
        for path in sorted(folder.iterdir())[1:]:
            path.unlink()


def flatten_train(tree):
    for path in (tree / "train").iterdir():
        shutil.rmtree(path)
    Image.new("RGB", (8, 8)).save(tree / "train" / "0.jpg")


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (add_class_to_test, "has classes that train/ has not: horse"),
        (empty_test, "test has no images: expected"),
        (corrupt_test, "none of the 5 images"),
        (thin_train, "train has too few images of each class to hold one out for validation"),
        (flatten_train, "train has no class folders: expected"),
        (shutil.rmtree, "there is no folder"),
        (remove_train, "but no folder train/: expected"),
    ],
)
def test_folder_of_another_shape_gives_one_line(tree, spoil, expected):
    spoil(tree)
    with pytest.raises(DeiTEduError) as error:
        load_dataset(f"folder:{tree}")
    assert expected in one_line(error) and str(tree) in one_line(error)


def test_image_size_must_be_positive(tree):
    with pytest.raises(DeiTEduError, match="image_size is a side in pixels, got 0"):
        load_dataset(f"folder:{tree}", image_size=0)


# ---- imagenet ----


@pytest.fixture
def imagenet(tmp_path):
    write_images(tmp_path / "train", {"n01": 200, "n02": 100}, (37, 52), suffix=".JPEG")
    write_images(tmp_path / "val", {"n01": 2, "n02": 1}, (60, 41), suffix=".JPEG")
    return tmp_path


def test_imagenet_is_tested_on_val_and_validated_on_one_training_image_in_a_hundred(imagenet):
    dataset = load_dataset(f"imagenet:{imagenet}")
    assert [torch.bincount(split.labels).tolist() for split in splits_of(dataset)] == [[198, 99], [2, 1], [2, 1]]
    assert [len(split) for split in splits_of(dataset)] == [297, 3, 3]
    assert dataset.image_shape == (3, 224, 224) and dataset.classes == ("n01", "n02")
    assert not set(dataset.train.paths) & set(dataset.validation.paths)


def test_lazy_evaluation_batch_is_torchvisions_resize_and_centre_crop(imagenet):
    split = load_dataset(f"imagenet:{imagenet}", image_size=28).test
    resize = transforms.Resize(32, transforms.InterpolationMode.BICUBIC)
    expected = transforms.Compose([resize, transforms.CenterCrop(28), transforms.PILToTensor()])
    batch = split.batch(torch.tensor([2, 0]))
    assert batch.shape == (2, 3, 28, 28) and batch.dtype == torch.uint8
    for image, index in zip(batch, (2, 0), strict=True):
        assert torch.equal(image, expected(Image.open(split.paths[index]).convert("RGB")))


def test_lazy_training_crops_follow_the_generator_alone(imagenet):
    split = load_dataset(f"imagenet:{imagenet}", image_size=16).train

    def draw(seed):
        return split.batch(torch.tensor([5, 5, 7, 0]), torch.Generator().manual_seed(seed))

    first = draw(0)
    assert first.shape == (4, 3, 16, 16) and torch.equal(first, draw(0)) and not torch.equal(first, draw(1))
    assert not torch.equal(first[0], first[1])  # the same image twice: two crops, as repeated augmentation needs


def test_both_kinds_of_split_answer_the_same_batch_call(imagenet, fashion):
    indices, generator = torch.tensor([3, 1]), torch.Generator().manual_seed(0)
    assert torch.equal(fashion.train.batch(indices, generator), fashion.train.images[indices])
    lazy = load_dataset(f"imagenet:{imagenet}", image_size=16).train
    assert lazy.batch(indices, generator).shape == (2, *lazy.image_shape)


def test_a_16_bit_image_is_as_dark_as_its_8_bit_one(tmp_path):
    eight = np.arange(256, dtype=np.uint8).reshape(16, 16)
    Image.fromarray(eight).save(tmp_path / "8.png")
    Image.fromarray(eight.astype(np.uint16) * 257).save(tmp_path / "16.png")
    images = [decode_picture(tmp_path / name, lambda image: image).pixels for name in ("8.png", "16.png")]
    assert (images[0] == eight).all() and (images[1] == eight).all()


def test_corrupt_lazy_image_is_named_and_black(imagenet):
    (imagenet / "val" / "n01" / "001.JPEG").write_bytes(b"no image")
    split = load_dataset(f"imagenet:{imagenet}", image_size=16).test
    with pytest.warns(UserWarning, match="n01/001.JPEG cannot be decoded"):
        batch = split.batch(torch.arange(3))
    assert (batch[1] == 0).all() and batch[0].any() and batch[2].any()


def test_imagenet_checksum_sees_a_changed_file(imagenet):
    before = load_dataset(f"imagenet:{imagenet}").checksum
    assert before == load_dataset(f"imagenet:{imagenet}").checksum
    write_images(imagenet / "val", {"n02": 1}, (60, 42), suffix=".JPEG")
    assert before != load_dataset(f"imagenet:{imagenet}").checksum


def test_imagenet_without_val_names_the_script_that_makes_it(imagenet):
    shutil.rmtree(imagenet / "val")
    with pytest.raises(DeiTEduError, match="has no folder val/: data_scripts/prepare_imagenet.py makes it"):
        load_dataset(f"imagenet:{imagenet}")


@pytest.mark.parametrize(("width", "height"), [(500, 375), (224, 224), (1000, 20), (20, 1000), (1, 1)])
def test_random_crops_lie_inside_the_image_with_torchvisions_areas_and_ratios(width, height):
    boxes = [random_crop_box(width, height, random.Random(seed)) for seed in range(2000)]
    left, top, right, bottom = np.array(boxes).T
    assert (left >= 0).all() and (top >= 0).all() and (right <= width).all() and (bottom <= height).all()
    assert (left < right).all() and (top < bottom).all()
    areas = (right - left) * (bottom - top) / (width * height)

    torch.manual_seed(0)
    image, rule = torch.empty(3, height, width), ((0.08, 1), (3 / 4, 4 / 3))
    theirs = np.array([transforms.RandomResizedCrop.get_params(image, *rule) for _ in range(2000)])
    their_height, their_width = theirs[:, 2], theirs[:, 3]
    their_areas = their_height * their_width / (width * height)
    log_ratios, their_log_ratios = np.log((right - left) / (bottom - top)), np.log(their_width / their_height)
    for ours, reference in ((areas, their_areas), (log_ratios, their_log_ratios)):
        assert abs(ours.mean() - reference.mean()) < 0.03 and abs(ours.std() - reference.std()) < 0.03
