"""DeiT, step by step: the method of data-efficient image transformers, to read and to run."""

__version__ = "0.1.0"
