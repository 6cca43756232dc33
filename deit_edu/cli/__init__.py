"""The `deit-edu` command. Each of its commands is a module of this folder, loaded when it is called.

A module has ``add_arguments(parser)`` and ``run(chosen)``. Torch takes seconds to load: ``--help`` does not wait.
"""

import argparse
import importlib
import os
import re
import sys
import warnings

from deit_edu.errors import DeiTEduError

COMMANDS = {  # in the order in which a newcomer meets them
    "data": "list the data sets, or load one and say what is in it",
    "train": "train a network, or a teacher and its student",
    "evaluate": "accuracy of each head and fusion, and who disagrees with whom",
    "predict": "what a trained network says of your pictures, and where it looks",
    "ablate": "run an experiment of the paper again, with seeds, into the ledger",
    "report": "tables and verdicts from the ledger",
    "power": "how many seeds an effect takes, and what each claim could have seen",
    "page": "write one file with a trained student in it, to open anywhere and to send",
    "export": "write a trained DeiT for other libraries",
    "bench": "time one distillation step against timm's student in the same loop",
}


def main(arguments=None):
    """Run one command; the exit status: 0, 1 for a file that could not be read, 2 for a mistake, 130 for Ctrl-C."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a name in a script that the terminal's encoding has not is no error
            stream.reconfigure(errors="backslashreplace")
    warnings.formatwarning = lambda message, *where, **more: f"note: {message}\n"  # a reader's line, not a line of ours
    try:
        arguments = sys.argv[1:] if arguments is None else arguments
        chosen = make_parser(arguments).parse_args(arguments)
        return chosen.run(chosen) or 0
    except DeiTEduError as error:
        return fail(error)
    except KeyboardInterrupt:
        go_on = "the same command goes on (deit-edu train: with --resume)"
        print(f"\nstopped; a training keeps its whole epochs: {go_on}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader closed the pipe, as in `deit-edu data | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        return fail(f"{error.filename}: {error.strerror}" if error.filename else error)
    except (MemoryError, RuntimeError) as error:
        if not (isinstance(error, MemoryError) or re.search("out of memory|can't allocate memory", str(error))):
            raise
        return fail("the memory is full: try half the --batch-size, a smaller --model, or --device cpu")


def fail(message):
    print(f"error: {message}", file=sys.stderr)
    return 2


class Parser(argparse.ArgumentParser):
    """Says in one line what was typed wrong, without argparse's screen of usage."""

    def error(self, message):
        raise DeiTEduError(f"{message}; see {self.prog} --help")


def make_parser(arguments):
    """The parser of all commands, with the arguments of the one that is called."""
    parser = Parser(
        prog="deit-edu",
        description="DeiT, step by step: train, distil and look inside.",
        epilog="Begin with: deit-edu train --teacher convnet, which trains a small convnet and the DeiT it teaches, "
        "on images that are in the package. It takes two cores some minutes.",
    )
    parser.set_defaults(run=lambda chosen: parser.print_help())
    commands = parser.add_subparsers(metavar="COMMAND")
    for name, told in COMMANDS.items():
        command = commands.add_parser(name, usage=f"deit-edu {name} [options]" if name == "train" else None, help=told)
        if name in arguments[:1]:
            module = importlib.import_module(f"deit_edu.cli.{name}")
            module.add_arguments(command)
            command.set_defaults(run=module.run)
    return parser
