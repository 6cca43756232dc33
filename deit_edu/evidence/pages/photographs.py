"""Photographs: three rows of table 3 once more on CIFAR-10, and one student that trained for longer."""

import matplotlib.pyplot as plt
import numpy as np
import torch

from deit_edu.data import drawn_pictures, normalise
from deit_edu.evidence.grids import EXPERIMENTS
from deit_edu.evidence.pages.pieces import (
    cards,
    differences,
    drawn,
    evidence,
    fold,
    levels,
    ours,
    row,
    said,
    taught_right,
)
from deit_edu.inspect import prefix_attention
from deit_edu.model import fuse
from deit_edu.reading import figures
from deit_edu.runs import load_network, packaged_path
from deit_edu.runs.machine import machine_name

PLAIN = ("none", "class")
KINDS = {"token_soft": "soft", "token_hard": "hard"}
PARTS = ("flagship", "mixed", "further", "augmented")  # of the student that trained for longer
HEADS = ("class", "distillation", "fused")
AIMS = {"teacher": 92, "student": 85}  # per cent of the test images, set before the first of these runs


def recorded(experiment, configuration, seed=0):
    return evidence().photos.record(experiment, configuration, seed)


def config(experiment, configuration):
    return evidence().photos.cell(experiment, configuration, 0).config


def parts():
    """The records of the long student's four parts."""
    return [recorded("flagship", name) for name in PARTS]


def on_test(record):
    return {head: 100 * score["accuracy"] for head, score in record["test"].items()}


def validation(record):
    """The accuracy of both heads together after each epoch, %."""
    return [100 * epoch["fused"] for epoch in record["curve"]]


def first_teacher():
    return recorded("cifar10_teacher", "convnet")


def strong_teacher():
    return recorded("cifar10_strong_teacher", "convnet")


def head_gap(record):
    """Distillation head minus class head on validation images, where single runs are compared, in points."""
    return 100 * (record["validation"]["distillation"]["accuracy"] - record["validation"]["class"]["accuracy"])


# ---- the table that the page begins with ----


def hours(records):
    return sum(record["seconds"] for record in records) / 3600


def runs_row(words, records, teachers, right):
    """(who, epochs, hours, hours with its teachers' training, machine, the heads' accuracy) of one network."""
    taught = [teacher for teacher in teachers if teacher]
    machine = records[0]["machine"]
    threads = machine["threads"]
    where = f"{machine_name(machine)}, {threads} thread{'s' * (threads > 1)}, {machine['precision']}"
    with_teachers = f"{hours([*records, *taught]):.1f}" if taught else "no teacher"
    shares = (f"{right[head]:.1f}" if head in right else "-" for head in HEADS)
    epochs = sum(len(record["curve"]) for record in records)
    return (words, epochs, f"{hours(records):.1f}", with_teachers, where, *shares)


def all_runs():
    """Every network of the page: epochs, hours, machine, accuracy of each head."""
    teachers, students, long = [], [], []
    for words, teacher in (("the first teacher", first_teacher()), ("the better teacher", strong_teacher())):
        teachers.append(runs_row(words, [teacher], [], on_test(teacher)))
    for name, words in {"none": "plain student", "token_soft": "soft labels", "token_hard": "hard labels"}.items():
        taught_by = [] if name == "none" else [first_teacher()]
        for seed in evidence().photos.seeds("cifar10"):
            if record := recorded("cifar10", name, seed):
                students.append(runs_row(f"{words}, seed {seed}", [record], taught_by, on_test(record)))
    for position, name in enumerate(("first part", "then mixed images", "then once more", "then RandAugment")):
        done = parts()[: position + 1]
        taught_by = [first_teacher(), strong_teacher()][: 1 + (position > 0)]
        long.append(runs_row(f"{name}, all so far" if position else name, done, taught_by, on_test(done[-1])))
    columns = ("network", "epochs", "hours", "with teachers", "machine", "class, %", "distil., %", "both, %")
    groups = {"Teachers": teachers, "Students, two seeds each": students, "One student, for longer": long}
    return cards(columns, groups, "Test accuracy, and what it took: hours of the run, and with its teachers' training")


def table_note():
    return said("""The class head of a plain student or a teacher is its only one. A student's hours hold asking its
teacher, not training it; *with teachers* adds that, though one teacher serves many students. One and two threads,
float32 and bfloat16: compare hours within a group only.""")


# ---- three rows of table 3 ----


def setting():
    """How these runs differ from the canvases."""
    student, teacher = config("cifar10", "token_hard"), config("cifar10_teacher", "convnet")
    photos, names = evidence().photos, EXPERIMENTS["cifar10_tuning"].configurations
    tried = ", ".join(
        f"{n.rpartition('_')[2]} gave {photos.measure('cifar10_tuning', n, 0, 'class'):.1f} %" for n in names
    )
    rate_epochs = config("cifar10_tuning", next(iter(names))).epochs
    optimizers = {name: photos.measure("cifar10_teacher_tuning", name, 0, "class") for name in ("adamw", "sgd")}
    return fold(
        "How these runs were set up",
        f"""The student is `{student.model}`, the teacher `{teacher.model}`, with {first_teacher()["parameters"]:,}
parameters. Both see the images shifted by up to {student.crop_padding} pixels and flipped at random, and nothing else.
Our copy of the images was stored as JPEG files, which lose a little. So compare these numbers with each other only.

There is *one* teacher: it ships with the library, and all students learn from the same weights. Students train for
{student.epochs} epochs. Their learning rate is {student.learning_rate:g}: on validation images, after {rate_epochs}
epochs of the plain student, {tried}. The teacher's optimiser was chosen after
{config("cifar10_teacher_tuning", "adamw").epochs} epochs on validation images, AdamW with {optimizers["adamw"]:.1f} %
against SGD with {optimizers["sgd"]:.1f}; it then trained for {teacher.epochs}, and stood still over the last of
them.""",
    )


def answer():
    gains = {kind: seed_by_seed((kind, "fused"), PLAIN) for kind in KINDS}
    return said(f"""Its hard labels bring {gains["token_hard"]} points over the plain student, seed by seed, both heads;
its soft answers, with the paper's small weight, {gains["token_soft"]}.""")


def seed_by_seed(plus, minus):
    """The difference of every seed, in points: with two of them an interval would say less."""
    (_, first), (_, second) = evidence().photos.paired("cifar10", ((1, *plus), (-1, *minus)))
    return " and ".join(f"{gain:+.1f}" for gain in first - second) or "-"


def figure():
    of = evidence().photos
    rows = []
    for kind, words in KINDS.items():
        rows += [
            row(f"{words}, class head − plain", "cifar10", (kind, "class"), PLAIN, "class", of),
            row(f"{words}, distillation head − plain", "cifar10", (kind, "distillation"), PLAIN, "distillation", of),
            row(f"{words}, both − plain", "cifar10", (kind, "fused"), PLAIN, of=of),
        ]
    rows.append(row("hard − soft, both heads", "cifar10", ("token_hard", "fused"), ("token_soft", "fused"), of=of))
    for kind, words in KINDS.items():
        heads = (kind, "distillation"), (kind, "class")
        rows.append(row(f"{words}, distillation − class head", "cifar10", *heads, "distillation", of))
    return differences(rows)


def cosines(kind, layer):
    """Of the two tokens, seed by seed: 0 is the input, -1 the last layer."""
    found = [r for seed in evidence().photos.seeds("cifar10") if (r := recorded("cifar10", kind, seed))]
    return " and ".join(f"{record['tokens']['similarity'][layer]:.2f}" for record in found) or "-"


def parts_from_teacher(name):
    """Share of the test images on which one of seed 0 decides otherwise than the teacher, %."""
    photos = evidence().photos
    decided = photos.decided("cifar10_teacher", 0, "convnet"), photos.decided("cifar10", 0, name)
    return "-" if any(one is None for one in decided) else f"{100 * (decided[0] != decided[1]).float().mean():.1f}"


def reading():
    photos = evidence().photos
    epochs, hard_over_soft = config("cifar10", "token_hard").epochs, (("token_hard", "fused"), ("token_soft", "fused"))
    return said(f"""The order is that of the judged rows: hard over soft, {seed_by_seed(*hard_over_soft)}, though the
smaller of the two could be luck. The heads are another matter. Here the distillation head taught by hard labels is
ahead of the class head, {seed_by_seed(("token_hard", "distillation"), ("token_hard", "class"))}; on the canvases it
stands at {ours("distillation-head-beats-class-head")}. This teacher is right on
{taught_right("token_hard", "cifar10", photos):.0f} % of the images that it teaches with, that one on
{taught_right("token_hard", "distillation"):.0f} %. Two seeds show a sign. They decide nothing, and nothing here is
judged. After {epochs} epochs every student is still gaining, and the convnet is far ahead.""")


def more_of_the_two():
    """Curves, tokens, and how near the student comes to its teacher."""
    judged = evidence().judged
    paper_last, paper_input = judged["tokens-converge"].claim.paper["DeiT"]
    canvases = {layer: mean_cosine(layer) for layer in (0, -1)}
    return fold(
        "Curves, tokens, and nearness to the teacher",
        levels("cifar10", evidence().photos),
        curves(),
        f"""*The tokens* part further than on the canvases. Taught by hard labels, their vectors stand at a cosine of
{cosines("token_hard", 0)} at the input and of {cosines("token_hard", -1)} after the last layer; on the canvases it is
{canvases[0]:.2f} and {canvases[-1]:.2f}, in the paper {paper_input} and {paper_last}. Taught by soft answers they stay
together, {cosines("token_soft", 0)} at the input, {cosines("token_soft", -1)} at the end. One reading: the paper's
small weight leaves the second token's lesson so small that it follows the first.

*The student comes to resemble its teacher.* In the first seed the plain student decides otherwise than the convnet on
{parts_from_teacher("none")} % of the test images, the class head of *token hard* on {parts_from_teacher("class")} %,
its distillation head on {parts_from_teacher("distillation")} %.""",
    )


def mean_cosine(layer):
    """The two tokens' mean cosine on the canvases."""
    of = evidence().results
    found = [r for seed in of.seeds("tokens") if (r := of.record("tokens", "token_hard", seed))]
    return np.mean([record["tokens"]["similarity"][layer] for record in found])


def curves():
    """Validation accuracy after each epoch, of each row of table 3."""
    lines = {"none": ("plain", "plain", "class", "-"), "token_soft": ("soft, both", "fused", "fused", ":"),
             "token_hard": ("hard, both", "fused", "fused", "--")}  # fmt: skip
    found = {
        name: [
            [100 * epoch[head] for epoch in record["curve"]]
            for seed in evidence().photos.seeds("cifar10")
            if (record := recorded("cifar10", name, seed))
        ]
        for name, (_, _, head, _) in lines.items()
    }

    def draw():
        fig, ax = plt.subplots(figsize=(figures.NARROW, 2.8))
        for name, (words, colour, _, style) in lines.items():
            for seed, curve in enumerate(found[name]):
                label = words if seed == 0 else None
                ax.plot(
                    range(1, len(curve) + 1), curve, style, color=figures.COLOURS[colour], linewidth=1.4, label=label
                )
        ax.set(xlabel="epoch", ylabel="validation accuracy, %")
        ax.legend(fontsize=8)
        return fig

    means = "; ".join(
        f"{lines[name][0]}: {np.mean([curve[0] for curve in runs]):.0f} after the first epoch, "
        f"{np.mean([curve[-1] for curve in runs]):.0f} after the last"
        for name, runs in found.items()
    )
    return drawn(draw, f"Validation accuracy after each epoch, a line for every seed. Means: {means}.")


# ---- one student, for longer ----


def draw_parts(records, taught):
    """Validation accuracy of each head after each epoch; taught: {(from, to) part: its teacher's, %}."""
    fig, ax = plt.subplots(figsize=(figures.NARROW, 2.8))
    curve = [epoch for record in records for epoch in record["curve"]]
    for head, width in {"fused": 1.8, "class": 0.9, "distillation": 0.9}.items():
        shares, words = [100 * epoch[head] for epoch in curve], figures.HEAD_WORDS[head]
        ax.plot(range(1, len(curve) + 1), shares, color=figures.COLOURS[head], linewidth=width, label=words)
    ends = [0, *np.cumsum([len(record["curve"]) for record in records])]
    for (first, last), right in taught.items():
        span = [ends[first] + 1, ends[last]]
        label = "its teacher" if first == 0 else None
        ax.plot(span, [right, right], "--", color=figures.COLOURS["teacher"], linewidth=1.4, label=label)
    for end in ends[1:-1]:
        ax.axvline(end + 0.5, color=figures.COLOURS["plain"], linewidth=0.8)
    ax.set(xlabel="epoch", ylabel="validation accuracy, %")
    ax.legend(fontsize=8, loc="lower right")
    return fig


def long_figure():
    """The student's four parts."""
    first, strong = (
        100 * teacher["validation"]["class"]["accuracy"] for teacher in (first_teacher(), strong_teacher())
    )
    said_of = "; ".join(
        f"part {n}: from {shares[0]:.0f} to {shares[-1]:.0f} %, lowest {min(shares):.0f}"
        for n, shares in enumerate(map(validation, parts()), 1)
    )
    alt = f"""Validation accuracy of one student's four parts after each epoch, of each head and of both together. Both
        together, {said_of}. Its teacher stood at {first:.0f} in the first part, at {strong:.0f} after."""
    return drawn(lambda: draw_parts(parts(), {(0, 1): first, (1, 4): strong}), alt)


def long_answer():
    """What the long student came to."""
    last, best = on_test(parts()[-1]), preferred()
    return said(f"""To {last[best[0]]:.1f} % on test images, by {best[1]}, in {hours(parts()):.1f} hours. The better
of its teachers stands at {on_test(strong_teacher())["class"]:.1f}.""")


def preferred():
    """The answer that is best on validation images, where one may choose: (its measure, in words)."""
    words = {"class": "its class head", "distillation": "its distillation head", "fused": "both heads together"}
    best = max(words, key=lambda head: parts()[-1]["validation"][head]["accuracy"])
    return best, words[best]


def long_reading():
    first, mixed, further, augmented = map(on_test, parts())
    short = np.mean([evidence().photos.measure("cifar10", "token_hard", seed, "fused") for seed in range(2)])
    teacher = on_test(first_teacher())["class"]
    gain = {
        "mixed": mixed["fused"] - first["fused"], "further": further["fused"] - mixed["fused"],
        "augmented": augmented["fused"] - further["fused"],
    }  # fmt: skip
    epochs = [len(record["curve"]) for record in parts()]
    return said(f"""**This student had no plain twin.** It was taught throughout, and nobody trained the same network as
long without a teacher. So its {on_test(parts()[-1])[preferred()[0]]:.1f} % say what time, images and teacher brought
together; what the teacher brought they cannot say.

Time was much of what the short students lacked: {epochs[0]} epochs went
{(first["fused"] - short) / (teacher - short):.0%} of the way from them to the teacher. Then validation stood still.
Mixed images and a better teacher brought {gain["mixed"]:+.1f} points in {epochs[1]} epochs, more time at half the
rate {gain["further"]:+.1f} in {epochs[2]}, and RandAugment {gain["augmented"]:+.1f} in {epochs[3]}. The same
RandAugment and mixing cost a small student of the canvases points; an augmentation is worth something to a network
that has come to know its images too well, and there every scene is new. Each part is one run, so this is a reading,
and not a result.

On validation images the distillation head stands at {", ".join(f"{head_gap(part):+.1f}" for part in parts())} points
against the class head after the four parts: ahead throughout.""")


def two_optimizers():
    """The first teacher's optimiser, once more."""
    photos = evidence().photos
    early = {name: photos.measure("cifar10_teacher_tuning", name, 0, "class") for name in ("adamw", "sgd")}
    whole = photos.measure("cifar10_teacher_tuning", "sgd_whole", 0, "class")
    own, strong = (100 * t["validation"]["class"]["accuracy"] for t in (first_teacher(), strong_teacher()))
    strong_config = config("cifar10_strong_teacher", "convnet")
    more = strong_teacher()["parameters"] / first_teacher()["parameters"]
    return fold(
        "The two teachers",
        f"""The optimiser that is ahead early need not be ahead at the end. So the first convnet was trained by SGD,
too, for as many epochs as by AdamW. On validation images it is right on {whole:.1f} %, the teacher on {own:.1f} %.
After {config("cifar10_teacher_tuning", "sgd").epochs} epochs SGD had been {early["adamw"] - early["sgd"]:.1f} points
behind; at the end it is at {whole - own:+.1f}, and two single runs cannot tell more. Two optimisers that end in one
place: what keeps this convnet where it is, is more likely its size, or its epochs. The first one stayed the teacher.

The second, `{strong_config.model}`, has {strong_teacher()["parameters"]:,} parameters, {more:.1f} times those of the
first, and another plan, that of *airbench*: its first layer is computed from the images and never trained, so that its
outputs are uncorrelated (whitening); there are no shortcuts; and where the picture is halved, a maximum is taken. By
SGD in {strong_config.epochs} epochs it is right on {strong:.1f} % of the validation images; the first, by the same
SGD for the same epochs, on {whole:.1f}. So with optimiser and epochs equal it is {strong - whole:.1f} points better,
in one run each. Whether more epochs would have helped the first, we did not try.""",
    )


def moved(shares, last):
    """How far an accuracy moved over the last epochs, in points."""
    return shares[-1] - shares[-1 - last]


def part_by_part():
    """What each part did, epoch by epoch."""
    records = parts()
    first, second, third, fourth = curves_of = [validation(record) for record in records]
    late = [len(shares) // 6 for shares in curves_of]
    loss = [records[0]["curve"][epoch]["loss"] for epoch in (-1 - late[0], -1)]
    test = [on_test(record)["fused"] for record in records]
    strong = on_test(strong_teacher())["class"]
    mixed, further = config("flagship", "mixed"), config("flagship", "further")
    best = [1 + int(np.argmax(shares)) for shares in curves_of]
    back = next((n for n, right in enumerate(fourth, 1) if right >= third[-1]), None)
    tokens = "; ".join(
        f"{r['tokens']['similarity'][0]:.2f} and {r['tokens']['similarity'][-1]:.2f}" for r in records[:2]
    )
    returned = f"after {back} epochs the student was back" if back else "it did not come back to where it had begun"
    return fold(
        "Part by part",
        f"""*First, {len(first)} epochs.* Over the last {late[0]} validation moved by {moved(first, late[0]):+.1f}
points, while the loss on the training images still fell from {loss[0]:.3f} to {loss[1]:.3f}. The learning rate is
near its end there, which slows both. Still, we saw no gain from the last epochs on images it does not know: shifts
and flips show it too little that is new.

*Then mixed images, and a better teacher, {len(second)} epochs.* On {mixed.mix_probability:.0%} of the batches two
images become one, by Mixup or by CutMix, with the Beta distributions of the paper's recipe; the authors' code mixes
every batch. The teacher is asked what it sees in the mixture, and the learning rate is at its full height once more.
At first mixing costs: the lesson is harder and the rate is high again. In
{sum(right < first[-1] for right in second)} of its epochs it ended lower than where it had begun, and whoever had
looked then would have called the mixing a mistake. The gain comes late, as the rate falls: over the last {late[1]}
epochs {moved(second, late[1]):+.1f} points, best at epoch {best[1]} of {len(second)}. It went
{(test[1] - test[0]) / (strong - test[0]):.0%} of the way to its new teacher. Two things changed at once, so what each
brought this cannot say. The tokens' cosines at the input and after the last layer, after the first part and after
this one: {tokens}.

*Once more, {len(third)} epochs,* at {further.learning_rate / mixed.learning_rate:.0%} of that rate, all else as it
was. It cost {second[-1] - min(third):.1f} points at first; at full height, with the mixing new, it had cost
{first[-1] - min(second):.1f}. Best at epoch {best[2]} of {len(third)}; after that it moved by
{third[-1] - third[best[2] - 1]:+.1f}, while the rate fell to nearly nothing.

*And pictures that change, {len(fourth)} epochs.* By then the student had met every image
{sum(map(len, curves_of[:3]))} times. Mixing changes which other image it meets there; RandAugment, which chapter 6
shows, changes the picture itself, for student and teacher. It cost {third[-1] - min(fourth):.1f} points at first;
{returned}. Part of the gain is time: time alone had brought {test[2] - test[1]:.1f} points in the part before. But
that part stood still at its end, while this one moved by {moved(fourth, late[3]):+.1f} points over its last {late[3]}
epochs, and its best epoch is {best[3]} of {len(fourth)}. That the distillation head learns what the teacher decides,
and the class head the mixture's label, may be a reason that it is ahead; but it was ahead before the mixing, too.""",
    )


def aims():
    """What had been aimed at."""
    first, last, strong = on_test(parts()[0]), on_test(parts()[-1]), on_test(strong_teacher())["class"]
    best, words = preferred()

    def against(aim, reached):
        return f"is {abs(aim - reached):.1f} points {'short of' if reached < aim else 'above'} its aim"

    return fold(
        "What we had aimed at",
        f"""Before these runs we had set ourselves {AIMS["teacher"]} % for a teacher and {AIMS["student"]} % for a
student, on test images. The student, by {words}, the best answer on validation images,
{against(AIMS["student"], last[best])}; the teacher, at {strong:.1f}, {against(AIMS["teacher"], strong)}. Some of that
may be the JPEG copy, which stores colour at half the resolution; on the images as they were published such a convnet
does better, as the title of its paper says, though with tricks that we left out. From its first part to its last the
student went {(last["fused"] - first["fused"]) / (strong - first["fused"]):.0%} of the way to that teacher.""",
    )


def looks():
    """Where the tokens of the student that ships look, on drawings and a photo of the same kinds of things."""
    shipped, seen = load_network(packaged_path("cifar10_student"))
    pictures, kinds = drawn_pictures()
    asked = normalise(pictures, seen["mean"], seen["std"])
    with torch.no_grad():
        decided = shipped(asked)
        maps = prefix_attention(shipped.attention_maps(asked)[-1].mean(dim=1), shipped.config)
    says = [seen["classes"][answer] for answer in fuse(decided).argmax(dim=1).tolist()]
    drawn_halves = []
    for half in (slice(0, 5), slice(5, 10)):
        alt = f"""Five pictures: {", ".join(kinds[half])}. Under each, what the class token and the distillation token
take from its patches. The student says: {", ".join(says[half])}."""
        drawn_halves.append(
            drawn(
                lambda half=half: figures.token_attention(
                    pictures[half].permute(0, 2, 3, 1), None, {t: found[half] for t, found in maps.items()}, kinds[half]
                ),
                alt,
            )
        )
    pairs = [torch.stack([maps[token][n].flatten() for token in ("class", "distillation")]) for n in range(len(kinds))]
    overlap = torch.stack([torch.corrcoef(pair)[0, 1] for pair in pairs])
    return fold(
        "Where its tokens look",
        "No image of CIFAR-10 may be printed here, so we ask it about drawings and a photo of the same things. "
        "The maps are the last layer's, the mean over its heads.",
        *drawn_halves,
        f"""It names {sum(said_ == kind for said_, kind in zip(says, kinds, strict=True))} of the {len(kinds)}. Most are
drawings, and it has seen only photographs. The two tokens' maps resemble each other: over the patches of a picture
their correlation is {overlap.min():.2f} to {overlap.max():.2f}.""",
    )
