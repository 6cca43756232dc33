"""DeiT, step by step: the method of data-efficient image transformers, to read and to run."""
