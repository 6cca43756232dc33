"""Run the races whose claims stand in deit_edu.evidence.races: ``python -m deit_edu.widgets.races``.

They run in a headless browser, one student of one seed at a time, by the same scripts as in a reader's page. What has a
record is not run again, so that the command goes on where it was stopped. At its end it says what the claims came to,
whichever way that is.
"""

import argparse
import base64
import json
import os
import shutil
import sys
import time
from pathlib import Path

from deit_edu.errors import DeiTEduError
from deit_edu.evidence.ledger import ledger_folder
from deit_edu.evidence.races import (
    CLASSES,
    CONDITIONS,
    CONFIGURATIONS,
    RACE_CLAIMS,
    REGIME,
    SEEDS,
    STUDENT,
    Races,
    race_data,
    race_items,
    race_teacher,
)
from deit_edu.widgets.bundle import bundled
from deit_edu.widgets.network import export

FOLDER = Path(__file__).parent
SHOWN = 2 * len(CLASSES)  # scenes kept aside that a figure's first view can show, for the first seed
MODULES = ("kernels/learning_team.js", "race_settings.js")

# What a student shows while it learns alone, as race.js looks at two.
RUN = """async ({ script, settings, regime, given, shown }) => {
    const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const view = (text) => new DataView(bytes(text).buffer);
    const opened = ([name, { manifest, weights }]) => [name, { manifest, weights: view(weights) }];
    const losses = [], points = [];
    const team = new LearningTeam(script, 1, { step: (_, loss) => losses.push(loss), died: () => {} });
    const begun = await team.begin({ ...given, lesson: lessonOf(settings, regime),
        teachers: Object.fromEntries(Object.entries(given.teachers).map(opened)),
        source: { ...given.source, items: bytes(given.source.items) } });
    const started = performance.now();
    for (let step = 0; step <= regime.steps; step += regime.every) {
        await team.learn(step);
        const own = losses.splice(0);
        const loss = own.length ? own.reduce((sum, one) => sum + one, 0) / own.length : null;
        points.push({ step, loss, measured: await team.measure() });
    }
    const seconds = (performance.now() - started) / 1000, looked = [];
    for (const scene of shown) {
        const { attention, pixels, label } = await team.look(scene);
        looked.push({ scene, label, pixels: Array.from(pixels), attention: Array.from(attention) });
    }
    team.end();
    return { ...begun, seconds, points, looked };
}"""


def coded(data):
    return base64.b64encode(data).decode()


def begin(seed, settings):
    """What `LearningWorker.begin` is given, but for the lesson, as JSON can hold it."""
    items, labels, learnt = race_items()
    data = race_data()
    taught_by = [settings["teacher"]] if settings["teacher"] else []
    teachers = {name: export(race_teacher(name)[0]) for name in taught_by}
    return {
        "config": STUDENT.to_dict() | {"distilled": settings["tokens"] == "both"},
        "teachers": {name: {"manifest": said, "weights": coded(weights)} for name, (said, weights) in teachers.items()},
        "batch": REGIME["batch"],
        "seed": seed,
        "source": {
            "items": coded(items.tobytes()),
            "labels": labels.tolist(),
            "learnt": list(range(learnt)),
            "aside": list(range(learnt, len(items))),
            "shape": [1, STUDENT.image_size, STUDENT.image_size],
            "scenes": True,
            "mean": list(data.mean),
            "std": list(data.std),
            "padding": REGIME["padding"],
            "flip": REGIME["flip"],
        },
    }


def rounded(value, digits=6):
    """A record without the digits that say nothing."""
    if isinstance(value, float):
        return round(value, digits)
    if isinstance(value, dict):
        return {name: rounded(one, digits) for name, one in value.items()}
    return [rounded(one, digits) for one in value] if isinstance(value, list) else value


def run_student(page, configuration, seed, shown=()):
    """Train one student in a page; its record."""
    settings = CONFIGURATIONS[configuration]
    given = {
        "script": bundled(FOLDER / "kernels" / "learning_worker.js"),
        "settings": settings,
        "regime": REGIME,
        "given": begin(seed, settings),
        "shown": list(shown),
    }
    own = bundled(*(FOLDER / name for name in MODULES))
    found = page.evaluate(f"(given) => {{ {own}\nreturn ({RUN})(given); }}", given)
    said = {"configuration": configuration, "seed": seed, "settings": settings}
    return said | CONDITIONS | rounded(found)


def append(path, record):
    with open(path, "ab") as file:
        file.write(json.dumps(record, separators=(",", ":")).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def open_browser(started):
    """A headless Chromium of this machine. Raises DeiTEduError where there is none."""
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        raise DeiTEduError("races run in Chromium, which is missing: install it, as in sudo apt-get install chromium")
    return started.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])


def missing_students(races, configurations, seeds):
    """Those without a record, [(configuration, seed)]: seed by seed, so that finished pairs come early."""
    return [(name, seed) for seed in range(seeds) for name in configurations if (name, seed) not in races.records]


def run_missing(folder, configurations, seeds):
    """Run what has no record yet."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        raise DeiTEduError("races need Playwright to ask the browser: pip install 'deit-edu[races]'") from None
    races = Races(folder)
    missing = missing_students(races, configurations, seeds)
    if not missing:
        return
    races.path.parent.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as started:
        browser = open_browser(started)
        page = browser.new_page()
        page.goto("about:blank")
        for number, (name, seed) in enumerate(missing, 1):
            begun = time.monotonic()
            record = run_student(page, name, seed, range(SHOWN) if seed == 0 else ())
            append(races.path, record)
            accuracy = record["points"][-1]["measured"]["accuracy"]
            shares = ", ".join(f"{head} {100 * share:.1f} %" for head, share in accuracy.items() if share is not None)
            took = time.monotonic() - begun
            print(f"{number}/{len(missing)} {name}, seed {seed}: {shares}, {took:.0f} s", flush=True)
        browser.close()


def say_verdicts(races):
    """A line for every claim, as `deit-edu report` has it for the ledger's."""
    for claim in RACE_CLAIMS:
        if not races.seeds(*(name for _, name, _ in claim.terms)):
            print(f"{claim.id}: no seed has been run")
            continue
        difference, said, held = races.judge(claim)
        print(
            f"{claim.sentence} {said}: {difference.mean:+.2f} {claim.unit} "
            f"[{difference.low:+.2f}, {difference.high:+.2f}]; it holds in {held} of {difference.seeds} seeds "
            f"(claimed: {claim.at_least} of {SEEDS})"
        )


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m deit_edu.widgets.races", description=__doc__)
    parser.add_argument("--seeds", type=int, default=SEEDS, metavar="N", help="0 to N - 1 (default: %(default)s)")
    names = ", ".join(CONFIGURATIONS)
    parser.add_argument("--only", nargs="+", choices=CONFIGURATIONS, metavar="NAME", help=f"some of {names}")
    parser.add_argument("--folder", type=Path, help="of races.jsonl (default: the ledger's)")
    parser.add_argument("--dry-run", action="store_true", help="say what the records hold, and run nothing")
    chosen = parser.parse_args(arguments)
    folder = chosen.folder or ledger_folder()
    try:
        if not chosen.dry_run:
            run_missing(folder, chosen.only or CONFIGURATIONS, chosen.seeds)
        say_verdicts(Races(folder))
    except DeiTEduError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
