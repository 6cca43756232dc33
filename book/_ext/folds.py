"""What a reader opens when they want it: answers to *Predict*, solutions, and the code that draws a figure.

* A cell tagged `answer` or `solution` stands in a fold of that name, with the `:::{dropdown} Answer` or `Solution`
  beside it: whatever follows each other of one kind is one fold, in the order in which it is written.
* A cell tagged `hide-input` shows its result; its fold says whether the code draws.

A fold is a <details>: it needs no JavaScript. In print it is open (assets/deit_book.css).
"""

from docutils import nodes
from sphinx_design.shared import create_component, is_component

FOLDS = {"answer": "Answer", "solution": "Solution"}  # the tag of a cell: the title of its fold
DRAWS = "deit-figure"  # the class of what figures.show makes


def is_cell(node):
    return isinstance(node, nodes.container) and node.get("nb_element") == "cell_code"


def kind_of(node):
    """The title of the fold that a block belongs to, or None."""
    if is_cell(node):
        return next((FOLDS[tag] for tag in node["cell_metadata"].get("tags", []) if tag in FOLDS), None)
    if is_component(node, "dropdown") and node["has_title"]:
        title = node[0].astext()
        return title if title in FOLDS.values() else None
    return None


def fold(title, blocks):
    """One closed dropdown with the content of all blocks."""
    settings = dict(opened=False, type="dropdown", has_title=True, icon=None, chevron=None)
    classes = dict(container_classes=["sd-mb-3"], title_classes=[], body_classes=[])
    made = create_component("dropdown", **settings, **classes)
    made += nodes.rubric(title, title)
    for block in blocks:
        made += [block] if is_cell(block) else block.children[1:]
    return made


def gather(parent):
    """Replace each run of blocks of one kind by one fold."""
    children, run, kind = [], [], None
    for node in [*parent.children, None]:
        of_node = node is not None and kind_of(node)
        if run and of_node != kind:
            children.append(fold(kind, run))
            run = []
        if of_node:
            run, kind = [*run, node], of_node
        elif node is not None:
            children.append(node)
    parent.children = []
    parent += children


def prompt(cell):
    """Say on a folded cell what its fold holds."""
    draws = any(DRAWS in raw.astext() for raw in cell.findall(nodes.raw))
    code = "the code that draws this" if draws else "the code"
    cell["prompt_show"], cell["prompt_hide"] = f"Show {code}", f"Hide {code}"


def arrange(app, doctree):
    """Gather the folds of a page, once it is read."""
    for parent in {id(node.parent): node.parent for node in doctree.findall(kind_of)}.values():
        gather(parent)
    for cell in doctree.findall(is_cell):
        if cell.get("hide_mode") == "input":
            prompt(cell)
