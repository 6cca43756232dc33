"""The fusion explorer: the library's fusions and decisions, and images for the cells that a reader can choose."""

from itertools import combinations

import numpy as np
import pytest
import torch
from test_book import open_page  # noqa: F401 - a fixture
from test_experiments import GRID, record_of, write
from test_widgets import MODEL, PAGES, evaluate_in_module, look, root_of, traits_of

from deit_edu.data import load_dataset
from deit_edu.errors import DeiTEduError
from deit_edu.evidence.ledger import Ledger
from deit_edu.evidence.report import Results
from deit_edu.model import HeadLogits, fuse
from deit_edu.runs import train
from deit_edu.runs.evaluate import decisions, save_predictions
from deit_edu.train import TrainConfig
from deit_edu.widgets import FusionExplorer
from deit_edu.widgets.fusion_explorer import GALLERY, WEIGHTS, fusions, kept_answers

K, N = 3, 40
SMALL = dict(epochs=1, batch_size=500, train_images=500)  # a run of moments

# The figure in an empty page: its late arrays can be there or not.
DRAW = """(([state, bytes]) => {
    window.broken = false;
    window.model = (MODEL)(state, bytes);
    model.load = name => broken ? Promise.reject(new Error('it is gone')) : Promise.resolve(state[name]);
    render({ model, el: document.body });
})(given)""".replace("MODEL", MODEL)


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


def draw(page, figure, **traits):
    plain, data = traits_of(figure)
    evaluate_in_module(page, "fusion_explorer.js", DRAW, [plain | traits, data])


def change(page, name, value):
    page.evaluate("([name, value]) => model.set(name, value)", [name, value])


@pytest.fixture(scope="module")
def of_the_book():
    return FusionExplorer.from_ledger()


def rows_of(figure, seed):
    rows = np.frombuffer(figure.decided, np.uint8).reshape(-1, figure.count)
    return {who: rows[place] for who, place in figure.rows_of[str(seed)].items()} | {"truth": rows[0]}


@pytest.mark.parametrize("way", ["probabilities", "logits"])
def test_the_pages_fusion_is_the_librarys(page, way):
    logits = made_up()
    given = [logits["class"][0].tolist(), logits["distillation"][0].tolist(), way]
    found = evaluate_in_module(page, "fusion_counting.js", "fuse(given[0], given[1], 0.5, given[2])", given)
    one = evaluate_in_module(page, "fusion_counting.js", "fuse(given[0], given[1], 1, given[2])", given)
    heads = HeadLogits(logits["class"][:1], logits["distillation"][:1])
    assert found == pytest.approx(fuse(heads, way).softmax(-1)[0].tolist(), abs=1e-6)
    assert one == pytest.approx(logits["class"][0].softmax(-1).tolist(), abs=1e-6)


def test_the_pages_confusions_are_counted_as_in_python(page):
    figure = explorer()
    said = rows_of(figure, 0)
    given = [said["class"].tolist(), said["distillation"].tolist()]
    found = evaluate_in_module(page, "fusion_counting.js", "confusions(given[0], given[1], 3)", given)
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


def parted(logits):
    said = decisions(HeadLogits(logits["class"], logits["distillation"]))
    apart = said["class"] != said["distillation"]
    return torch.stack([logits["class"][apart], logits["distillation"][apart]], dim=1), said


def test_a_fusion_changes_only_where_the_heads_part():
    logits = made_up()
    found = fusions(*parted(logits), LABELS)
    heads = [logits["class"], logits["distillation"]]
    ways = {"logits": heads, "probabilities": [head.softmax(-1) for head in heads]}
    for way, (one, other) in ways.items():
        for place, weight in enumerate(WEIGHTS):  # on all images, the plain way
            chosen = (weight * one + (1 - weight) * other).argmax(-1)
            assert found[way][place] == pytest.approx(100 * (chosen == LABELS).double().mean().item())
    half = WEIGHTS.index(0.5)
    by = {way: fuse(HeadLogits(*heads), way).argmax(-1) for way in ways}
    differ = by["probabilities"] != by["logits"]
    assert found["apart"][half] == differ.sum() > 0 and found["apart"][0] == found["apart"][-1] == 0
    assert found["right"][half] == [((by[way] == LABELS) & differ).sum() for way in ("probabilities", "logits")]


def test_a_weight_that_is_a_decider_has_its_kept_decisions():
    parting, said = parted(made_up())
    known = said | {"fused": LABELS}  # always right, which the logits are not
    apart = said["class"] != said["distillation"]
    expected = 100 * ((said["class"] == LABELS) | apart).double().mean().item()
    assert fusions(parting, known, LABELS)["probabilities"][WEIGHTS.index(0.5)] == pytest.approx(expected)
    assert fusions(parting, said, LABELS)["probabilities"][WEIGHTS.index(0.5)] < expected


def test_the_page_weighs_the_heads_as_python_does(page):
    figure = explorer(decided={0: {"fused": LABELS}})  # at one half, what was kept
    for seed in (0, 3):
        said = rows_of(figure, seed)
        apart = said["class"] != said["distillation"]
        heads = [made_up(seed)[head][apart].half().tolist() for head in ("class", "distillation")]
        parting = [dict(image=int(i), one=a, other=b) for i, a, b in zip(np.flatnonzero(apart), *heads, strict=True)]
        agreed = int((~apart & (said["class"] == said["truth"])).sum())
        given = [{"said": {who: row.tolist() for who, row in said.items()}, "parting": parting, "agreed": agreed}]
        found = evaluate_in_module(
            page, "fusion_counting.js", "given[1].map((w) => fusions(given[0], w))", [*given, WEIGHTS]
        )
        for what, expected in figure.curves[str(seed)].items():
            assert np.allclose([one[what] for one in found], expected, rtol=0, atol=1e-9), what


def test_the_gallery_has_images_and_their_logits_and_stays_small(monkeypatch):
    figure = explorer({0: made_up(0), 3: {who: made_up(3)[who] for who in ("class", "distillation", "plain")}})
    assert sorted(figure.gallery_index) == list(range(N))
    kept = np.frombuffer(figure.gallery_logits, "<f2").reshape(5, N, K)  # three of seed 0, two of seed 3
    assert figure.answering == {"0": ["class", "distillation", "teacher"], "3": ["class", "distillation"]}
    assert np.array_equal(kept[2], made_up(0)["teacher"][figure.gallery_index].half().numpy())
    assert np.array_equal(kept[4], made_up(3)["distillation"][figure.gallery_index].half().numpy())
    monkeypatch.setattr("deit_edu.widgets.fusion_explorer.GALLERY", 16 * 7)
    figure = explorer()
    assert len(figure.gallery_index) == len(set(figure.gallery_index)) == 7
    pixels = np.frombuffer(figure.gallery, np.uint8).reshape(7, 1, 4, 4)
    assert np.array_equal(pixels, IMAGES[figure.gallery_index].numpy())


def test_numpy_arrays_do_as_well():
    given = {0: {who: logits.numpy() for who, logits in made_up().items()}}
    figure = explorer(given, labels=LABELS.numpy(), images=IMAGES.numpy())
    assert figure.decided == explorer({0: made_up()}).decided


def test_almost_every_cell_of_the_books_tables_has_an_image(of_the_book):
    figure = of_the_book
    assert len(figure.gallery) <= GALLERY
    empty = filled = 0
    for seed in figure.seeds:
        said = rows_of(figure, seed)
        for one, other in combinations(said, 2):
            cell = len(figure.class_names) * said[one].astype(int) + said[other]
            cells, shown = set(cell), set(cell[figure.gallery_index])
            if (one, other) == ("class", "distillation"):
                assert cells == shown
            empty, filled = empty + len(cells - shown), filled + len(shown)
    assert empty < 0.05 * filled


def test_the_ledgers_explorer_agrees_with_the_report(of_the_book):
    figure = of_the_book
    results = Results(Ledger())
    half = WEIGHTS.index(0.5)
    places = {"class": ("probabilities", -1), "distillation": ("logits", 0), "fused": ("probabilities", half),
              "fused_logits": ("logits", half)}  # fmt: skip
    for place, seed in enumerate(figure.seeds):
        figure.place = place
        apart = figure.confusions()
        share = 100 * (1 - np.trace(apart) / figure.count)
        assert share == pytest.approx(
            results.measure("agreement", "token_hard", seed, "disagreement:class:distillation"), abs=1e-4
        )
        for head, (way, at) in places.items():
            expected = results.measure("agreement", "token_hard", seed, head)
            assert figure.curves[str(seed)][way][at] == pytest.approx(expected, abs=1e-9)


def test_where_the_heads_of_the_books_students_agree_so_do_both_fusions(of_the_book):
    figure = of_the_book
    for seed in figure.seeds:
        said = rows_of(figure, seed)
        agree = said["class"] == said["distillation"]
        assert agree.sum() > 0.5 * figure.count
        for way in ("fused", "fused_logits"):
            assert np.array_equal(said[way][agree], said["class"][agree])


def test_a_teacher_with_two_heads_answers_as_it_taught(tmp_path):
    sharp = HeadLogits(torch.tensor([[200.0, 0, 0]]), torch.tensor([[200.0, 0, 1]]))  # underflows, if not in logs
    for who, heads in {"student": HeadLogits(torch.zeros(1, 3), torch.zeros(1, 3)), "teacher": sharp}.items():
        save_predictions(tmp_path / who, heads)
    logits, decided = kept_answers({who: tmp_path / who for who in ("student", "teacher")})
    assert logits["teacher"].tolist() == fuse(sharp).tolist() and logits["teacher"].isfinite().all()
    assert decided["teacher"].tolist() == [0] and set(logits) == {"class", "distillation", "teacher"}


@pytest.mark.parametrize(
    "given,message",
    [
        (dict(logits={}), "there are no predictions to show: deit-edu ablate agreement"),
        (dict(logits={0: {"class": torch.zeros(N, K)}}), "needs both heads of a student"),
        (dict(class_names="ab"), r"seed 0, class: logits of shape \(40, 3\), not \(40, 2\)"),
        (dict(images=IMAGES[:3]), "3 images for 40 labels"),
        (dict(labels=LABELS + 1), "labels 1 to 3 do not fit 3 class names"),
        (dict(class_names="abcdefghijklmnopqrstu"), "21 classes: the table of who takes what for what has room for 2"),
        (
            dict(logits={0: made_up() | {"truth": torch.zeros(N, K)}}),
            "seed 0: nobody is called 'truth': choose of class",
        ),
        (dict(logits={0: made_up() | {"class": torch.full((N, K), torch.nan)}}), "finite numbers only"),
    ],
)
def test_what_does_not_fit_is_refused(given, message):
    with pytest.raises(DeiTEduError, match=message):
        explorer(**given)


def test_a_ledger_without_predictions_is_a_sentence(tmp_path):
    with pytest.raises(DeiTEduError, match="there are no predictions to show"):
        FusionExplorer.from_ledger(Ledger(tmp_path))


def test_a_ledger_that_holds_a_part_shows_it_and_says_what_is_missing(tmp_path, of_the_book):
    data = load_dataset("fashion_clutter").test
    cells = {(cell.configuration, cell.seed): cell for cell in GRID.cells("agreement") if cell.seed < 3}
    ledger = write(tmp_path, [record_of(cell, {"class": 0.5}) for cell in cells.values()])
    ledger.predictions("").parent.mkdir(exist_ok=True)
    shape = (len(data), 10)
    for who in (("token_hard", 0), ("none", 0), ("convnet", 0), ("token_hard", 2), ("convnet", 1)):
        both = torch.randn(2, *shape, generator=torch.Generator().manual_seed(who[1]))
        save_predictions(
            ledger.predictions(cells[who].key), HeadLogits(both[0], both[1] if who[0] == "token_hard" else None)
        )
    figure = FusionExplorer.from_ledger(ledger)
    assert figure.seeds == [0, 2] and "teacher" in figure.rows_of["0"] and "teacher" not in figure.rows_of["2"]
    assert figure.left_out.startswith(
        "Not kept, so not here: student, seed 1; plain, seed 1; teacher, seed 2; plain, seed 2"
    )
    assert of_the_book.left_out == ""


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two finished runs: "plain", and "taught" by it."""
    folder = tmp_path_factory.mktemp("runs")
    small = dict(SMALL, device="cpu", model_settings={"embed_dim": 8, "depth": 1, "num_heads": 1})
    train(TrainConfig(**small), folder / "plain", progress=False)
    taught = TrainConfig(**small, teacher=str(folder / "plain"), distillation="hard", tokens="both", seed=2)
    train(taught, folder / "taught", progress=False)
    return folder


def test_your_own_run_can_be_explored(runs, tmp_path, monkeypatch):
    monkeypatch.setenv("DEIT_EDU_RUNS", str(runs))
    figure = FusionExplorer.from_run("taught")
    assert figure.seeds == [2] and figure.answering == {"2": ["class", "distillation", "teacher"]}
    assert figure.left_out == "" and "plain" not in figure.rows_of["2"]
    kept = (runs / "plain" / "predictions.safetensors").rename(tmp_path / "kept")
    figure = FusionExplorer.from_run("taught")
    kept.rename(runs / "plain" / "predictions.safetensors")
    assert "teacher" not in figure.rows_of["2"]
    assert figure.left_out.startswith(f"The teacher, {runs / 'plain'}, is left out")


def test_a_run_with_one_head_is_refused(runs, monkeypatch):
    monkeypatch.setenv("DEIT_EDU_RUNS", str(runs))
    with pytest.raises(DeiTEduError, match="needs both heads"):
        FusionExplorer.from_run("plain")


# ---- in a page ----


def test_images_are_loaded_when_they_are_asked_for_and_asked_again_after_a_failure(page):
    figure = explorer()
    draw(page, figure)
    assert page.locator("canvas").count() == 0
    page.evaluate("window.broken = true")
    page.get_by_role("button", name="Show some of them").click()
    page.locator(".complaint", has_text="The images could not be loaded: it is gone").wait_for()
    page.evaluate("window.broken = false")
    page.get_by_role("button", name="Show some of them").click()
    page.locator(".cards canvas").first.wait_for()
    assert page.locator(".complaint").count() == 0
    row, column = (
        int(page.locator("[role=gridcell][aria-selected=true]").get_attribute(f"data-{side}"))
        for side in ("row", "column")
    )
    assert page.locator(".cards canvas").count() == min(6, figure.confusions()[row, column])


def test_a_card_says_who_says_what(page):
    figure = explorer()
    draw(page, figure)
    said = rows_of(figure, 0)
    image = next(image for image in figure.gallery_index if said["class"][image] != said["distillation"][image])
    row, column = int(said["class"][image]), int(said["distillation"][image])
    page.locator(f"td[data-row='{row}'][data-column='{column}']").click()
    card = page.locator(".cards label", has=page.get_by_text(f"test image {image}", exact=True))
    words = {"truth": "truth", "class": "class head", "distillation": "distillation head", "teacher": "teacher",
             "plain": "plain student", "fused": "both alike, probabilities",
             "fused_logits": "both alike, logits"}  # fmt: skip
    card.wait_for()
    lines = card.locator("span:has(> b)").all_text_contents()
    for who, name in words.items():
        (line,) = [line for line in lines if name in line.partition(": ")[2].split("; ")]
        assert line[0] == "abc"[said[who][image]] and ("\u2713" in line) == (said[who][image] == LABELS[image])


@pytest.mark.parametrize("seed", [3, 0])
def test_the_bars_are_the_answers_of_the_chosen_image(page, seed):
    figure = explorer({3: made_up(3), 0: made_up(0)})  # an object's keys would come as 0, 3
    draw(page, figure, place=figure.seeds.index(seed))
    page.get_by_role("button", name="Show some of them").click()
    page.locator(".cards input").last.check()
    image = int(page.locator(".cards label").last.inner_text().partition("test image ")[2].split()[0])
    heads = HeadLogits(*(made_up(seed)[head][[image]] for head in ("class", "distillation")))
    expected = [*heads, fuse(heads), fuse(heads, "logits"), made_up(seed)["teacher"][[image]]]
    shares = torch.cat(expected).softmax(-1)  # (5, K)
    top = page.locator("svg.bars text:not(.value)").all_text_contents()
    shown = [float(text.split()[0]) for text in page.locator("svg.bars .value").all_text_contents()]
    assert shown == pytest.approx(shares[:, ["abc".index(name) for name in top]].T.flatten().tolist(), abs=0.006)


def test_the_table_counts_where_the_two_heads_part_whoever_is_chosen(page):
    figure = explorer()
    draw(page, figure, one="truth", other="plain")
    said = rows_of(figure, 0)
    apart = said["class"] != said["distillation"]
    page.get_by_text("where the two heads part").wait_for()
    cells = page.locator("tbody tr:has(th)", has_text="%").locator("td").all_text_contents()
    found = [int(cell.split()[0]) for cell in cells]
    who = [said["class"], said["distillation"], said["fused"]]
    assert found == [((row == said[judge]) & apart).sum() for row in who for judge in ("truth", "teacher")]


def test_cells_can_show_rates_and_say_them(page):
    figure = explorer()
    draw(page, figure)
    found = figure.confusions()
    change(page, "unit", "rates")
    for row in range(K):
        for column in range(K):
            cell = page.locator(f"td[data-row='{row}'][data-column='{column}']")
            rate = f"{100 * found[row, column] / found[row].sum():.1f}"
            assert cell.text_content() == (rate if found[row, column] else "")
            assert f"{rate} % of the row" in cell.get_attribute("aria-label")


def test_whoever_is_not_kept_for_a_seed_gets_a_sentence(page):
    figure = explorer({0: made_up(0), 3: {who: made_up(3)[who] for who in ("class", "distillation", "plain")}},
                      left_out="Not kept: the teacher of seed 3.")  # fmt: skip
    draw(page, figure, one="teacher")
    page.locator(".words", has_text="Seed 0: teacher and distillation head part on").wait_for()
    assert page.get_by_text("Not kept: the teacher of seed 3.").count() == 1
    change(page, "place", 1)
    assert "The answers of the teacher are not kept for seed 3: choose" in page.locator(".words").text_content()
    change(page, "weight", 0.2)
    change(page, "cell", [0, 0])
    assert page.locator("svg, canvas, [role=grid]").count() == 0
    change(page, "one", "plain")
    page.get_by_role("button", name="Show some of them").click()
    page.locator(".cards canvas").first.wait_for()
    page.locator(".words", has_text="Seed 3: plain student and").wait_for()
    assert "teacher" not in page.locator("svg.bars").text_content()


def test_the_arrow_keys_walk_through_the_cells_and_the_edge_holds(page):
    draw(page, explorer())
    chosen = page.locator("[role=gridcell][aria-selected=true]")

    def where():
        return [int(chosen.get_attribute(f"data-{side}")) for side in ("row", "column")]

    assert chosen.count() == page.locator("[role=gridcell][tabindex='0']").count() == 1  # one tab stop
    row, column = where()
    chosen.focus()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowLeft")
    assert where() == [max(0, row - 1), max(0, column - 1)]
    for _ in range(K):
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowRight")
    assert where() == [K - 1, K - 1]
    assert page.evaluate("document.activeElement.getAttribute('aria-selected')") == "true"
    page.locator(".cards canvas").first.wait_for()


def test_long_names_of_classes_leave_the_table_its_size(page):
    long = [letter * 40 for letter in "abc"]
    figure = explorer(class_names=long)
    page.add_style_tag(content=figure._css)
    draw(page, figure)
    assert page.locator(".confusions thead").bounding_box()["height"] < 150
    assert page.locator(".confusions thead span").first.get_attribute("title") == long[0]


def test_a_cell_without_images_says_so(page):
    same = {head: made_up()["class"] for head in ("class", "distillation")}
    draw(page, explorer({0: same}))
    page.locator("td[data-row='0'][data-column='1']").click()
    page.get_by_text("No image is in this cell: choose one with a number.").wait_for()


def test_in_the_book_a_cell_gives_its_images(open_page):  # noqa: F811
    page = open_page(PAGES["FusionExplorer"])
    root = root_of(page, "FusionExplorer")
    before = look(page, "FusionExplorer")[0]
    root.locator("[role=gridcell][aria-selected=true]").click()
    root.locator(".cards canvas").first.wait_for()
    assert look(page, "FusionExplorer")[0] != before
