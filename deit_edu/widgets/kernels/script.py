"""The kernels and all that stands on them as one text, for a worker of the page."""

import base64
import functools
import re

from deit_edu.widgets.kernels.build import BINARIES, FOLDER

MODULES = (  # in this order, one text: a worker gets no imports
    "kernels.js",
    "deit_in_page.js",
    "convnets_in_page.js",
    "networks_in_page.js",
    "objective.js",
    "learner.js",
    "random.js",
    "scenes.js",
    "safetensors.js",
    "stream.js",
    "learning_worker.js",
)
EXPORT = re.compile(r"^export ", re.M)


@functools.cache
def kernels_script():
    """The modules as one classic script, with both binaries in it as `KERNELS`: for a worker made from a Blob."""
    binaries = {
        name.removeprefix("kernels").removesuffix(".wasm").removeprefix("_") or "plain": base64.b64encode(
            (FOLDER / name).read_bytes()
        ).decode()
        for name in BINARIES
    }
    decode = "(text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0))"
    entries = ", ".join(f'{variant}: decode("{text}")' for variant, text in binaries.items())
    head = f"const KERNELS = ((decode) => ({{ {entries} }}))({decode});\n"
    return head + "".join(EXPORT.sub("", (FOLDER / module).read_text("utf8")) for module in MODULES)


def learning_script():
    """The script of a worker in which a student learns: `LearningTeam` of learning_team.js starts it."""
    network = EXPORT.sub("", (FOLDER.parent / "network.js").read_text("utf8"))
    return f"{kernels_script()}{network}serve(self);\n"
