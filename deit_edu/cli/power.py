"""deit-edu power: how many seeds an effect takes, and what each claim could have seen."""

from deit_edu.evidence.ledger import Ledger
from deit_edu.evidence.power import EFFECT, POWER, answer, power_table, sensitivities
from deit_edu.evidence.report import FORMS, Results
from deit_edu.evidence.verdicts import CONFIDENCE


def add_arguments(parser):
    shares = {"power": "how often an effect that is there is to be seen", "confidence": "the level of the interval"}
    parser.add_argument("--effect", type=float, default=EFFECT, help="in points of accuracy (default: %(default)s)")
    for (name, told), default in zip(shares.items(), (POWER, CONFIDENCE), strict=True):
        parser.add_argument(f"--{name}", type=float, default=default, help=f"{told} (default: %(default)s)")
    parser.add_argument("--format", choices=tuple(FORMS), default="text")


def run(chosen):
    found = sensitivities(Results(Ledger()))
    lines = answer(found, chosen.effect, chosen.power, chosen.confidence)
    table = FORMS[chosen.format](power_table(found, chosen.effect, chosen.power, chosen.confidence))
    print(table if chosen.format == "csv" else "\n".join([*lines, "", table]))
