"""deit-edu data: list the data sets, or load one and say what is in it."""

from deit_edu.data.names import DATASETS, load_dataset


def add_arguments(parser):
    parser.add_argument("name", nargs="?", help="a data set; without one, the list")


def run(chosen):
    if chosen.name is None:
        for name, line in DATASETS.items():
            print(f"{name:18} {line}")
        return
    dataset = load_dataset(chosen.name)
    C, H, W = dataset.image_shape
    print(f"{dataset.name}: {C}x{H}x{W}, {dataset.num_classes} classes: {', '.join(dataset.classes[:10])}")
    for name in ("train", "validation", "test"):
        print(f"  {name:10} {len(getattr(dataset, name)):>8,} images")
    print(f"  checksum   {dataset.checksum}")
