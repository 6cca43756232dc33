"""The position lab: its interpolation against PyTorch's, its numbers against the library and the ledger."""

import functools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from test_experiments import GRID, record_of, write
from test_widgets import MODEL, evaluate_in_module, traits_of

from deit_edu.data import load_dataset, nested_subset
from deit_edu.errors import DeiTEduError
from deit_edu.evidence.cells import unique_runs
from deit_edu.evidence.ledger import Ledger
from deit_edu.evidence.report import Results
from deit_edu.patches import resize_position_embedding
from deit_edu.runs.build import INTERPOLATIONS, position_norm
from deit_edu.runs.checkpoints import load_network, packaged_path
from deit_edu.runs.evaluate import Accuracy, accuracies, predict
from deit_edu.runs.weights import resize_model
from deit_edu.widgets.position_lab import PositionLab, accuracy_at_grids, recorded_runs

DRAW = """(() => {
    window.model = (MODEL)(...given);
    render({ model: window.model, el: document.body });
})()""".replace("MODEL", MODEL)  # the figure in an empty page


def draw(page, figure):
    evaluate_in_module(page, "position_lab.js", DRAW, traits_of(figure))


def words(page, **traits):
    for name, value in traits.items():
        page.evaluate("([name, value]) => model.set(name, value)", [name, value])
    return page.locator(".words").text_content()


def noise(grid, prefix=1, width=6):
    return torch.randn(1, prefix + grid * grid, width, generator=torch.Generator().manual_seed(grid))


@functools.cache
def student():
    model, _ = load_network(packaged_path("fashion_clutter_student"))
    return model.eval()


def lab_of(model, **given):
    config = model.config
    return PositionLab(model.position_embedding, config.grid, config.num_prefix_tokens, config.patch_size, **given)


# ---- JavaScript against the library ----


@pytest.mark.parametrize("how", INTERPOLATIONS)
@pytest.mark.parametrize(
    "before,after", [(7, 4), (7, 5), (7, 7), (7, 10), (7, 14), (14, 24), (14, 7), (5, 3), (2, 4), (2, 1)]
)
def test_the_page_interpolates_as_the_library_does(page, before, after, how):
    given = noise(before, prefix=0)
    found = evaluate_in_module(
        page, "position_counting.js",
        "Array.from(resized(Float32Array.from(given[0]), given[1], given[2], 6, given[3]))",
        [given.flatten().tolist(), before, after, how],
    )  # fmt: skip
    expected = resize_position_embedding(given, (before, before), (after, after), 0, *INTERPOLATIONS[how])
    assert found == pytest.approx(expected.flatten().tolist(), abs=1e-4)


def test_the_page_measures_norms_and_cosines_as_pytorch_does(page):
    given = noise(3, prefix=0)[0]
    found = evaluate_in_module(
        page, "position_counting.js",
        "(v => [norms(v, 6), cosines(v, 6, 4)])(Float32Array.from(given))", given.flatten().tolist(),
    )  # fmt: skip
    assert found[0] == pytest.approx(given.norm(dim=-1).tolist(), abs=1e-5)
    assert found[1] == pytest.approx(F.cosine_similarity(given, given[4], dim=-1).tolist(), abs=1e-5)


@pytest.mark.parametrize("how", INTERPOLATIONS)
def test_the_words_say_how_much_of_the_norm_is_kept(page, how):
    model = student()
    figure = lab_of(model)
    draw(page, figure)
    for grid in (14, 5):
        kept = 100 * position_norm(resize_model(model, 4 * grid, *INTERPOLATIONS[how])) / position_norm(model)
        assert f"{kept:.1f} % of the mean norm is kept" in words(page, interpolation=how, grid=grid)
    figure.interpolation = how
    figure.grid = 5
    assert f"{kept:.1f} % is kept" in " ".join(figure.caption().split())


# ---- the figure in a page ----


def test_a_patch_is_chosen_by_click_and_by_arrow_keys(page):
    draw(page, lab_of(student()))
    assert "The patch on row 4, column 4 of the trained grid" in words(page)
    board, new = (page.locator("canvas").nth(index) for index in range(2))
    board.click(position={"x": 5, "y": 5})
    first = page.evaluate("[...document.querySelectorAll('canvas')].map(c => c.toDataURL())")
    assert "The patch on row 1, column 1 of" in words(page)
    board.focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowDown", "ArrowUp", "ArrowUp", "ArrowLeft"):  # the edge holds
        page.keyboard.press(key)
    assert "The patch on row 1, column 2 of" in words(page)
    moved = page.evaluate("[...document.querySelectorAll('canvas')].map(c => c.toDataURL())")
    assert [one != other for one, other in zip(first, moved, strict=True)] == [True, True, *[False] * 4]
    box = new.bounding_box()
    new.click(position={"x": box["width"] - 5, "y": box["height"] - 5})
    assert "The patch on row 7, column 7 of" in words(page)


def test_the_trained_grid_is_not_interpolated(page):
    draw(page, lab_of(student()))
    assert "7×7 patches (28 px) are the grid that was trained: nothing is interpolated" in words(page, grid=7)


def test_accuracy_is_told_where_it_was_measured(page):
    tested = {"bicubic": {7: Accuracy(80, 100), 14: Accuracy(60, 100)}, "bilinear": {14: Accuracy(50, 100)}}
    draw(page, lab_of(student(), accuracies=tested))
    assert "right on 60.0 % of 100 validation images, against 80.0 % at 28 px." in words(page)
    assert "right on 50.0 % of 100 validation images." in words(page, interpolation="bilinear")
    assert page.get_by_text("At 14×14: bicubic 60.0 %, bilinear 50.0 %.").count() == 1
    assert "not measured at this size" in words(page, grid=13)


def test_a_model_of_your_own_needs_no_accuracy(page):
    draw(page, PositionLab(noise(4), (4, 4), 1, 8))
    assert "From 4×4 to 8×8 patches (64 px), bicubic: " in words(page)
    assert "right on" not in words(page) and page.locator("svg").count() == 1
    assert page.get_by_text("the prefix token keeps its vector").count() == 1
    assert "From 4×4 to 2×2" in words(page, grid=2)


# ---- accuracy, and the ledger ----


def test_accuracy_is_that_of_the_resized_model_on_as_many_images_of_each_class(monkeypatch):
    load_once = functools.cache(load_dataset)
    monkeypatch.setattr("deit_edu.widgets.position_lab.load_dataset", load_once)
    model = student()
    found = accuracy_at_grids(model, "fashion_clutter", (7, 8), 50)
    data = load_once("fashion_clutter", image_size=32)
    chosen = nested_subset(data.validation.labels, 50)
    assert data.validation.labels[chosen].bincount().tolist() == [5] * 10
    for how, way in INTERPOLATIONS.items():
        said = predict(resize_model(model, 32, *way), data.validation, data, indices=chosen)
        assert found[how][8] == accuracies(said, data.validation.labels[chosen])["fused"]
        assert found[how][7] == found["bicubic"][7]  # its own grid: nothing to interpolate
    assert found["bicubic"][7].value > 0.7


def made_up(configurations, seeds):
    """Records of `resolution`: seed 0 has 50 %, each further one a point more; bilinear keeps 90 % of the norm."""
    cells = [cell for cell in GRID.cells("resolution") if cell.configuration in configurations and cell.seed in seeds]
    for cell in unique_runs(cells):
        record = record_of(cell, {"class": 0.5 + cell.seed / 100})
        if cell.initial:
            kept = 1.8 if cell.config.interpolation == "bilinear" else 2.0
            record["position_norm"] = {"before": 2.0, "resized": kept}
        yield record


ALL = ("none", *(cell.configuration for cell in GRID.cells("resolution", seeds=1)))


@pytest.mark.parametrize(
    "configurations,seeds,rows,waiting",
    [
        ((), (), 0, "12 of these 12 numbers are not in the ledger yet"),
        (("none", "tested_at_56_bilinear"), range(5), 6, "10 of these 12 numbers are not in the ledger yet"),
        (ALL, range(2), 6, "12 of these 12 numbers are not in the ledger yet, or not with all 5 seeds"),
        (ALL, range(1), 6, "12 of these 12"),
        (ALL, range(5), 6, None),
    ],
)
def test_the_ledgers_runs_are_shown_as_far_as_they_are_recorded(page, tmp_path, configurations, seeds, rows, waiting):
    recorded = recorded_runs(Results(write(tmp_path, list(made_up(configurations, seeds)))))
    found = {(row["side"], row["interpolation"]): row for row in recorded["rows"]}
    bilinear = found[56, "bilinear"]
    if configurations:
        mean = 50 + np.mean(seeds)
        assert bilinear["norm"] == pytest.approx(90) and bilinear["tested"]["mean"] == pytest.approx(mean)
        assert bilinear["tested"]["seeds"] == len(seeds) and len(bilinear["tested"]["interval"]) == 2 * (len(seeds) > 1)
    draw(page, lab_of(student(), recorded=recorded))
    assert page.locator("tbody tr").count() == rows
    if rows:
        cells = page.locator("tbody tr", has_text="56 px, bilinear").locator("td").all_text_contents()
        assert cells[0] == "90.0" and cells[1].startswith(f"{mean:.1f}")
        assert ("seed" in cells[1]) == (len(seeds) < 5)
        assert ("not in the ledger yet" in cells[2]) == ("tuned_at_56_bilinear" not in configurations)
    told = page.get_by_text("deit-edu ablate resolution").locator("xpath=..").all_text_contents()
    assert [waiting in one for one in told] == ([True] if waiting else [])


def test_the_books_ledger_is_shown_without_training_anything():
    recorded = recorded_runs(Results(Ledger()))
    results = Results(Ledger())
    ((_, expected),) = results.paired("resolution", ((1, "none", "class"),))
    own = next(row for row in recorded["rows"] if row["side"] == 28)
    assert own["norm"] == 100 and own["tested"]["mean"] == pytest.approx(expected.mean())


def test_every_configuration_of_the_experiment_has_a_place():
    from deit_edu.evidence.grids import EXPERIMENTS
    from deit_edu.widgets.position_lab import ROWS

    assert {name for row in ROWS.values() for name in row} == set(EXPERIMENTS["resolution"].configurations)


# ---- wrong input ----


@pytest.mark.parametrize(
    "given,message",
    [
        (dict(grid=(4, 5)), r"grid is \(4, 5\): give \(rows, columns\) of a square one"),
        (dict(grid=4), "grid is 4: give"),
        (dict(grid=(1, 1)), "two or more of each"),
        (dict(num_prefix_tokens=2), "17 position embeddings are not 2 prefix tokens plus a grid of 4x4 patches"),
        (dict(position_embedding=torch.zeros(17, 6)), r"of shape \(17, 6\): give \(1, tokens, width\)"),
        (dict(position_embedding=torch.zeros(1, 17, 6)), "are all zero: there is nothing to interpolate"),
        (dict(position_embedding=torch.full((1, 17, 6), torch.nan)), "finite numbers only"),
        (dict(patch_size=0), "patch_size is 0: it must be 1 or more"),
        (dict(accuracies={"nearest": {}}), "accuracies by 'nearest': choose of bicubic, bilinear, antialias"),
        (dict(accuracies={"bicubic": {9: Accuracy(1, 2)}}), "accuracy at 9 patches a side: the figure shows 2 to 8"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(given, message):
    fine = dict(position_embedding=noise(4), grid=(4, 4), num_prefix_tokens=1, patch_size=4)
    assert PositionLab(**fine).grid == 8
    with pytest.raises(DeiTEduError, match=message):
        PositionLab(**fine | given)
