"""The pages of the second series: a section a question, from the ledger, whatever of it has been run."""

from dataclasses import replace

import pytest
from conftest import NAN

from deit_edu.evidence.cells import unique_runs
from deit_edu.evidence.experiment import unit_of
from deit_edu.evidence.grids import EXPERIMENTS
from deit_edu.evidence.ledger import Ledger
from deit_edu.evidence.pages import pieces, running, series, twin
from deit_edu.evidence.pages.pieces import evidence, markup
from deit_edu.evidence.report import Results, judge
from deit_edu.evidence.second_claims import SECOND_CLAIMS
from deit_edu.evidence.verdicts import paired_difference


def told_by(name):
    return " ".join(markup(piece(name)) for piece in (series.answer, series.figure, series.claims, series.reading))


def test_every_question_of_the_series_has_its_place():
    first = {question.experiments[0] for question in running.QUESTIONS}
    of_places = {"when_to_stop": "unseen_places"}  # named by its claims' experiment
    assert {of_places.get(name, name) for name in first} == {*series.ASKED, "hard_or_soft", "twin"}


@pytest.mark.parametrize("name", series.ASKED)
def test_a_section_has_a_row_for_each_of_its_claims(name):
    experiments = running.named(name).experiments
    expected = {claim.id for claim in SECOND_CLAIMS if claim.experiment in experiments}
    assert set(series.ASKED[name].rows) == expected
    assert set(series.ASKED[name].explains) <= {claim.replace("-", "_") for claim in expected}


def test_what_stands_beside_the_claims_is_in_the_grids():
    for asked in series.ASKED.values():
        for _, experiment, *ends, _ in asked.known:
            assert {name for name, _ in ends} <= set(EXPERIMENTS[experiment].configurations)
            assert len({unit_of(measure) for _, measure in ends}) == 1


def test_the_length_moves_the_heads_apart_as_the_text_says():
    """What `head_gap` says beside its claims: who leads by the convnet that is often right, whom fewer errors help."""

    def interval(times, *terms):
        found = paired_difference(evidence().results.paired(series.LENGTHS[times], terms))
        return found.low, found.high

    def lead(name, sign=1):
        return (sign, name, "distillation"), (-sign, name, "class")

    assert interval(2, *lead("by_convnet_x2"))[0] > 0 > interval(4, *lead("by_convnet_x4"))[1]
    low, high = interval(2, *lead("by_convnet_few_x2"), *lead("by_convnet_early_x2", -1))
    assert low < 0 < high
    assert interval(4, *lead("by_convnet_few_x4"), *lead("by_convnet_early_x4", -1))[0] > 0


def test_the_words_of_a_row_leave_room_for_its_levels_and_its_verdict():
    for asked in series.ASKED.values():
        for claim, (label, _) in asked.rows.items():
            terms = next(one.terms for one in SECOND_CLAIMS if one.id == claim)
            note = "70.2 − 70.4, not resolved" if len(terms) == 2 else "not resolved"
            assert len(label) + 0.85 * len(note) < 59, label
        assert all(len(label) + 0.85 * len("70.2 − 70.4") < 59 for label, *_ in asked.known)


def test_the_map_of_reversed_claims_names_the_lengths_and_widths_that_are_run():
    for regimes in series.REVERSED.values():
        for where, claim in regimes.items():
            one = pieces.judged(claim).claim
            config = evidence().results.cell(one.experiment, one.terms[0][1], 0).config
            real = f"{config.epochs} epochs" if not config.model_settings else "width {embed_dim}"
            assert where == real.format(**config.model_settings), claim


@pytest.mark.parametrize("name", series.ASKED)
def test_a_section_says_how_far_it_is_and_nothing_that_is_no_number(name):
    missing = len(running.to_do(running.named(name)))
    told = told_by(name)
    assert ("Not run yet" in told) == bool(missing) and not NAN.search(told) and "moved on" not in told


def record_of(cell, right, checksum):
    """A record of a cell whose every accuracy is `right` and a little, by its seed."""
    heads = {"class": 0.01, "distillation": 0.02, "fused": 0.03}
    scores = {head: {"accuracy": right + more + cell.seed / 1000} for head, more in heads.items()}
    norms = {"median": [1.0], "largest": [1.5 + right]}
    tokens = {"attention_in_box": {"class": [right], "distillation": [right / 2]}, "patch_norms": norms}
    places = {"left": scores, "right": {head: {"accuracy": 0.3 * right} for head in heads}}
    return {
        "key": cell.key, "seed": cell.seed, "config": {"data": cell.config.data}, "validation": scores, "test": scores,
        "places": places, "tokens": tokens, "teachers": {"one": "weights"} if cell.teachers else {},
        "data": {"name": cell.config.data, "checksum": checksum},
    }  # fmt: skip


@pytest.fixture
def all_run(monkeypatch):
    """The pages' evidence where three questions have been run: what comes later in their grids is right more often."""
    known = evidence()
    ledger = Ledger(known.ledger.folder)
    for name in ("when_to_stop", "unseen_places", "registers"):
        cells = known.results.grid.cells(name)
        names = list(dict.fromkeys(cell.configuration for cell in cells))
        for cell in unique_runs(cells):
            place = names.index(cell.configuration) if cell.configuration in names else 0
            checksum = known.results.grid.checksum(cell.config.data, cell.config.image_size)
            ledger.records[cell.key] = record_of(cell, 0.5 + place / 100, checksum)
    results = Results(ledger)
    found = replace(known, ledger=ledger, results=results, second=judge(results, SECOND_CLAIMS))
    for module in (pieces, running, series):
        monkeypatch.setattr(module, "evidence", lambda: found)
    return found


def test_a_section_whose_runs_are_there_gives_their_verdicts_in_a_figure_for_each_unit(all_run):
    for name, units in (("unseen_places", ["percent kept"]), ("registers", ["points of attention", "median lengths"])):
        told = told_by(name)
        assert "Not run yet" not in told
        assert all(f'alt="difference, {unit}' in told for unit in units)
        answer = series.answer(name).markdown
        claims = series.ASKED[name].rows
        assert answer.startswith(f"{len(claims)} of {len(claims)} claims are judged")
        assert all(label in answer and label in told for label, _ in claims.values())
        assert "*reproduced*" in answer or "*reversed*" in answer


def test_a_verdict_that_moves_is_said_before_the_text_that_explains_another(all_run, monkeypatch):
    other = {"reproduced": "reversed"}.get(all_run.second["register-helps"].verdict, "reproduced")
    told = replace(series.ASKED["registers"], explains={"register_helps": other})
    monkeypatch.setitem(series.ASKED, "registers", told)
    assert series.reading("registers").markdown.startswith("**The ledger has moved on since this was written:**")


# ---- what to expect ----


def test_a_students_hours_hold_all_its_parts_and_each_of_its_teachers_once():
    first, *_, last = twin.long_student()
    seconds = {1: 0.0, 4: 0.0}
    for parts in seconds:
        found = [twin.first_teacher(), *twin.parts()[:parts], *([twin.strong_teacher()] if parts > 1 else [])]
        seconds[parts] = sum(record["seconds"] * record["machine"]["threads"] for record in found)
    assert first.whole == pytest.approx(seconds[1] / 3600) and last.whole == pytest.approx(seconds[4] / 3600)
    assert last.own < last.whole and last.epochs == sum(len(record["curve"]) for record in twin.parts())


def test_what_is_said_to_fit_a_budget_fits_and_is_the_best_that_does():
    for budget in twin.BUDGETS:
        best = twin.best_within(budget)
        fits = [one.right for one in twin.points() if one.kind != "teacher" and one.whole <= budget]
        assert (best is None and not fits) or (best.whole <= budget and best.right == max(fits))
    assert twin.best_within(0.1) is None and "nothing that we measured for 1" in twin.answer().markdown


def test_what_others_report_stands_in_the_figure_with_its_epochs():
    found = twin.published()
    assert len(found) > 8 and all(epochs > 0 and 50 < right < 100 for _, _, epochs, right, _ in found)
    shown = twin.figure().alt
    assert all(f"{epochs} epochs: {right:g} %" in shown for _, _, epochs, right, _ in found)


def test_the_twins_are_drawn_once_they_are_recorded(monkeypatch):
    before = {one.label for one in twin.points()}
    assert not any("whole recipe" in label for label in before)
    cell = evidence().photos.cell("twin", "none", 0)
    record = twin.recorded("cifar10", "none", 0)
    monkeypatch.setitem(evidence().ledger.records, cell.key, record | {"config": {"data": cell.config.data}})
    added = {one.label: one for one in twin.points() if one.label not in before}
    assert list(added) == ["plain, whole recipe, 1 seed"] and added["plain, whole recipe, 1 seed"].kind == "plain"


def test_who_found_the_answers_of_another_is_charged_for_the_asking(monkeypatch):
    asker, finder = (evidence().photos.cell("twin", name, 0) for name in ("hard_class", "hard_token"))
    plain = {"seconds": 3600, "machine": {"threads": 1}, "config": {"data": asker.config.data}}
    kept = {"asked": 100, "reused": 0, "asking_seconds": 720.0}, {"asked": 0, "reused": 100, "asking_seconds": 0.0}
    records = [plain | {"kept_answers": one} for one in kept]
    for cell, record in zip((asker, finder), records, strict=True):
        monkeypatch.setitem(evidence().ledger.records, cell.key, record)
    assert [twin.with_asking("twin", record, 0) for record in records] == pytest.approx([1.0, 1.2])
    assert twin.with_asking("twin", plain, 0) == 1.0
