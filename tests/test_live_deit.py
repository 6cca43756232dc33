"""The live figure of a reader's own: a finished run, its own statistics, and what runs its networks in the page."""

import json
import re
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from test_widgets import MODEL, evaluate_in_module, traits_of

from deit_edu.data import load_dataset, normalise
from deit_edu.errors import DeiTEduError
from deit_edu.model import DeiT, DeiTConfig
from deit_edu.runs import open_run, predict, train
from deit_edu.runs.preprocess import Prepared, Preprocessing
from deit_edu.teachers import create_teacher
from deit_edu.train import TrainConfig
from deit_edu.widgets import AttentionLens, LiveDeiT
from deit_edu.widgets.figure import png
from deit_edu.widgets.network import in_half_precision

# Renders a figure, chooses another image, waits for its answer.
# What a worker runs first can be said, to make a browser of less.
RENDER = """(async ([state, bytes, image, before]) => {
    const Whole = window.Blob;
    window.Blob = function (parts, kind) { return new Whole([before, ...parts], kind); };
    const model = (MODEL)(state, bytes), el = document.createElement('div');
    document.body.append(el);
    const end = render({ model, el }), words = el.querySelector('.words'), first = words.textContent;
    model.set('image', image);
    const note = () => [...el.querySelectorAll('.note')].at(-1).textContent;
    const complaint = () => el.querySelector('.complaint')?.textContent ?? '';
    for (let i = 0; image && i < 600 && !note().includes('answered') && !complaint(); i++) {
        await new Promise(later => setTimeout(later, 50));
    }
    end();
    window.Blob = Whole;
    return { first, words: words.textContent, answers: state.answers, note: note(), complaint: complaint(),
             all: el.innerText };
})(given)""".replace("MODEL", MODEL)
NO_SIMD = "WebAssembly.validate = () => false;"
FEWER_PICTURES = dict(epochs=1, batch_size=16, warmup_epochs=0, crop_padding=1, device="cpu")


@pytest.fixture
def page(browser):
    page = browser.new_page()
    yield page
    page.close()


def rendered(page, figure, image, before="", module="live_deit.js"):
    """What a page shows after another image was chosen."""
    return evaluate_in_module(page, module, RENDER, [*traits_of(figure), image, before])


# ---- a finished run ----


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder with runs on coloured pictures of 12x12: a teacher, its student, and a student without a teacher."""
    folder = tmp_path_factory.mktemp("runs")
    random = np.random.default_rng(0)
    for label, name in enumerate(("red", "green", "blue")):
        (folder / "pictures" / name).mkdir(parents=True)
        for number in range(20):
            pixels = random.integers(0, 120, (12, 12, 3)).astype(np.uint8)
            pixels[..., label] += 100
            Image.fromarray(pixels).save(folder / "pictures" / name / f"{number}.png")
    patch = pytest.MonkeyPatch()
    patch.setenv("DEIT_EDU_RUNS", str(folder))
    patch.setenv("DEIT_EDU_DATA", str(folder / "cache"))
    seen = dict(data=f"folder:{folder / 'pictures'}", image_size=12, **FEWER_PICTURES)
    small = {"patch_size": 4, "embed_dim": 16, "depth": 2, "num_heads": 2}
    taught = dict(teacher="teacher", distillation="hard", tokens="both", model_settings=small)
    train(TrainConfig(**seen, model="convnet_weak"), folder / "teacher", progress=False)
    train(TrainConfig(**seen, **taught), folder / "mine", progress=False)
    train(TrainConfig(**seen, model_settings=small), folder / "plain", progress=False)
    yield folder
    patch.undo()


def told(folder, name, **settings):
    """A copy of a run whose config says something else."""
    shutil.copytree(folder / "mine", folder / name)
    config = json.loads((folder / name / "config.json").read_text())
    (folder / name / "config.json").write_text(json.dumps(config | settings))
    return name


def test_a_finished_run_answers_in_the_page_as_in_python(page, runs):
    figure = LiveDeiT.from_run("mine")
    model, metadata = open_run("mine")
    data = load_dataset(metadata["data"], image_size=12)
    said = predict(model, data.test, data)
    assert figure.class_names == list(data.classes) and figure.teacher["kind"] == "convnet"
    images = torch.from_numpy(np.frombuffer(figure.images, np.uint8).copy()).view(-1, 3, 12, 12)
    place = next(i for i in range(len(data.test)) if torch.equal(data.test.images[i], images[0]))
    assert figure.answers["class"] == pytest.approx(said.class_logits[place].tolist(), abs=1e-4)
    again = next(i for i in range(len(data.test)) if torch.equal(data.test.images[i], images[2]))
    found = rendered(page, figure, 2)
    assert found["answers"]["distillation"] == pytest.approx(said.distillation_logits[again].tolist(), abs=5e-3)
    teacher = predict(open_run("teacher")[0], data.test, data).class_logits[again]
    assert found["answers"]["teacher"] == pytest.approx(teacher.tolist(), abs=2e-2)
    assert f"Asked about test image 3, {data.classes[figure.labels[2]]}." in found["words"]


def test_a_student_of_one_token_and_no_teacher_is_shown_too(page, runs):
    figure = LiveDeiT.from_run(runs / "plain")
    assert set(figure.answers) == {"class"} and set(figure.maps["rollout"]) == {"class"}
    assert png(figure.picture()).startswith(b"\x89PNG") and "the class token attends" in figure.caption()
    found = rendered(page, figure, 1)
    assert set(found["answers"]) == {"class"} and "distillation" not in found["all"] and not found["complaint"]
    assert found["note"].startswith("The student answered in ")


@pytest.mark.parametrize(
    "teacher,why",
    [("timm:resnet18", "a page runs one network of deit_edu."), ("teacher+plain", "a page runs one network of"),
     ("gone", "teacher .*gone is not a run folder: ")],
)  # fmt: skip
def test_a_teacher_that_no_page_can_run_is_named_and_the_student_is_shown(page, runs, teacher, why):
    figure = LiveDeiT.from_run(told(runs, f"by {teacher}", teacher=teacher))
    assert not figure.teacher and "teacher" not in figure.answers
    assert re.match(f"Its teacher, {re.escape(teacher)}, is not asked: {why}", figure.remark)
    assert figure.remark in rendered(page, figure, 0)["all"]


def test_a_run_that_a_page_cannot_show_gets_one_line(runs):
    with pytest.raises(DeiTEduError, match="no run nowhere: give a run folder, or one of .*mine, plain, teacher"):
        LiveDeiT.from_run("nowhere")
    with pytest.raises(DeiTEduError, match="teacher holds convnet_weak, and a page shows a DeiT of deit_edu"):
        LiveDeiT.from_run("teacher")
    unfinished = told(runs, "unfinished")
    (runs / unfinished / "result.json").unlink()
    (runs / unfinished / "model.safetensors").unlink()
    with pytest.raises(DeiTEduError, match="unfinished has not finished: deit-edu train --out .* --resume goes on"):
        LiveDeiT.from_run("unfinished")
    shutil.move(runs / "pictures" / "red", runs / "pictures" / "redder")
    with pytest.raises(DeiTEduError, match="run mine was trained on the classes blue, green, red, not on blue, green"):
        LiveDeiT.from_run("mine")
    shutil.move(runs / "pictures" / "redder" / "0.png", runs / "pictures" / "green" / "20.png")
    with pytest.raises(DeiTEduError, match="run mine was trained on folder:.* with checksum .*: other pictures or"):
        LiveDeiT.from_run("mine")
    shutil.move(runs / "pictures", runs / "moved")
    with pytest.raises(DeiTEduError, match="pictures"):
        LiveDeiT.from_run("mine")


def test_a_packaged_student_is_a_run_too():
    assert LiveDeiT.from_run("packaged:fashion_clutter_student", count=3).labels == [0, 1, 2]
    with pytest.raises(DeiTEduError, match="no packaged network"):
        LiveDeiT.from_run("packaged:nobody_student")


# ---- a network's own statistics ----


def networks():
    """A student of coloured 8x8 pictures and a teacher of grey 10x10 ones, each with statistics of its own."""
    torch.manual_seed(0)
    config = DeiTConfig(image_size=8, patch_size=4, in_channels=3, num_classes=3, embed_dim=8, depth=2, num_heads=2)
    student, teacher = DeiT(config).eval(), create_teacher("convnet_weak", 1, 3).eval()
    for parameter in student.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    student.preprocessing = Preprocessing((3, 8, 8), (0.2, 0.5, 0.9), (0.7, 0.1, 0.4))
    teacher.preprocessing = Preprocessing((1, 10, 10), (0.1,), (0.6,))
    return student, teacher


def test_a_figure_prepares_pictures_as_each_network_was_trained_and_not_as_these_are(page):
    student, teacher = networks()
    images = torch.randint(0, 256, (3, 3, 13, 13), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    labels, names, statistics = [0, 1, 2], list("abc"), ((0.5,) * 3, (0.2,) * 3)
    figure = LiveDeiT(student, teacher, images, labels, names, *statistics)
    expected = in_half_precision(student)(student.preprocessing(images))
    own = normalise(student.preprocessing.resized(images, 0, 255).to(torch.uint8), *statistics)
    taught = Prepared(in_half_precision(teacher), teacher.preprocessing, Preprocessing((3, 8, 8), *statistics))(own)
    found = rendered(page, figure, 1)["answers"]
    for answers, which, tolerance in ((figure.answers, 0, 2e-2), (found, 1, 1e-3)):
        assert answers["class"] == pytest.approx(expected.class_logits[which].tolist(), abs=tolerance)
        assert answers["distillation"] == pytest.approx(expected.distillation_logits[which].tolist(), abs=tolerance)
        assert answers["teacher"] == pytest.approx(taught[which].tolist(), abs=1e-3)


def test_the_lens_prepares_pictures_as_its_network_was_trained():
    student, _ = networks()
    images = torch.randint(0, 256, (2, 3, 13, 13), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    lens = AttentionLens(student, images, [0, 1], list("ab"), (0.5,) * 3, (0.2,) * 3, boxes=[[0, 0, 13, 13]] * 2)
    maps = student.attention_maps(student.preprocessing(images[:1]))[:, 0].detach()
    assert np.abs(np.frombuffer(lens.first, "<f2") - maps.flatten().numpy()).max() < 1e-3
    assert lens.boxes == [[0, 0, 8, 8]] * 2


def test_a_network_that_says_nothing_takes_pictures_of_its_size_only():
    student, _ = networks()
    student.preprocessing = None
    images = torch.zeros(1, 3, 13, 13, dtype=torch.uint8)
    with pytest.raises(DeiTEduError, match="images of 3x13x13 do not fit a network of 3x8x8: give images as it was"):
        LiveDeiT(student, None, images, [0], list("abc"), (0.5,) * 3, (0.2,) * 3)


# ---- what runs them ----


@pytest.mark.parametrize(
    "before,runs_by",
    [("", "by WebAssembly with relaxed SIMD."), (NO_SIMD, "by plain JavaScript, since this browser has no SIMD."),
     ("WebAssembly = undefined;", "by plain JavaScript, since this browser has no SIMD.")],
    ids=["SIMD", "no-SIMD", "no-WebAssembly"],
)  # fmt: skip
def test_a_figure_says_what_runs_its_networks(page, before, runs_by):
    student, teacher = networks()
    images = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    given = images, [0, 1], list("abc"), (0.5,) * 3, (0.2,) * 3
    found = rendered(page, LiveDeiT(student, teacher, *given), 1, before)
    assert found["note"].startswith("Student and teacher answered in ") and runs_by in found["note"]
    expected = in_half_precision(student)(student.preprocessing(images[1:]))
    assert found["answers"]["class"] == pytest.approx(expected.class_logits[0].tolist(), abs=1e-3)
    lens = rendered(page, AttentionLens(student, *given), 1, before, module="attention_lens.js")
    assert lens["note"].startswith("The network answered in ") and runs_by in lens["note"]


def test_a_worker_that_dies_gets_a_sentence(page):
    student, teacher = networks()
    images = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    figure = LiveDeiT(student, teacher, images, [0, 1], list("abc"), (0.5,) * 3, (0.2,) * 3)
    found = rendered(page, figure, 1, "throw new Error('out of memory');")
    assert found["complaint"].startswith("The networks could not be loaded: ") and "out of memory" in found["complaint"]


@pytest.mark.parametrize("role", ["student", "teacher"])
def test_a_network_that_cannot_be_opened_is_named(page, role):
    student, teacher = networks()
    images = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    figure = LiveDeiT(student, teacher, images, [0, 1], list("abc"), (0.5,) * 3, (0.2,) * 3)
    setattr(figure, role, getattr(figure, role) | {"preprocessing": None})
    found = rendered(page, figure, 1)
    assert found["complaint"].startswith(f"The networks could not be loaded: the {role} cannot be opened: ")
    assert "resolve" not in found["complaint"]


@pytest.mark.parametrize("before", ["", NO_SIMD])
def test_weights_that_are_cut_short_answer_nothing(page, before):
    student, teacher = networks()
    images = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    figure = LiveDeiT(student, teacher, images, [0, 1], list("abc"), (0.5,) * 3, (0.2,) * 3)
    whole = len(figure.student_weights)
    figure.student_weights = figure.student_weights[: whole // 2]
    found = rendered(page, figure, 1, before)
    assert f"the student cannot be opened: {whole // 2} of {whole} bytes of its weights are here" in found["complaint"]


def test_a_workers_text_is_let_go_when_it_has_answered(page):
    student, teacher = networks()
    images = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    figure = LiveDeiT(student, teacher, images, [0, 1], list("abc"), (0.5,) * 3, (0.2,) * 3)
    page.evaluate("""() => {
        const revoke = URL.revokeObjectURL;
        window.revoked = [];
        URL.revokeObjectURL = (url) => { revoked.push(url); revoke.call(URL, url); };
    }""")
    assert not rendered(page, figure, 1)["complaint"]
    assert len(set(page.evaluate("revoked"))) == 1
