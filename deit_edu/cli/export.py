"""deit-edu export: write a trained DeiT under timm's names."""

from pathlib import Path

from deit_edu.errors import DeiTEduError
from deit_edu.model import DeiT
from deit_edu.runs.checkpoints import save
from deit_edu.runs.folders import open_run
from deit_edu.runs.weights import timm_settings, to_timm_state_dict


def add_arguments(parser):
    parser.add_argument("run_folder", metavar="RUN", help="a run folder, or packaged:NAME")
    parser.add_argument("file", help="the safetensors file to write")


def run(chosen):
    if not chosen.file.endswith(".safetensors"):
        raise DeiTEduError(f"{chosen.file} must end in .safetensors: by that name timm knows how to open it")
    if Path(chosen.file).exists():
        raise DeiTEduError(f"{chosen.file} is there already: delete it, or choose another name")
    model, _ = open_run(chosen.run_folder)
    if not isinstance(model, DeiT):
        raise DeiTEduError(f"{chosen.run_folder} is not a DeiT: only those have names in timm")
    save(chosen.file, to_timm_state_dict(model))
    name, settings = timm_settings(model.config)
    told = ", ".join(f"{setting}={value}" for setting, value in settings.items())
    print(
        f"{chosen.file} has timm's names. To open it:\n"
        f'timm.create_model("{name}", checkpoint_path="{chosen.file}", {told})'
    )
