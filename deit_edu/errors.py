"""The one error for everything a reader can type wrong."""


class DeiTEduError(ValueError):
    """One clear line: what was wrong, what was expected, and the next thing to try.

    The command line prints it after ``error:`` and exits with status 2; in a notebook it ends the traceback.
    """
