"""How many runs an effect takes: Student's t against simulation and against the verdict's own rule."""

import subprocess
import sys

import numpy as np
import pytest
from scipy.stats import bootstrap, nct, t, ttest_1samp, ttest_ind
from scipy.stats import power as simulated_power
from test_experiments import made_up_records, write

from deit_edu.cli import main
from deit_edu.errors import DeiTEduError
from deit_edu.evidence.power import (
    Sensitivity,
    Spread,
    known_to,
    pooled,
    power_of,
    seeds_needed,
    sensitivities,
    smallest_effect,
    spread_of,
    typical_spread,
)
from deit_edu.evidence.report import Results, judge
from deit_edu.evidence.verdicts import expanded_level

HALF_POINT = Spread(paired=0.6, single=0.5, freedom=9)


@pytest.mark.parametrize("seeds", [5, 12])
def test_paired_power_is_that_of_simulated_paired_tests(seeds):
    draw = np.random.default_rng(0)
    found = simulated_power(
        lambda x, axis: ttest_1samp(x, 0, axis=axis, alternative="greater"),
        lambda size: draw.normal(0.5, 0.6, size),
        seeds, significance=0.025, vectorized=True, n_resamples=20_000,
    ).power  # fmt: skip
    assert power_of(0.5, HALF_POINT, seeds) == pytest.approx(float(found), abs=0.015)


def test_unpaired_power_is_that_of_simulated_tests_of_two_groups():
    draw = np.random.default_rng(0)
    found = simulated_power(
        lambda x, y, axis: ttest_ind(x, y, axis=axis, alternative="greater"),
        (lambda size: draw.normal(0.5, 0.5, size), lambda size: draw.normal(0.0, 0.5, size)),
        (8, 8), significance=0.025, vectorized=True, n_resamples=20_000,
    ).power  # fmt: skip
    assert power_of(0.5, HALF_POINT, 8, paired=False) == pytest.approx(float(found), abs=0.015)


def power_of_the_rule(effect, spread, seeds, samples):
    """How often the verdict's own interval lies right of zero: the bootstrap of `paired_difference`, many at once."""
    values = np.random.default_rng(1).normal(effect, spread, (samples, seeds))
    low = bootstrap(
        (values,), np.mean, axis=-1, n_resamples=1999, batch=200, confidence_level=expanded_level(seeds),
        method="percentile", rng=np.random.default_rng(0),
    ).confidence_interval.low  # fmt: skip
    return (low > 0).mean()


@pytest.mark.parametrize(("seeds", "effect"), [(5, 1.0), (10, 0.6)])
def test_the_verdicts_rule_sees_what_students_t_says_and_a_little_more(seeds, effect):
    students, rules = power_of(effect, HALF_POINT, seeds), power_of_the_rule(effect, 0.6, seeds, 1500)
    assert students == pytest.approx(0.8, abs=0.03)
    assert students - 0.03 < rules < students + 0.1


def test_an_effect_of_nothing_is_seen_as_often_as_chance_alone_would():
    assert power_of(1e-12, HALF_POINT, 5) == pytest.approx(0.025)
    assert nct.sf(t.ppf(0.975, 4), 4, 0) == pytest.approx(0.025)


@pytest.mark.parametrize("paired", [True, False])
def test_the_seeds_that_are_needed_are_the_fewest(paired):
    needed = seeds_needed(0.5, HALF_POINT, paired)
    assert power_of(0.5, HALF_POINT, needed, paired) >= 0.8 > power_of(0.5, HALF_POINT, needed - 1, paired)
    assert smallest_effect(HALF_POINT, needed, paired) <= 0.5 < smallest_effect(HALF_POINT, needed - 1, paired)


def test_a_verdict_asks_for_five_seeds_however_large_the_effect():
    assert seeds_needed(50.0, HALF_POINT) == 5


def test_seeds_that_agree_see_everything():
    assert smallest_effect(Spread(0.0, 0.5, 4), 5) == 0


def test_what_a_seed_does_to_both_sides_is_in_the_unpaired_spread_alone():
    luck = np.array([0.0, 3.0, -2.0, 1.0, 4.0])
    found = spread_of(((1, luck + 1), (-1, luck)))
    assert (found.paired, found.freedom) == (0, 4)
    assert found.single == pytest.approx(luck.std(ddof=1))
    independent = np.random.default_rng(0).normal(size=(2, 4000))
    of_two = spread_of(((1, independent[0]), (-1, independent[1])))
    assert of_two.paired == pytest.approx(of_two.single * 2**0.5, rel=0.03)  # where nothing is shared they agree


def test_spreads_are_pooled_by_their_variances():
    found = pooled([Spread(1.0, 2.0, 4), Spread(3.0, 2.0, 12)])
    assert (found.paired, found.single, found.freedom) == (pytest.approx(7**0.5), 2.0, 16)


def test_a_spread_of_five_seeds_is_known_to_a_factor():
    low, high = known_to(Spread(1.0, 1.0, 4))
    ratios = np.random.default_rng(0).normal(size=(20_000, 5)).std(axis=1, ddof=1)
    assert np.mean((ratios * low < 1) & (ratios * high > 1)) == pytest.approx(0.95, abs=0.01)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (dict(effect=0), "an effect of 0 cannot be looked for"),
        (dict(effect=float("nan")), "an effect of nan cannot be looked for"),
        (dict(power=1.2), "power is 1.2: it must lie between 0 and 1"),
        (dict(confidence=95), "confidence is 95: it must lie between 0 and 1"),
        (dict(power=0.02), "chance alone has a power of 0.025: ask for more than 0.02"),
        (dict(effect=1e-9), "would take more than 1,000,000 seeds"),
    ],
)
def test_what_cannot_be_asked_is_said_in_a_line(given, message):
    with pytest.raises(DeiTEduError, match=message):
        seeds_needed(given.pop("effect", 0.5), HALF_POINT, **given)


def test_two_seeds_and_a_high_confidence_see_something_or_say_that_they_do_not():
    spread = Spread(1.0, 1.0, 4)
    for confidence in (0.95, 0.9999):
        effect = smallest_effect(spread, 2, confidence=confidence)
        assert power_of(effect, spread, 2, confidence=confidence) == pytest.approx(0.8, abs=1e-6)
    with pytest.raises(DeiTEduError, match="2 seeds see nothing with a confidence of 0.999999999999"):
        smallest_effect(spread, 2, confidence=0.999999999999)


def test_nearly_a_million_seeds_are_not_too_many():
    many = seeds_needed(0.003, Spread(1.0, 1.0, 4))
    assert 655_360 < many < 10**6 and power_of(0.003, Spread(1.0, 1.0, 4), many) >= 0.8


def test_one_seed_has_no_spread():
    with pytest.raises(DeiTEduError, match="1 seeds have no spread: give 2 or more"):
        smallest_effect(HALF_POINT, 1)


# ---- from the ledger ----


@pytest.fixture(scope="module")
def found():
    from deit_edu.evidence.pages.pieces import evidence

    return sensitivities(evidence().results)


def test_every_claim_knows_what_it_could_have_seen(found):
    from deit_edu.evidence.pages.pieces import evidence

    assert {name: one.seeds for name, one in found.items()} == {
        name: one.found.seeds for name, one in evidence().judged.items()
    }
    assert all(smallest_effect(one.spread, one.seeds) > 0 for one in found.values())


def test_a_claim_that_is_not_resolved_lay_below_twice_what_it_could_have_seen(found):
    from deit_edu.evidence.pages.pieces import evidence

    for name, one in evidence().judged.items():
        if one.verdict == "not resolved":
            assert abs(one.found.mean) < 2 * smallest_effect(found[name].spread, found[name].seeds)


def test_the_typical_spread_is_of_networks_trained_apart(found):
    kinds = {name for name, one in found.items() if one.compares_networks}
    assert "hard-beats-none" in kinds
    assert kinds.isdisjoint(
        {"both-beat-class-head", "tokens-converge", "distilled-gains-more", "class-head-nearer-plain"}
    )
    spread, count = typical_spread(found)
    assert count == len(kinds) and spread.freedom == sum(found[name].seeds - 1 for name in kinds)
    assert all(isinstance(one, Sensitivity) for one in found.values())


# ---- the command ----


def test_the_command_says_how_many_seeds_and_what_each_claim_saw(tmp_path, monkeypatch, capsys):
    records = made_up_records()
    for record in records:  # so that a pair does not share all of its luck
        for head in record["test"].values():
            head["accuracy"] += 0.001 * (int(record["key"][-1], 16) % 7)
    results = Results(write(tmp_path, records))
    monkeypatch.setenv("DEIT_EDU_LEDGER", str(tmp_path))
    assert main(["power", "--effect", "1"]) == 0
    said = capsys.readouterr().out.splitlines()
    spread, count = typical_spread(sensitivities(results))
    needed = seeds_needed(1.0, spread)
    assert said[0] == "To see 1 points 80% of the time, at 95% confidence:"
    assert said[1].startswith(f"  {needed} seeds on each side, the same for both ({2 * needed} runs)")
    assert f"pooled over {count} claims" in said[3]
    ran = {name for name, one in judge(results).items() if one.found.seeds}
    assert {line.split()[0] for line in said[7:]} == ran
    assert main(["power", "--format", "csv"]) == 0
    assert capsys.readouterr().out.startswith("table,claim,seeds,unit,spread,")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("power --power 1.2", "error: power is 1.2: it must lie between 0 and 1, such as 0.8\n"),
        ("power", "error: the ledger holds no two seeds of a comparison: deit-edu ablate distillation runs some\n"),
    ],
)
def test_what_the_command_cannot_do_is_one_line(line, message, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DEIT_EDU_LEDGER", str(tmp_path))
    if "--power" in line:
        write(tmp_path, made_up_records())
    assert main(line.split()) == 2
    assert capsys.readouterr().err == message


def test_help_loads_neither_torch_nor_scipy():
    code = (
        "import sys; from deit_edu.cli import main; main(['--help']); assert not {'torch', 'scipy'} & set(sys.modules)"
    )
    said = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
    assert "power" in said.stdout
