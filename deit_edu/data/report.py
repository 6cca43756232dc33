"""What a data set holds, told to whoever brought it: classes, sizes, what was not read, and a sheet to look at."""

from collections import defaultdict
from pathlib import Path

import matplotlib
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from deit_edu.data.splits import class_counts
from deit_edu.data.walk import printable
from deit_edu.errors import DeiTEduError, counted

PARTS = ("train", "validation", "test")
SHOWN_CLASSES, SHOWN_NAMES = 40, 10  # in a table; of files in a list, before "and so many more"
SHEET_CLASSES, SHEET_PICTURES, SHEET_SIDE = 30, 10, 72  # rows, columns, pixels of a picture
UNEVEN = 1.5  # times as many pictures in the largest class as in the smallest: said, as accuracy misleads there


def describe(dataset, everything=False):
    """All that a reader should know of a data set before she trains on it, as lines of text.

    everything: name every file that is not read, and not the first ten for each reason.
    """
    C, H, W = dataset.image_shape
    names = ", ".join(dataset.classes[:10]) + (", ..." if dataset.num_classes > 10 else "")
    lines = [f"{printable(dataset.name)}: {C}x{H}x{W}, {counted(dataset.num_classes, 'class')}: {names}"]
    for part in PARTS:
        number, images = counted(len(getattr(dataset, part)), "image").split()
        lines.append(f"  {part:10} {number:>8} {images}")
    if dataset.found:
        lines += [f"  read as    {sentence}" for sentence in dataset.found.understood]
    lines += class_table(dataset)
    levels = ", ".join(f"{mean:.3f}" for mean in dataset.mean), ", ".join(f"{std:.3f}" for std in dataset.std)
    lines.append(f"  channels   {'grey' if C == 1 else 'red, green, blue'}: mean {levels[0]}; deviation {levels[1]}")
    if dataset.found:
        lines += sizes_of(dataset.found, H) + not_read(dataset.found, everything) + twice(dataset.found, everything)
    return [*lines, f"  checksum   {dataset.checksum}"]


def class_table(dataset):
    """Images of each class in each part."""
    counts = [class_counts(getattr(dataset, part), dataset.num_classes).tolist() for part in PARTS]
    width = max(map(len, (*dataset.classes[:SHOWN_CLASSES], "class"))) + 1
    lines = [f"  number {'class':{width}}" + "".join(f"{part:>12}" for part in PARTS)]
    for number, name in enumerate(dataset.classes[:SHOWN_CLASSES]):
        lines.append(f"  {number:6} {name:{width}}" + "".join(f"{of_part[number]:>12,}" for of_part in counts))
    if dataset.num_classes > SHOWN_CLASSES:
        lines.append(f"         and {counted(dataset.num_classes - SHOWN_CLASSES, 'class')} more")
    train, most = counts[0], max(counts[0])
    if untaught := [name for name, count in zip(dataset.classes, train, strict=True) if not count]:
        lines.append(f"  no training picture of {', '.join(untaught)}")
    if most > UNEVEN * min(train):
        share = most / sum(train)
        lines.append(f"  uneven: always saying {dataset.classes[train.index(most)]} is right on {share:.1%} of train")
    return lines


def sizes_of(found, side):
    """How large the files' pictures are, and that of some only the first picture is taken."""
    lines = []
    if found.sizes:
        widths, heights = zip(*found.sizes, strict=True)
        often, count = found.sizes.most_common(1)[0]
        if len(found.sizes) == 1:
            lines.append(f"  sizes      {often[0]}x{often[1]}, all")
        else:
            smallest, largest = f"{min(widths)}x{min(heights)}", f"{max(widths)}x{max(heights)}"
            most = f"{often[0]}x{often[1]} most often ({count:,})"
            lines.append(f"  sizes      {smallest} to {largest}, {len(found.sizes)} different, {most}")
        if set(found.sizes) != {(side, side)}:
            lines.append(f"             each is brought to {side}x{side}: shorter side resized, centre taken")
    if found.several:
        first = printable(found.several[0])
        lines.append(
            f"  frames     of {counted(len(found.several), 'file')} with several the first is taken, as {first}"
        )
    return lines


def not_read(found, everything):
    """Files and folders that were left out, for each reason."""
    of_reason = defaultdict(list)
    for out in found.damaged:
        of_reason[f"cannot be decoded ({out.why})"].append(out.path)
    for out in sorted(found.left_out, key=lambda out: not out.loud):
        of_reason[out.why].append(out.path)
    lines = ["  not read"] if of_reason else []
    for why, paths in of_reason.items():
        lines.append(f"    {len(paths):,} {why}:")
        lines += listed([short(path, found.path) for path in paths], everything)
    return lines


def twice(found, everything):
    """Files with the same content: across parts, across classes, and how many in all."""
    lines = []
    for same, where in ((found.across(), "parts"), (found.contradicting(), "classes")):
        if same:
            lines.append(f"  the same picture in two {where}: {len(same):,}")
            told = [" = ".join(short(path, found.path) for path in paths[:4]) for paths, _, _ in same]
            lines += listed(told, everything)
    copies = sum(
        len(paths) - 1 for paths, parts, labels in found.same if len(set(zip(parts, labels, strict=True))) == 1
    )
    if copies:
        lines.append(f"  copies     {copies:,} of pictures of the same class in the same part")
    return lines


def listed(names, everything):
    shown = names if everything else names[:SHOWN_NAMES]
    rest = len(names) - len(shown)
    return [f"      {name}" for name in shown] + ([f"      and {rest:,} more (--all names them)"] if rest else [])


def short(path, folder):
    return printable(path.removeprefix(folder).lstrip("/\\")) or printable(path)


# ---- a sheet of pictures ----


def write_sheet(dataset, path):
    """Draw training pictures of every class, a row each, as a network will see them, into one PNG.

    Ten pictures of each of thirty classes at most, spread over the class. path: of the PNG. Raises DeiTEduError for
    a path that cannot be written.
    """
    train, counts = dataset.train, class_counts(dataset.train, dataset.num_classes)
    shown = list(range(dataset.num_classes))[:SHEET_CLASSES]
    side, gap, title = SHEET_SIDE, 6, 20
    width = gap + SHEET_PICTURES * (side + gap)
    sheet = Image.new("RGB", (width, gap + len(shown) * (side + gap + title)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.truetype(font_path(), 13)
    for row, label in enumerate(shown):
        top = gap + row * (side + gap + title)
        draw.text((gap, top), f"{label}  {dataset.classes[label]}  ({int(counts[label]):,})", "black", font)
        members = (train.labels == label).nonzero().flatten()
        spread = np.linspace(0, len(members) - 1, min(SHEET_PICTURES, len(members))).round().astype(int)
        if not len(members):
            draw.text((gap, top + title), "no training picture", "black", font)
            continue
        for column, image in enumerate(train.batch(members[torch.from_numpy(spread)])):
            pixels = image.permute(1, 2, 0).numpy()  # (H, W, C)
            picture = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
            smooth = Image.Resampling.NEAREST if side % pixels.shape[0] == 0 else Image.Resampling.BICUBIC
            sheet.paste(picture.resize((side, side), smooth), (gap + column * (side + gap), top + title))
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        sheet.save(path, "PNG")
    except OSError as error:
        raise DeiTEduError(f"cannot write the sheet {printable(path)}: {error.strerror or error}") from None


def font_path():
    """matplotlib's own font, which has the letters of more scripts than Pillow's."""
    return Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
