"""deit-edu page: one self-contained file with a trained student in it, to open anywhere and to send."""

from pathlib import Path

from deit_edu.errors import DeiTEduError, counted


def add_arguments(parser):
    parser.add_argument("run_folder", metavar="RUN", help="a run folder, or its name")
    parser.add_argument("-o", "--out", metavar="FILE.html", help="what to write (default: the run's name and .html)")


def run(chosen):
    path = chosen.out or f"{Path(chosen.run_folder).name}.html"
    write(chosen.run_folder, path)


def write(run_folder, path):
    """Write the page, and say how large it is and what had to be left out."""
    from deit_edu.widgets.page import write_page  # the figures take a while to load: what is typed wrong is said first

    if not path.endswith((".html", ".htm")):
        raise DeiTEduError(f"{path} must end in .html, so that a browser opens it")
    written = write_page(run_folder, path)
    who = "the student and its teacher" if written.teacher else "the student"
    pictures = counted(written.pictures, "test picture")
    print(f"{path}: {written.size / 1e6:.1f} MB, {who} with {pictures}; open it in any browser")
    for remark in written.remarks:
        print(f"  {remark}")
