"""deit-edu data: list the data sets, or load one and say what is in it."""

import warnings

from deit_edu.data.found import TELLS_ALL
from deit_edu.data.names import DATASETS, data_root, load_dataset
from deit_edu.errors import DeiTEduError


def add_arguments(parser):
    parser.add_argument("name", nargs="?", help="a data set; without one, the list")
    parser.add_argument(
        "--image-size", type=int, metavar="N", help="the side in pixels that photographs are brought to"
    )
    parser.add_argument("--sheet", metavar="FILE.png", help="where the sheet of pictures is written")
    parser.add_argument("--all", action="store_true", help="name every file that is not read or is there twice")


def run(chosen):
    from deit_edu.data.report import describe, write_sheet  # matplotlib, for its font, takes a while to load

    if chosen.name is None:
        if chosen.sheet:
            raise DeiTEduError("--sheet needs the name of a data set: deit-edu data NAME --sheet FILE.png")
        for name, line in DATASETS.items():
            print(f"{name:18} {line}")
        return
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        dataset = load_dataset(chosen.name, image_size=chosen.image_size)
    print("\n".join(describe(dataset, chosen.all)))
    for warning in caught:
        if TELLS_ALL not in str(warning.message):  # all that one sums up stands above
            print(f"  note       {warning.message}")
    sheet = chosen.sheet
    if sheet is None and dataset.found:
        sheet = data_root() / "sheets" / f"{dataset.checksum[:16]}.png"
    if sheet:
        write_sheet(dataset, sheet)
        print(f"  to look at {sheet}")
