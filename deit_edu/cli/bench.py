"""deit-edu bench: one distillation step, timed against timm's student in the same loop."""

from deit_edu.runs.bench import report


def add_arguments(parser):
    parser.add_argument("--steps", type=int, default=40, help="steps in each of the rounds")
    parser.add_argument("--rounds", type=int, default=7)


def run(chosen):
    report(chosen.steps, chosen.rounds)
