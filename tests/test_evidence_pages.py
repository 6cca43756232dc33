"""The pages of the evidence: short, computed by the library, tied to the verdicts, and fit for a phone."""

import ast
import html
import importlib
import json
import re
from collections import Counter
from dataclasses import replace
from itertools import combinations_with_replacement
from math import factorial, prod

import numpy as np
import pytest
from conftest import NAN, ROOT

from deit_edu.errors import DeiTEduError
from deit_edu.evidence.grids import EXPERIMENTS
from deit_edu.evidence.pages import equal_shares, overview, pieces, running, speed, ways
from deit_edu.evidence.pages.pieces import cards, evidence, fold, together
from deit_edu.evidence.report import seed_rows
from deit_edu.evidence.second_claims import SECOND_CLAIMS
from deit_edu.evidence.second_grids import SECOND
from deit_edu.evidence.stopping import CHOOSES
from deit_edu.evidence.verdicts import expanded_level

PAGES = sorted(path.stem for path in (ROOT / "book").glob("evidence*.md"))
QUESTIONS = [
    "ways", "teachers", "tokens", "schedule", "recipe", "resolution", "transfer", "soft_loss", "images", "photographs",
    "equal_shares", "running", "twin",
]  # fmt: skip
VERDICTS = {
    "reproduced": """hard-beats-none hard-beats-soft token-beats-none both-beat-distillation-head
        token-beats-second-class-token convnet-beats-transformer distillation-head-nearer-convnet
        distilled-nearer-convnet tokens-converge longer-helps-distilled distilled-gains-more adamw-beats-sgd
        rand-augment-beats-auto-augment dropout-hurts smaller-images-hurt bicubic-keeps-the-norm
        transfer-beats-from-nothing""",
    "reversed": """distillation-head-beats-class-head student-beats-teacher rand-augment-helps mixing-helps
        repeated-augmentation-helps larger-images-help""",
    "not resolved": """token-beats-class-token both-beat-class-head weak-convnet-beats-transformer
        better-convnet-teaches-better class-head-nearer-plain class-tokens-converge-further mixup-helps cutmix-helps
        short-positions-hurt distilled-transfers-better""",
}


# ---- what the ledger says ----


def test_the_ledgers_verdicts_are_those_that_the_pages_explain():
    found = {}
    for claim, one in evidence().judged.items():
        found.setdefault(one.verdict, set()).add(claim)
    assert found == {verdict: set(claims.split()) for verdict, claims in VERDICTS.items()}


def test_the_first_page_has_every_claim_under_its_question_and_its_verdict():
    told = overview.all_claims().markdown
    for one in evidence().judged.values():
        (line,) = (line for line in told.splitlines() if html.escape(one.claim.sentence) in line)
        assert f'<span class="verdict">{one.verdict}</span>' in line and one.ours in line
    assert told.count('<tr class="group">') == len(overview.QUESTIONS)


@pytest.mark.parametrize("module", QUESTIONS)
def test_a_page_answers_in_a_sentence_and_says_nothing_of_a_move(module):
    page = importlib.import_module(f"deit_edu.evidence.pages.{module}")
    for text in (page.answer(), page.reading()):
        assert re.search(r"\d", text.markdown) and not NAN.search(text.markdown)
        assert "moved on" not in text.markdown


def test_a_verdict_that_moves_is_said_before_the_text_that_explains_another(monkeypatch):
    moved = {name: replace(one, verdict="not resolved") for name, one in evidence().judged.items()}
    known = replace(evidence(), judged=moved)
    monkeypatch.setattr(pieces, "evidence", lambda: known)
    told = ways.answer().markdown
    assert told.startswith("**The ledger has moved on since this was written:**")
    assert "is not resolved now, the text says reversed" in told


def test_every_question_of_the_second_series_is_listed_with_its_claims_once():
    asked = [name for question in running.QUESTIONS for name in question.experiments]
    claimed = {claim.experiment for claim in SECOND_CLAIMS}
    assert sorted(asked) == sorted(SECOND) and claimed == {*SECOND} - {CHOOSES}
    told = running.every_question().markdown
    assert all(told.count(html.escape(claim.sentence)) >= 1 for claim in SECOND_CLAIMS)
    assert all(EXPERIMENTS[name].seeds >= 5 for name in SECOND)


def test_students_of_two_trainings_of_one_teacher_are_told_apart(monkeypatch):
    known, name = evidence(), "distillation_fashion_mnist"
    assert pieces.sisters(name) == []
    of_shares = ", ".join(map(str, pieces.sisters("hard_or_soft")))  # students of the first series had another teacher
    assert f"In seed\n{of_shares} their teacher" in equal_shares.teachers()
    records = {key: dict(record) for key, record in known.ledger.records.items()}
    changed = known.results.cell(name, "token_hard", 2).key
    records[changed]["teachers"] = dict.fromkeys(records[changed]["teachers"], "other weights")
    monkeypatch.setattr(known.ledger, "records", records)
    assert pieces.sisters(name) == [2]


def test_a_page_whose_runs_are_missing_says_so_and_draws_nothing(monkeypatch, tmp_path):
    (tmp_path / "runs.jsonl").write_text(json.dumps(next(iter(evidence().ledger.records.values()))) + "\n")
    monkeypatch.setenv("DEIT_EDU_LEDGER", str(tmp_path))
    almost_none = evidence.__wrapped__()
    monkeypatch.setattr(pieces, "evidence", lambda: almost_none)
    monkeypatch.setattr(running, "evidence", lambda: almost_none)
    told = "".join(piece.markdown for piece in (equal_shares.answer(), equal_shares.figure(), equal_shares.reading()))
    assert "not yet run" in told and "not in the ledger yet" in told and "<img" not in told and not NAN.search(told)
    assert re.search(r"\*[01] of the \d+ networks", told)
    assert "not run" in running.every_question().markdown
    assert f" 0 of {len(SECOND_CLAIMS)} claims" in running.answer().markdown


def test_without_a_ledger_there_is_one_clear_line(tmp_path, monkeypatch):
    monkeypatch.setenv("DEIT_EDU_LEDGER", str(tmp_path))
    with pytest.raises(DeiTEduError, match="the ledger comes with a clone of the repository"):
        evidence.__wrapped__()


def heads_of(experiment, configuration):
    return [head for name, head, *_ in seed_rows(evidence().results, experiment) if name == configuration]


def test_a_second_class_token_is_called_one():
    assert heads_of("distillation", "two_class_tokens") == ["class", "second class token", "fused"]
    assert heads_of("transfer", "from_two_class_tokens_all") == ["class", "second class token", "fused"]
    assert heads_of("transfer", "from_distilled_all") == ["class", "distillation", "fused"]
    assert heads_of("distillation", "token_hard") == ["class", "distillation", "fused"]


def test_the_puzzle_of_the_heads_stands_in_one_place():
    label = [page for page in PAGES if "(head-puzzle)=" in (ROOT / "book" / f"{page}.md").read_text("utf8")]
    assert label == ["evidence-ways"]
    rows = [line for line in ways.puzzle_table().markdown.splitlines() if line.startswith("| canvases")]
    assert [row.split("|")[3].split()[0] for row in rows] == ["+0.10", "+0.24", "-0.23"]


def test_a_difference_is_drawn_with_the_levels_behind_it():
    one = pieces.claimed("hard-beats-none", "hard − plain")
    assert one.note == "70.2 − 69.1, reproduced" and len(one.values) == 10
    assert one.found.mean == pytest.approx(one.values.mean())


# ---- the rule ----


def coverage_of_five(level, samples=20_000):
    """How often the percentile bootstrap of five normal differences holds their mean: every resample, counted."""
    multisets = list(combinations_with_replacement(range(5), 5))
    shares = np.array([[Counter(chosen)[seed] / 5 for seed in range(5)] for chosen in multisets])  # (126, 5)
    ways_to_draw = [factorial(5) / prod(map(factorial, Counter(chosen).values())) for chosen in multisets]
    means = np.random.default_rng(0).standard_normal((samples, 5)) @ shares.T
    order = means.argsort(axis=1)
    below = np.cumsum(np.array(ways_to_draw)[order], axis=1) / 5**5
    sorted_means = np.take_along_axis(means, order, axis=1)
    low, high = (
        np.take_along_axis(sorted_means, (below >= quantile - 1e-12).argmax(axis=1)[:, None], axis=1)
        for quantile in ((1 - level) / 2, (1 + level) / 2)
    )
    return 100 * ((low <= 0) & (high >= 0)).mean()


def test_five_seeds_cover_what_the_first_page_says():
    plain, widened = overview.COVERAGE[5]
    assert coverage_of_five(0.95) == pytest.approx(plain, abs=1)
    assert coverage_of_five(expanded_level(5)) == pytest.approx(widened, abs=1)


# ---- what pages are made of ----


def cells(page):
    text = (ROOT / "book" / f"{page}.md").read_text("utf8")
    return re.findall(r"```\{code-cell\}.*?\n((?::[^\n]*\n)*)(.*?)\n```", text, re.S)


@pytest.mark.parametrize("page", PAGES)
def test_a_page_computes_nothing(page):
    found = cells(page)
    assert found
    for _, source in found:
        assert len(source.splitlines()) <= 6, source
        for node in ast.walk(ast.parse(source)):
            assert not isinstance(node, ast.FunctionDef | ast.For | ast.ListComp | ast.BinOp), source
            if isinstance(node, ast.ImportFrom):
                known = r"deit_edu\.(evidence\.pages(\..*)?|evidence\.verdicts|widgets|reading)"
                assert re.fullmatch(known, node.module)


def shown_by(page):
    """The values of the cells' last lines, which the book shows, but for figures to operate, which have own tests."""
    names, of_figures = {}, set()
    for _, source in cells(page):
        tree = ast.parse(source)
        used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        if "deit_edu.widgets" in source:
            of_figures |= used
        if used & of_figures:
            continue
        *before, last = tree.body
        exec(compile(ast.Module(before, []), page, "exec"), names)
        yield eval(compile(ast.Expression(last.value), page, "eval"), names)


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_shows_has_words_and_no_number_that_is_none(page, monkeypatch):
    monkeypatch.setattr(speed, "BATCH", 10)  # images: how fast they are does not matter here
    for shown in shown_by(page):
        told = shown.markdown if hasattr(shown, "markdown") else shown.alt
        if not told:
            continue  # the table of speeds before `make bench` has run
        words = re.sub(r'src="data:[^"]*"', "", told)
        assert re.search(r"[a-z]{3}", words) and not re.search(r"\b(nan|inf)\b", words), words


@pytest.mark.parametrize("page", [page for page in PAGES if page != "evidence"])
def test_a_page_asks_before_it_answers(page):
    text = (ROOT / "book" / f"{page}.md").read_text("utf8")
    assert text.index("*Predict:*") < text.index(":tags: [remove-input, answer]")
    assert len(re.findall(r"\[remove-input, answer\]\n(?:from .*\n\n)?\w+\.\w*(answer|lab_shows)", text)) == (
        text.count("remove-input, answer")
    )


def test_a_fold_needs_no_script_and_keeps_its_title_safe():
    told = fold("Erasing & <more>", "Some *words*.", together("| a |\n| --- |")).markdown
    assert told.startswith("<details") and told.endswith("</details>") and "<details open" not in told
    assert "Erasing &amp; &lt;more&gt;" in told and "\n\nSome *words*.\n\n| a |" in told


def test_a_card_says_the_column_of_each_cell():
    told = cards(("who", "hours"), {"Teachers": [("first", 1.8)]}, "What it took").markdown
    assert '<td data-label="who">first</td><td data-label="hours">1.8</td>' in told
    assert '<th scope="colgroup" colspan="2">Teachers</th>' in told


# ---- the built pages ----


def visible_words(page):
    """The words of a built page's article, without folds, tables, figures and code."""
    article = re.search(r"<article.*?</article>", page, re.S)[0]
    for tag in ("details", "table", "figure", "script", "style", "noscript", "pre"):
        article = re.sub(rf"<{tag}\b.*?</{tag}>", " ", article, flags=re.S)
    return len(html.unescape(re.sub(r"<[^>]+>", " ", article)).split())


@pytest.mark.parametrize("page", PAGES)
def test_a_built_page_has_1000_words_at_most(site, page):
    assert 150 < visible_words((site / f"{page}.html").read_text("utf8")) <= 1000


def test_the_tables_of_speed_show_what_was_written_down(monkeypatch):
    ends = {"low": 1.25, "high": 1.75}
    rows = [{"what": "the run", "target": 2.0, "most": False, "ratio": 1.5, **ends}]
    rows += [{"what": "its memory", "target": 2.0, "most": True, "ratio": 1.5, **ends}]
    grown = [{"grows": "depth", "depth": depth, "seconds": depth / 100, "bytes": depth * 1e6} for depth in (1, 2)]
    grown += [{"grows": "width", "width": width, "seconds": width / 100, "bytes": width * 1e6} for width in (1, 3)]
    seconds = {"ours": [1.0, 1.0], "timm": [1.0, 1.5]}
    record = {
        "before": "abc", "now": "def", "machine": {"processor": "a processor"}, "rows": rows, "growth": grown,
        "peers": [{"shape": "tiny", "kind": "training", "threads": 1, "seconds": seconds},
                  {"shape": "tiny", "kind": "answers", "threads": 1, "seconds": seconds | {"other": [3.0, 3.0]}}],
        "parts": {"parts": {"teacher": 0.01, "loss": 0.03}, "kinds": {"products": 0.01, "GELU": 0.004, "norm": 0.002},
                  "operations": 3e8, "rounds": [0.02, 0.02, 0.05], "peak": 5e10},
    }  # fmt: skip
    monkeypatch.setattr(speed, "benchmark", lambda: record)
    told = repr(speed.targets())
    for one in ("the run", "1.50", "1.25 to 1.75", "`abc`", "a processor", "missed by 25%", "reached", "at most 2"):
        assert one in told
    assert [told.count(one) for one in ("missed", "reached")] == [1, 1]
    assert "1.25" in repr(speed.peers()) and "3.00" in repr(speed.peers()) and "not measured" in repr(speed.peers())
    told = " ".join(repr(speed.profile()).split())
    for one in ("| loss | 30.0 | 75% |", "0.30 billion", "in 20 ms", "30% of the 50 GFLOP/s", "at 60%", "GELU, 4.0 ms"):
        assert one in told
    assert "depth: 10 to 20 ms, 1 to 2 MB; width: 10 to 30 ms, 1 to 3 MB" in speed.growth()._repr_html_()
    monkeypatch.setattr(speed, "benchmark", lambda: None)
    assert "make bench" in repr(speed.targets())
    assert {repr(speed.peers()), repr(speed.profile()), repr(speed.growth())} == {""}
