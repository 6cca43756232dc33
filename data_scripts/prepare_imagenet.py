"""Unpack ImageNet (ILSVRC 2012) into the folders that the data set imagenet:PATH reads.

Put these three official files in one folder: ILSVRC2012_img_train.tar, ILSVRC2012_img_val.tar and
ILSVRC2012_devkit_t12.tar.gz. You get OUTPUT/train/WNID/*.JPEG and OUTPUT/val/WNID/*.JPEG, one folder for each class.
A run that was cut off goes on where it stopped: a folder has its final name only when it is complete.
"""

import argparse
import io
import os
import shutil
import sys
import tarfile
import zlib
from pathlib import Path

TRAIN, VAL, DEVKIT = "ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar", "ILSVRC2012_devkit_t12.tar.gz"


def unpack_train(archive, classes, output):
    """The training archive holds one archive for each class, WNID.tar, with that class's images."""
    partial = output / "train.partial"
    with tarfile.open(archive) as outer:
        for member in outer:
            folder = partial / Path(member.name).stem
            if not member.isfile():
                raise tarfile.ReadError(f"{archive} is not the official file: it holds {member.name}")
            if folder.exists():
                continue
            unfinished = empty_folder(folder.with_suffix(".partial"))
            with tarfile.open(fileobj=outer.extractfile(member)) as inner:
                for image in inner:
                    write_member(inner, image, unfinished)
            os.replace(unfinished, folder)
            print(f"\r{folder.name}", end="", flush=True)
    print()
    missing = classes - {folder.name for folder in partial.iterdir()}
    if missing:  # tarfile ends in silence where an archive is cut between two members
        raise tarfile.ReadError(f"{archive} is cut off: {len(missing)} of {len(classes)} classes are missing")
    os.replace(partial, output / "train")


def unpack_val(archive, wnids, output):
    """The validation archive is flat; image i, counted from 1 in its name, belongs to class wnids[i - 1]."""
    partial = empty_folder(output / "val.partial")
    found = set()
    with tarfile.open(archive) as images:
        for image in images:
            number = Path(image.name).stem.split("_")[-1]  # ILSVRC2012_val_00000001.JPEG
            if not (image.isfile() and number.isdecimal() and 1 <= int(number) <= len(wnids)):
                raise tarfile.ReadError(f"{archive} is not the official file: it holds {image.name}")
            number = int(number)
            folder = partial / wnids[number - 1]
            folder.mkdir(exist_ok=True)
            write_member(images, image, folder)
            found.add(number)
    if len(found) != len(wnids):
        raise tarfile.ReadError(f"{archive} is cut off: it holds {len(found)} of {len(wnids)} images")
    os.replace(partial, output / "val")


def validation_wnids(devkit):
    """The class of each validation image, in the order of their numbers, as WordNet ids."""
    from scipy.io import loadmat

    files = {}
    try:
        with tarfile.open(devkit) as archive:
            for member in archive:
                if Path(member.name).name in ("meta.mat", "ILSVRC2012_validation_ground_truth.txt"):
                    files[Path(member.name).name] = archive.extractfile(member).read()
        synsets = loadmat(io.BytesIO(files["meta.mat"]), squeeze_me=True)["synsets"]
        wnid_of = {int(synset["ILSVRC2012_ID"]): str(synset["WNID"]) for synset in synsets}
        return [wnid_of[int(line)] for line in files["ILSVRC2012_validation_ground_truth.txt"].split()]
    except (tarfile.TarError, zlib.error, EOFError, LookupError, ValueError, TypeError):
        raise tarfile.ReadError(f"{devkit} is not the official file (or damaged): fetch it again") from None


def write_member(archive, member, folder):
    if not member.isfile():
        raise tarfile.ReadError(f"{archive.name} is not the official file: it holds {member.name}")
    with open(folder / Path(member.name).name, "wb") as file:  # the name alone: nothing is written outside the folder
        shutil.copyfileobj(archive.extractfile(member), file)


def empty_folder(path):
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    return path


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="folder with the three official files")
    parser.add_argument("output", type=Path, help="folder to make train/ and val/ in")
    parser.add_argument("--dry-run", action="store_true", help="say what would be written, and write nothing")
    args = parser.parse_args()

    wanted = {"train": args.source / TRAIN, "val": args.source / VAL}
    todo = {part: archive for part, archive in wanted.items() if not (args.output / part).exists()}
    size = sum(archive.stat().st_size for archive in todo.values())  # JPEG files do not compress: a tar is their size
    wnids = validation_wnids(args.source / DEVKIT)
    existing = next(folder for folder in [args.output, *args.output.absolute().parents] if folder.exists())
    free = shutil.disk_usage(existing).free
    print(f"Writes {' and '.join(todo) or 'nothing'}: {size / 1e9:.1f} GB to {args.output} ({free / 1e9:.1f} GB free)")
    if args.dry_run:
        return
    if "train" in todo:
        unpack_train(todo["train"], set(wnids), args.output)
    if "val" in todo:
        unpack_val(todo["val"], wnids, args.output)
    for part in wanted:
        classes = [folder for folder in (args.output / part).iterdir() if folder.is_dir()]
        print(f"{part}: {len(classes):,} classes, {sum(len(os.listdir(folder)) for folder in classes):,} images")
    print(f"Use it as imagenet:{args.output}")


if __name__ == "__main__":
    try:
        main()
    except ImportError as error:
        print(f"error: this needs the package {error.name}: pip install {error.name}", file=sys.stderr)
        sys.exit(2)
    except (OSError, tarfile.TarError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("\ninterrupted: run it again to go on", file=sys.stderr)
        sys.exit(130)
