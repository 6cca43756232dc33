"""Two students that race in the page: the counting, the records, the figure, in Chromium and in Firefox."""

import hashlib
import json
import re
import shutil
from dataclasses import replace

import firefox
import numpy as np
import pytest
import torch
from conftest import ROOT, served
from test_book import axe
from test_widgets import page_of, root_of, wait_asked

from deit_edu.data import normalise
from deit_edu.data.packaged import packaged_splits
from deit_edu.errors import DeiTEduError
from deit_edu.evidence.pages.races import explained, tried
from deit_edu.evidence.races import (
    ASIDE,
    CLASSES,
    CONDITIONS,
    CONFIGURATIONS,
    LEARNT,
    RACE_CLAIMS,
    REGIME,
    SEEDS,
    STUDENT,
    TEACHERS,
    TRIED,
    WRONG,
    Races,
    check_settings,
    race_data,
    race_items,
    race_teacher,
    settings,
    sources,
)
from deit_edu.evidence.verdicts import RESAMPLES, paired_difference
from deit_edu.model import DeiT, DeiTConfig
from deit_edu.runs.checkpoints import load, load_model
from deit_edu.runs.preprocess import Preprocessing
from deit_edu.teachers import create_teacher
from deit_edu.widgets import DistilInPage, LiveDeiT
from deit_edu.widgets.bootstrap import resampling
from deit_edu.widgets.bundle import bundled
from deit_edu.widgets.distil_in_page import in_words, word_of
from deit_edu.widgets.figure import png
from deit_edu.widgets.races import FOLDER, RUN, main, missing_students, run_student

SHORT = {"steps": 8, "warmup": 2, "every": 4, "batch": 32}
STATE = "(name) => document.querySelector('.deit-edu-host').model.get(name)"
FINISHED = "() => /after 8 of 8 steps/.test(document.querySelector('.words').textContent)"


@pytest.fixture(scope="module")
def counting(browser):
    """asked(expression, given): a value that the counting modules of the figure give."""
    page = browser.new_page()
    source = bundled(FOLDER / "bootstrap.js", FOLDER / "race_settings.js")
    yield lambda expression, given=None: page.evaluate(f"(given) => {{ {source}\nreturn {expression}; }}", given)
    page.close()


# ---- counting ----


@pytest.mark.parametrize("seeds", [2, 5, 10, 23])
def test_what_is_drawn_beforehand_is_what_pythons_interval_rests_on(counting, seeds):
    values = np.random.default_rng(seeds).normal(1.0, 2.0, seeds).tolist()
    asked = """(async () => {
        let breaths = 0;
        await drawBeforehand(given.settings, given.values.length, async () => { breaths += 1; });
        return [breaths, pairedDifference([[1, given.values]], given.settings)];
    })()"""
    count, found = counting(asked, {"values": values, "settings": resampling(30)})
    expected = paired_difference([(1.0, values)])
    assert count == RESAMPLES * seeds // 5000  # in between, the page can answer
    assert found["seeds"] == seeds and found["mean"] == pytest.approx(expected.mean, abs=1e-12)
    assert [found["low"], found["high"]] == pytest.approx([expected.low, expected.high], abs=1e-12)


EVERY = [*CONFIGURATIONS.values(), settings("weak", "soft", "class", 1.5, 0.25), settings("transformer", "hard")]


def test_a_student_is_the_same_word_in_python_and_in_the_page(counting):
    assert counting("given.map(wordOf)", EVERY) == [word_of(one) for one in EVERY]
    assert len({word_of(one) for one in EVERY}) == len(EVERY)
    words = counting("given[0].map((one) => inWords(one, given[1]))", [EVERY, TEACHERS])
    assert words == [in_words(one) for one in EVERY]


def test_an_address_holds_a_race_and_a_wrong_one_holds_none(counting):
    teachers = "['convnet', 'weak', 'transformer']"
    back = f"given.map((one) => raceIn('#' + addressOf({{ a: one, b: one, seed: 7 }}), {teachers}))"
    for one, race in zip(EVERY, counting(back, EVERY), strict=True):
        assert race["seed"] == 7 and word_of(race["a"]) == word_of(race["b"]) == word_of(one)
    wrong = ["#race=none_class,king_hard_both_0_0.5,1", "#race=none_class,none_both,-1", "#race=none_class", "#what",
             "#race=none_class,convnet_soft_both_3_7,0", "#race=none_class,convnet_soft_both_-3_0.1,0"]  # fmt: skip
    assert counting("given.map((hash) => raceIn(hash, ['convnet']))", wrong) == [None] * len(wrong)


# ---- images, teachers, claims and records ----


def test_the_items_are_balanced_small_and_the_ones_that_the_teachers_saw():
    items, labels, learnt = race_items()
    assert len(items.tobytes()) <= 1.2e6
    assert (np.bincount(labels[learnt:]) == ASIDE).all() and (np.bincount(labels[:learnt]) > LEARNT / 2).all()
    digest = hashlib.sha256(items.tobytes() + labels.tobytes()).hexdigest()
    assert digest == ITEMS
    assert (race_data().train.labels.numpy() == labels[:learnt]).all()


def test_so_many_labels_are_wrong_and_only_of_those_to_learn_from():
    given, right = [], []
    for (images, labels), count, source in zip(packaged_splits(), (LEARNT, ASIDE, ASIDE), sources(), strict=True):
        del images
        chosen = np.sort(np.concatenate([np.flatnonzero(labels == label)[:count] for label in CLASSES]))
        given.append(source.labels.numpy())
        right.append(np.searchsorted(CLASSES, labels[chosen]))
    shares = [(one != other).mean() for one, other in zip(given, right, strict=True)]
    assert shares == [pytest.approx(WRONG, abs=1e-3), 0, 0]
    among = np.bincount(given[0][given[0] != right[0]], minlength=len(CLASSES))
    assert among.min() > 0.8 * among.mean()  # none of the classes is the one that is taken by mistake


ITEMS = "b6c4bada1d04de11ede4da30943aefb477fc0f537a173635e7c070c080a5bee4"


def test_each_teacher_ships_small_and_knows_what_the_students_learn():
    data = race_data()
    for name in TEACHERS:
        network, said = race_teacher(name)
        assert said["num_classes"] == len(CLASSES) and said["mean"] == pytest.approx(data.mean)
        assert sum(parameter.numel() for parameter in network.parameters()) < 100_000


def test_every_claim_is_of_races_that_are_run():
    assert RACE_CLAIMS and len({claim.id for claim in RACE_CLAIMS}) == len(RACE_CLAIMS)
    for claim in RACE_CLAIMS:
        assert {name for _, name, _ in claim.terms} <= set(CONFIGURATIONS) and claim.at_least <= SEEDS


def test_every_record_is_of_the_settings_and_the_regime_that_stand_in_the_library():
    races = Races()
    assert races.records
    for (name, _), record in races.records.items():
        assert record["settings"] == CONFIGURATIONS[name] and record["points"][-1]["step"] == REGIME["steps"]


def test_the_chapter_explains_the_verdicts_that_the_records_give():
    text = (ROOT / "book" / "distil-in-page.md").read_text("utf8")
    tied = re.findall(r'^ +(race_\w+)="([\w ]+)",$', text, re.M)
    assert len(tied) == 4
    assert explained("Because.", **dict(tied)) == "Because."
    assert "moved on" in explained("Because.", race_hard_beats_none="reversed")
    assert set(re.findall(r'what_seeds_showed\("([\w-]+)"\)', text)) == {claim.id for claim in RACE_CLAIMS}
    assert ("**One label in three is wrong.**" in text) == (WRONG == 1 / 3)


def test_the_table_of_regimes_has_those_whose_records_were_given_up(monkeypatch, tmp_path):
    assert "| 21 pixels, labels as they are, all claims of this page; the mean of 10 seeds | 15,360 |" in tried()
    monkeypatch.setenv("DEIT_EDU_LEDGER", str(tmp_path))
    assert "all claims of this page" not in tried() and len(tried().splitlines()) == 2 + len(TRIED)


def record_of(name, seed, accuracy):
    shares = {"class": accuracy, "distillation": None, "fused": None}
    points = [{"measured": {"accuracy": shares, "cosine": 0.5}}]
    return {"configuration": name, "seed": seed, "points": points} | CONDITIONS


def test_a_claim_is_judged_by_the_seeds_that_all_of_its_students_have(tmp_path):
    lines = [record_of("none", seed, 0.5 + 0.01 * seed) for seed in range(6)]
    lines += [record_of("hard", seed, 0.6 + 0.01 * seed) for seed in range(7)]
    (tmp_path / "races.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"torn')
    races = Races(tmp_path)
    claim = RACE_CLAIMS[0].__class__(
        "one", "race", "It helps.", "", +1, ((1, "hard", "class"), (-1, "none", "class")), {}
    )
    difference, said, held = races.judge(claim)
    assert difference.seeds == 6 and difference.mean == pytest.approx(10) and said == "reproduced" and held == 6


def test_records_under_other_conditions_stay_and_count_for_nothing(tmp_path):
    earlier = record_of("none", 0, 0.9) | {"regime": REGIME | {"steps": 3}}
    lines = [earlier, earlier | {"wrong": 0.9}, record_of("none", 0, 0.5)]
    (tmp_path / "races.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    races = Races(tmp_path)
    assert races.measure("none", 0, "class") == 50 and races.earlier == lines[:2]


def test_what_has_a_record_is_not_run_again(tmp_path):
    lines = [record_of("none", 0, 0.5), record_of("hard", 1, 0.5)]
    (tmp_path / "races.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    left = missing_students(Races(tmp_path), ["none", "hard"], 2)
    assert left == [("hard", 0), ("none", 1)]


def test_without_records_the_figure_waits_for_the_first_race(monkeypatch, tmp_path):
    monkeypatch.setenv("DEIT_EDU_LEDGER", str(tmp_path))
    figure = DistilInPage()
    assert not figure.recorded and figure.racing() is None and png(figure.picture())


@pytest.mark.parametrize("damage", ["{}\n", "nonsense\n", json.dumps(record_of("none", 1, 0.5)) + "\n"])
def test_a_damaged_file_of_records_is_said_to_be_one(tmp_path, damage):
    (tmp_path / "races.jsonl").write_text(json.dumps(record_of("none", 1, 0.5)) + "\n" + damage)
    with pytest.raises(DeiTEduError, match="restore the file|two records"):
        Races(tmp_path)


def test_the_command_says_what_the_claims_came_to_and_runs_nothing_that_has_a_record(capsys):
    assert main(["--dry-run"]) == 0
    said = capsys.readouterr().out
    assert all(claim.sentence in said for claim in RACE_CLAIMS)


def test_a_race_run_again_gives_the_records_numbers(browser, monkeypatch):
    """The first two looks: on another processor fused multiply-adds round otherwise, and that grows."""
    until = f"step <= {REGIME['every']}"  # the schedule stays that of the whole race
    monkeypatch.setattr("deit_edu.widgets.races.RUN", RUN.replace("step <= regime.steps", until))
    page = browser.new_page()
    page.goto("about:blank")
    found = run_student(page, "hard", 0)["points"]
    page.close()
    assert len(found) == 2
    expected = Races().records["hard", 0]["points"]
    for one, other in zip(found, expected, strict=False):
        assert one["loss"] == pytest.approx(other["loss"], abs=2e-3) if one["step"] else other["loss"] is None
        assert one["measured"]["accuracy"]["class"] == pytest.approx(other["measured"]["accuracy"]["class"], abs=0.02)


@pytest.mark.parametrize(
    ("one", "message"),
    [
        ({"teacher": "convnet"}, "settings are"),
        (settings("convnet"), "need a teacher, and none has none"),
        (settings("king", "hard"), "no teacher 'king'"),
        (settings("convnet", "soft", temperature=0.0), "temperature 0.0 must be positive"),
        (settings("convnet", "soft", weight=3.0), "distillation weight 3.0"),
    ],
)
def test_settings_that_cannot_be_are_refused(one, message):
    with pytest.raises(DeiTEduError, match=message):
        check_settings(one, TEACHERS)
    with pytest.raises(DeiTEduError, match=message):
        DistilInPage(b=one)


# ---- the figure ----


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("race")


@pytest.fixture
def recorded(browser, tmp_path):
    """The figure as a page shows it first, from the disk, on a phone."""
    page = page_of(browser, tmp_path, DistilInPage())
    page.set_viewport_size({"width": 360, "height": 740})
    root_of(page, "DistilInPage").locator(".words").wait_for()
    yield page
    page.close()


@pytest.fixture
def quick(browser, tmp_path):
    """The same with eight steps, which has no record."""
    page = page_of(browser, tmp_path, DistilInPage(regime=SHORT))
    root_of(page, "DistilInPage").locator(".words").wait_for()
    yield page
    page.close()


def press(page, name):
    root_of(page, "DistilInPage").get_by_role("button", name=name, exact=True).click()


def words(page):
    return root_of(page, "DistilInPage").locator(".words").inner_text()


def test_the_first_view_is_a_finished_race_and_its_seeds(recorded):
    figure = DistilInPage()
    (one, other), steps = figure.racing()
    assert f"after {steps[-1]} of {steps[-1]} steps" in words(recorded)
    assert f"{100 * one[-1]:.1f} %" in words(recorded) and f"{100 * other[-1]:.1f} %" in words(recorded)
    races = Races()
    expected = paired_difference(races.paired(((1, "hard", "fused"), (-1, "none", "class"))))
    recorded.wait_for_selector(".verdict")
    said = root_of(recorded, "DistilInPage").locator(".verdict").inner_text().replace("\u2212", "-")
    assert f"{expected.mean:+.2f} points [{expected.low:+.2f}, {expected.high:+.2f}]" in said
    assert root_of(recorded, "DistilInPage").locator("svg[role=img]").count() == 5


def test_the_figure_is_as_wide_as_a_phone_and_meets_wcag_in_both_themes(recorded):
    for theme in ("light", "dark"):
        recorded.evaluate("(theme) => { document.documentElement.dataset.theme = theme; }", theme)
        recorded.evaluate("document.documentElement.lang = 'en'; document.title = 'race'")
        found = axe(recorded)
        assert not found, "\n".join(found)
    assert recorded.evaluate("document.documentElement.scrollWidth") <= 360


def test_a_pressed_button_and_two_students_learn(quick):
    press(quick, "Run")
    quick.wait_for_function(FINISHED, timeout=60_000)
    root = root_of(quick, "DistilInPage")
    root.locator(".verdict").wait_for()
    assert "1 seed" in root.locator(".verdict").inner_text()
    assert root.locator(".looked canvas").count() == 3 + 2  # one token and two, and the scene beside them
    assert root.get_by_role("button", name="Run", exact=True).count() == 1
    press(quick, "Next seed")
    quick.wait_for_function("() => /2 seeds/.test(document.querySelector('.verdict').textContent)", timeout=60_000)
    assert words(quick).startswith("Seed 1, after 8 of 8")


# ---- what is pressed while the items load, and what was shown before ----

# Loading waits for `go()`; every worker says whether it lives, and what it was begun with.
HELD = """() => {
    const { model } = document.querySelector('.deit-edu-host'), load = model.load.bind(model);
    const gate = new Promise((open) => { window.go = open; });
    model.load = async (name) => { await gate; return load(name); };
    const Real = Worker;
    window.workers = [];
    window.Worker = class extends Real {
        constructor(url) { super(url); this.lives = true; workers.push(this); }
        postMessage(message, ...more) {
            if (message.ask === 'begin') this.begun = message;
            super.postMessage(message, ...more);
        }
        terminate() { this.lives = false; super.terminate(); }
    };
}"""
LIVING = "workers.filter(({ lives }) => lives).length"
LESSONS = "workers.map(({ begun }) => begun.lesson.objective.distillation)"
STEPS = "document.querySelector('.deit-edu-host').model.get('points').map(({ a }) => a.step)"


@pytest.fixture
def held(quick):
    """The figure of eight steps, whose items do not come before `go()`; with one worker for each student."""
    quick.evaluate("Object.defineProperty(navigator, 'hardwareConcurrency', { value: 2, configurable: true })")
    quick.evaluate(HELD)
    return quick


def test_another_teacher_chosen_while_the_items_load_is_the_one_that_teaches(held):
    press(held, "Run")
    student = root_of(held, "DistilInPage").get_by_role("group", name="student A")
    student.get_by_label("teacher", exact=True).select_option("weak")
    held.evaluate("go()")
    held.wait_for_function(FINISHED, timeout=60_000)
    assert held.evaluate(LESSONS) == ["hard", "hard"] and "A, taught by a weak convnet (hard)" in words(held)
    assert [one["words"]["a"] for one in held.evaluate(STATE, "results")] == ["weak_hard_class_0_0.5"]
    assert held.evaluate("workers[0].begun.lesson.teacher") == "weak" and held.evaluate(LIVING) == 2


def test_one_step_pressed_twice_while_the_items_load_makes_two_steps_of_one_race(held):
    press(held, "One step")
    press(held, "One step")
    held.evaluate("go()")
    held.wait_for_function("() => /after 2 of 8/.test(document.querySelector('.words').textContent)", timeout=60_000)
    assert held.evaluate("workers.length") == held.evaluate(LIVING) == 2
    assert held.evaluate(STEPS) == [0, 1, 2]


def test_the_next_seed_while_the_items_load_is_the_only_one_that_is_run(held):
    press(held, "Run")
    press(held, "Next seed")
    held.evaluate("go()")
    held.wait_for_function(FINISHED, timeout=60_000)
    assert held.evaluate("workers.map(({ begun }) => begun.seed)") == [1, 1] and held.evaluate(LIVING) == 2
    assert [one["seed"] for one in held.evaluate(STATE, "results")] == [1] and held.evaluate(STEPS) == [0, 4, 8]


def test_a_race_paused_while_the_items_load_waits_at_its_first_step(held):
    press(held, "Run")
    press(held, "Pause")
    held.evaluate("go()")
    held.wait_for_function(f"() => {STEPS}.length", timeout=60_000)
    held.wait_for_timeout(300)
    assert held.evaluate(STEPS) == [0] and held.evaluate(LIVING) == 2


# The look at both students after their last step waits for `lookNow()`.
LAST_LOOK = """() => {
    const Free = Worker, gate = new Promise((open) => { window.lookNow = open; });
    window.looks = 0;
    window.Worker = class extends Free {
        postMessage(message, ...more) {
            const last = message.ask === 'measure' && ++window.looks > 4;  // of both, after 0 and 4 steps
            Promise.resolve(last && gate).then(() => super.postMessage(message, ...more));
        }
    };
}"""


def test_what_is_chosen_during_the_last_look_is_for_the_next_race_and_this_one_counts(held):
    held.evaluate(LAST_LOOK)
    held.evaluate("go()")
    press(held, "Run")
    held.wait_for_function("() => looks === 6", timeout=60_000)
    root = root_of(held, "DistilInPage")
    root.get_by_role("group", name="student B").get_by_label("lambda").fill("0.9")
    root.locator(".complaint", has_text="it holds from the next race on").wait_for()
    held.evaluate("lookNow()")
    held.wait_for_function(FINISHED, timeout=60_000)
    (result,) = held.evaluate(STATE, "results")
    assert result["words"]["b"].endswith("_0.5") and held.evaluate(STEPS) == [0, 4, 8]
    press(held, "Run")
    held.wait_for_function("() => workers.length === 4 && workers[3].begun", timeout=60_000)
    assert held.evaluate("workers.slice(2).map(({ begun }) => begun.lesson.objective.weight ?? null)") == [None, 0.9]


def test_a_figure_that_is_closed_while_the_items_load_starts_no_worker(held):
    """Shown and closed by hand: a built page never closes a figure."""
    held.evaluate(
        """async (text) => {
        const { model } = document.querySelector('.deit-edu-host');
        const own = await import(URL.createObjectURL(new Blob([text], { type: 'text/javascript' })));
        const el = document.body.appendChild(document.createElement('div'));
        const close = own.default.render({ model, el });
        [...el.querySelectorAll('button')].find((node) => node.textContent === 'One step').click();
        close();
        go();
    }""",
        DistilInPage._esm,
    )
    held.wait_for_timeout(500)
    assert held.evaluate("workers.length") == 0


@pytest.mark.parametrize("by_python", [False, True])
def test_of_two_views_of_a_figure_one_runs(by_python, browser, tmp_path):
    page_of(browser, tmp_path, DistilInPage(regime=SHORT)).close()
    path = tmp_path / "page.html"
    path.write_text(re.sub(r"(<script[^>]*widget-view\+json.*?</script>)", r"\1\1", path.read_text()))
    page = browser.new_page()
    page.goto(path.as_uri())
    page.wait_for_function("() => document.querySelectorAll('.deit-edu .words').length === 2")
    page.evaluate("Object.defineProperty(navigator, 'hardwareConcurrency', { value: 2, configurable: true })")
    page.evaluate(HELD)
    page.evaluate("go()")
    if by_python:
        page.evaluate("document.querySelector('.deit-edu-host').model.set('running', true)")
    else:
        page.get_by_role("button", name="Run", exact=True).first.click()
    done = "() => [...document.querySelectorAll('.words')].some(one => /after 8 of 8 steps/.test(one.textContent))"
    page.wait_for_function(done, timeout=60_000)  # in whichever of them was told first
    page.wait_for_timeout(500)
    assert page.evaluate("workers.length") == 2 and not page.evaluate(STATE, "running")
    assert [one["seed"] for one in page.evaluate(STATE, "results")] == [0]
    page.close()


def test_a_student_whose_tokens_were_changed_in_the_middle_still_hears_of_the_rest(quick):
    root = root_of(quick, "DistilInPage")
    press(quick, "One step")
    quick.wait_for_function("() => /after 1 of 8/.test(document.querySelector('.words').textContent)", timeout=60_000)
    student = root.get_by_role("group", name="student B")
    student.get_by_label("lambda").fill("0.9")
    student.get_by_label("one token", exact=True).check()
    root.locator(".complaint", has_text="it holds from the next race on").wait_for()
    student.get_by_label("lambda").fill("0.2")
    root.locator(".complaint", has_text="it holds from the next race on").wait_for()
    press(quick, "One step")
    quick.wait_for_function("() => /after 2 of 8/.test(document.querySelector('.words').textContent)", timeout=60_000)
    assert root.locator("svg").first.locator("line[style*='stroke-dasharray']").count() == 2
    assert root.locator(".looked").last.locator("canvas").count() == 3  # it has two tokens as before


def test_a_pair_without_a_record_shows_nothing_of_the_pair_before_it(recorded):
    root = root_of(recorded, "DistilInPage")
    recorded.wait_for_selector(".verdict")
    assert root.locator(".looked").count() == 2 and recorded.evaluate(STATE, "difference")["seeds"] == SEEDS
    root.get_by_role("group", name="student B").get_by_label("lambda").fill("0.25")
    assert "have not raced yet" in words(recorded)
    assert root.locator(".looked").count() == 0 and root.locator(".verdict").count() == 0
    assert recorded.evaluate(STATE, "difference") == {}


def test_an_odd_batch_is_not_shared_where_there_are_processors_for_two(browser, tmp_path):
    page = page_of(browser, tmp_path, DistilInPage(regime=SHORT | {"batch": 25}))
    page.evaluate("Object.defineProperty(navigator, 'hardwareConcurrency', { value: 4, configurable: true })")
    press(page, "Run")
    page.wait_for_function(FINISHED, timeout=60_000)
    assert "in 2 workers" in root_of(page, "DistilInPage").inner_text()
    page.close()


def place(event):
    """Where an event of a trace was: process and thread."""
    return event["pid"], event["tid"]


def longest_task(browser, happens):
    """Milliseconds of the longest task of the figure's page in its own thread while something happens.

    In that thread's own time: what a busy machine gives to others meanwhile counts for nothing.
    """
    browser.start_tracing(categories=["disabled-by-default-devtools.timeline", "devtools.timeline"])
    happens()
    events = json.loads(browser.stop_tracing())["traceEvents"]
    scripts = [event for event in events if event["name"] == "EvaluateScript"]
    own = {place(e) for e in scripts if e["args"].get("data", {}).get("url", "").endswith("static_host.js")}
    tasks = [e["tdur"] for e in events if e["name"] == "RunTask" and place(e) in own and "tdur" in e]
    assert len(tasks) > 100
    return max(tasks) / 1000


def test_no_task_of_the_pages_own_thread_takes_over_50_milliseconds(browser, tmp_path):
    """From the page's first byte to the verdict on a race of one's own, beside those of ten recorded seeds."""

    def race():
        page = page_of(browser, tmp_path, DistilInPage(regime=SHORT))
        root_of(page, "DistilInPage").locator(".words").wait_for()
        press(page, "Run")
        page.wait_for_selector(".verdict", timeout=60_000)
        page.close()
        page = page_of(browser, tmp_path, DistilInPage())
        page.wait_for_selector(".verdict", timeout=60_000)
        page.close()

    assert longest_task(browser, race) < 50


def test_it_pauses_steps_changes_its_lesson_and_keeps_a_student(quick, tmp_path):
    root = root_of(quick, "DistilInPage")
    for step in (1, 2):
        press(quick, "One step")
        quick.wait_for_function(f"() => /after {step} of 8/.test(document.querySelector('.words').textContent)")
    root.get_by_role("group", name="student B").get_by_label("lambda").fill("1")
    press(quick, "One step")
    quick.wait_for_function("() => /after 3 of 8/.test(document.querySelector('.words').textContent)")
    assert root.locator("line[style*='stroke-dasharray:1 3'], line[style*='stroke-dasharray: 1 3']").count()
    with quick.expect_download() as download:
        press(quick, "Keep B")
    path = tmp_path / "kept.safetensors"
    download.value.save_as(path)
    model, said = load_model(path), load(path)[1]
    assert model.config.distilled and said["settings"]["weight"] == 1 and said["classes"][0] == "T-shirt/top"
    assert model(torch.zeros(1, 1, STUDENT.image_size, STUDENT.image_size)).class_logits.isfinite().all()
    assert DistilInPage(model).student_weights  # and it can go on from there
    opens_in_the_live_figure(quick.context.browser, tmp_path / "live", model, said)


def opens_in_the_live_figure(browser, folder, model, said):
    images = race_data().validation.images[:3]
    figure = LiveDeiT(model, None, images, [0, 1, 2], said["classes"], said["mean"], said["std"])
    folder.mkdir()
    page = page_of(browser, folder, figure)
    root_of(page, "LiveDeiT").locator(".picker input").nth(2).check(force=True)
    wait_asked(page, 0)
    answers = page.evaluate(STATE, "answers")
    heads = model(normalise(images[2:], said["mean"], said["std"]))
    for head, expected in zip(("class", "distillation"), heads, strict=True):
        assert answers[head] == pytest.approx(expected[0].tolist(), abs=1e-4)
    page.close()


def test_teacher_tau_and_lambda_change_in_the_middle_and_the_curves_show_it(quick):
    root = root_of(quick, "DistilInPage")
    student = root.get_by_role("group", name="student B")
    made = iter(range(1, 9))

    def one_step():
        press(quick, "One step")
        quick.wait_for_function(
            "(step) => document.querySelector('.words').textContent.includes(`after ${step} of 8`)", arg=next(made)
        )
        return quick.evaluate(STATE, "points")[-1]

    def teachers_share(point):
        return point["b"]["measured"]["teacher"]

    first = one_step()
    student.get_by_label("teacher", exact=True).select_option("weak")
    weaker = one_step()
    assert teachers_share(first) > teachers_share(weaker) + 0.05  # of the scenes kept aside
    student.get_by_label("soft", exact=True).check()
    student.get_by_label("lambda").fill("1")
    student.get_by_label("tau").fill("0.5")
    cold = one_step()  # tau ** 2 KL is at most a quarter of log 5 for a student that knows nothing
    student.get_by_label("tau").fill("10")
    student.get_by_label("lambda").fill("0")
    alone = one_step()
    assert cold["b"]["loss"] < 0.45 < 1.4 < min(cold["a"]["loss"], alone["b"]["loss"])
    assert quick.evaluate(STATE, "b") | {"weight": 0, "temperature": 10} == quick.evaluate(STATE, "b")
    marks = root.locator("svg").first.locator("line[style*='stroke-dasharray']")
    assert marks.count() == 6  # one for each change: teacher, kind, and lambda and tau twice
    press(quick, "Run")
    quick.wait_for_function(FINISHED, timeout=60_000)
    assert quick.evaluate(STATE, "results") == []  # a race that was changed is no seed of either


def test_over_http_a_race_runs_too_and_nobody_else_is_asked(browser, tmp_path):
    page_of(browser, tmp_path, DistilInPage(regime=SHORT)).close()
    with served(tmp_path) as address:
        page, asked = browser.new_page(), []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(address + "page.html")
        press(page, "Run")
        page.wait_for_function(FINISHED, timeout=60_000)
        page.close()
    assert asked and all(url.startswith((address, f"blob:{address}")) for url in asked)


def test_with_reduced_motion_nothing_moves_but_what_is_measured(browser, tmp_path):
    page_of(browser, tmp_path, DistilInPage(regime=SHORT)).close()
    context = browser.new_context(reduced_motion="reduce")
    page = context.new_page()
    page.goto((tmp_path / "page.html").as_uri())
    press(page, "Run")
    page.wait_for_function(FINISHED, timeout=60_000)
    moving = """() => [...document.querySelectorAll('.deit-edu *')].map((node) => getComputedStyle(node))
        .filter((style) => style.transitionDuration !== '0s' || style.animationName !== 'none').length"""
    assert page.evaluate(moving) == 0 == page.evaluate("document.getAnimations().length")
    context.close()


def test_without_javascript_there_is_the_finished_race_as_a_picture(browser, tmp_path, monkeypatch):
    monkeypatch.setenv("DEIT_EDU_STATIC", "1")
    figure = DistilInPage()
    page_of(browser, tmp_path, figure).close()
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((tmp_path / "page.html").as_uri())
    (one, other), _ = figure.racing()
    for said in (page.locator("noscript figcaption").inner_text(), page.locator("noscript img").get_attribute("alt")):
        assert f"{one[-1]:.1%}" in said and f"{other[-1]:.1%}" in said
    assert page.locator("noscript img").evaluate("(image) => image.naturalWidth") > 300
    context.close()


def test_in_a_notebook_python_sets_what_the_page_reads_and_reads_what_it_sets(monkeypatch):
    """The messages between kernel and page; tests/test_widgets.py has a real kernel."""
    figure, sent, heard = DistilInPage(regime=SHORT), [], []
    monkeypatch.setattr(figure, "send_state", lambda key=None: sent.append(key))
    figure.observe(lambda change: heard.append(change.name))
    soft = settings("weak", "soft", "both", 2.0, 0.3)
    found = {"mean": 1.5, "low": None, "high": None, "seeds": 1, "verdict": "not resolved"}
    figure.set_state({"b": soft, "step": 4, "difference": found, "running": True})  # a message of the page
    assert figure.b == soft and figure.step == 4 and figure.running and figure.difference == found
    assert {"b", "step", "difference", "running"} <= set(heard)
    sent.clear()
    figure.b = figure.b | {"weight": 0.8}
    figure.running = False
    assert sent == ["b", "running"]  # messages to the page
    assert figure.get_state(["b", "running"]) == {"b": soft | {"weight": 0.8}, "running": False}


def test_a_hidden_tab_stops_the_race_and_a_visible_one_goes_on(browser, tmp_path):
    page = page_of(browser, tmp_path, DistilInPage(regime=SHORT | {"steps": 4000, "every": 2000}))
    step = "() => Number(/step (\\d+) of/.exec(document.querySelector('.note').textContent)?.[1] ?? 0)"
    hide = """(hidden) => {
        Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
        document.dispatchEvent(new Event("visibilitychange"));
    }"""
    press(page, "Run")
    page.wait_for_function(f"() => ({step})() > 2", timeout=60_000)
    page.evaluate(hide, True)
    page.wait_for_function("() => /paused/.test(document.querySelector('.note').textContent)", timeout=60_000)
    stopped = page.evaluate(step)
    page.wait_for_timeout(500)
    assert page.evaluate(step) == stopped
    page.evaluate(hide, False)
    page.wait_for_function(f"(was) => ({step})() > was + 2", arg=stopped, timeout=60_000)
    page.close()


def test_what_cannot_be_gets_a_sentence_and_the_figure_goes_on(quick):
    root = root_of(quick, "DistilInPage")
    student = root.get_by_role("group", name="student B")
    student.get_by_label("soft", exact=True).check()
    tau = student.get_by_label("tau")
    tau.fill("0")
    press(quick, "Run")
    root.locator(".complaint", has_text="tau is 0").wait_for()
    tau.fill("3")
    quick.evaluate("""() => {
        const Real = window.Blob;
        const old = "WebAssembly.validate = () => false;";  // a worker that knows no SIMD
        window.Blob = class extends Real { constructor(parts, options) { super([old, ...parts], options); } };
        window.restore = () => { window.Blob = Real; };
    }""")
    press(quick, "One step")
    root.locator(".complaint", has_text="this browser has no SIMD: a student cannot be trained in it").wait_for()
    quick.evaluate("restore()")
    quick.evaluate("""() => {
        const Real = Worker;
        window.Worker = class extends Real { constructor(url) { super(url); window.last = this; } };
    }""")
    press(quick, "One step")
    quick.wait_for_function("() => /after 1 of 8/.test(document.querySelector('.words').textContent)", timeout=60_000)
    quick.evaluate("last.onerror({ message: 'out of memory' })")
    root.locator(".complaint", has_text="too little memory here, so close other pages").wait_for()
    press(quick, "Run")
    quick.wait_for_function(FINISHED, timeout=60_000)


def test_the_race_stands_in_the_address_and_comes_from_it(browser, tmp_path):
    page = page_of(browser, tmp_path, DistilInPage())
    root = root_of(page, "DistilInPage")
    root.locator(".words").wait_for()
    root.get_by_role("group", name="student A").get_by_label("teacher", exact=True).select_option("shuffled")
    sent = page.evaluate("location.href")
    assert "#race=shuffled_convnet_hard_class_0_0.5,convnet_hard_both_0_0.5,0" in sent
    other = browser.new_page()
    other.goto(sent)
    chosen = root_of(other, "DistilInPage").get_by_role("group", name="student A").get_by_label("teacher", exact=True)
    assert chosen.input_value() == "shuffled"
    assert "have not raced yet: press Run" in words(other)
    page.close()
    other.close()


def test_ones_own_students_teacher_and_images_in_colour_race(browser, tmp_path):
    torch.manual_seed(0)
    images, labels = torch.randint(0, 256, (120, 3, 32, 32), dtype=torch.uint8), np.arange(120) % 3
    config = DeiTConfig(image_size=32, patch_size=8, num_classes=3, embed_dim=16, depth=1, num_heads=2)
    figure = DistilInPage(DeiT(config), create_teacher("convnet_weak", 3, 3), images, labels, "abc", regime=SHORT)
    assert figure.learnt == 96 and figure.student_weights
    assert not any("preprocessing" in manifest for manifest in figure.teachers.values())
    page = page_of(browser, tmp_path, figure)
    press(page, "Run")
    page.wait_for_function(FINISHED, timeout=60_000)
    assert root_of(page, "DistilInPage").locator(".picker input").count() == 10
    page.close()


TINY = DeiTConfig(image_size=28, patch_size=7, in_channels=1, num_classes=2, embed_dim=8, depth=1, num_heads=1)
FINE = dict(student=TINY, images=torch.zeros(60, 1, 28, 28, dtype=torch.uint8), labels=[0, 1] * 30, class_names="ab",
            regime={"batch": 16}, mean=[0.5], std=[0.5])  # fmt: skip


def student(**changed):
    return replace(TINY, **changed)


def prepared_teacher(side):
    teacher = create_teacher("convnet_weak", 1, 2)
    teacher.preprocessing = Preprocessing((1, side, side), (0.3,), (0.2,))
    return teacher


def test_a_mean_may_be_an_array_and_a_teacher_brings_its_own():
    figure = DistilInPage(**FINE | dict(mean=np.array([0.25]), std=torch.tensor([0.5]), teacher=prepared_teacher(28)))
    assert (figure.mean, figure.std) == ([0.25], [0.5])
    own = figure.teachers["teacher"]["preprocessing"]
    assert (own["mean"], own["std"]) == ([0.3], [0.2])


ONE_TOKEN = DeiT(student(distilled=False))
MANY = dict(student=student(num_classes=300), labels=[0, 299] * 30, class_names=[str(label) for label in range(300)],
            teacher=create_teacher("convnet_weak", 1, 300))  # fmt: skip


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (dict(student=student(registers=2)), "and 2 registers"),
        (dict(student=DeiT(student(registers=2))), "and 2 registers"),
        (dict(student=DeiT(student(pool="mean"))), "has pool mean"),
        (dict(student=student(distillation_tokens=2)), "2 distillation tokens"),
        (dict(student=student(drop_rate=0.5)), "learns without dropout"),
        (dict(student=DeiT(student(drop_path_rate=0.1))), "learns without dropout"),
        (dict(student=ONE_TOKEN, a=settings(tokens="both")), "has one token: give settings with tokens='class'"),
        (dict(teacher=prepared_teacher(32)), "sees other images"),
        (MANY, "300 classes: the page holds 256"),
        (dict(mean=[0.5, 0.5]), "of 1 channel: give a mean and a std for each"),
        (dict(teacher=create_teacher("convnet_weak", 1, 3)), "knows 3 classes, the student 2"),
        (dict(teacher=create_teacher("convnet_weak", 3, 2)), "sees other images"),
        (dict(teacher=torch.nn.Flatten()), "a DeiT or a convnet"),
        (dict(teacher={"a b": create_teacher("convnet_weak", 1, 2)}), "cannot be called 'a b'"),
        (dict(teacher={}), "names no teacher"),
        (dict(labels=[0, 1]), "a label each"),
        (dict(labels=[0, 5] * 30), "do not fit 2 class names"),
        (dict(images=torch.zeros(60, 1, 28, 28)), "give uint8 images"),
        (dict(images=torch.zeros(60, 1, 80, 80, dtype=torch.uint8)), "resize them to 28 to 64"),
        (dict(student="deit_tiny"), "a DeiTConfig or a DeiT"),
        (dict(class_names="abc"), "does not fit images of"),
        (dict(regime={"speed": 3}), "regime has no speed"),
        (dict(regime={"batch": 64}), "do not fill a batch of 64"),
    ],
)
def test_what_does_not_fit_together_is_refused_in_python(given, message):
    with pytest.raises(DeiTEduError, match=message):
        DistilInPage(**{"teacher": create_teacher("convnet_weak", 1, 2)} | FINE | given)


def test_firefox_runs_a_race(browser, tmp_path):
    if not (program := shutil.which("firefox-esr") or shutil.which("firefox")):
        pytest.skip("Firefox is not installed: sudo apt-get install firefox-esr")
    page_of(browser, tmp_path, DistilInPage(regime=SHORT)).close()
    (tmp_path / "profile").mkdir()
    with firefox.Firefox(program, tmp_path / "profile") as own:
        own.go((tmp_path / "page.html").as_uri())
        own.run("""(async () => {
            const wait = async (ready) => { while (!ready()) await new Promise((later) => setTimeout(later, 50)); };
            await wait(() => document.querySelector(".deit-edu .words"));
            [...document.querySelectorAll(".deit-edu button")].find((node) => node.textContent === "Run").click();
            await wait(() => /after 8 of 8/.test(document.querySelector(".words").textContent));
        })()""")


def test_a_record_from_before_the_networks_had_a_field_is_of_the_same_regime(tmp_path):
    student = {name: value for name, value in CONDITIONS["student"].items() if name != "pool"}
    (tmp_path / "races.jsonl").write_text(json.dumps(record_of("hard", 0, 0.5) | {"student": student}) + "\n")
    assert list(Races(tmp_path).records) == [("hard", 0)]
