"""What a run was made by: the machine, which its times depend on and its rounding, and the library's source."""

import hashlib
import platform
import shutil
import sys
import sysconfig
import time
from functools import cache
from pathlib import Path

import torch

import deit_edu


def machine(world):
    """What a measured time depends on."""
    if world.device.type == "cuda":
        processor = torch.cuda.get_device_name(world.device)
    else:
        processor = processor_name()
    return {
        "device": world.device.type,
        "processor": processor,
        # A virtual machine may hide which processor of its maker it is; which kernels run is decided by this.
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "processes": world.size,
        "precision": str(world.precision).removeprefix("torch."),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def machine_name(record):
    """Processor and instruction set of a record of `machine`, in words; the oldest records know the processor alone."""
    return " with ".join(filter(None, [record["processor"], record.get("instructions")]))


def processor_name():
    """The CPU's name as the system tells it; Linux keeps it where platform does not look."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def peak_memory(world):
    """The most memory that this process has had so far, in bytes: on a GPU what torch allocated there, else its own.

    0 where the system does not say (Windows).
    """
    if world.device.type == "cuda":
        return torch.cuda.max_memory_allocated(world.device)
    try:  # first: a child's ru_maxrss begins at what its parent had when it was started
        told = Path("/proc/self/status").read_text()
        return int(told.partition("VmHWM:")[2].split()[0]) * 1024
    except (OSError, IndexError):
        pass
    try:
        import resource
    except ImportError:
        return 0
    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def seconds_since(begun):
    """Of `time.perf_counter`, and never nothing: where a machine slept or was moved, a clock may stand or go back."""
    return max(1e-6, time.perf_counter() - begun)


def can_compile():
    """torch.compile needs a C++ compiler and Python's headers on a CPU; without them the loop runs uncompiled."""
    headers = Path(sysconfig.get_path("include")) / "Python.h"
    return any(map(shutil.which, ("g++", "c++", "clang++"))) and headers.exists() and sys.platform != "win32"


def compiled(model):
    """A network that torch.compile makes at its first batch: some ten seconds each time, then a quarter faster."""
    on_cpu = next(model.parameters()).device.type == "cpu"
    # A small network's kernels are so short that calling them from Python shows: call them from C++.
    return torch.compile(model, options={"cpp_wrapper": True} if on_cpu else None)


@cache
def source_digest():
    """sha256 over the library's Python files: a record says with it which code made it.

    Of the files as they are when it is first asked for: what is edited later, a process does not run.
    """
    sha, package = hashlib.sha256(), Path(deit_edu.__file__).resolve().parent
    for path in sorted(package.rglob("*.py")):
        sha.update(path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes())
    return sha.hexdigest()
