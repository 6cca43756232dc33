"""deit-edu export: write a trained DeiT for other libraries, with how its input must be prepared."""

from deit_edu.cli import page
from deit_edu.errors import DeiTEduError
from deit_edu.model import DeiT
from deit_edu.runs.build import recall_statistics
from deit_edu.runs.exports import FORMATS, WRITERS, card, check_free, outputs
from deit_edu.runs.folders import open_run
from deit_edu.runs.weights import timm_settings


def add_arguments(parser):
    parser.add_argument("run_folder", metavar="RUN", help="a run folder, or packaged:NAME")
    parser.add_argument("file", help="the file to write; for timm and huggingface a folder")
    parser.add_argument(
        "--to",
        choices=[*FORMATS, "page"],
        default="safetensors",
        help="for whom (default: %(default)s)",
    )


def run(chosen):
    if chosen.to == "page":
        check_free(chosen.file)
        return page.write(chosen.run_folder, chosen.file)
    ending = {"safetensors": ".safetensors", "onnx": ".onnx"}.get(chosen.to, "")
    if not chosen.file.endswith(ending):
        why = ": by that name timm knows how to open it" if chosen.to == "safetensors" else ""
        raise DeiTEduError(f"{chosen.file} must end in {ending}{why}")
    check_free(chosen.file)
    model, metadata = open_run(chosen.run_folder)
    if not isinstance(model, DeiT):
        raise DeiTEduError(f"{chosen.run_folder} is not a DeiT: only those have names in timm")
    if model.preprocessing is None:
        recall_statistics(model, metadata)
    WRITERS[chosen.to](model, metadata, chosen.file)
    print(f"{chosen.file} {to_open(chosen.to, chosen.file, model)}")
    found = card(model, metadata)
    side, ratio = found["image_size"], found["crop_ratio"]
    cut = f"cut out where the shorter side is {int(side / ratio)}, " if ratio != 1 else ""
    print(f"its pictures: {found['channels']} x {side} x {side}, {cut}scaled to [0, 1], then")
    print(f"mean {found['mean']}, std {found['std']}")
    print(f"classes: {', '.join(found['classes'])}" if "classes" in found else "its file does not name its classes")


def to_open(kind, file, model):
    """What a file is, and from the second line on the Python that opens it."""
    if kind == "safetensors":
        name, settings = timm_settings(model.config)
        told = ", ".join(f"{setting}={value}" for setting, value in settings.items())
        return f'has timm\'s names. To open it:\ntimm.create_model("{name}", checkpoint_path="{file}", {told})'
    if kind == "timm":
        return f'is a folder of timm. To open it:\ntimm.create_model("local-dir:{file}", pretrained=True)'
    if kind == "onnx":
        return f'answers with {", ".join(outputs(model))} logits. To open it:\nonnxruntime.InferenceSession("{file}")'
    told = "is a folder of transformers. To open it:\n"
    if model.config.in_channels == 3:
        return told + f'transformers.pipeline("image-classification", "{file}")'
    return told + (  # the pipeline makes every picture RGB
        f'processor = transformers.AutoImageProcessor.from_pretrained("{file}")\n'
        f'model = transformers.AutoModelForImageClassification.from_pretrained("{file}")\n'
        'model(**processor(PIL.Image.open("PICTURE").convert("L"), return_tensors="pt")).logits'
    )
