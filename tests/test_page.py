"""deit-edu page: one file with a trained student in it, opened from a disk in Chromium and in Firefox."""

import json
import re
import shlex
import shutil

import firefox
import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image

from deit_edu.cli import main
from deit_edu.data import load_dataset, nested_subset
from deit_edu.errors import DeiTEduError
from deit_edu.runs import predict_pictures, train
from deit_edu.runs.evaluate import Accuracy
from deit_edu.train import TrainConfig
from deit_edu.widgets.page import LIMIT, write_page

SMALL = {"patch_size": 4, "embed_dim": 16, "depth": 2, "num_heads": 2}
QUICK = dict(epochs=2, batch_size=12, warmup_epochs=0, crop_padding=1, device="cpu", image_size=16)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """own/: pictures of three colours; runs/teacher, runs/mine, which it taught, and runs/plain; mine.html."""
    root = tmp_path_factory.mktemp("page")
    random = np.random.default_rng(0)
    for label, name in enumerate(("red <b>", "green & co", "blue")):
        (root / "own" / name).mkdir(parents=True)
        for number in range(30):
            pixels = random.integers(0, 150, (16, 16, 3)).astype(np.uint8)
            pixels[..., label] += 100
            Image.fromarray(pixels).save(root / "own" / name / f"{number}.png")
    Image.fromarray(random.integers(0, 255, (40, 60, 3)).astype(np.uint8)).save(root / "photo.png")
    patch = pytest.MonkeyPatch()
    patch.setenv("DEIT_EDU_RUNS", str(root / "runs"))
    seen = dict(QUICK, data=f"folder:{root / 'own'}")
    taught = dict(teacher="teacher", distillation="hard", tokens="both", model_settings=SMALL)
    train(TrainConfig(**seen, model="convnet_weak"), root / "runs/teacher", progress=False)
    train(TrainConfig(**seen, **taught), root / "runs/mine", progress=False)
    train(TrainConfig(**seen, model_settings=SMALL), root / "runs/plain", progress=False)
    write_page("mine", root / "mine.html")
    yield root
    patch.undo()


@pytest.fixture(scope="module")
def text(place):
    return (place / "mine.html").read_text("utf8")


@pytest.fixture
def opened(place, browser):
    """A function that opens a page from the disk, as a phone sees it, and watches what it asks for."""
    contexts = []

    def open_it(name="mine.html", theme="light", width=360, **settings):
        context = browser.new_context(
            viewport={"width": width, "height": 740}, color_scheme=theme, offline=True, **settings
        )
        contexts.append(context)
        page = context.new_page()
        page.asked, page.wrong = [], []
        page.on("request", lambda request: page.asked.append(request.url))
        page.on("console", lambda line: page.wrong.append(line.text) if line.type == "error" else None)
        page.on("pageerror", lambda error: page.wrong.append(str(error)))
        page.goto((place / name).as_uri())
        return page

    yield open_it
    for context in contexts:
        context.close()


ANSWERS = """(() => {
    const host = document.querySelector('.deit-edu-host'), said = host.model.get('answers');
    const shares = logits => {
        const exps = logits.map(Math.exp), total = exps.reduce((a, b) => a + b);
        return exps.map(e => e / total);
    };
    return JSON.stringify(Object.fromEntries(Object.entries(said).map(([name, logits]) => [name, shares(logits)])));
})()"""
ASKED = ".deit-edu-host .deit-edu[data-asked]"


def check_same(place, answers, picture):
    """What the page says of a picture is what `deit-edu predict` says."""
    (expected,) = predict_pictures("mine", [picture])
    for head in ("class", "distillation"):
        assert answers[head] == pytest.approx(expected.probabilities[head].tolist(), abs=1e-3)
    (teacher,) = predict_pictures("teacher", [picture])
    assert answers["teacher"] == pytest.approx(teacher.probabilities["class"].tolist(), abs=1e-2)


# ---- in a browser ----


def test_the_page_answers_as_predict_does_and_asks_for_nothing_but_itself(place, opened):
    page = opened()
    page.wait_for_selector(".deit-edu-host[data-ready]")
    page.set_input_files(".deit-edu-host input[type=file]", place / "photo.png")
    page.wait_for_selector(ASKED)
    check_same(place, json.loads(page.evaluate(ANSWERS)), place / "photo.png")
    outside = [url for url in page.asked if not url.startswith(("blob:", "data:"))]
    assert outside == [(place / "mine.html").as_uri()] and page.wrong == []


def test_a_dropped_photograph_is_asked_about(place, opened):
    page = opened()
    page.wait_for_selector(".deit-edu-host[data-ready]")
    data = list((place / "photo.png").read_bytes())
    page.evaluate(
        """bytes => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([new Uint8Array(bytes)], 'photo.png', { type: 'image/png' }));
            const drop = new DragEvent('drop', { dataTransfer: transfer, bubbles: true, cancelable: true });
            document.querySelector('.deit-edu-host .deit-edu').dispatchEvent(drop);
        }""",
        data,
    )
    page.wait_for_selector(ASKED)
    check_same(place, json.loads(page.evaluate(ANSWERS)), place / "photo.png")


@pytest.mark.skipif(shutil.which("firefox") is None and shutil.which("firefox-esr") is None, reason="no Firefox")
def test_in_firefox_too_the_page_answers_as_predict_does(place, tmp_path):
    program = shutil.which("firefox") or shutil.which("firefox-esr")
    with firefox.Firefox(program, tmp_path) as browser:
        browser.go((place / "mine.html").as_uri())
        browser.until("document.querySelector('.deit-edu-host')?.dataset.ready === 'true'", 60)
        browser.run("document.querySelectorAll('.picker input')[2].click()")
        browser.until(f"document.querySelector('{ASKED}') !== null", 60)
        answers = json.loads(browser.run(ANSWERS))
        assert not browser.run("performance.getEntriesByType('resource').some(one => !/^(blob|data):/.test(one.name))")
    check_same(place, answers, place / "own" / third_picture(place))


def third_picture(place):
    """The file of the third picture that the page offers."""
    data = load_dataset(f"folder:{place / 'own'}", image_size=16)
    chosen = nested_subset(data.test.labels, len(data.test))[2]
    return data.found.parts["test"].paths[chosen]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_page_fits_a_phone_in_both_themes_and_every_reader(theme, opened):
    page = opened(theme=theme)
    page.wait_for_selector(".deit-edu-host[data-ready]")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    cut = page.evaluate("[...document.querySelectorAll('.scroll')].filter(one => one.scrollWidth > one.clientWidth)")
    assert not cut  # tables of a few classes
    assert page.evaluate("document.documentElement.dataset.theme") == theme
    found = Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]})
    assert found.violations_count == 0, found.generate_report()


def test_long_class_names_stay_inside_on_a_phone(place, opened):
    for number, name in enumerate(("n02085620_Chihuahua_of_the_largest_kinds", "W" * 40)):
        shutil.copytree(place / "own" / ("blue", "green & co")[number], place / "long" / name)
    train(TrainConfig(**QUICK | {"epochs": 1}, data=f"folder:{place / 'long'}", model_settings=SMALL),
          place / "long_run", progress=False)  # fmt: skip
    write_page(place / "long_run", place / "long.html")
    page = opened("long.html")
    page.wait_for_selector(".deit-edu-host[data-ready]")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    left = page.evaluate("[...document.querySelectorAll('.deit-edu svg text')].map(one => one.getBBox().x)")
    assert left and min(left) >= 0


def test_the_keyboard_reaches_everything_and_changes_the_theme(opened):
    page = opened()
    page.wait_for_selector(".deit-edu-host[data-ready]")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "light or dark"
    page.keyboard.press("Enter")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    reached = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.getAttribute('aria-label') ?? ''"))
    assert {"accuracy of each head", "recall of each class", "confusions"} <= reached


def test_without_javascript_the_figure_is_a_picture_with_words(opened):
    page = opened(java_script_enabled=False)
    picture = page.locator(".deit-figure img")
    assert picture.is_visible() and "distillation token" in picture.get_attribute("alt")
    assert page.locator("table.confusion").is_visible()


# ---- what it says ----


def test_the_page_is_one_small_file_that_names_no_other(text):
    assert len(text.encode()) < LIMIT
    without_parts = re.sub(r"<script.*?</script>", "", text, flags=re.S)
    addresses = re.findall(r'(?:src|href|url)\s*[=(]\s*["\']?([^"\'>)\s]{5})', without_parts)
    assert addresses and set(addresses) == {"data:"}
    assert "default-src 'none'" in text


def test_the_page_does_not_say_where_its_writer_keeps_things(place, text):
    assert str(place) not in text and str(place).replace("/", "-") not in text
    assert "folder:own, 72 / 9 / 9 pictures" in text


def test_accuracies_recall_and_confusions_are_those_of_the_record(place, text):
    record = json.loads((place / "runs/mine/result.json").read_text())
    for head, words in (("class", "class head"), ("distillation", "distillation head"), ("fused", "both heads")):
        told = Accuracy(record["test"][head]["correct"], record["test"][head]["total"])
        low, high = told.interval
        assert f"{words}</th><td>{told.value:.1%}</td><td>{low:.0%} to {high:.0%}</td><td>9</td>" in text
    table = re.search(r'<table class="confusion">.*?</table>', text, re.S)[0]
    counts = [int(cell) for cell in re.findall(r"<td[^>]+>(\d+)</td>", table)]
    assert len(counts) == 9 and sum(counts) == 9
    right = [int(cell) for cell in re.findall(r'<td class="right"[^>]+>(\d+)</td>', table)]
    assert sum(right) == record["test"]["fused"]["correct"]
    for name, hits in zip(("blue", "green &amp; co", "red &lt;b&gt;"), right, strict=True):
        assert f'<th scope="row">{name}</th><td>{hits / 3:.1%}</td>' in text


def test_the_page_says_how_it_was_trained(place, text):
    record = json.loads((place / "runs/mine/result.json").read_text())
    for told in (
        "the labels and teacher, hard distillation", "epochs 2", "batch size 12", record["data"]["checksum"][:16],
        f"torch {record['machine']['torch']}", f"deit_edu {record['library']['version']}",
        f"The training loss goes from {record['curve'][0]['loss']:.2f} to {record['curve'][1]['loss']:.2f} in 2 epochs",
    ):  # fmt: skip
        assert told in text


# ---- what fits, and what does not ----


def test_of_what_does_not_fit_fewer_pictures_are_shown_then_no_teacher_and_then_a_line(place, tmp_path):
    whole = write_page("mine", tmp_path / "whole.html")
    assert whole.teacher and whole.pictures == 9 and not whole.remarks
    fewer = write_page("mine", tmp_path / "fewer.html", limit=whole.size - 1000)
    assert fewer.teacher and fewer.pictures < 9 and fewer.size < whole.size
    assert f"of the test it has {fewer.pictures} pictures: no more fit" in fewer.remarks[0]
    alone = write_page("mine", tmp_path / "alone.html", limit=write_page("plain", tmp_path / "plain.html").size)
    assert not alone.teacher and alone.remarks[0] == "its teacher is left out: with it the page would be larger"
    with pytest.raises(DeiTEduError, match=r"mine: its network alone makes a page of 0.\d MB .*, and 0.1 MB is the mo"):
        write_page("mine", tmp_path / "none.html", limit=100_000)
    assert not (tmp_path / "none.html").exists()


def test_a_student_of_one_token_and_no_teacher_has_a_page_too(place, opened):
    write_page("plain", place / "plain.html")
    page = opened("plain.html")
    page.wait_for_selector(".deit-edu-host[data-ready]")
    page.set_input_files(".deit-edu-host input[type=file]", place / "photo.png")
    page.wait_for_selector(ASKED)
    (expected,) = predict_pictures("plain", [place / "photo.png"])
    assert json.loads(page.evaluate(ANSWERS)) == {
        "class": pytest.approx(expected.probabilities["class"].tolist(), abs=1e-3)
    }


# ---- the command ----


def deit_edu(line):
    return main(shlex.split(line))


def test_the_command_writes_the_page_by_either_name(place, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert deit_edu("page mine -o my_student.html") == 0
    said = capsys.readouterr().out
    assert re.fullmatch(
        r"my_student.html: 0.\d MB, the student and its teacher with 9 test pictures; open it in any browser\n", said
    )
    assert deit_edu("export mine other.html --to page") == 0
    assert (tmp_path / "other.html").read_bytes() == (tmp_path / "my_student.html").read_bytes()
    assert deit_edu("export mine other.html --to page") == 2
    assert "other.html is there already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("page", "the following arguments are required: RUN; see deit-edu page --help"),
        ("page nobody", "no run nobody: give a run folder, or one of mine, plain, teacher"),
        ("page mine -o mine.pdf", "mine.pdf must end in .html, so that a browser opens it"),
        ("page teacher", "teacher holds convnet_weak, and a page shows a DeiT of deit_edu: name the run of one"),
        ("page packaged:fashion_clutter_student", "packaged:.* has a page in the book, live.html: name the folder .*"),
    ],
)
def test_a_mistake_is_answered_in_one_line(line, message, place, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert deit_edu(line) == 2
    said, errors = capsys.readouterr()
    assert said == "" and re.fullmatch(f"error: {message}\n", errors), errors
    assert not list(tmp_path.iterdir())
