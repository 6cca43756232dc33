"""The claim builder: what the page computes is what Python computes, on every claim and on claims of a reader's own."""

import json
from itertools import combinations, pairwise

import numpy as np
import pytest
from conftest import ROOT
from test_widgets import evaluate_in_module, page_of

from deit_edu.errors import DeiTEduError
from deit_edu.evidence.claims import CLAIMS
from deit_edu.evidence.ledger import Ledger
from deit_edu.evidence.report import Results, judge
from deit_edu.evidence.verdicts import RANDOM_SEED, RESAMPLES, paired_difference, verdict
from deit_edu.widgets.bootstrap import resampling
from deit_edu.widgets.claim_builder import ClaimBuilder

JUDGE = """given.asked.map(([experiment, terms, sign, seeds]) => {
    const here = given.experiments.find(({ name }) => name === experiment);
    const found = pairedDifference(pairedTerms(here, terms, seeds), given.settings);
    return [found.mean, found.low, found.high, found.seeds, verdictOf(found, sign, given.settings.enough)];
})"""


@pytest.fixture(scope="module")
def results():
    return Results(Ledger(ROOT / "book" / "ledger"))


@pytest.fixture(scope="module")
def figure(results):
    return ClaimBuilder.from_ledger(results.ledger)


@pytest.fixture(scope="module")
def page(browser):
    page = browser.new_page()
    yield page
    page.close()


def in_the_page(page, figure, asked):
    given = {"experiments": json.loads(figure.experiments), "settings": figure.bootstrap, "asked": asked}
    return evaluate_in_module(page, "claim_builder.js", JUDGE, given)


@pytest.mark.parametrize("seeds", [3, 7, 10])
def test_the_page_draws_the_resamples_that_numpy_draws(page, seeds):
    ask = "(all => [Array.from(all.slice(-300)), all.length, sum(all)])(drawn(given[0], given[1]))"
    last, count, total = evaluate_in_module(page, "claim_builder.js", ask, [resampling(10), seeds])
    expected = np.random.default_rng(RANDOM_SEED).integers(0, seeds, (RESAMPLES, seeds)).flatten()
    assert (last, count, total) == (expected[-300:].tolist(), len(expected), expected.sum())


def test_the_page_gives_every_claim_pythons_interval_and_verdict(page, figure, results):
    judged = judge(results)
    claims = [claim for claim in CLAIMS if claim.id in judged]  # those of this scale
    asked = [[claim.experiment, [list(term) for term in claim.terms], claim.sign, 99] for claim in claims]
    assert len(asked) == len(judged) == 33
    for claim, (mean, low, high, seeds, word) in zip(claims, in_the_page(page, figure, asked), strict=True):
        one = judged[claim.id]
        expected = (one.found.mean, one.found.low, one.found.high)
        assert (mean, low, high) == pytest.approx(expected, abs=1e-6), claim.id
        assert (seeds, word) == (one.found.seeds, one.verdict), claim.id


def claims_of_a_reader(figure):
    """Neighbours in every experiment, head by head, with all seeds and with fewer."""
    asked = []
    for experiment in json.loads(figure.experiments):
        for one, other in pairwise(experiment["configurations"]):
            for measure in {m["name"] for m in one["measures"]} & {m["name"] for m in other["measures"]}:
                for seeds in (99, 4):
                    terms = [[1, one["name"], measure], [-1, other["name"], measure]]
                    asked.append([experiment["name"], terms, 1, seeds])
    return asked


def test_a_readers_own_claim_gets_pythons_interval_and_verdict(page, figure):
    asked = claims_of_a_reader(figure)
    assert len(asked) > 200
    for (experiment, terms, sign, seeds), told in zip(asked, in_the_page(page, figure, asked), strict=True):
        figure.experiment, figure.terms, figure.seeds = experiment, terms, seeds
        found = paired_difference(figure.paired())
        low, high = (None, None) if found.seeds < 2 else (found.low, found.high)  # JSON has no infinity
        if found.seeds > 1:
            assert told[:3] == pytest.approx([found.mean, low, high], abs=1e-6), (experiment, terms)
        assert told[3:] == [found.seeds, verdict(found, sign)], (experiment, terms)


def test_the_values_are_those_that_claims_are_judged_by(figure, results):
    there = {one["name"] for one in json.loads(figure.experiments)}
    claims = [claim for claim in CLAIMS if claim.experiment in there]
    assert len(claims) > 30
    for claim in claims:
        figure.experiment, figure.terms, figure.seeds = claim.experiment, [list(term) for term in claim.terms], 99
        for (weight, values), (of, expected) in zip(
            figure.paired(), results.paired(claim.experiment, claim.terms), strict=True
        ):
            assert weight == of and values.tolist() == expected.tolist()


def test_no_two_configurations_of_an_experiment_share_a_name(figure):
    for experiment in json.loads(figure.experiments):
        names = [one["name"] for one in experiment["configurations"]]
        assert not [pair for pair in combinations(names, 2) if pair[0] == pair[1]]


def test_a_claim_without_runs_is_refused_in_a_line(figure):
    some = [one for one in json.loads(figure.experiments) if one["name"] == "distillation"]
    assert ClaimBuilder(some).claim == "hard-beats-none"
    with pytest.raises(DeiTEduError, match="no runs of the claim 'mixing-helps' are here: choose one of hard-beats-"):
        ClaimBuilder(some, claim="mixing-helps")


# ---- the form ----


def test_the_form_follows_a_claim_of_the_list_and_makes_one_of_the_readers_own(browser, figure, results, tmp_path):
    page = page_of(browser, tmp_path, ClaimBuilder(json.loads(figure.experiments)))
    page.wait_for_selector(".deit-edu")
    claim, words = page.get_by_label("claim", exact=True), page.locator(".words")
    judged = judge(results)

    def says(name):
        told = words.text_content().replace("\u2212", "-")
        return told.startswith(f"{judged[name].ours} points, {judged[name].found.seeds} seeds: {judged[name].verdict}.")

    assert says("hard-beats-none")
    claim.select_option("distilled-gains-more")
    assert says("distilled-gains-more") and "trained for 40 and 10 epochs" in words.text_content()
    page.get_by_label("a difference of two differences").uncheck()
    assert says("longer-helps-distilled") and claim.input_value() == ""
    claim.select_option("hard-beats-none")
    page.get_by_label("network").first.select_option("token_hard")
    page.get_by_label("head").first.select_option("fused")
    assert says("token-beats-none") and claim.input_value() == ""
    page.get_by_label("negative").check()
    assert "10 seeds: reversed." in words.text_content()
    slider = page.get_by_role("slider", name="seeds")
    slider.focus()
    for _ in range(6):
        page.keyboard.press("ArrowLeft")
    assert "4 seeds: not resolved. A verdict asks for 5 seeds." in words.text_content()
    page.close()
