"""The chapters' figures in LaTeX (`jupyter-book build --builder latex`), which shows no HTML but the picture in it."""

import json
import re

from docutils import nodes
from myst_nb.sphinx_ import NbMetadataCollector
from sphinx.transforms.post_transforms import SphinxPostTransform
from static_widgets import VIEW

FIGURE = re.compile(r'class="deit-figure".*?src="(data:image/png;base64,[^"]+)" width="(\d+)".*? alt="([^"]*)"', re.S)


def is_output(node):
    return isinstance(node, nodes.container) and node.get("nb_element") == "mime_bundle"


class LatexPictures(SphinxPostTransform):
    """Put an image in place of a figure, drawn or interactive; Sphinx writes its data to a file."""

    default_priority = 3  # before myst-nb chooses the plain text
    formats = ("latex",)

    def run(self):
        for output in list(self.document.findall(is_output)):
            for raw in list(output.findall(nodes.raw)):
                if image := self.drawn(raw.astext()) or self.interactive(raw.astext()):
                    output.replace_self(nodes.image(candidates={"?": ""}, **image))
                    break

    def drawn(self, text):
        """The picture that figures.show made."""
        if found := FIGURE.search(text):
            address, width, alt = found.groups()
            return dict(uri=address, width=f"{width}px", alt=alt)

    def interactive(self, text):
        """The picture that an interactive figure brings for readers without JavaScript."""
        if view := VIEW.search(text):
            model_id = json.loads(view[1])["model_id"]
            record = next(states[model_id] for states in self.states() if model_id in states)
            data = next(buffer["data"] for buffer in record["buffers"] if buffer["path"] == ["_picture"])
            return dict(uri=f"data:image/png;base64,{data}", width="100%", alt=record["state"]["_caption"])

    def states(self):
        """What the widgets of each page were built with; LaTeX has all pages in one document."""
        for name in self.env.found_docs:
            if found := NbMetadataCollector.get_js_files(self.env, name).get("ipywidgets_state"):
                yield json.loads(found[1]["body"])["state"]
