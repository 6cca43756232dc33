"""deit-edu predict: what a trained network says of pictures, and what its tokens look at."""

import csv
import io
import json
import sys

from deit_edu.data.walk import printable
from deit_edu.errors import DeiTEduError
from deit_edu.model import DeiT
from deit_edu.runs.checkpoints import write_atomically
from deit_edu.runs.pictures import TrainedNetwork, pictures_in, predict_pictures

SHOWN = 8  # photographs in one picture of --show


def add_arguments(parser):
    parser.add_argument("run_folder", metavar="RUN", help="a run folder, its name, or packaged:NAME")
    parser.add_argument("pictures", nargs="+", metavar="PICTURE", help="a picture file, or a folder of them")
    parser.add_argument("--format", choices=FORMATS, default="text", help="what is printed (default: %(default)s)")
    parser.add_argument(
        "--top", type=int, default=5, metavar="K", help="the K likeliest classes (default: %(default)s)"
    )
    parser.add_argument("--show", metavar="OUT.png", help=f"draw where its tokens look, in {SHOWN} pictures at most")


def run(chosen):
    if chosen.top < 1:
        raise DeiTEduError(f"--top is {chosen.top}: it must be 1 or more")
    network = TrainedNetwork(chosen.run_folder)
    if chosen.show:
        check_can_show(network, chosen.show)
    pictures, beside = pictures_in(chosen.pictures)
    answers = predict_pictures(network, pictures)
    known = [answer for answer in answers if not answer.why]
    FORMATS[chosen.format](known, chosen.top)
    for answer in answers:
        if answer.why:
            print(f"{printable(answer.picture)} cannot be read: {answer.why}", file=sys.stderr)
    for sentence in beside:
        print(sentence, file=sys.stderr)
    if chosen.show and known:
        show(network, known[:SHOWN], chosen.show)
        more = f" ({SHOWN} of {len(known)} pictures)" if len(known) > SHOWN else ""
        print(f"drawn in {chosen.show}{more}", file=sys.stderr)
    return int(len(known) < len(answers))


# ---- what is printed ----


def print_text(answers, count):
    """A small table for each picture: the likeliest classes, and what each head makes of them."""
    for answer in answers:
        top = answer.likeliest(count)
        width = max(len(name) for name, _ in [("class", None), *top])
        print(f"{printable(answer.picture)}: {top[0][0]}")
        print(f"  {'':{width}}" + "".join(f"{head:>14}" for head in answer.probabilities))
        for name, shares in top:
            print(f"  {name:{width}}" + "".join(f"{share:14.2%}" for share in shares.values()))


def print_json(answers, count):
    """A list of {"picture", "answer", "probabilities": {head: {class: p}}}, the likeliest classes first."""
    told = []
    for answer in answers:
        top = answer.likeliest(count)
        heads = {head: {name: shares[head] for name, shares in top} for head in answer.probabilities}
        told.append({"picture": printable(answer.picture), "answer": top[0][0], "probabilities": heads})
    print(json.dumps(told, indent=1, ensure_ascii=False))


def print_csv(answers, count):
    """A row for each picture and class, the likeliest first, with a column for each head."""
    heads = list(answers[0].probabilities) if answers else []
    rows = csv.writer(sys.stdout, lineterminator="\n")
    rows.writerow(["picture", "rank", "name", *heads])
    for answer in answers:
        for rank, (name, shares) in enumerate(answer.likeliest(count), 1):
            rows.writerow([printable(answer.picture), rank, name, *(f"{share:.6f}" for share in shares.values())])


FORMATS = {"text": print_text, "json": print_json, "csv": print_csv}


# ---- what its tokens look at ----


def check_can_show(network, path):
    if not path.lower().endswith(".png"):
        raise DeiTEduError(f"--show {path} must end in .png")
    if not isinstance(network.model, DeiT):
        kind = network.metadata["name"]
        raise DeiTEduError(f"--show draws where tokens look: {network.name} is a {kind} and has none")


def show(network, answers, path):
    """Draw photographs with the last layer's attention of every prefix token, the mean over heads."""
    from deit_edu.reading.figures import STYLE, plt, where_tokens_look  # matplotlib takes a while to load

    paths = [answer.picture for answer in answers]
    attention = network.attention([one.pixels for one in network.read(paths)])
    attention = {token: maps.numpy() for token, maps in attention.items()}
    photographs = [one.pixels for one in network.read(paths, max(224, network.side))]
    titles = [f"{answer.likeliest(1)[0][0]}, {answer.decisive.max():.0%}" for answer in answers]
    with plt.rc_context(STYLE):
        where_tokens_look(photographs, attention, titles).savefig(picture := io.BytesIO(), dpi=150)
    write_atomically(path, picture.getvalue())
