"""The fusion explorer: the library's fusions and decisions, and images for the cells that a reader can choose."""

import numpy as np
import pytest
import torch
from test_book import open_page  # noqa: F401 - a fixture
from test_widgets import PAGES, evaluate_in_module, look, root_of

from deit_edu.errors import DeiTEduError
from deit_edu.evaluate import decisions
from deit_edu.ledger import Ledger
from deit_edu.model import HeadLogits, fuse
from deit_edu.report import Results
from deit_edu.runs import train
from deit_edu.train import TrainConfig
from deit_edu.widgets import FusionExplorer
from deit_edu.widgets.fusion_explorer import GALLERY, WEIGHTS, fusions

K, N = 3, 40


def made_up(seed=0):
    return {
        who: torch.randn(N, K, generator=torch.Generator().manual_seed(10 * seed + i))
        for i, who in enumerate(("class", "distillation", "teacher", "plain"))
    }


LABELS = torch.randint(0, K, (N,), generator=torch.Generator().manual_seed(7))
IMAGES = torch.randint(0, 256, (N, 1, 4, 4), generator=torch.Generator().manual_seed(8), dtype=torch.uint8)


def explorer(logits=None, **given):
    fine = dict(logits={0: made_up(0), 3: made_up(3)} if logits is None else logits, labels=LABELS, images=IMAGES)
    return FusionExplorer(**fine | dict(class_names="abc") | given)


def rows_of(figure, seed):
    rows = np.frombuffer(figure.decided, np.uint8).reshape(-1, figure.count)
    return {who: rows[place] for who, place in figure.rows_of[str(seed)].items()} | {"truth": rows[0]}


@pytest.mark.parametrize("way", ["probabilities", "logits"])
def test_the_pages_fusion_is_the_librarys(browser, way):
    logits = made_up()
    page = browser.new_page()
    given = [logits["class"][0].tolist(), logits["distillation"][0].tolist(), way]
    found = evaluate_in_module(page, "fusion_explorer.js", "fuse(given[0], given[1], 0.5, given[2])", given)
    one = evaluate_in_module(page, "fusion_explorer.js", "fuse(given[0], given[1], 1, given[2])", given)
    page.close()
    heads = HeadLogits(logits["class"][:1], logits["distillation"][:1])
    assert found == pytest.approx(fuse(heads, way).softmax(-1)[0].tolist(), abs=1e-6)
    assert one == pytest.approx(logits["class"][0].softmax(-1).tolist(), abs=1e-6)


def test_the_pages_confusions_are_counted_as_in_python(browser):
    figure = explorer()
    said = rows_of(figure, 0)
    page = browser.new_page()
    given = [said["class"].tolist(), said["distillation"].tolist()]
    found = evaluate_in_module(page, "fusion_explorer.js", "confusions(given[0], given[1], 3)", given)
    page.close()
    assert found == figure.confusions().ravel().tolist() and sum(found) == N


def test_decisions_are_the_librarys_or_those_that_are_given():
    logits = made_up()
    expected = decisions(HeadLogits(logits["class"], logits["distillation"]))
    said = rows_of(explorer({0: logits}), 0)
    for who, chosen in expected.items():
        assert said[who].tolist() == chosen.tolist()
    assert said["teacher"].tolist() == logits["teacher"].argmax(-1).tolist()
    known = torch.zeros(N, dtype=torch.long)
    assert rows_of(explorer({0: logits}, decided={0: {"fused": known}}), 0)["fused"].tolist() == known.tolist()


def test_a_fusion_goes_from_one_head_to_the_other_and_counts_who_is_right_where_the_ways_part():
    logits = made_up()
    found = fusions(logits, LABELS)
    for way in ("probabilities", "logits"):
        for place, head in ((0, "distillation"), (-1, "class")):
            share = (logits[head].argmax(-1) == LABELS).double().mean().item()
            assert found[way][place] == pytest.approx(100 * share, abs=0.01)
    half = WEIGHTS.index(0.5)
    by = {way: fuse(HeadLogits(logits["class"], logits["distillation"]), way).argmax(-1) for way in found if way in
          ("probabilities", "logits")}  # fmt: skip
    differ = by["probabilities"] != by["logits"]
    assert found["apart"][half] == differ.sum() and found["apart"][0] == found["apart"][-1] == 0
    assert found["right"][half] == [((by[way] == LABELS) & differ).sum() for way in ("probabilities", "logits")]


def test_every_image_on_which_the_heads_part_is_in_the_gallery_with_its_logits():
    figure = explorer()
    for place, seed in enumerate((0, 3)):
        said = rows_of(figure, seed)
        assert set(np.flatnonzero(said["class"] != said["distillation"])) <= set(figure.gallery_index)
        kept = np.frombuffer(figure.gallery_logits, "<f2").reshape(2, 4, -1, K)[place, 2]
        expected = made_up(seed)["teacher"][figure.gallery_index].half().numpy()
        assert np.array_equal(kept, expected)
    pixels = np.frombuffer(figure.gallery, np.uint8).reshape(-1, 1, 4, 4)
    assert np.array_equal(pixels, IMAGES[figure.gallery_index].numpy())


def test_the_ledgers_explorer_agrees_with_the_report():
    figure = FusionExplorer.from_ledger()
    results = Results(Ledger())
    assert len(figure.gallery_index) <= GALLERY
    for place, seed in enumerate(figure.seeds):
        figure.place = place
        apart = figure.confusions()
        share = 100 * (1 - np.trace(apart) / figure.count)
        assert share == pytest.approx(
            results.measure("agreement", "token_hard", seed, "disagreement:class:distillation"), abs=1e-4
        )
        for head, at in (("class", -1), ("distillation", 0)):
            expected = results.measure("agreement", "token_hard", seed, head)
            assert figure.curves[str(seed)]["probabilities"][at] == pytest.approx(expected, abs=0.03)  # half precision


@pytest.mark.parametrize(
    "given,message",
    [
        (dict(logits={}), "there are no predictions to show: deit-edu ablate agreement"),
        (dict(logits={0: {"class": torch.zeros(N, K)}}), "needs both heads of a student"),
        (dict(class_names="ab"), r"seed 0, class: logits of shape \(40, 3\), not \(40, 2\)"),
        (dict(images=IMAGES[:3]), "3 images for 40 labels"),
    ],
)
def test_what_does_not_fit_is_refused(given, message):
    with pytest.raises(DeiTEduError, match=message):
        explorer(**given)


def test_a_ledger_without_predictions_is_a_sentence(tmp_path):
    with pytest.raises(DeiTEduError, match="there are no predictions to show"):
        FusionExplorer.from_ledger(Ledger(tmp_path))


def test_your_own_run_can_be_explored(tmp_path, monkeypatch):
    monkeypatch.setenv("DEIT_EDU_RUNS", str(tmp_path))
    small = dict(epochs=1, batch_size=500, device="cpu", model_settings={"embed_dim": 8, "depth": 1, "num_heads": 1})
    train(TrainConfig(**small), tmp_path / "plain", progress=False)
    train(TrainConfig(**small, teacher="plain", distillation="hard", tokens="both", seed=2), tmp_path / "taught",
          progress=False)  # fmt: skip
    figure = FusionExplorer.from_run("taught")
    assert figure.seeds == [2] and figure.answering == ["class", "distillation", "teacher"]
    with pytest.raises(DeiTEduError, match="needs both heads"):
        FusionExplorer.from_run("plain")


# ---- in the built page ----


def test_the_arrow_keys_walk_through_the_cells(open_page):  # noqa: F811
    page = open_page(PAGES["FusionExplorer"])
    root = root_of(page, "FusionExplorer")
    chosen = root.locator("[role=gridcell][aria-selected=true]")
    assert chosen.count() == 1 and root.locator("[role=gridcell][tabindex='0']").count() == 1
    before, where = (
        look(page, "FusionExplorer"),
        [int(chosen.get_attribute(f"data-{side}")) for side in ("row", "column")],
    )
    chosen.focus()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowLeft")
    expected = [max(0, where[0] - 1), max(0, where[1] - 1)]
    assert [int(chosen.get_attribute(f"data-{side}")) for side in ("row", "column")] == expected
    assert page.evaluate("document.activeElement.getAttribute('aria-selected')") == "true"
    page.wait_for_timeout(200)
    assert look(page, "FusionExplorer")[0] != before[0]


def test_a_cell_without_images_says_so(open_page):  # noqa: F811
    page = open_page(PAGES["FusionExplorer"])
    root = root_of(page, "FusionExplorer")
    empty = next(cell for cell in root.locator("[role=gridcell]").all() if not cell.inner_text())
    empty.click()
    root.get_by_text(": no image").wait_for()
