"""The page of a run: one file that asks nobody for anything, with the student in it and what was measured of it.

It opens from a disk and on a phone. Its browser is told to load nothing (a content security policy), so that what it
holds is all there is to it.
"""

import base64
import html
import io
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from deit_edu.data.splits import nested_subset
from deit_edu.data.walk import printable
from deit_edu.errors import DeiTEduError, counted
from deit_edu.reading.figures import HEAD_WORDS
from deit_edu.runs.checkpoints import is_packaged, load, write_atomically
from deit_edu.runs.choices import in_words
from deit_edu.runs.evaluate import Accuracy, PerClass, load_decisions
from deit_edu.runs.folders import find_run, read_json
from deit_edu.runs.machine import machine_name
from deit_edu.train import TrainConfig
from deit_edu.widgets.bundle import FOLDER
from deit_edu.widgets.figure import png, themed
from deit_edu.widgets.finished_runs import open_for_the_page
from deit_edu.widgets.live_deit import LiveDeiT
from deit_edu.widgets.static import HOST, MIME, in_script, part_name, small_record, without_script

LIMIT = 6_000_000  # bytes: what a mail and a phone take
PICTURES = 24  # of the test at most
SHOWN_CLASSES = 20  # in a table of confusions; of more the most frequent are listed
FIGURE = "live"  # under which its state stands: the same run makes the same bytes
HEADS = ("class", "distillation", "fused")
# Nothing is loaded from anywhere, not even by mistake: scripts and styles stand in the page, workers are made of them.
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' 'wasm-unsafe-eval' blob:; style-src 'unsafe-inline'; "
    "img-src data: blob:; media-src blob: mediastream:; worker-src blob:; child-src blob:"
)


@dataclass(frozen=True)
class Written:
    """A page as it was written. pictures: of the test, in it. teacher: whether one can be asked there."""

    size: int  # bytes
    pictures: int
    teacher: bool
    remarks: tuple  # sentences on what had to be left out


def write_page(run, path, limit=LIMIT):
    """Write the page of a finished run.

    Args:
        run: a run folder or its name. path: of the HTML file; what is there is replaced. limit: bytes.

    Returns:
        a `Written`.

    Raises:
        DeiTEduError: for a run that a page cannot show; for a network that does not fit into the limit.
    """
    run = str(run)
    if is_packaged(run):
        raise DeiTEduError(f"{run} has a page in the book, live.html: name the folder of a run of yours")
    found = open_for_the_page(run)
    measured = Measured.of_run(run, found)
    most, remarks = min(PICTURES, len(measured.labels)), []
    for teacher in dict.fromkeys((found.teacher, None)):
        text, count = fitting(lambda count, who=teacher: page_text(found, measured, who, count), most, limit)
        size = len(text.encode())
        if size <= limit:
            if count < most:
                remarks.append(f"of the test it has {counted(count, 'picture')}: no more fit into {limit / 1e6:g} MB")
            write_atomically(path, text.encode())
            return Written(size, count, teacher is not None, tuple(remarks))
        remarks.append("its teacher is left out: with it the page would be larger")
    raise DeiTEduError(
        f"{run}: its network alone makes a page of {size / 1e6:.1f} MB in half precision, and {limit / 1e6:g} MB is "
        f"the most: train a smaller one, or deit-edu export it"
    )


def fitting(make, most, limit):
    """The text with as many pictures as fit, and their number: one picture where not even that fits.

    Args:
        make: from a number of pictures to a text. most: pictures. limit: bytes.
    """
    text = make(most)
    size = len(text.encode())
    if size <= limit or most == 1:
        return text, most
    least = make(1)
    room, each = limit - len(least.encode()), (size - len(least.encode())) / (most - 1)
    for count in range(min(most - 1, int(1 + max(0, room) / each)), 1, -1):  # pictures differ in size
        if len((text := make(count)).encode()) <= limit:
            return text, count
    return least, 1


# ---- what was measured ----


@dataclass(frozen=True)
class Measured:
    """What a run's folder says of it."""

    record: dict  # result.json
    classes: tuple
    labels: torch.Tensor  # (n,) of the test pictures
    decisions: dict  # {head: (n,)}
    shares: torch.Tensor  # (n,): how sure it was of its answer

    @classmethod
    def of_run(cls, run, found):
        folder = find_run(run)
        predictions = folder / "predictions.safetensors"
        tensors, _ = load(predictions)
        logits = [tensors[name].float() for name in ("logits.class", "logits.distillation") if name in tensors]
        shares = torch.stack([one.softmax(-1) for one in logits]).mean(0).amax(-1)
        labels = torch.as_tensor(found.data.test.labels)
        return cls(read_json(folder / "result.json"), found.data.classes, labels, load_decisions(predictions), shares)

    @property
    def head(self):
        """Whose answer counts: both heads' where there are two."""
        return "fused" if "fused" in self.decisions else "class"

    @property
    def answers(self):
        """(n,): the class that it chooses."""
        return self.decisions[self.head]

    def per_class(self):
        """`PerClass` of its answers."""
        right, counts = self.counts().diagonal().tolist(), self.counts().sum(1).tolist()
        recalls = (hits / count if count else None for hits, count in zip(right, counts, strict=True))
        return PerClass(tuple(counts), tuple(recalls))

    def counts(self):
        """(K, K): pictures of each class, by the class that they are taken for."""
        K = len(self.classes)
        return torch.bincount(self.labels * K + self.answers, minlength=K * K).view(K, K)

    def accuracy(self, head):
        told = self.record["test"][head]
        return Accuracy(told["correct"], told["total"])


# ---- the page ----


def page_text(found, measured, teacher, count):
    """The whole page. teacher: None leaves it out. count: how many test pictures."""
    chosen = nested_subset(measured.labels, count)
    images = found.data.test.batch(chosen)
    remark = "" if found.teacher is None and not found.remark or teacher else "Its teacher is not in this page."
    figure = LiveDeiT(found.student, teacher, images, measured.labels[chosen], measured.classes, found.data.mean,
                      found.data.std, remark=remark)  # fmt: skip
    live, scripts = live_figure(figure)
    title = f"A student of {len(measured.classes)} classes"
    body = f"""<button class="theme" type="button">light or dark</button>
<h1>{escaped(title)}: {escaped(named(measured.classes))}</h1>
<p>{headline(measured)}</p>
<h2>Ask it</h2>
<p>Choose a picture, draw one, or drop a photograph of yours: it is looked at here, and never leaves this page.</p>
{live}
<h2>Some of the pictures it was tested on</h2>
{cards(images, chosen, measured)}
<h2>How often it is right</h2>
{accuracy_table(measured)}
<h2>Class by class</h2>
{recall_table(measured)}
<h2>What it takes for what</h2>
{confusions(measured)}
{curves(measured.record["curve"])}
<h2>How it was trained</h2>
{how_trained(found, measured)}
<footer>One file, written by <code>deit-edu page</code>. It asks nobody for anything: save it, send it, open it
without a network.</footer>
{scripts}
<script>{(HOST).read_text("utf8")}</script>"""
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<title>{escaped(title)}</title>
<link rel="icon" href="data:,">
<style>{themed("page.css")}</style>
<script>{(FOLDER / "page.js").read_text("utf8")}</script>
</head><body>
<main>
{body}
</main>
</body></html>
"""


def escaped(text):
    return html.escape(str(text))


def named(classes):
    """The classes' names; of many the first."""
    return ", ".join(classes) if len(classes) <= 12 else f"{', '.join(classes[:10])} and {len(classes) - 10} more"


def live_figure(figure):
    """(what stands in the figure's place, the scripts that hold its state and its parts)."""
    figure._picture, figure._caption = png(figure.picture()), " ".join(figure.caption().split())
    state, parts = figure.get_state(), {}
    arrays = {name: value for name, value in state.items() if isinstance(value, bytes)}
    buffers = [{"path": [name], "data": base64.b64encode(value).decode()} for name, value in arrays.items()]
    plain = {name: value for name, value in state.items() if name not in arrays}

    def keep(content):
        parts[name := part_name(content)] = content
        return name

    record, picture, caption = small_record({"state": plain, "buffers": buffers}, keep)
    view = f'<script type="{MIME}view+json">{in_script({"model_id": FIGURE})}</script>'
    live = view + without_script(f"data:image/png;base64,{picture}", caption)
    scripts = [f'<script type="application/json" id="deit-edu-{name}">{in_script(content)}</script>'
               for name, content in parts.items()]  # fmt: skip
    states = in_script({"state": {FIGURE: record}})
    figure.close()
    return live, "\n".join([*scripts, f'<script type="{MIME}state+json">{states}</script>'])


def headline(measured):
    """How good it is, in a sentence."""
    accuracy = measured.accuracy(measured.head)
    low, high = accuracy.interval
    whose = "Its two heads together are" if measured.head == "fused" else "It is"
    chance = max(torch.bincount(measured.labels).tolist()) / len(measured.labels)
    return (
        f"{whose} right on <strong>{accuracy.value:.1%}</strong> of {accuracy.total:,} test pictures (95 % interval "
        f"{low:.1%} to {high:.1%}). Who always says the most frequent class is right on {chance:.1%}."
    )


def cards(images, chosen, measured):
    """Test pictures, each with what it is and what the network says."""
    shown = []
    for image, index in zip(images, chosen.tolist(), strict=True):
        truth, said = (measured.classes[int(one[index])] for one in (measured.labels, measured.answers))
        sure = f"{measured.shares[index]:.0%}"
        right = truth == said
        told = f"{escaped(said)} ({sure})" + ("" if right else f", but it is {escaped(truth)}")
        size = ' class="large"' if image.shape[-1] > 96 else ""
        words = f"<span{'' if right else ' class=wrong'}>{told}</span>"
        shown.append(f'<li><img{size} src="{as_address(image)}" alt="{escaped(truth)}">{words}</li>')
    return f'<ul class="cards">{"".join(shown)}</ul>'


def as_address(image):
    """(C, H, W) uint8 as a picture that stands in the page: PNG, or JPEG where it is large."""
    pixels = image.permute(1, 2, 0).numpy()
    picture = Image.fromarray(np.ascontiguousarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels))
    kind, settings = ("jpeg", {"quality": 80}) if pixels.shape[0] > 96 else ("png", {"optimize": True})
    picture.save(buffer := io.BytesIO(), kind, **settings)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def scrolling(label, table):
    """A table that a phone can scroll, by keyboard too."""
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{escaped(label)}">{table}</div>'


def row(name, cells, kind=""):
    head = f'<th scope="row"{f" class={kind}" if kind else ""}>{escaped(name)}</th>'
    return f"<tr>{head}{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def head_row(names):
    return "<thead><tr>" + "".join(f'<th scope="col">{escaped(name)}</th>' for name in names) + "</tr></thead>"


def accuracy_table(measured):
    """Accuracy of each head and of both, with what the number of pictures leaves open."""
    rows = []
    for head in HEADS:
        if head in measured.record["test"]:
            accuracy = measured.accuracy(head)
            low, high = accuracy.interval
            digits = 0 if accuracy.total < 1000 else 1  # those that the number of pictures can tell
            interval = f"{low:.{digits}%} to {high:.{digits}%}"
            rows.append(row(HEAD_WORDS[head], (f"{accuracy.value:.1%}", interval, f"{accuracy.total:,}"), head))
    table = f"<table>{head_row(['', 'right', '95 % interval', 'of pictures'])}<tbody>{''.join(rows)}</tbody></table>"
    note = "<p>Wilson intervals: they speak of the choice of test pictures. Another seed moves it as well.</p>"
    return scrolling("accuracy of each head", table) + note


def recall_table(measured):
    """Of each class, how many pictures are found."""
    found = measured.per_class()
    rows = []
    for name, recall, count in zip(measured.classes, found.recalls, found.counts, strict=True):
        if recall is None:
            rows.append(row(name, ("no test picture", "", "0")))
            continue
        low, high = Accuracy(round(recall * count), count).interval
        rows.append(row(name, (f"{recall:.1%}", f"{low:.0%} to {high:.0%}", f"{count:,}")))
    table = f"<table>{head_row(['', 'found', '95 % interval', 'of pictures'])}<tbody>{''.join(rows)}</tbody></table>"
    balanced = f"<p>Balanced accuracy, the mean over the classes: {found.balanced:.2%}.</p>"
    return scrolling("recall of each class", table) + balanced


def confusions(measured):
    """How often each class is taken for each: a table, or the most frequent where the classes are many."""
    K, classes = len(measured.classes), measured.classes
    counts = measured.counts()
    if K > SHOWN_CLASSES:
        wrong = counts.clone().fill_diagonal_(0).flatten()
        most = [place for place in wrong.argsort(descending=True)[:SHOWN_CLASSES].tolist() if wrong[place]]
        rows = [row(classes[at // K], (escaped(classes[at % K]), f"{wrong[at]:,}")) for at in most]
        table = f"<table>{head_row(['it is', 'it says', 'pictures'])}<tbody>{''.join(rows)}</tbody></table>"
        return scrolling("the most frequent confusions", table)
    totals = counts.sum(1).clamp(min=1)
    rows = []
    for truth in range(K):
        cells = []
        for said in range(K):
            share = (counts[truth, said] / totals[truth]).item()
            shade = f"background: color-mix(in srgb, var(--fused) {60 * share:.0f}%, transparent)"
            right = ' class="right"' if truth == said else ""
            cells.append(f'<td{right} style="{shade}">{counts[truth, said]:,}</td>')
        rows.append(f'<tr><th scope="row">{escaped(classes[truth])}</th>{"".join(cells)}</tr>')
    heads = "".join(f'<th scope="col"><span>{escaped(name)}</span></th>' for name in classes)
    table = (
        f'<table class="confusion"><caption>A row for what a picture is, a column for what it is taken for.</caption>'
        f"<thead><tr><td></td>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    )
    return scrolling("confusions", table)


# ---- its curves ----


def curves(curve):
    """Loss and validation accuracy, epoch by epoch; nothing for a network that was not trained."""
    if not curve:
        return ""
    losses = {"ink": [line["loss"] for line in curve]}
    scores = {head: [line[head] for line in curve] for head in HEADS if head in curve[0]}
    first, last = curve[0], curve[-1]
    best = "fused" if "fused" in last else "class"
    length = counted(len(curve), "epoch")
    loss_words = f"The training loss goes from {first['loss']:.2f} to {last['loss']:.2f} in {length}."
    said = ", ".join(f"{HEAD_WORDS[head]} {scores[head][-1]:.1%}" for head in scores)
    score_words = f"On validation pictures: {first[best]:.1%} after the first epoch; at the end {said}."
    return (
        '<h2>How it learned</h2>\n<div class="curves">'
        + drawn(losses, loss_words, lambda value: f"{value:.2f}")
        + drawn(scores, score_words, lambda value: f"{value:.0%}")
        + "</div>"
    )


def drawn(lines, words, told):
    """Lines over the epochs as an SVG: {colour: values}, a sentence, and how a value is written at the axis."""
    W, H, left, top = 340, 190, 52, 8
    right, bottom = W - 10, H - 34
    values = [value for line in lines.values() for value in line]
    low, high = min(values), max(values)
    span = high - low or 1
    count = len(next(iter(lines.values())))

    def at(index, value):
        x = left + (right - left) * index / max(1, count - 1)
        return f"{x:.1f},{bottom - (bottom - top) * (value - low) / span:.1f}"

    strokes = "".join(
        f'<polyline style="stroke: var(--{colour})" stroke-dasharray="{DASHES.get(colour, "none")}" points="'
        + " ".join(at(index, value) for index, value in enumerate(line))
        + '"/>'
        for colour, line in lines.items()
    )
    axes = (
        f'<line class="axis" x1="{left}" y1="{bottom}" x2="{right}" y2="{bottom}"/>'
        f'<line class="axis" x1="{left}" y1="{top}" x2="{left}" y2="{bottom}"/>'
        f'<text x="{left - 4}" y="{top + 10}" text-anchor="end">{told(high)}</text>'
        f'<text x="{left - 4}" y="{bottom}" text-anchor="end">{told(low)}</text>'
        f'<text x="{left}" y="{H - 18}">1</text><text x="{right}" y="{H - 18}" text-anchor="end">{count}</text>'
        f'<text x="{(left + right) / 2}" y="{H - 4}" text-anchor="middle">epoch</text>'
    )
    picture = f'<svg viewBox="0 0 {W} {H}" role="img" aria-label="{escaped(words)}">{axes}{strokes}</svg>'
    return f"<figure>{picture}<figcaption>{escaped(words)}{legend(lines)}</figcaption></figure>"


DASHES = {"distillation": "7 3", "fused": "2 3"}  # beside the colour, for whoever cannot tell them apart


def legend(lines):
    """Which line is whose."""
    if len(lines) < 2:
        return ""
    marks = [
        f'<span class="whose"><svg viewBox="0 0 26 8" aria-hidden="true"><polyline style="stroke: var(--{head})" '
        f'stroke-dasharray="{DASHES.get(head, "none")}" points="0,4 26,4"/></svg> {HEAD_WORDS[head]}</span>'
        for head in lines
    ]
    return "<br>" + " ".join(marks)


# ---- how it was trained ----


def how_trained(found, measured):
    """The network, its teacher, the data, the settings, the machine, the time and the versions."""
    record, config, model = measured.record, measured.record["config"], found.student.config
    data, machine = found.data, record["machine"]
    tokens = "class and distillation token" if model.distilled else "class token"
    learned = "the labels alone"
    if config["distillation"] != "none":
        learned = f"the labels and {without_folders(config['teacher'], config)}, {config['distillation']} distillation"
    counts = " / ".join(f"{len(getattr(data, part)):,}" for part in ("train", "validation", "test"))
    told = {
        "network": f"{model.in_channels} x {model.image_size} x {model.image_size} pixels in patches of "
        f"{model.patch_size}, width {model.embed_dim}, {model.depth} blocks of {model.num_heads} heads, {tokens}; "
        f"{record['parameters']:,} parameters, here in half precision",
        "learned from": learned,
        "data": f"{without_folders(config['data'], config)}, {counts} pictures to train, choose and test on; checksum "
        f"{record['data']['checksum'][:16]}",
        "settings": ", ".join(f"{name} {value}" for name, value in settings_of(config).items()),
        "seed": config["seed"],
        "machine": f"{machine_name(machine)}, {machine['device']}, {machine['threads']} "
        f"thread{'s' * (machine['threads'] > 1)}, {machine['precision']}",
        "time": f"{in_words(record['seconds'])}, begun {record['started'][:16].replace('T', ' ')} UTC",
        "versions": f"deit_edu {record['library']['version']}, torch {machine['torch']}, Python {machine['python']}",
    }
    return "<dl>" + "".join(f"<dt>{name}</dt><dd>{escaped(value)}</dd>" for name, value in told.items()) + "</dl>"


def settings_of(config):
    """The settings that say how it was trained: length, batch, rate, and what is not the library's default."""
    usual = vars(TrainConfig())
    always = ("epochs", "batch_size", "learning_rate", "warmup_epochs")
    elsewhere = ("data", "model", "model_settings", "teacher", "distillation", "tokens", "seed", "device", "initial")
    other = [name for name, value in config.items() if name in usual and value != usual[name]]
    shown = [*always, *(name for name in other if name not in (*always, *elsewhere))]
    return {name.replace("_", " "): config[name] for name in shown if name in config}


def without_folders(name, config):
    """A name of data or of a run, without where it lay on its owner's disk: a page is sent to others."""
    kind, _, path = config["data"].partition(":")
    last = printable(path.rstrip("/\\").replace("\\", "/").rpartition("/")[2])
    lay = path.replace("/", "-").replace(":", "-")  # in the name of a run
    short = name.replace(path, last).replace(lay, last) if path else name
    return short if ":" in short else short.rstrip("/").rpartition("/")[2]
