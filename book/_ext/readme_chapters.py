"""Write README.md's table of chapters: titles from the chapters, run times from the last build of the book.

python book/_ext/readme_chapters.py
"""

import json
import re
import sys

from pair_notebooks import BOOK, chapters

ROOT = BOOK.parent
README = ROOT / "README.md"
RUN_TIMES = ROOT / "_build" / "run_times.json"
TABLE = re.compile(r"(?<=<!-- chapters -->\n).*?(?=<!-- /chapters -->)", re.S)


def title(chapter):
    """("1. ", "An image becomes tokens"), or ("", "The evidence") for a page without a number."""
    return re.search(r"^# (\d+\. )?(.+)$", (BOOK / f"{chapter}.md").read_text("utf8"), re.M).groups(default="")


def minutes(seconds):
    """Whole minutes, rounded; "under 1" below half a minute."""
    return "under 1" if seconds < 30 else str(round(seconds / 60))


def table(run_times):
    rows = ["| Chapter | Minutes on two cores |", "|---|---|"]
    for name in chapters():
        number, words = title(name)
        rows.append(f"| {number}[{words}](book/{name}.md) | {minutes(run_times[name])} |")
    return "\n".join(rows) + "\n"


def main():
    if not RUN_TIMES.is_file():
        return "error: the run times are not measured yet: run `make book` first"
    README.write_text(TABLE.sub(lambda _: table(json.loads(RUN_TIMES.read_text())), README.read_text("utf8")), "utf8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
