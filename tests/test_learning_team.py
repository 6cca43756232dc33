"""The workers of a page in which a student learns: alone, in a team, asked and stopped."""

import base64

import numpy as np
import pytest
import torch

from deit_edu.data import load_dataset
from deit_edu.data.clutter import halve
from deit_edu.data.packaged import packaged_splits
from deit_edu.model import DeiTConfig
from deit_edu.runs.checkpoints import load_model, load_network, packaged_path
from deit_edu.widgets.kernels.script import kernels_script, learning_script
from deit_edu.widgets.network import export

CONFIG = DeiTConfig(image_size=28, patch_size=14, in_channels=1, num_classes=10, embed_dim=16, depth=2, num_heads=2)
LESSON = {
    "teacher": "convnet",
    "objective": {"distillation": "hard", "tokens": "both"},
    "schedule": {"total": 200, "warmup": 10, "peak": 2e-3},
    "weightDecay": 0.05,
    "labelSmoothing": 0.1,
}
# Made once in a page: begun(size) is a team that is ready, with what it said in `steps`; `given` is what it was given.
BEGIN = """({ team, script, given }) => {
    const { LearningTeam } = new Function(`${team}; return { LearningTeam };`)();
    const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const teachers = Object.fromEntries(Object.entries(given.teachers).map(
        ([name, { manifest, weights }]) => [name, { manifest, weights: new DataView(bytes(weights).buffer) }]));
    const source = { ...given.source, items: bytes(given.source.items) };
    window.given = { ...given, teachers, source };
    window.begun = async (size, more = {}) => {
        const steps = [];
        const heard = { step: (step, loss) => steps.push([step, loss]), died: (why) => { steps.died = why; } };
        const learning = new LearningTeam(script, size, heard);
        learning.steps = steps;
        learning.begun = await learning.begin({ ...window.given, ...more });
        return learning;
    };
}"""


@pytest.fixture(scope="module", params=["file", "http"])
def page(request, browser, tmp_path_factory):
    """A page from the disk and one from a server, in which `begun` makes teams."""
    opened = browser.new_page()
    if request.param == "http":
        opened.route("http://book.test/", lambda route: route.fulfill(body="<p>", content_type="text/html"))
        opened.goto("http://book.test/")
    else:
        path = tmp_path_factory.mktemp("page") / "page.html"
        path.write_text("<p>")
        opened.goto(path.as_uri())
    images, labels = packaged_splits()[0]
    data = load_dataset("fashion_clutter")
    manifest, weights = export(load_network(packaged_path("fashion_clutter_teacher"))[0])
    given = {
        "config": CONFIG.to_dict(),
        "lesson": LESSON,
        "teachers": {"convnet": {"manifest": manifest, "weights": base64.b64encode(weights).decode()}},
        "batch": 16,
        "seed": 4,
        "source": {
            "items": base64.b64encode(halve(images[:400]).tobytes()).decode(),
            "labels": labels[:400].tolist(),
            "learnt": list(range(300)),
            "aside": list(range(300, 400)),
            "shape": [1, 28, 28],
            "scenes": True,
            "mean": data.mean,
            "std": data.std,
            "padding": 2,
            "flip": True,
        },
    }
    team = kernels_script("learning_team.js")
    opened.evaluate(BEGIN, {"team": team, "script": learning_script(), "given": given})
    yield opened
    opened.close()


def test_a_team_of_two_learns_what_one_alone_learns(page):
    found = page.evaluate("""async () => {
        const all = [];
        for (const size of [1, 2]) {
            const team = await begun(size);
            await team.learn(30);
            all.push({ steps: team.steps, ...team.begun, measured: await team.measure() });
            team.end();
        }
        return all;
    }""")
    alone, two = ([loss for _, loss in one["steps"]] for one in found)
    assert [step for step, _ in found[1]["steps"]] == list(range(1, 31))
    # Two halves are the same batch: only the order of sums differs.
    assert np.abs(np.array(alone) - two).max() < 1e-4
    assert np.std(alone) > 0.01  # the batches differ, so that another share of them would be seen
    assert found[0]["bytes"] < 60e6
    measured = found[0]["measured"]
    assert 0.5 < measured["teacher"] <= 1 and 0 <= measured["agreement"]["distillation"] <= 1
    assert measured["accuracy"].keys() == {"class", "distillation", "fused"} and -1 <= measured["cosine"] <= 1


def test_the_same_seed_gives_the_same_race_and_another_does_not(page):
    first, again, other = page.evaluate("""() => Promise.all([7, 7, 8].map(async (seed) => {
        const team = await begun(1, { seed });
        await team.learn(3);
        team.end();
        return team.steps;
    }))""")
    assert first == again != other


@pytest.mark.parametrize("size", [1, 2])
def test_it_stops_goes_on_and_changes_its_lesson(page, size):
    found = page.evaluate(
        """async (size) => {
        const team = await begun(size);
        team.learn(100000);
        while (team.step < 3) await new Promise((resolve) => setTimeout(resolve, 5));
        await team.pause();
        const stopped = team.step;
        await new Promise((resolve) => setTimeout(resolve, 100));
        const still = team.step;
        await team.learn(still + 1);
        const one = team.step;
        const looked = await team.look(5);
        const silent = { teacher: null, objective: { distillation: "none", tokens: "both" },
                         schedule: { total: 200, warmup: 0, peak: 0, end: 0 }, weightDecay: 0, labelSmoothing: 0 };
        const before = await team.keep({});
        await team.change(silent);
        await team.learn(one + 3);
        const after = await team.keep({});
        team.end();
        const kept = before.file.every((byte, i) => byte === after.file[i]);
        return { stopped, still, one, end: team.step, kept, bytes: looked.pixels.length,
                 attention: Array.from(looked.attention) };
    }""",
        size,
    )
    assert found["stopped"] == found["still"] >= 3
    assert found["one"] == found["still"] + 1 and found["end"] == found["one"] + 3
    assert found["kept"]  # a learning rate of 0 changes no weight
    assert found["bytes"] == 28 * 28
    attention = torch.tensor(found["attention"]).view(2, 2, 2, CONFIG.num_tokens)  # (L, h, prefix, T)
    assert (attention.sum(-1) - 1).abs().max() < 1e-5


def test_the_student_that_is_kept_opens_in_the_library(page, tmp_path):
    file, attention = page.evaluate("""async () => {
        const team = await begun(1);
        await team.learn(2);
        const { attention, pixels } = await team.look(3);
        const { file } = await team.keep({ seed: 4 });
        team.end();
        return [Array.from(file), [Array.from(attention), Array.from(pixels)]];
    }""")
    path = tmp_path / "kept.safetensors"
    path.write_bytes(bytes(file))
    model, data = load_model(path), load_dataset("fashion_clutter")
    image = (torch.tensor(attention[1]).view(1, 1, 28, 28) / 255 - data.mean[0]) / data.std[0]
    expected = model.attention_maps(image)[:, 0, :, :2]  # (L, h, prefix, T)
    assert (torch.tensor(attention[0]).view(expected.shape) - expected).abs().max() < 1e-5


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"batch": 15}, "2 workers cannot share a batch of 15"),
        ({"config": CONFIG.to_dict() | {"num_classes": 3}}, "knows 10 classes, the student 3"),
        ({"config": CONFIG.to_dict() | {"image_size": 42, "in_channels": 3}}, "sees other images"),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(page, more, said):
    found = page.evaluate("(more) => begun(2, more).then(() => '', (error) => error.message)", more)
    assert said in found


def test_a_teacher_with_statistics_of_its_own_is_as_often_right_whatever_the_students_are(page):
    found = page.evaluate("""async () => {
        const { source, teachers: { convnet } } = window.given, all = [];
        const { mean, std } = source, preprocessing = { image_shape: [1, 28, 28], mean, std };
        const own = { convnet: { ...convnet, manifest: { ...convnet.manifest, preprocessing } } };
        const other = { ...source, mean: [0.9], std: [0.1] };
        for (const more of [{}, { source: other, teachers: own }, { source: other }]) {
            const team = await begun(1, more);
            all.push((await team.measure()).teacher);
            team.end();
        }
        return all;
    }""")
    assert found[0] == found[1] > found[2] + 0.2


def test_no_address_of_a_workers_script_is_left_behind(page):
    found = page.evaluate("""async () => {
        const made = [], given_up = [], { createObjectURL, revokeObjectURL } = URL;
        URL.createObjectURL = (blob) => { made.push(createObjectURL(blob)); return made.at(-1); };
        URL.revokeObjectURL = (url) => { given_up.push(url); revokeObjectURL(url); };
        const team = await begun(2), by_then = given_up.length;
        team.end();
        const failed = await begun(2, { batch: 15 }).catch((error) => error.message);
        Object.assign(URL, { createObjectURL, revokeObjectURL });
        return { made: made.length, by_then, left: made.slice(0, 1).filter((url) => !given_up.includes(url)), failed };
    }""")
    assert found["by_then"] == 1 and not found["left"] and found["failed"]


def test_a_loss_that_is_no_number_stops_the_race_with_a_sentence(page):
    found = page.evaluate("""async () => {
        const team = await begun(1);
        await team.change({ teacher: null, objective: { distillation: "none", tokens: "both" }, weightDecay: 0,
                            labelSmoothing: 0, schedule: { total: 10, warmup: 0, peak: 1e30 } });
        const said = await team.learn(10).then(() => "", (error) => error.message);
        team.end();
        return said;
    }""")
    assert "the loss is no finite number by step" in found


def test_a_worker_that_dies_is_said_and_nothing_waits_for_it(page):
    found = page.evaluate("""async () => {
        const team = await begun(1), asked = team.ask(team.workers[0], "measure").catch((error) => error.message);
        team.workers[0].onerror({ message: "out of memory" });
        return [await asked, team.steps.died];
    }""")
    assert found == ["out of memory", "out of memory"]
