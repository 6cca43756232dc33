"""Other classes (tables 6 and 7): does it pay to have learned other classes before, and to have had a teacher?"""

from deit_edu.evidence.grids import EXPERIMENTS
from deit_edu.evidence.pages.pieces import claimed, difference, differences, evidence, fold, ours, row, said

HEADS = {"plain": "class", "nothing": "class", "distilled": "fused", "two_class_tokens": "fused"}
FEW = EXPERIMENTS["transfer"].configurations["from_plain_250"]["train_images"]


def ends(plus, minus, size):
    return [(f"from_{start}_{size}", HEADS[start]) for start in (plus, minus)]


def transferred(plus, minus, size="all"):
    return difference("transfer", *ends(plus, minus, size))


def answer():
    return said(
        f"""To have learned other garments before pays, {ours("transfer-beats-from-nothing")} points; that a teacher for
them pays is not resolved, {ours("distilled-transfers-better")}, and a
student with two class tokens, which never had a teacher, stands at {transferred("two_class_tokens", "plain")}.""",
        transfer_beats_from_nothing="reproduced", distilled_transfers_better="not resolved",
    )  # fmt: skip


def figure():
    def compare(label, plus, minus, size="all"):
        return row(label, "transfer", *ends(plus, minus, size))

    return differences(
        [
            claimed("transfer-beats-from-nothing", "from plain − from nothing"),
            compare(f"the same, {FEW} images", "plain", "nothing", FEW),
            claimed("distilled-transfers-better", "from distilled − from plain"),
            compare(f"the same, {FEW} images", "distilled", "plain", FEW),
            compare("from two class tokens − from plain", "two_class_tokens", "plain"),
            compare(f"the same, {FEW} images", "two_class_tokens", "plain", FEW),
            compare("from distilled − from two class tokens", "distilled", "two_class_tokens"),
            compare(f"the same, {FEW} images", "distilled", "two_class_tokens", FEW),
            row(
                "source classes: distilled − plain",
                "transfer",
                ("source_distilled", "fused"),
                ("source_plain", "class"),
            ),
        ]
    )


def config(name):
    return evidence().results.cell("transfer", name, 0).config


def reading():
    source = difference("transfer", ("source_distilled", "fused"), ("source_plain", "class"))
    return said(
        f"""**What was learned before helps:** {transferred("plain", "nothing")} points over a start from nothing with
all images, {transferred("plain", "nothing", FEW)} with {FEW}. Part of that may be training time:
{config("from_nothing_all").epochs} epochs are few for a start from nothing, and we did not give the rival the other's
{config("source_plain").epochs} as well. (The paper's DeiT without ImageNet trained for "up to 7200 epochs"; an author
speaks of 1000, in issue 154 of their repository.) The few do nearly as well as all. A likely reason is in the data: an
item stands on a new canvas every epoch, so {FEW} items are many pictures.

**Does a distilled student transfer better?** On its own five classes it is ahead by {source} points, just short of what
we call resolved. On the others it stands at {transferred("distilled", "plain")} against the plain one with all images,
and at {transferred("distilled", "plain", FEW)} with {FEW}: not resolved. The control says more. A student with two
class tokens never had a teacher; it stands at {transferred("two_class_tokens", "plain")} and
{transferred("two_class_tokens", "plain", FEW)}, and the distilled one at {transferred("distilled", "two_class_tokens")}
and {transferred("distilled", "two_class_tokens", FEW)} against it. So if there is a gain with all images, we cannot
credit the teacher with it, and with the few it may even have cost a little. Table 7 has no such row to compare with. So
we ran no more seeds for it: they might resolve the gain, and would not say whose it is.""",
        transfer_beats_from_nothing="reproduced", distilled_transfers_better="not resolved",
    )  # fmt: skip


def rates():
    return fold(
        "The learning rates",
        f"""Both learning rates were chosen on validation images, for plain students:
{config("from_plain_all").learning_rate:g} for fine-tuning and {config("from_nothing_all").learning_rate:g} from
nothing. The first was found on all images of these five classes, the second on all ten classes.""",
    )
