"""Compile kernels.c to WebAssembly: ``python -m deit_edu.widgets.kernels.build``, which needs the package ziglang.

Two binaries from one source: with the vectors of four numbers that every browser of today has, and with relaxed SIMD's
fused multiply-add as well. The same version of ziglang gives the same bytes on every machine.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from deit_edu.errors import DeiTEduError

FOLDER = Path(__file__).parent
BINARIES = {  # name of the file: what its compilation adds
    "kernels.wasm": [],
    "kernels_relaxed.wasm": ["-DRELAXED", "-mrelaxed-simd"],
}
FLAGS = [
    *("-target", "wasm32-freestanding", "-nostdlib", "-fno-builtin"),
    *("-O3", "-msimd128", "-mbulk-memory", "-Wall", "-Wextra", "-Werror"),
    *("-Wl,--no-entry", "-Wl,--import-memory", "-Wl,--export=__heap_base", "-Wl,--strip-all"),
    *("-Wl,-z,stack-size=65536",),
]


def compiled(name):
    """The bytes of one of `BINARIES`, from kernels.c as it is now.

    Raises:
        DeiTEduError: when ziglang is not installed, or kernels.c does not compile.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / name
        command = [sys.executable, "-m", "ziglang", "cc", *FLAGS, *BINARIES[name], "kernels.c", "-o", str(out)]
        done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True)
        if done.returncode:
            if "No module named ziglang" in done.stderr:
                raise DeiTEduError("the compiler is missing: pip install ziglang -c constraints.txt")
            raise DeiTEduError(f"kernels.c does not compile:\n{done.stderr.strip()}")
        return out.read_bytes()


def main():
    for name in BINARIES:
        (FOLDER / name).write_bytes(compiled(name))
        print(f"{name}: {(FOLDER / name).stat().st_size:,} bytes")


if __name__ == "__main__":
    try:
        main()
    except DeiTEduError as error:
        sys.exit(str(error))
