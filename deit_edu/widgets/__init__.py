"""The interactive figures: in Jupyter, and in a page without a kernel."""

import importlib

# Where each is. A module is imported when its figure is asked for: it brings torch, and what else that figure needs.
FIGURES = {
    "AttentionLens": "attention_lens",
    "ClaimBuilder": "claim_builder",
    "DistilInPage": "distil_in_page",
    "FusionExplorer": "fusion_explorer",
    "LedgerTable": "ledger_table",
    "LiveDeiT": "live_deit",
    "LossLab": "loss_lab",
    "PatchExplorer": "patch_explorer",
    "PositionLab": "position_lab",
    "RecipeMixer": "recipe_mixer",
    "TeacherComparison": "teacher_comparison",
}
__all__ = list(FIGURES)


def __getattr__(name):
    if name not in FIGURES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{FIGURES[name]}"), name)
