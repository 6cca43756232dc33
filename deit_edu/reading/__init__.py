"""What chapters use besides the method: figures with alt text, the library's own source, exercises that answer."""

from deit_edu.reading.source import show_difference, show_source

__all__ = ["exercises", "figures", "show_difference", "show_source"]  # the first two are modules
