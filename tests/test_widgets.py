"""The interactive figures: in Python, in the built pages, in JupyterLab and in Firefox."""

import base64
import contextlib
import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time

import firefox
import numpy as np
import pytest
import torch
from conftest import ROOT, SITE
from ipywidgets.embed import embed_data
from PIL import Image
from playwright.sync_api import TimeoutError as PlaywrightTimeout
from playwright.sync_api import expect
from test_book import open_page, set_theme, settle, watch  # noqa: F401 - open_page is a fixture
from test_static_widgets import Files, make_static, names_of, state_of

from deit_edu import widgets
from deit_edu.data import drawn_pictures
from deit_edu.errors import DeiTEduError
from deit_edu.evidence.ledger import Ledger
from deit_edu.evidence.report import Results
from deit_edu.inspect import attention_rollout
from deit_edu.model import DeiT, DeiTConfig
from deit_edu.patches import patchify
from deit_edu.reading import figures
from deit_edu.runs import checkpoints, train
from deit_edu.runs.preprocess import Preprocessing
from deit_edu.teachers import create_teacher
from deit_edu.train import TrainConfig
from deit_edu.widgets import LossLab
from deit_edu.widgets.bundle import FOLDER, bundled
from deit_edu.widgets.figure import packed, png
from deit_edu.widgets.teacher_comparison import Student

PAGES = {  # where each figure stands
    "AttentionLens": "04-distillation-token.html",
    "ClaimBuilder": "evidence-ledger.html",
    "DistilInPage": "distil-in-page.html",
    "FusionExplorer": "evidence-tokens.html",
    "LedgerTable": "evidence-ledger.html",
    "LiveDeiT": "live.html",
    "LossLab": "05-distillation-losses.html",
    "PatchExplorer": "01-patches.html",
    "PositionLab": "evidence-resolution.html",
    "RecipeMixer": "06-training.html",
    "TeacherComparison": "evidence-teachers.html",
}
FIGURES = list(PAGES)
SHOTS = SITE.parent / "screenshots"
HOST = ".deit-edu-host:has(.deit-edu)"
SMALLER = {"PositionLab": {"images": 10}}  # tested at eight sizes; the book's own has the images that it asks for


def test_every_figure_stands_on_a_page():
    assert sorted(widgets.__all__) == sorted(FIGURES)


def test_every_page_with_figures_is_opened_here(site):
    with_figures = {path.name for path in site.glob("*.html") if "widget-view+json" in path.read_text("utf8")}
    assert with_figures == {*PAGES.values(), "intro.html"}  # which test_book.py opens from the disk


# ---- Python ----


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_made_in_one_line_has_a_picture_and_words(name):
    made = getattr(widgets, name)
    one_line = next((way for way in ("packaged", "from_ledger") if hasattr(made, way)), None)
    figure = getattr(made, one_line)(**SMALLER.get(name, {})) if one_line else made()
    assert png(figure.picture()).startswith(b"\x89PNG")
    assert len(figure.caption()) > 60
    assert figure._figure == name


def test_a_picture_is_drawn_only_for_the_book(monkeypatch):
    assert LossLab()._picture == b""
    monkeypatch.setenv("DEIT_EDU_STATIC", "1")
    assert LossLab()._picture.startswith(b"\x89PNG")


def test_a_figures_script_is_one_module_without_imports():
    for name in FIGURES:
        text = getattr(widgets, name)._esm
        assert "\nimport " not in text and re.findall(r"^export .*", text, re.M) == ["export default { render };"]


def test_the_pages_colours_are_the_books(open_page):  # noqa: F811
    from deit_edu.reading.figures import COLOURS, COLOURS_IN_THE_DARK

    page = open_page(PAGES["LossLab"])
    for theme, colours in {"light": COLOURS, "dark": COLOURS_IN_THE_DARK}.items():
        page.evaluate("theme => (document.documentElement.dataset.theme = theme)", theme)
        for name, colour in colours.items():
            found = page.evaluate(f"getComputedStyle(document.querySelector('.deit-edu')).getPropertyValue('--{name}')")
            assert found.strip() == colour


def test_arrays_are_packed_little_endian_and_must_be_finite():
    assert packed([1.0, -2.0], "f4") == np.array([1.0, -2.0], "<f4").tobytes()
    assert packed([[0, 255]], "u1") == b"\x00\xff"
    with pytest.raises(DeiTEduError, match="finite"):
        packed([np.nan], "f2")
    for wrong in ([0, 256], [-1, 3]):
        with pytest.raises(DeiTEduError, match="numbers of classes, from 0 to 255, not"):
            packed(wrong, "u1")


@pytest.mark.parametrize(
    "given,message",
    [
        (dict(student=(1.0, 2.0)), "are 2, 5 and 5: give as many of each"),
        (dict(student=(1.0,), teacher=(1.0,), class_names=("a",)), "two or more"),
        (dict(label=5), "label is 5: choose 0 to 4"),
        (dict(temperature=0), "temperature 0 must be positive and finite"),
        (dict(reduction="sum"), "unknown reduction 'sum'"),
        (dict(distillation_weight=2.0), "distillation weight 2.0 must lie in"),
        (dict(label_smoothing=1.0), "label smoothing 1.0 must lie in"),
    ],
)
def test_the_loss_lab_refuses_what_does_not_fit(given, message):
    with pytest.raises(DeiTEduError, match=message):
        LossLab(**given)


# ---- JavaScript against the library ----


def evaluate_in_module(page, module, expression, argument):
    """A value that a figure's own JavaScript computes: its module as the page gets it, with one more export."""
    text = bundled(FOLDER / module) + f"\nexport const asked = (given) => {expression};"
    opened = "await import(URL.createObjectURL(new Blob([text], {type: 'text/javascript'})))"
    return page.evaluate(f"async ([text, given]) => ({opened}).asked(given)", [text, argument])


def traits_of(figure):
    """(plain values, bytes in letters): what a page is given of a figure."""
    state = figure.get_state()
    data = {name: base64.b64encode(value).decode() for name, value in state.items() if isinstance(value, bytes)}
    plain = {name: value for name, value in state.items() if name not in data and name[:6] not in ("layout", "_model")}
    return plain, data


# A figure's model that no kernel and no host stands behind, of what `traits_of` gives.
MODEL = """(state, bytes) => {
    for (const [name, letters] of Object.entries(bytes)) {
        state[name] = new DataView(Uint8Array.from(atob(letters), c => c.charCodeAt(0)).buffer);
    }
    const heard = {};
    return {
        get: name => state[name], save_changes() {},
        set(name, value) {
            if (state[name] === value) return;
            state[name] = value;
            (heard[`change:${name}`] ?? []).forEach(f => f());
        },
        on: (event, f) => (heard[event] ??= []).push(f),
    };
}"""

# Shows figures below each other, each from a module of its own.
SHOW = """async (given) => {
    const shown = [];
    for (const [text, state, bytes] of given) {
        const model = (MODEL)(state, bytes), el = document.createElement('div');
        document.body.append(el);
        const url = URL.createObjectURL(new Blob([text], { type: 'text/javascript' }));
        (await import(url)).default.render({ model, el });
        shown.push(model);
    }
    window.shown = shown;
}""".replace("MODEL", MODEL)


def show(page, *figures):
    page.evaluate(SHOW, [[figure._esm, *traits_of(figure)] for figure in figures])


def test_what_rounds_to_zero_has_no_minus(page):
    found = evaluate_in_module(page, "numbers.js", "given.map((value) => signed(value))", [-0.004, -0.006, 0, 0.004])
    assert found == ["+0.00", "\u22120.01", "+0.00", "+0.00"]


def test_an_axis_of_per_cent_ends_at_0_and_at_100(page):
    given = [[100], [0], [71.5], [0.2, 99.8]]
    assert evaluate_in_module(page, "numbers.js", "given.map(percentEnds)", given) == [
        [99, 100], [0, 1], [71, 72], [0, 100],
    ]  # fmt: skip


@pytest.mark.parametrize("names", [("LedgerTable", "ClaimBuilder"), ("LiveDeiT", "LiveDeiT")])
def test_controls_of_two_figures_never_share_a_name(page, names):
    made = {"LiveDeiT": lambda: random_figure("LiveDeiT"), "LedgerTable": widgets.LedgerTable.from_ledger,
            "ClaimBuilder": widgets.ClaimBuilder.from_ledger}  # fmt: skip
    show(page, *(made[name]() for name in names))
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map(node => node.id)")
    assert ids and len(set(ids)) == len(ids)
    assert page.evaluate(
        "[...document.querySelectorAll('select')].every(one => one.closest('.deit-edu').contains(one.labels[0]))"
    )
    groups = page.evaluate(
        "[...document.querySelectorAll('.deit-edu')].map(root => "
        "[...root.querySelectorAll('input[type=radio]')].map(one => one.name))"
    )
    assert groups[1] and not set(groups[0]) & set(groups[1])


@pytest.mark.parametrize("reduction", ["batchmean", "official"])
@pytest.mark.parametrize("seed", range(3))
def test_the_loss_labs_losses_and_gradients_are_the_librarys(page, seed, reduction):
    random = np.random.default_rng(seed)
    lab = LossLab(
        random.normal(0, 2, 5), random.normal(0, 3, 5), label=seed, temperature=1.5 + seed,
        distillation_weight=0.3, label_smoothing=0.1 * seed, reduction=reduction,
    )  # fmt: skip
    given = dict(student=lab.student, teacher=lab.teacher, label=lab.label, temperature=lab.temperature,
                 weight=lab.distillation_weight, smoothing=lab.label_smoothing, reduction=reduction)  # fmt: skip
    found = evaluate_in_module(page, "loss_counting.js", "losses(given)", given)
    for kind, loss, gradient in (
        ("none", "ce", "ceGradient"), ("soft", "softLoss", "softGradient"), ("hard", "hardLoss", "hardGradient")
    ):  # fmt: skip
        expected, slope = lab.loss(kind)
        assert found[loss] == pytest.approx(expected, abs=1e-6)
        assert found[gradient] == pytest.approx(slope.tolist(), abs=1e-6)


def test_half_precision_is_read_as_numpy_writes_it(page):
    values = np.array([0.0, 1.0, -2.5, 65504.0, 6e-8, 1e-4, -0.3333], np.float16)
    found = evaluate_in_module(
        page, "half.js", "Array.from(halves(new Uint16Array(given)))", values.view("<u2").tolist()
    )
    assert found == values.astype(np.float32).tolist()


# ---- in the built pages ----


def look(page, name):
    """What a figure shows: its pictures, and its words."""
    return page.evaluate(
        """name => {
            const root = [...document.querySelectorAll('.deit-edu')].find(e => e.dataset.figure === name);
            const drawn = [...root.querySelectorAll('canvas')].map(c => c.toDataURL()).join() +
                [...root.querySelectorAll('svg')].map(s => s.outerHTML).join();
            return [drawn, root.querySelector('.words').textContent];
        }""",
        name,
    )


def changed_from(page, name, before, seconds=30):
    """What it shows when both have changed, or at last: networks take a moment to load and to answer."""
    deadline = time.monotonic() + seconds
    seen, now = None, look(page, name)
    while seen != now or any(one == other for one, other in zip(now, before, strict=True)):
        if time.monotonic() > deadline:
            break
        page.wait_for_timeout(100)
        seen, now = now, look(page, name)
    return now


def root_of(page, name):
    return page.locator(f".deit-edu[data-figure={name}]").first


@pytest.mark.parametrize("name", FIGURES)
def test_keyboard_and_pointer_change_the_picture_and_the_words(browser, site, name):
    """From the disk, where a browser refuses more; over http each page is opened in test_book.py, and used below."""
    base = site.as_uri() + "/"
    page = browser.new_page(viewport={"width": 360, "height": 740})
    faults = watch(page, base)
    page.goto(base + PAGES[name])
    settle(page)
    root = root_of(page, name)
    first = look(page, name)
    assert all(first)

    control = root.locator("input[type=range]:not([disabled])").first
    control.focus()
    at_its_end = control.input_value() == control.get_attribute("max")
    for _ in range(2):
        page.keyboard.press("ArrowLeft" if at_its_end else "ArrowRight")
    by_key = changed_from(page, name, first)
    assert by_key[0] != first[0] and by_key[1] != first[1]

    control.scroll_into_view_if_needed()
    box = control.bounding_box()
    now = control.evaluate("input => (input.value - input.min) / (input.max - input.min)")
    place = 0.5 if now < 0.2 else 0.1  # a click on the thumb moves nothing
    page.mouse.click(box["x"] + box["width"] * place, box["y"] + box["height"] / 2)
    by_pointer = changed_from(page, name, by_key)
    assert by_pointer[0] != by_key[0] and by_pointer[1] != by_key[1]
    spoken = root.locator("[role=status]", has_text=by_pointer[1])
    spoken.wait_for(state="attached")  # and is read out
    assert spoken.inner_text() == by_pointer[1]
    page.close()
    assert not faults, "\n".join(faults)


@pytest.fixture(scope="module", params=FIGURES)
def shown(request, browser, http_base):
    """(a figure's name, its page over http): each is opened once, light and 1280 pixels wide."""
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    set_theme(page, "light")
    page.goto(http_base + PAGES[request.param])
    settle(page)
    yield request.param, page
    page.close()


def test_every_control_can_be_reached_by_tab_and_keeps_its_keys(shown):
    name, page = shown
    controls = root_of(page, name).locator("input:not([hidden]), select, button, [tabindex]")
    found = controls.evaluate_all(
        "all => all.map((one) => ['data-lm-suppress-shortcuts', 'tabindex', 'role'].map((n) => one.getAttribute(n)))"
    )
    assert found
    for suppressed, tabindex, role in found:
        assert suppressed == "true"
        assert tabindex != "-1" or role in ("radio", "gridcell")


def test_a_figure_looks_right_on_a_phone_and_a_desk_in_both_themes(shown):
    """Keeps the pictures in _build/screenshots, to be looked at."""
    SHOTS.mkdir(exist_ok=True)
    name, page = shown
    root = root_of(page, name)
    for width in (360, 1280):
        page.set_viewport_size({"width": width, "height": 800})
        for theme in ("light", "dark"):
            page.evaluate("theme => (document.documentElement.dataset.theme = theme)", theme)
            root.screenshot(path=SHOTS / f"{name}-{width}-{theme}.png")
            box = root.bounding_box()
            assert box["width"] <= width and box["x"] >= 0
            grounds = root.locator("tr").evaluate_all("all => all.map(row => getComputedStyle(row).backgroundColor)")
            assert set(grounds) <= {"rgba(0, 0, 0, 0)"}  # the figure's own, in either theme


@pytest.mark.parametrize("name", FIGURES)
def test_without_javascript_there_is_a_picture_with_words(browser, http_base, name):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(http_base + PAGES[name])
    shown = page.locator("noscript img")
    assert shown.count()
    for index in range(shown.count()):
        assert len(shown.nth(index).get_attribute("alt")) > 60
        assert shown.nth(index).bounding_box()["height"] > 50
    context.close()


def test_a_missing_data_file_gets_a_sentence(browser, http_base):
    page = browser.new_page()
    page.route("**/_static/widgets/*.js", lambda route: route.abort())
    page.goto(http_base + PAGES["LossLab"])
    page.locator(".deit-edu-host").first.scroll_into_view_if_needed()
    page.get_by_text("This figure could not start: a data file of this page could not be loaded").wait_for()
    page.close()


@pytest.mark.parametrize("name", sorted(path.name for path in SITE.glob("*.html")))
def test_a_page_is_at_most_600_kilobytes(site, name):
    assert (site / name).stat().st_size < 600_000


# Two pairs of networks; each is fetched when its own figure is first used, and that of photographs is the larger.
MOST = {"live.html": 11e6}


@pytest.mark.parametrize("name", sorted(path.name for path in SITE.glob("*.html")))
def test_what_a_page_can_load_for_its_figures_is_at_most_4_megabytes_or_11_for_two_pairs(site, name):
    used = names_of((site / name).read_text("utf8"))
    loaded = sum(path.stat().st_size for path in (site / "_static/widgets").glob("*.js") if path.stem in used)
    assert loaded < MOST.get(name, 4e6)


# ---- the patch explorer ----


def test_shuffled_patches_are_the_same_in_another_order(open_page):  # noqa: F811
    page = open_page(PAGES["PatchExplorer"])
    root = root_of(page, "PatchExplorer")
    tokens = "[...document.querySelectorAll('.tokens canvas')].map(c => c.toDataURL())"
    before = page.evaluate(tokens)
    root.get_by_role("button", name="Shuffle the patches").click()
    shuffled = page.evaluate(tokens)
    assert shuffled != before and sorted(shuffled) == sorted(before)
    assert "Shuffled: the same patches, in another order." in root.locator(".words").inner_text()
    root.get_by_role("button", name="Put them back").click()
    assert page.evaluate(tokens) == before


def test_the_patch_explorer_counts_as_the_library_does(open_page):  # noqa: F811
    figure = widgets.PatchExplorer.packaged()
    page = open_page(PAGES["PatchExplorer"])
    N = patchify(torch.zeros(1, 1, 28, 28), figure.sizes[figure.choice]).shape[1]
    assert f"{N} tokens" in root_of(page, "PatchExplorer").locator(".words").inner_text()
    assert page.locator(".tokens canvas").count() == N


@pytest.mark.parametrize(
    "shape,names,message",
    [((2, 1, 4, 6), "ab", "4x6 pixels are not square"), ((2, 1, 4, 4), "a", "1 names for 2 images"),
     ((1, 3, 1, 1), "a", "images of 1x1 pixels are one patch each: give larger ones")],
)  # fmt: skip
def test_the_patch_explorer_refuses_what_does_not_fit(shape, names, message):
    with pytest.raises(DeiTEduError, match=message):
        widgets.PatchExplorer(torch.zeros(shape, dtype=torch.uint8), names)


def test_of_a_photograph_only_the_patches_that_are_seen_are_made(page):
    """And the whole, drawn from one canvas, is made of the same patches in the same places."""
    images = torch.randint(0, 256, (1, 3, 224, 224), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    figure = widgets.PatchExplorer(images, ["a photo"])
    assert figure.sizes[:3] == [7, 8, 14]
    show(page, figure)
    made = page.evaluate("""() => {
        const make = document.createElement, made = [];
        document.createElement = function (tag) { made.push(tag); return make.call(this, tag); };
        shown[0].set('choice', 0);
        shown[0].set('times', 4);
        delete document.createElement;
        return made.filter(tag => tag === 'canvas').length;
    }""")
    assert made <= 2 * 200
    page.evaluate("shown[0].set('order', [...Array(128 ** 2).keys()].reverse())")
    same = """() => {
        const whole = [...document.querySelectorAll('canvas')].find(one => one.width > 1000).getContext('2d');
        const pixels = (context, x) => context.getImageData(x, 0, 7, 7).data.join();
        const row = [...document.querySelectorAll('.tokens canvas')].slice(0, 3);
        return row.map((one, i) => pixels(whole, 22 * i) === pixels(one.getContext('2d'), 0));
    }"""
    assert page.evaluate(same) == [True] * 3  # 7 pixels, then a gap of 15


# ---- the attention lens ----


def test_any_patch_can_ask_by_keyboard_and_by_click(open_page):  # noqa: F811
    page = open_page(PAGES["AttentionLens"])
    root = root_of(page, "AttentionLens")
    words, board = root.locator(".words"), root.locator("canvas.board")
    board.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert "The patch at row 4, column 5 of" in words.inner_text()
    box = board.bounding_box()
    page.mouse.click(box["x"] + 3, box["y"] + 3)
    assert "The patch at row 1, column 1 of" in words.inner_text()
    board.focus()
    page.keyboard.press("Escape")
    assert "The class token attends most to" in words.inner_text()


def test_another_image_is_asked_in_the_page(open_page):  # noqa: F811
    page = open_page(PAGES["AttentionLens"])
    root = root_of(page, "AttentionLens")
    first = look(page, "AttentionLens")
    root.locator(".picker input").nth(1).check(force=True)
    second = changed_from(page, "AttentionLens", first)
    assert "(image 2)" in second[1] and second[0] != first[0]
    root.locator(".picker input").nth(0).check(force=True)
    assert changed_from(page, "AttentionLens", second)[1] == first[1]  # the page's network says what Python said


def test_rollout_in_the_page_is_the_librarys(page):
    torch.manual_seed(0)
    maps = torch.randn(3, 1, 2, 5, 5).softmax(-1)
    given = [maps.flatten().tolist(), {"heads": 2, "tokens": 5}]
    rows = "[0, 1, 2, 3, 4].map((token) => Array.from(rolledRow(...given, 2, token)))"
    found = evaluate_in_module(page, "attention_lens.js", rows, given)
    assert np.array(found) == pytest.approx(attention_rollout(maps)[0].numpy(), abs=1e-6)


@pytest.mark.parametrize(
    "given,message",
    [(dict(labels=[0]), "1 labels do not fit images of shape"), (dict(model=torch.nn.Identity()), "two tokens"),
     (dict(labels=[0, 3]), "labels from 0 to 3 are not all of 3 classes")],
)  # fmt: skip
def test_the_lens_refuses_what_does_not_fit(given, message):
    config = DeiTConfig(image_size=8, patch_size=4, in_channels=3, num_classes=3, embed_dim=8, depth=2, num_heads=2)
    fine = dict(model=DeiT(config), labels=[0, 1], class_names="abc", images=torch.zeros(2, 3, 8, 8, dtype=torch.uint8),
                mean=(0.5,) * 3, std=(0.2,) * 3)  # fmt: skip
    lens = widgets.AttentionLens(**fine)
    assert lens.layer == 2 and len(lens.similarity) == 3
    with pytest.raises(DeiTEduError, match=message):
        widgets.AttentionLens(**fine | given)


def test_a_box_grows_with_the_rows_and_the_columns_of_its_picture():
    config = DeiTConfig(image_size=8, patch_size=4, in_channels=1, num_classes=2, embed_dim=8, depth=1, num_heads=2)
    model, images = DeiT(config), torch.zeros(1, 1, 8, 16, dtype=torch.uint8)
    model.preprocessing = Preprocessing((1, 8, 8), (0.5,), (0.2,))
    lens = widgets.AttentionLens(model, images, [0], "ab", (0.5,), (0.2,), torch.tensor([[2, 4, 4, 8]]))
    assert lens.boxes == [[2, 2, 4, 4]]


def test_a_class_may_be_called_by_what_it_costs():
    config = DeiTConfig(image_size=8, patch_size=4, in_channels=1, num_classes=2, embed_dim=8, depth=1, num_heads=2)
    names = ["cost_$5_to_$10", "cost_$10_to_$20"]
    images = torch.full((1, 1, 8, 8), 100, dtype=torch.uint8)
    live = widgets.LiveDeiT(DeiT(config), None, images, [0], names, (0.5,), (0.2,))
    assert png(live.picture()) and png(LossLab((1.0, 2.0), (2.0, 1.0), names).picture())
    shown = np.zeros((1, 8, 8), np.uint8)
    assert png(figures.where_tokens_look(shown, {"class": np.ones((1, 2, 2))}, ["$5 or $10"]))
    drawn = live.picture()
    assert drawn.axes[0].images[0].get_clim() == (0, 255)  # greys are as they are, not stretched
    png(drawn)


# ---- the live figure ----


def page_of(browser, folder, figure):
    """A page that shows one figure without a kernel, as the book's build makes it."""
    state = embed_data(views=[figure], drop_defaults=False)
    written = {"view": {"model_id": state["view_specs"][0]["model_id"]}, "state": state["manager_state"]}
    scripts = ""
    for kind, value in written.items():
        inside = json.dumps(value).replace("</", "<\\/")
        scripts += f'<script type="application/vnd.jupyter.widget-{kind}+json">{inside}</script>'
    text, _, wrong = make_static(scripts, Files(folder / "_static" / "widgets"))
    assert not wrong
    shutil.copy(ROOT / "deit_edu" / "widgets" / "static_host.js", folder / "_static")
    text += '<script src="_static/static_host.js"></script>'
    (folder / "page.html").write_text("<!doctype html><html data-theme=light><meta charset=utf-8><body>" + text)
    page = browser.new_page()
    page.goto((folder / "page.html").as_uri())
    return page


@pytest.fixture
def live(browser, http_base):
    page = browser.new_page(viewport={"width": 1280, "height": 1000})
    page.goto(http_base + PAGES["LiveDeiT"])
    settle(page)
    yield page
    page.close()


@pytest.fixture
def root(live):
    """The first of the page's two live figures."""
    return root_of(live, "LiveDeiT")


def asked(page):
    return int(root_of(page, "LiveDeiT").get_attribute("data-asked") or 0)


def wait_asked(page, more_than, position=0):
    """Until the figure at this position in the page has asked its networks more often than that."""
    asked = f"document.querySelectorAll('.deit-edu')[{position}].dataset.asked ?? 0"
    page.wait_for_function(f"Number({asked}) > {more_than}", timeout=30_000)


def test_the_networks_are_fetched_when_something_changes_and_not_before(browser, http_base):
    page, fetched = browser.new_page(), []
    page.on("request", lambda request: fetched.append(request.url))
    page.goto(http_base + PAGES["LiveDeiT"])
    settle(page)
    sizes = {path.stem: path.stat().st_size for path in (SITE / "_static" / "widgets").glob("*.js")}

    def large():
        return [url for url in fetched if sizes.get(url.rpartition("/")[2].removesuffix(".js"), 0) > 500_000]

    assert not large()
    root_of(page, "LiveDeiT").get_by_role("button", name="Clear").click()
    wait_asked(page, 0)
    assert len(large()) == 2
    assert sum(sizes[url.rpartition("/")[2].removesuffix(".js")] for url in large()) * 3 / 4 < 4e6
    page.close()


def test_the_page_answers_as_python_does(live, root):
    figure = widgets.LiveDeiT.packaged()
    before = root.locator(".words").inner_text()
    root.get_by_role("button", name="Clear").click()
    wait_asked(live, 0)
    assert root.locator(".words").inner_text() != before
    root.locator(".picker input").nth(1).check(force=True)
    root.locator(".picker input").nth(0).check(force=True)
    wait_asked(live, 2)
    live.wait_for_timeout(300)
    words = root.locator(".words").inner_text()
    assert words.partition(". ")[2] == before.partition(". ")[2]  # the page's own networks, and Python's first view
    teacher = max(figure.shares()["teacher"].tolist())
    assert f"({100 * teacher:.0f} %)." in words


def test_the_first_image_can_be_chosen_again_after_a_picture_of_ones_own(live, root):
    before = look(live, "LiveDeiT")
    root.get_by_role("button", name="Clear").click()
    wait_asked(live, 0)
    assert root.locator(".picker input:checked").count() == 0
    root.locator(".picker input").nth(0).check(force=True)
    wait_asked(live, 1)
    live.wait_for_timeout(300)
    assert look(live, "LiveDeiT")[1].partition(". ")[2] == before[1].partition(". ")[2]


def test_patches_are_erased_by_the_keyboard_alone(live, root):
    board = root.locator("canvas.board")
    first = look(live, "LiveDeiT")
    root.get_by_role("radio", name="erase patches").focus()
    live.keyboard.press("Space")
    board.focus()
    live.keyboard.press("Enter")
    live.keyboard.press("ArrowRight")
    live.keyboard.press("Enter")
    wait_asked(live, 0)
    erased = changed_from(live, "LiveDeiT", first)
    assert erased[0] != first[0] and erased[1] != first[1]


@pytest.mark.parametrize(
    "name,kind,content,sentence",
    [
        (
            "notes.txt",
            "text/plain",
            b"hello",
            "notes.txt is no photo that can be read here: choose a PNG, JPEG or WebP",
        ),
        ("drawing.svg", "image/svg+xml", b"<svg/>", "drawing.svg is no photo that can be read here"),
        ("broken.png", "image/png", b"\x89PNG broken", "broken.png is damaged, or is not what its name says"),
    ],
)
def test_a_file_that_is_no_photo_gets_a_sentence(live, root, name, kind, content, sentence):
    root.locator("input[type=file]").set_input_files({"name": name, "mimeType": kind, "buffer": content})
    root.locator(".complaint", has_text=sentence).wait_for()
    assert look(live, "LiveDeiT")[0]  # and the figure is whole


def photo(width, height):
    buffer = io.BytesIO()
    image = Image.new("RGB", (width, height), "white")
    image.paste((20, 20, 20), (width // 3, height // 4, 2 * width // 3, 3 * height // 4))
    image.save(buffer, "JPEG")
    return {"name": "photo.jpg", "mimeType": "image/jpeg", "buffer": buffer.getvalue()}


def test_a_photo_is_read_and_one_too_large_gets_a_sentence(live, root):
    root.locator("input[type=file]").set_input_files(photo(5200, 4000))
    root.locator(".complaint", has_text="photo.jpg has 21 megapixels: choose a photo of at most 16").wait_for()
    root.locator("input[type=file]").set_input_files(photo(600, 400))
    wait_asked(live, 0)
    assert "Asked about your photo" in root.locator(".words").inner_text()
    assert root.locator(".complaint").count() == 0
    dark_edge = "document.querySelector('canvas.board').getContext('2d').getImageData(0, 0, 1, 1).data[0]"
    assert live.evaluate(dark_edge) < 30  # a light ground is turned round


def test_without_a_camera_there_is_a_sentence(live, root):
    root.get_by_role("button", name="Use the camera").click()
    root.locator(
        ".complaint", has_text="No camera could be used: allow it in the browser, or choose a photo"
    ).wait_for()


def test_the_page_is_never_blocked_for_long(live, root):
    live.evaluate(
        "window.blocked = []; new PerformanceObserver(list => blocked.push(...list.getEntries().map(e => e.duration)))"
        ".observe({entryTypes: ['longtask']})"
    )
    for index in range(1, 6):
        root.locator(".picker input").nth(index).check(force=True)
        wait_asked(live, index - 1)
    longest = max(live.evaluate("blocked"), default=0)
    assert longest < 500  # ms; ten times the aim, so that a busy machine is not a failure


@pytest.mark.parametrize(
    "given,message",
    [
        (dict(class_names=("a",)), "1 class names for 3 classes"),
        (dict(labels=[0]), "1 labels do not fit"),
        (dict(labels=[0, -1]), "labels from -1 to 0 are not all of 3 classes"),
        (dict(student=torch.nn.Linear(2, 2)), "needs a DeiT, whose tokens look at patches, not a Linear"),
        (dict(teacher=torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 3))), "a DeiT or a convnet"),
    ],
)
def test_the_live_figure_takes_any_pair_and_refuses_what_does_not_fit(given, message):
    config = DeiTConfig(image_size=8, patch_size=4, in_channels=3, num_classes=3, embed_dim=8, depth=1, num_heads=2)
    fine = dict(student=DeiT(config), teacher=create_teacher("convnet_weak", 3, 3), labels=[0, 1], class_names="abc",
                images=torch.zeros(2, 3, 8, 8, dtype=torch.uint8), mean=(0.5,) * 3, std=(0.2,) * 3)  # fmt: skip
    figure = widgets.LiveDeiT(**fine)
    assert png(figure.picture()) and set(figure.answers) == {"class", "distillation", "teacher"}
    with pytest.raises(DeiTEduError, match=message):
        widgets.LiveDeiT(**fine | given)


def test_in_colour_the_page_has_a_colour_for_the_brush(browser, tmp_path, monkeypatch):
    monkeypatch.setenv("DEIT_EDU_STATIC", "1")
    config = DeiTConfig(image_size=8, patch_size=4, in_channels=3, num_classes=3, embed_dim=8, depth=1, num_heads=2)
    images = torch.arange(2 * 3 * 64).reshape(2, 3, 8, 8).to(torch.uint8)
    figure = widgets.LiveDeiT(DeiT(config), create_teacher("convnet_weak", 3, 3), images, [0, 1],
                              ["cat", "dog", "ship"], (0.5,) * 3, (0.2,) * 3, kind="drawing")  # fmt: skip
    page = page_of(browser, tmp_path, figure)
    root, words = root_of(page, "LiveDeiT"), root_of(page, "LiveDeiT").locator(".words")
    words.wait_for()
    assert "Asked about drawing 1, cat." in words.inner_text()
    assert root.get_by_text("drawings", exact=True).count()
    root.locator(".picker input").nth(1).check(force=True)
    wait_asked(page, 0)
    assert "Asked about drawing 2, dog." in words.inner_text()
    root.get_by_label("colour of the brush").fill("#ff8000")
    root.locator("canvas.board").focus()
    page.keyboard.press("Enter")
    wait_asked(page, 1)
    assert "Asked about your picture." in words.inner_text()
    inked = "canvas => [...canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data].join()"
    assert "255,128,0,255" in root.locator("canvas.board").evaluate(inked)
    page.close()


def test_the_pair_of_cifar10_is_asked_about_pictures_that_are_free(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "CHECKPOINTS", tmp_path)
    classes = "airplane automobile bird cat deer dog frog horse ship truck".split()
    config = DeiTConfig(image_size=32, patch_size=8, in_channels=3, num_classes=10, embed_dim=8, depth=1, num_heads=2)
    networks = {"student": DeiT(config), "teacher": create_teacher("convnet_weak", 3, 10)}
    for role, network in networks.items():
        seen = {"classes": classes, "mean": [0.5] * 3, "std": [0.2] * 3, "teacher": "packaged:cifar10_teacher"}
        path = tmp_path / f"cifar10_{role}.safetensors"
        checkpoints.save_network(path, network, "convnet_weak", (3, 32, 32), 10, seen, torch.float16)
    figure = widgets.LiveDeiT.packaged("cifar10")
    assert (figure.kind, figure.class_names) == ("picture", classes)
    assert [classes[label] for label in figure.labels] == drawn_pictures()[1]
    assert figure.caption().startswith("A picture (airplane)")


def test_the_page_has_the_pair_of_cifar10_too_and_it_answers_as_python_does(live):
    figure = widgets.LiveDeiT.packaged("cifar10")
    live.locator("#in-colour").scroll_into_view_if_needed()  # a figure is drawn when it comes near
    root = live.locator(".deit-edu[data-figure=LiveDeiT]").nth(1)
    before = root.locator(".words").inner_text()
    root.locator(".picker input").nth(1).check(force=True)
    wait_asked(live, 0, position=1)
    root.locator(".picker input").nth(0).check(force=True)
    wait_asked(live, 1, position=1)
    live.wait_for_timeout(300)
    words = root.locator(".words").inner_text()
    assert words.partition(". ")[2] == before.partition(". ")[2]
    assert f"({100 * max(figure.shares()['teacher'].tolist()):.0f} %)." in words


# ---- the two figures that start from their first image, shown with another ----


def random_figure(name, names=("cat", "dog", "ship")):
    """A figure of random networks whose answers differ from image to image."""
    config = DeiTConfig(image_size=8, patch_size=4, in_channels=3, num_classes=3, embed_dim=8, depth=1, num_heads=2)
    torch.manual_seed(0)
    student = DeiT(config)
    for parameter in student.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    images = torch.randint(0, 256, (3, 3, 8, 8), dtype=torch.uint8)
    given = images, [0, 1, 2], list(names), (0.5,) * 3, (0.2,) * 3
    if name == "AttentionLens":
        return widgets.AttentionLens(student, *given)
    return widgets.LiveDeiT(student, create_teacher("convnet_weak", 3, 3), *given, kind="drawing")


def shown_twice(browser, folder, figure):
    """(page, above, below): one figure twice, and far apart, so that the second starts when it is scrolled to."""
    page = page_of(browser, folder, figure)
    path = folder / "page.html"
    before, body, after = path.read_text().partition("<body>")
    view, end, _ = after.partition("</script>")
    path.write_text(f"{before}{body}{view}{end}<div style='height: 9000px'></div>{after}")
    page.reload()
    hosts = page.locator(".deit-edu-host")
    hosts.nth(0).locator(".words").wait_for()
    assert page.locator(".deit-edu").count() == 1
    return page, hosts.nth(0), hosts.nth(1)


def seen_in(host):
    """Everything that a figure shows: its pictures, its words and which image is chosen."""
    return host.evaluate(
        """host => [
            ...[...host.querySelectorAll('canvas')].map(canvas => canvas.toDataURL()),
            host.querySelector('.words').textContent,
            ...[...host.querySelectorAll('.picker input')].map(input => input.checked),
        ]"""
    )


def wait_said(host, words):
    host.locator(".words", has_text=words).wait_for(timeout=30_000)


THIRD_IMAGE = {"LiveDeiT": "Asked about drawing 3, ship.", "AttentionLens": "ship (image 3)"}


@pytest.mark.parametrize("name", THIRD_IMAGE)
def test_a_figure_shown_again_shows_the_image_that_is_chosen(browser, tmp_path, monkeypatch, name):
    monkeypatch.setenv("DEIT_EDU_STATIC", "1")
    page, above, below = shown_twice(browser, tmp_path, random_figure(name))
    first = seen_in(above)
    above.locator(".picker input").nth(2).check(force=True)
    wait_said(above, THIRD_IMAGE[name])
    below.scroll_into_view_if_needed()
    wait_said(below, THIRD_IMAGE[name])
    assert seen_in(below) == seen_in(above) != first
    page.close()


@pytest.mark.parametrize("name", THIRD_IMAGE)
def test_an_image_that_python_chose_is_the_one_that_is_shown(browser, tmp_path, monkeypatch, name):
    monkeypatch.setenv("DEIT_EDU_STATIC", "1")
    figure = random_figure(name)
    figure.image = 2
    page = page_of(browser, tmp_path, figure)
    root = root_of(page, name)
    wait_said(root, THIRD_IMAGE[name])
    drawn = "canvas => canvas.toDataURL()"
    assert root.locator("canvas.board").evaluate(drawn) == root.locator(".picker canvas").nth(2).evaluate(drawn)
    page.close()


def test_a_live_figure_shown_again_is_as_bright(browser, tmp_path, monkeypatch):
    monkeypatch.setenv("DEIT_EDU_STATIC", "1")
    page, above, below = shown_twice(browser, tmp_path, random_figure("LiveDeiT"))
    first = seen_in(above)
    above.get_by_role("slider", name="brightness").fill("0.5")
    above.locator("[data-asked]").wait_for()
    below.scroll_into_view_if_needed()
    below.locator("[data-asked]").wait_for()
    assert seen_in(below) == seen_in(above) != first
    page.close()


def test_a_live_figure_shown_again_after_a_picture_of_ones_own_is_empty(browser, tmp_path, monkeypatch):
    monkeypatch.setenv("DEIT_EDU_STATIC", "1")
    page, above, below = shown_twice(browser, tmp_path, random_figure("LiveDeiT"))
    above.locator("canvas.board").focus()
    page.keyboard.press("Enter")
    wait_said(above, "Asked about your picture.")
    mine = seen_in(above)
    below.scroll_into_view_if_needed()
    wait_said(below, "Asked about an empty picture.")
    assert below.locator(".picker input:checked").count() == 0
    assert seen_in(above) == mine
    page.close()


def test_answers_are_never_said_of_another_image(browser, tmp_path, monkeypatch):
    monkeypatch.setenv("DEIT_EDU_STATIC", "1")
    page, above, below = shown_twice(browser, tmp_path, random_figure("LiveDeiT"))
    for record in state_of((tmp_path / "page.html").read_text()).values():
        for file in record["files"]:
            if file["trait"].endswith("_weights"):
                (tmp_path / "_static" / "widgets" / f"{file['name']}.js").unlink(missing_ok=True)
    first = above.locator(".words").inner_text()
    above.locator(".picker input").nth(2).check(force=True)
    above.locator(".complaint", has_text="The networks could not be loaded").wait_for()
    assert above.locator(".words").inner_text() == first
    below.scroll_into_view_if_needed()
    below.locator(".complaint", has_text="The networks could not be loaded").wait_for()
    assert below.locator(".words").inner_text() == ""
    page.close()


def test_a_complaint_goes_when_the_networks_answer_after_all(browser, tmp_path, monkeypatch):
    monkeypatch.setenv("DEIT_EDU_STATIC", "1")
    page = page_of(browser, tmp_path, random_figure("LiveDeiT"))
    root = root_of(page, "LiveDeiT")
    root.locator(".words").wait_for()
    files, away = tmp_path / "_static" / "widgets", tmp_path / "away"
    files.rename(away)
    root.locator(".picker input").nth(1).check(force=True)
    root.locator(".complaint", has_text="The networks could not be loaded").wait_for()
    assert "The networks are asked again when you change something." in root.inner_text()
    assert "Loading" not in root.inner_text()
    away.rename(files)
    root.locator("canvas.board").focus()
    page.keyboard.press("Enter")
    wait_asked(page, 0)
    assert root.locator(".complaint").count() == 0 and "asked again" not in root.inner_text()
    page.close()


# What the reader may do while a photo is on its way, and what is asked about then.
MEANWHILE = {
    "stroke": ("root.querySelector('.board').dispatchEvent(new KeyboardEvent('keydown', { key: 'Enter' }))",
               "Asked about your picture."),
    "clear": ("[...root.querySelectorAll('button')].find(one => one.textContent === 'Clear').click()",
              "Asked about an empty picture."),
    "stored": ("root.querySelectorAll('.picker input')[2].click()", "Asked about drawing 3, ship."),
}  # fmt: skip


@pytest.mark.parametrize("act,words", MEANWHILE.values(), ids=MEANWHILE)
def test_a_photo_that_is_ready_late_replaces_nothing(page, act, words):
    show(page, random_figure("LiveDeiT"))
    page.evaluate(f"""async () => {{
        const root = document.querySelector('.deit-edu'), real = window.createImageBitmap;
        let ready;
        window.createImageBitmap = () => new Promise(done => (ready = done));
        const dataTransfer = new DataTransfer();
        dataTransfer.items.add(new File(['x'], 'photo.png', {{ type: 'image/png' }}));
        root.dispatchEvent(new DragEvent('drop', {{ dataTransfer }}));
        {act};
        window.createImageBitmap = real;
        ready(await createImageBitmap(new ImageData(8, 8)));
    }}""")
    page.locator(".words", has_text=words).wait_for(timeout=30_000)
    page.wait_for_timeout(300)
    assert words in page.locator(".words").inner_text()


def test_a_screen_reader_hears_where_the_brush_stops_and_not_every_step(page):
    show(page, random_figure("LiveDeiT"))
    walk = """() => {
        window.heard = [];
        const board = document.querySelector('.board'), key = new KeyboardEvent('keydown', { key: 'ArrowRight' });
        const place = [...document.querySelectorAll('[role=status]')].find(one => !one.textContent);
        window.ear?.disconnect();
        window.ear = new MutationObserver(() => heard.push(place.textContent));
        ear.observe(place, { childList: true });
        for (let i = 0; i < 3; i++) board.dispatchEvent(key);
    }"""
    page.evaluate(walk)
    page.wait_for_function("heard.length")
    assert page.evaluate("heard") == ["The brush is at row 5, column 8."]
    page.get_by_role("radio", name="erase patches").check()
    page.evaluate(walk.replace("!one.textContent", "one.textContent.includes('brush')"))
    page.wait_for_function("heard.length")
    assert page.evaluate("heard") == ["The patch is at row 2, column 2."]


LONG_NAME = "n02085620_Chihuahua_of_the_largest_kinds"


@pytest.mark.parametrize("name", ["LiveDeiT", "AttentionLens", "LossLab", "TeacherComparison", "FusionExplorer"])
def test_a_long_class_name_stays_inside_on_a_phone(browser, tmp_path, monkeypatch, name):
    monkeypatch.setenv("DEIT_EDU_STATIC", "1")
    names = [LONG_NAME, LONG_NAME.upper(), "W" * 40]
    if name == "LossLab":
        figure = LossLab((1.0, 2.0, 3.0), (1.0, 3.0, 2.0), class_names=names)
    elif name == "FusionExplorer":
        said = {"class": torch.eye(3), "distillation": torch.eye(3).flip(0)}
        figure = widgets.FusionExplorer({0: said}, [0, 1, 2], torch.zeros(3, 1, 4, 4, dtype=torch.uint8), names)
    elif name == "TeacherComparison":
        decided = {0: {"class": [0, 1, 2]}}
        figure = widgets.TeacherComparison([Student("none", "", [0], {"class": [100.0]}, [[90.0, 95.0]], decided)],
                                           [0, 1, 2], torch.zeros(3, 1, 4, 4, dtype=torch.uint8), names)  # fmt: skip
    else:
        figure = random_figure(name, names)
    page = page_of(browser, tmp_path, figure)
    page.set_viewport_size({"width": 360, "height": 740})
    page.locator(".words").first.wait_for()
    left = page.evaluate("[...document.querySelectorAll('.deit-edu svg text')].map(one => one.getBBox().x)")
    assert min(left) >= 0
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    inside = """root => [...root.querySelectorAll('p:not(.said), label, button, input:not([hidden])')].every(
        one => one.getBoundingClientRect().right <= root.getBoundingClientRect().right)"""
    assert page.locator(".deit-edu").evaluate(inside)
    whole = page.evaluate("[...document.querySelectorAll('svg.bars title')].map(one => one.textContent)")
    assert set(whole) == (set() if name in ("AttentionLens", "FusionExplorer") else set(names))
    page.close()


# ---- the teacher comparison ----


def test_a_teacher_that_is_not_recorded_gets_a_sentence(tmp_path):
    with pytest.raises(DeiTEduError, match="there are no students to compare: deit-edu ablate distillation"):
        widgets.TeacherComparison.from_ledger(Ledger(tmp_path))


def test_the_comparison_shows_what_the_ledger_holds():
    figure = widgets.TeacherComparison.from_ledger()
    results = Results(Ledger())
    (plain,) = [student for student in figure.students if student["teacher"] == "none"]
    ((_, expected),) = results.paired("distillation", ((1, "none", "class"),))
    assert plain["accuracy"]["class"]["values"] == pytest.approx(expected.tolist(), abs=0.006)
    rows = np.frombuffer(figure.rows, np.uint8).reshape(-1, figure.count)
    for student in figure.students:
        for seed, places in student["rows"].items():
            at = student["seeds"].index(int(seed))
            for who, row in places.items():
                accuracy = 100 * (rows[row] == rows[0]).mean()
                assert accuracy == pytest.approx(student["accuracy"][who]["values"][at], abs=0.02)


def test_a_pair_that_was_not_run_gets_a_sentence_in_the_page(open_page):  # noqa: F811
    page = open_page(PAGES["TeacherComparison"])
    root = root_of(page, "TeacherComparison")
    root.get_by_label("teacher A").select_option("convnet")
    root.get_by_label("teacher B").select_option("none")
    words = root.locator(".words").inner_text()
    assert "A, teacher convnet:" in words and "B, teacher none:" in words and "B minus A: \u2212" in words


@pytest.mark.parametrize("curve", [[], [71.5]], ids=["untrained", "one-epoch"])
def test_a_run_without_a_curve_has_no_chart_and_one_of_one_epoch_a_dot(page, curve):
    students = [Student("none", "", [0], {"class": [100.0]}, [curve], {})]
    show(page, widgets.TeacherComparison(students, [0], torch.zeros(1, 1, 4, 4, dtype=torch.uint8), ["a"]))
    charts, shown = page.locator(".deit-edu svg"), page.locator(".deit-edu").inner_text()
    assert charts.count() == 1 + len(curve)
    assert ("validation accuracy while training" in shown) == bool(curve)
    assert not re.search("NaN|Infinity", page.locator(".deit-edu").inner_html())
    assert "99 %" in charts.first.text_content() and "101 %" not in charts.first.text_content()
    assert "A, teacher none: 100.0 % over 1 seed. " in shown
    if curve:
        assert charts.last.locator("circle").count() == 2  # A and B are the same run
        assert charts.last.locator("text").all_text_contents() == ["71", "72", "epoch 1"]


def test_your_own_runs_can_be_compared(tmp_path, monkeypatch):
    monkeypatch.setenv("DEIT_EDU_RUNS", str(tmp_path))
    settings = dict(epochs=1, batch_size=500, device="cpu", model_settings={"embed_dim": 8, "depth": 1, "num_heads": 1})
    train(TrainConfig(**settings), tmp_path / "plain", progress=False)
    train(
        TrainConfig(**settings, teacher="plain", distillation="hard", tokens="both"),
        tmp_path / "taught",
        progress=False,
    )
    figure = widgets.TeacherComparison.from_runs(["plain", tmp_path / "taught"])
    assert {(s["teacher"], s["kind"]) for s in figure.students} == {("none", ""), ("plain", "hard, own token")}
    train(TrainConfig(**settings, tokens="both"), tmp_path / "second", progress=False)
    both = widgets.TeacherComparison.from_runs(["plain", "second"]).students
    assert [s["teacher"] for s in both] == ["none", "none, two class tokens"]
    with pytest.raises(DeiTEduError, match="has no result.json"):
        widgets.TeacherComparison.from_runs([tmp_path])
    train(TrainConfig(**settings, classes="3,5"), tmp_path / "two", progress=False)
    train(TrainConfig(**settings | {"epochs": 0}, classes="3,5", initial="two"), tmp_path / "measured", progress=False)
    assert widgets.TeacherComparison.from_runs(["two", "measured"]).class_names == ["Dress", "Sandal"]
    with pytest.raises(DeiTEduError, match="fashion_mnist_10k 3,5: compare runs on one data set"):
        widgets.TeacherComparison.from_runs(["plain", "two"])


# ---- in JupyterLab ----


EVERY_FIGURE = f"""
SMALLER = {SMALLER}
from deit_edu import widgets
heard, figures = [], {{}}
for name in widgets.__all__:
    kind = getattr(widgets, name)
    figures[name] = getattr(kind, "packaged", getattr(kind, "from_ledger", kind))(**SMALLER.get(name, {{}}))
    figures[name].observe(lambda change: heard.append((change.owner, change.name, change.old)))
display(*figures.values())
"""
NOTEBOOKS = {
    "loss.ipynb": ["from deit_edu.widgets import LossLab\nlab = LossLab()\nlab",
                   "print('temperature is', lab.temperature)", "lab.temperature = 7.0"],
    "all.ipynb": [EVERY_FIGURE, "print('moved:', *sorted({type(owner).__name__ for owner, *_ in heard}))",
                  "for owner, name, old in heard[::-1]:\n    setattr(owner, name, old)\nprint('all back')"],
    "race.ipynb": ["from deit_edu.widgets import DistilInPage\n"
                   "race = DistilInPage(regime={'steps': 4, 'warmup': 1, 'every': 2, 'batch': 16})\nrace",
                   "race.b = race.b | {'weight': 0.8}\nrace.running = True",
                   "print('raced', race.points[-1]['b']['step'], race.difference['seeds'], race.running)"],
}  # fmt: skip


@pytest.fixture(scope="module")
def jupyter_lab(tmp_path_factory):
    """The address of a JupyterLab with the notebooks."""
    folder = tmp_path_factory.mktemp("lab")
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    for name, cells in NOTEBOOKS.items():
        code = [dict(cell_type="code", id=f"c{i}", source=source, metadata={}, outputs=[], execution_count=None)
                for i, source in enumerate(cells)]  # fmt: skip
        notebook = {"nbformat": 4, "nbformat_minor": 5, "metadata": kernel, "cells": code}
        (folder / name).write_text(json.dumps(notebook))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = [f"--ServerApp.port={port}", "--ServerApp.token=", "--no-browser", "--allow-root", "--LabApp.news_url=",
                "--ServerApp.disable_check_xsrf=True", f"--ServerApp.root_dir={folder}"]  # fmt: skip
    environment = {**os.environ, "JUPYTER_CONFIG_DIR": str(folder / "config"), "PYTHONPATH": str(ROOT)}
    server = subprocess.Popen([sys.executable, "-m", "jupyterlab", *settings], env=environment,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            break
        except OSError:
            time.sleep(0.3)
    yield f"http://127.0.0.1:{port}/lab"
    server.terminate()
    server.wait(20)


def open_notebook(browser, lab, name):
    """(page, run): a notebook in JupyterLab, and a function that runs one of its cells."""
    page = browser.new_page(viewport={"width": 1280, "height": 2400})
    page.goto(f"{lab}/workspaces/{name}/tree/{name}.ipynb")  # one workspace would open the other notebooks again
    cells = page.locator(".jp-Notebook .jp-CodeCell")
    cells.nth(2).wait_for(timeout=60_000)

    def run(index):
        cell, status = cells.nth(index), page.locator(".jp-Notebook-ExecutionIndicator")
        dialog, asked = page.locator(".jp-Dialog"), []
        deadline, prompt, presses = time.monotonic() + 300, "", 0
        while not re.match(r"\[\d+\]", prompt):
            seen = f"{prompt!r}, kernel {status.get_attribute('data-status')}, {presses} presses, {asked=}"
            assert time.monotonic() < deadline, f"{seen}: {cell.inner_text()}"
            if dialog.count():  # a slow machine makes JupyterLab ask for a kernel, or say that one is late
                asked.append(dialog.first.inner_text())
                page.keyboard.press("Enter")  # what it proposes
            elif status.get_attribute("data-status") == "idle":  # nothing runs, so the key is still to be heard
                with contextlib.suppress(PlaywrightTimeout):  # a dialog came just now
                    cell.locator(".jp-InputArea-editor").click(timeout=5000)
                    page.keyboard.press("Shift+Enter")
                    presses += 1
            with contextlib.suppress(PlaywrightTimeout):
                cell.locator(".jp-InputPrompt", has_text=re.compile(r"\[\d+\]")).wait_for(timeout=2000)
            prompt = cell.locator(".jp-InputPrompt").inner_text().strip()
        assert "Traceback" not in cell.inner_text(), cell.inner_text()

    return page, run


def test_in_jupyterlab_page_and_python_move_each_other(browser, jupyter_lab):
    page, run = open_notebook(browser, jupyter_lab, "loss")
    run(0)
    slider = page.get_by_role("slider", name="temperature")
    slider.wait_for(timeout=60_000)
    slider.focus()
    page.keyboard.press("ArrowRight")  # and the notebook did not take the key
    assert slider.input_value() == "3.5"
    run(1)
    page.get_by_text("temperature is 3.5").wait_for(timeout=20_000)
    run(2)
    page.wait_for_function("document.querySelector('.deit-edu [aria-valuetext=\"7.0\"]')", timeout=20_000)
    assert slider.input_value() == "7"
    page.close()


def test_in_jupyterlab_every_figure_tells_python_and_hears_it(browser, jupyter_lab):
    page, run = open_notebook(browser, jupyter_lab, "all")
    run(0)
    first = {}
    for name in FIGURES:
        root = root_of(page, name)
        root.locator(".words").wait_for(timeout=120_000)
        slider = root.locator("input[type=range]:not([disabled])").first
        first[name] = slider.input_value()
        slider.focus()
        page.keyboard.press("ArrowLeft" if first[name] == slider.get_attribute("max") else "ArrowRight")
        assert slider.input_value() != first[name]
        page.wait_for_timeout(300)
    run(1)
    page.get_by_text(f"moved: {' '.join(sorted(FIGURES))}").wait_for(timeout=30_000)
    run(2)
    page.get_by_text("all back", exact=True).wait_for(timeout=30_000)
    for name, value in first.items():
        slider = root_of(page, name).locator("input[type=range]:not([disabled])").first
        expect(slider).to_have_value(value, timeout=60_000)  # the page hears of it in its own time
    page.close()


def test_in_jupyterlab_python_starts_a_race_and_reads_what_it_came_to(browser, jupyter_lab):
    page, run = open_notebook(browser, jupyter_lab, "race")
    run(0)
    root = root_of(page, "DistilInPage")
    root.locator(".words").wait_for(timeout=120_000)
    run(1)
    root.locator(".verdict").wait_for(timeout=120_000)
    student = root.get_by_role("group", name="student B")
    assert student.get_by_label("lambda").input_value() == "0.8"
    run(2)
    page.get_by_text("raced 4 1 False").wait_for(timeout=30_000)
    page.close()


# ---- in Firefox ----


def test_firefox_shows_the_figures_and_moves_them(http_base, site, tmp_path):
    """From the disk; and over http the one that fetches most."""
    if not (program := shutil.which("firefox-esr") or shutil.which("firefox")):
        pytest.skip("Firefox is not installed: sudo apt-get install firefox-esr")
    addresses = [(name, f"{site.as_uri()}/{page}") for name, page in PAGES.items()]
    with firefox.Firefox(program, tmp_path) as browser:
        for name, address in [*addresses, ("LiveDeiT", http_base + PAGES["LiveDeiT"])]:
            browser.go(address)
            root = f"[...document.querySelectorAll('.deit-edu')].find(e => e.dataset.figure === '{name}')"
            for index in range(browser.run("document.querySelectorAll('.deit-edu-host').length")):
                host = f"document.querySelectorAll('.deit-edu-host')[{index}]"
                browser.run(f"{host}.scrollIntoView()")
                browser.until(f"!!{host}.dataset.ready")
            browser.until(f"!!{root}?.querySelector('.words')?.textContent")
            before = browser.run(f"{root}.querySelector('.words').textContent")
            browser.run(f"""(() => {{
                const control = {root}.querySelector('input[type=range]:not([disabled])');
                control.value = Number(control.value) === Number(control.max) ? control.min : control.max;
                control.dispatchEvent(new Event('input', {{bubbles: true}}));
            }})()""")
            quoted = json.dumps(before)
            browser.until(f"{root}.querySelector('.words').textContent !== {quoted}")
