"""Write the folder of pictures that the chapter "Your own pictures" measures: five kinds of tops, as PNG files.

They are items of the packaged Fashion-MNIST: 600, 50 and 200 of each class for training, validation and test. The
experiment reads them as it would read yours: `deit-edu ablate own_pictures --scale own`, called beside
the folder.
"""

import argparse
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))  # this clone's deit_edu, installed or not

from deit_edu.data.names import load_dataset  # noqa: E402
from deit_edu.data.written import write_folder  # noqa: E402
from deit_edu.errors import DeiTEduError  # noqa: E402

CLASSES = "0,2,3,4,6"  # T-shirt or top, pullover, dress, coat, shirt: the five that are hard to tell apart
COUNTS = dict(train=600, validation=50, test=200)  # of each class


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, metavar="FOLDER", default=Path("own_pictures"), help="%(default)s here")
    parser.add_argument("--dry-run", action="store_true", help="say what would be written, and write nothing")
    args = parser.parse_args()
    if args.output.exists():
        raise DeiTEduError(f"{args.output} is there already: delete it, or choose another --output")
    pictures = 5 * sum(COUNTS.values())
    if args.dry_run:
        print(f"Would write {pictures:,} pictures, about 20 MB on the disk, to {args.output}")
        return
    write_folder(load_dataset("fashion_mnist_10k", classes=CLASSES), args.output, **COUNTS)
    print(f"{pictures:,} pictures in {args.output}: deit-edu ablate own_pictures --scale own, called here, reads them")


if __name__ == "__main__":
    try:
        main()
    except (DeiTEduError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
