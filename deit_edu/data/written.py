"""A data set written out as people keep their own pictures: PATH/PART/CLASS/NUMBER.png."""

from pathlib import Path

from PIL import Image

PARTS = ("train", "validation", "test")


def write_folder(dataset, path, **counts):
    """Write the first pictures of every class of a data set as PNG files, for ``folder:PATH`` to read.

    Args:
        dataset: an ImageDataset. path: the folder, made where it is missing.
        counts: how many pictures of each class a part gets, as in train=600, test=400; other parts are left out.

    Returns:
        path, a Path. A / in a class's name is written as -.
    """
    for part in counts:
        split = getattr(dataset, part)
        for label, name in enumerate(dataset.classes):
            folder = Path(path, part, name.replace("/", "-"))
            folder.mkdir(parents=True, exist_ok=True)
            for index in (split.labels == label).nonzero()[: counts[part]]:
                pixels = split.batch(index)[0].permute(1, 2, 0).squeeze(-1)  # (H, W), or (H, W, 3)
                Image.fromarray(pixels.numpy()).save(folder / f"{index.item():05}.png")
    return Path(path)
