"""The one error for everything a reader can type wrong, and what its line needs: near names, numbers of things."""

import difflib


class DeiTEduError(ValueError):
    """One clear line: what was wrong, what was expected, and the next thing to try.

    The command line prints it after ``error:`` and exits with status 2; in a notebook it ends the traceback.
    """


def did_you_mean(name, known):
    """The end of a line about an unknown name: the nearest of those that are known, or nothing."""
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.7)
    return f"; did you mean {' or '.join(near)}?" if near else ""


def counted(number, noun):
    """A number of things as a reader says it: 1 picture, 2,000 pictures, 2 classes. noun: in the singular."""
    plural = noun + ("es" if noun.endswith(("s", "x", "sh", "tch")) else "s")
    return f"{number:,} {noun if number == 1 else plural}"
