"""deit-edu export: write a trained DeiT for other libraries, with how its input must be prepared."""

from deit_edu.cli import page
from deit_edu.errors import DeiTEduError
from deit_edu.model import DeiT
from deit_edu.runs.exports import FORMATS, WRITERS, card, check_free
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
    WRITERS[chosen.to](model, metadata, chosen.file)
    name, settings = timm_settings(model.config)
    told = ", ".join(f"{setting}={value}" for setting, value in settings.items())
    print({
        "safetensors": f"{chosen.file} has timm's names. To open it:\n"
        f'timm.create_model("{name}", checkpoint_path="{chosen.file}", {told})',
        "timm": f'{chosen.file} is a folder of timm. To open it:\ntimm.create_model("local-dir:{chosen.file}", '
        "pretrained=True)",
        "huggingface": f"{chosen.file} is a folder of transformers. To open it:\n"
        f'transformers.pipeline("image-classification", "{chosen.file}")',
        "onnx": f"{chosen.file} answers with class, distillation and fused logits. To open it:\n"
        f'onnxruntime.InferenceSession("{chosen.file}")',
    }[chosen.to])  # fmt: skip
    found = card(model, metadata)
    print(f"its pictures: {found['channels']} x {found['image_size']} x {found['image_size']}, scaled to [0, 1], then")
    print(f"mean {found['mean']}, std {found['std']}" if "mean" in found else
          "by a mean and std that its file does not say: it is of an older version")  # fmt: skip
    print(f"classes: {', '.join(found['classes'])}" if "classes" in found else "its file does not name its classes")
