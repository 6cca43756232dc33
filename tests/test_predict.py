"""deit-edu predict, and evaluate on labelled pictures: what a trained network says of what lies on a disk."""

import csv
import io
import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from toy import toy_config, toy_dataset

from deit_edu.cli import evaluate, main
from deit_edu.data import load_dataset
from deit_edu.errors import DeiTEduError
from deit_edu.model import fuse
from deit_edu.runs import predict_pictures, train
from deit_edu.runs.checkpoints import load, load_teacher
from deit_edu.runs.evaluate import predict
from deit_edu.runs.folders import open_run
from deit_edu.runs.pictures import TrainedNetwork
from deit_edu.runs.sources import open_initial

PARTS = ("train", "validation", "test")


def write_tree(root, toy, deep=False):
    """The toy pictures as root/PART/CLASS/NUMBER.png, of 8 bits, or of 16 between 1,000 and 2,600."""
    for part in PARTS:
        split = getattr(toy, part)
        for number, (image, label) in enumerate(zip(split.images, split.labels.tolist(), strict=True)):
            path = root / part / toy.classes[label] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = image[0].numpy()
            Image.fromarray(1000 + 6 * pixels.astype(np.uint16) if deep else pixels).save(path)
    return f"folder:{root}"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """runs/student, both tokens trained on the pictures in own/; runs/convnet; runs/deep, on pictures of 16 bits."""
    root = tmp_path_factory.mktemp("predict")
    toy = toy_dataset()
    own, deep = write_tree(root / "own", toy), write_tree(root / "deep", toy, deep=True)
    for name, settings in (
        ("student", dict(data=own, tokens="both")),
        ("convnet", dict(data=own, model="convnet_weak", epochs=1)),
        ("deep", dict(data=deep, epochs=1)),
    ):
        train(toy_config(**settings), root / "runs" / name, progress=False)
    return root


@pytest.fixture(autouse=True)
def here(place, monkeypatch, tmp_path):
    monkeypatch.setenv("DEIT_EDU_RUNS", str(place / "runs"))
    monkeypatch.chdir(tmp_path)


def deit_edu(line):
    return main(shlex.split(line))


def expected(place, name="student", data="own"):
    """{head: (n, K)} of all test pictures by the way that evaluation goes, with their paths."""
    dataset = load_dataset(f"folder:{place / data}")
    model = TrainedNetwork(str(place / "runs" / name)).model
    said = predict(model, dataset.test, dataset)
    heads = {"class": said.class_logits.softmax(1)}
    if said.distillation_logits is not None:
        heads |= {"distillation": said.distillation_logits.softmax(1), "fused": fuse(said).exp()}
    return dataset.found.parts["test"].paths, heads


@pytest.mark.parametrize(("name", "data"), [("student", "own"), ("convnet", "own"), ("deep", "deep")])
def test_a_picture_is_told_what_evaluation_is_told(place, name, data):
    paths, heads = expected(place, name, data)
    answers = predict_pictures(str(place / "runs" / name), paths)
    assert [answer.picture for answer in answers] == paths
    for row, answer in enumerate(answers):
        assert set(answer.probabilities) == set(heads)
        for head, shares in heads.items():
            torch.testing.assert_close(answer.probabilities[head], shares[row], atol=1e-5, rtol=0)


def test_a_run_is_named_by_its_folder_by_its_name_or_packaged(place):
    picture = str(next((place / "own/test/top").iterdir()))
    named = (str(place / "runs/student"), place / "runs/student", "student")
    by_text, by_path, by_name = (predict_pictures(run, [picture])[0] for run in named)
    assert torch.equal(by_path.decisive, by_name.decisive) and torch.equal(by_text.decisive, by_name.decisive)
    (packaged,) = predict_pictures("packaged:fashion_clutter_student", [picture])
    assert "Sandal" in packaged.classes and packaged.decisive.sum().item() == pytest.approx(1, abs=1e-5)
    with pytest.raises(DeiTEduError, match="no run nobody: give a run folder, or one of convnet, deep, student"):
        predict_pictures("nobody", [picture])


def test_photographs_of_any_size_and_colour_are_brought_to_the_network(place):
    path = next((place / "own/test/top").iterdir())
    small = Image.open(path)
    large = Image.new("RGBA", (70, 40), (0, 0, 0, 0))  # transparent: white, and cut away at both sides
    large.paste(small.convert("RGB").resize((40, 40), Image.Resampling.NEAREST), (15, 0))
    large.save("large.png")
    one, other = predict_pictures("student", [path, "large.png"])
    assert one.likeliest(1)[0][0] == other.likeliest(1)[0][0]


def test_text_has_a_table_for_each_picture(place, capsys):
    paths, heads = expected(place)
    assert deit_edu(f"predict student {paths[0]} {paths[1]} --top 2") == 0
    said, errors = capsys.readouterr()
    lines = said.splitlines()
    classes = load_dataset(f"folder:{place / 'own'}").classes
    best = heads["fused"][0].topk(2).indices.tolist()
    assert lines[0] == f"{paths[0]}: {classes[best[0]]}" and len(lines) == 8 and errors == ""
    assert lines[1].split() == ["class", "distillation", "fused"]
    for line, k in zip(lines[2:4], best, strict=True):
        assert line.split() == [classes[k], *(f"{heads[head][0, k]:.2%}" for head in heads)]


def test_json_and_csv_hold_the_same_numbers(place, capsys):
    assert deit_edu(f"predict student {place}/own/test/top --top 9 --format json") == 0
    told = json.loads(capsys.readouterr().out)
    assert deit_edu(f"predict student {place}/own/test/top --top 9 --format csv") == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert len(told) == 20 and len(rows) == 60
    for one, mine in zip(told, np.array(rows).reshape(20, 3), strict=True):
        assert [row["picture"] for row in mine] == [one["picture"]] * 3
        assert [int(row["rank"]) for row in mine] == [1, 2, 3] and mine[0]["name"] == one["answer"]
        for row in mine:
            for head, shares in one["probabilities"].items():
                assert float(row[head]) == pytest.approx(shares[row["name"]], abs=1e-6)


def test_a_network_with_one_head_has_one_column(place, capsys):
    picture = next((place / "own/test/top").iterdir())
    assert deit_edu(f"predict convnet {picture} --format csv") == 0
    assert capsys.readouterr().out.splitlines()[0] == "picture,rank,name,class"


def test_what_cannot_be_read_is_one_line_and_the_rest_goes_on(place, capsys, tmp_path):
    (tmp_path / "own").mkdir()
    (tmp_path / "own/cut.jpg").write_bytes(b"\xff\xd8\xff\xe0 cut off")
    (tmp_path / "own/notes.txt").write_text("beside")
    (tmp_path / "own/raw.cr2").write_text("of a camera")
    picture = next((place / "own/test/top").iterdir())
    assert deit_edu(f"predict student own {picture} gone.png --format json") == 1
    said, errors = capsys.readouterr()
    assert [one["picture"] for one in json.loads(said)] == [str(picture)]
    cut, gone, left = errors.splitlines()
    assert cut == "own/cut.jpg cannot be read: damaged"
    assert gone == "gone.png cannot be read: No such file or directory"
    assert left == "left out (.cr2 is not read): own/raw.cr2"


def test_show_draws_what_both_tokens_look_at(place, capsys, tmp_path):
    assert deit_edu(f"predict student {place}/own/test --show drawn.png --top 1") == 0
    assert "drawn in drawn.png (8 of 60 pictures)" in capsys.readouterr().err
    with Image.open("drawn.png") as drawn:
        assert drawn.width > 500 and drawn.height > drawn.width


def test_the_drawn_attention_is_that_of_the_last_layer(place):
    network = TrainedNetwork("student")
    paths = [str(path) for path in (place / "own/test/top").iterdir()][:3]
    pixels = [one.pixels for one in network.read(paths)]
    found = network.attention(pixels)
    maps = network.model.attention_maps(network.batch(pixels))[-1].mean(1)  # (3, T, T)
    torch.testing.assert_close(found["distillation"].flatten(1), maps[:, 1, 2:])
    torch.testing.assert_close(found["class"].flatten(1), maps[:, 0, 2:])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("predict", "the following arguments are required: RUN, PICTURE; see deit-edu predict --help"),
        ("predict student", "the following arguments are required: PICTURE; see deit-edu predict --help"),
        ("predict nobody a.png", "no run nobody: give a run folder, or one of convnet, deep, student"),
        ("predict student a.png --top 0", "--top is 0: it must be 1 or more"),
        ("predict student a.png --format yaml", "argument --format: invalid choice: 'yaml' .*text.*json.*csv.*"),
        ("predict student a.png --show a.jpg", "--show a.jpg must end in .png"),
        ("predict convnet a.png --show a.png", "--show draws where tokens look: .* is a convnet_weak and has none"),
        ("predict student empty", "empty holds no picture"),
    ],
)
def test_a_mistake_is_answered_in_one_line(line, message, capsys, tmp_path):
    (tmp_path / "empty").mkdir()
    assert deit_edu(line) == 2
    said, errors = capsys.readouterr()
    assert said == "" and errors.count("\n") == 1
    assert re.fullmatch(f"error: {message}\n", errors), errors


def test_a_network_keeps_the_range_that_its_deep_greys_were_scaled_by(place):
    metadata = load(place / "runs/deep/model.safetensors")[1]
    deep = load_dataset(f"folder:{place / 'deep'}")
    assert metadata["value_ranges"] == {"integer": list(deep.found.ranges["integer"])}
    low, high = deep.found.ranges["integer"]
    assert 1000 <= low < 1100 and 2400 < high <= 2530
    assert "value_ranges" not in load(place / "runs/student/model.safetensors")[1]


# ---- evaluate, on labelled pictures that are not divided into parts ----


@pytest.fixture
def labelled(place, tmp_path):
    """A function that lays the test pictures of some classes into a folder of class folders."""

    def lay(*names, into="labelled"):
        for name in names:
            theirs, _, ours = name.partition("=")
            shutil.copytree(place / "own/test" / theirs, tmp_path / into / (ours or theirs))
        return f"folder:{tmp_path / into}"

    return lay


def right(place, names):
    """How many test pictures of these classes the student's fused answer is right about, by predict_pictures."""
    paths = [str(path) for name in names for path in (place / "own/test" / name).iterdir()]
    answers = predict_pictures("student", paths)
    return sum(Path(answer.picture).parent.name == answer.likeliest(1)[0][0] for answer in answers), len(paths)


@pytest.mark.parametrize("below", ["", "/test"])
def test_all_pictures_of_a_folder_are_evaluated_and_classes_are_matched_by_name(below, place, labelled, capsys):
    data = labelled("middle", "top", into=f"labelled{below}").removesuffix("/test")
    assert deit_edu(f"evaluate student --data {data}") == 0
    said = capsys.readouterr().out
    hits, total = right(place, ["middle", "top"])
    assert said.startswith(f"student on 40 labelled images of {data}, 95 % Wilson intervals") and total == 40
    assert re.search(rf"\n  fused +{hits / total:.2%} \(", said)


def test_classes_that_the_network_does_not_know_are_left_out_in_one_line(place, labelled, capsys):
    data = labelled("bottom", "top=aloft")
    with pytest.warns(UserWarning) as warned:
        assert deit_edu(f"evaluate student --data {data}") == 0
    assert "student on 20 labelled images" in capsys.readouterr().out
    (note,) = [str(one.message) for one in warned if "left out" in str(one.message)]
    assert note == (
        "20 pictures are left out, of classes that student does not know: aloft; it knows bottom, middle, top"
    )
    assert deit_edu(f"evaluate student --data {labelled('top=aloft', into='others')}") == 2
    told = "has the classes aloft, of which student knows none: it knows bottom, middle, top; call the folders so"
    assert re.fullmatch(f"error: .*others {told}\n", capsys.readouterr().err)


def test_a_table_of_labels_is_evaluated_whole(place, labelled, capsys, tmp_path):
    labelled("top", into="flat/pictures")
    rows = [f"{path.relative_to(tmp_path / 'flat')},top" for path in (tmp_path / "flat").rglob("*.png")]
    (tmp_path / "flat/labels.csv").write_text("\n".join(["filename,label", *rows]))
    assert deit_edu(f"evaluate student --data folder:{tmp_path}/flat") == 0
    assert "student on 20 labelled images" in capsys.readouterr().out


def test_deep_greys_are_scaled_as_the_network_knows_them_divided_or_not(place, monkeypatch, tmp_path):
    """Brighter pictures than those of its training: by their own extent they would look the same."""
    for path in (place / "deep").rglob("*.png"):
        brighter = tmp_path / "divided" / path.relative_to(place / "deep")
        brighter.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.asarray(Image.open(path)) + np.uint16(800)).save(brighter)
    shutil.copytree(tmp_path / "divided/test", tmp_path / "alone")
    seen, asked = {}, evaluate.predict
    monkeypatch.setattr(evaluate, "predict", lambda model, split, dataset: seen.update({dataset.name: split})
                        or asked(model, split, dataset))  # fmt: skip
    divided, alone, known = f"folder:{tmp_path}/divided", f"folder:{tmp_path}/alone", f"folder:{place}/deep"
    for data in (divided, alone, known):
        assert deit_edu(f"evaluate deep --data {data}") == 0
    assert torch.equal(seen[divided].images, seen[alone].images)
    assert seen[divided].images.double().mean() > seen[known].images.double().mean() + 50
    assert torch.equal(seen[known].images, load_dataset(known).test.images)


def test_pictures_that_a_run_was_trained_on_are_not_asked_about_as_new_ones(place, capsys, tmp_path):
    shutil.copytree(place / "own/train", tmp_path / "mine")
    data = f"folder:{tmp_path}/mine"
    train(toy_config(data=data, epochs=1), tmp_path / "run", progress=False)
    assert deit_edu(f"evaluate run --data {data}") == 0
    assert "run on 9 test images" in capsys.readouterr().out  # one in ten of each class of 32


def test_whoever_takes_a_run_folder_takes_a_path(place):
    folder = place / "runs/student"
    assert open_run(folder)[1] == open_run(str(folder))[1]
    assert open_initial(folder)[1] == open_initial(str(folder))[1]
    assert load_teacher(folder, 1, 3)[1] == load_teacher(str(folder), 1, 3)[1]
    with pytest.raises(DeiTEduError, match="no run nobody"):
        TrainedNetwork(Path("nobody"))
