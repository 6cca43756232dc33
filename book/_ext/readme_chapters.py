"""Write README.md's list of chapters, part by part: their titles, and the minutes of those that run for long.

python book/_ext/readme_chapters.py
"""

import json
import re
import sys
import textwrap

import yaml
from pair_notebooks import BOOK

ROOT = BOOK.parent
README = ROOT / "README.md"
RUN_TIMES = ROOT / "_build" / "run_times.json"
LISTED = re.compile(r"(?<=<!-- chapters -->\n).*?(?=<!-- /chapters -->)", re.S)


def title(chapter):
    """("1. ", "An image becomes tokens"), or ("", "The evidence") for a page without a number."""
    return re.search(r"^# (\d+\. )?(.+)$", (BOOK / f"{chapter}.md").read_text("utf8"), re.M).groups(default="")


def listed(run_times):
    """The parts of the book, a paragraph each; a chapter that runs for a minute or more says how long."""
    paragraphs = []
    for part in yaml.safe_load((BOOK / "_toc.yml").read_text("utf8"))["parts"]:
        found = [entry["file"] for entry in part["chapters"] if entry["file"] in run_times]
        links = [link(name, run_times[name]) for name in found]
        paragraphs.append(textwrap.fill(f"**{part['caption']}.** {' · '.join(links)}", 118, break_long_words=False,
                                        break_on_hyphens=False))  # fmt: skip
    return "\n".join(f"{paragraph}\n" for paragraph in paragraphs)


def link(name, seconds):
    number, words = title(name)
    return f"{number}[{words}](book/{name}.md)" + (f" ({round(seconds / 60)} min)" if seconds >= 60 else "")


def main():
    if not RUN_TIMES.is_file():
        return "error: the run times are not measured yet: run `make book` first"
    README.write_text(LISTED.sub(lambda _: listed(json.loads(RUN_TIMES.read_text())), README.read_text("utf8")), "utf8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
