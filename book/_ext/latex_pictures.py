"""The chapters' figures in LaTeX (`jupyter-book build --builder latex`), which shows no HTML but the picture in it."""

import re

from docutils import nodes
from sphinx.transforms.post_transforms import SphinxPostTransform

FIGURE = re.compile(r'class="deit-figure".*?src="(data:image/png;base64,[^"]+)" width="(\d+)".*? alt="([^"]*)"', re.S)


def is_output(node):
    return isinstance(node, nodes.container) and node.get("nb_element") == "mime_bundle"


class LatexPictures(SphinxPostTransform):
    """Put an image in place of what figures.show made; Sphinx writes its data to a file."""

    default_priority = 3  # before myst-nb chooses the plain text
    formats = ("latex",)

    def run(self):
        for output in list(self.document.findall(is_output)):
            found = next(filter(None, (FIGURE.search(raw.astext()) for raw in output.findall(nodes.raw))), None)
            if found:
                address, width, alt = found.groups()
                output.replace_self(nodes.image(uri=address, candidates={"?": ""}, width=f"{width}px", alt=alt))
