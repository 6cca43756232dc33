"""The interactive figures: in Jupyter, and in a page without a kernel."""

from deit_edu.widgets.attention_lens import AttentionLens
from deit_edu.widgets.claim_builder import ClaimBuilder
from deit_edu.widgets.distil_in_page import DistilInPage
from deit_edu.widgets.fusion_explorer import FusionExplorer
from deit_edu.widgets.ledger_table import LedgerTable
from deit_edu.widgets.live_deit import LiveDeiT
from deit_edu.widgets.loss_lab import LossLab
from deit_edu.widgets.patch_explorer import PatchExplorer
from deit_edu.widgets.position_lab import PositionLab
from deit_edu.widgets.recipe_mixer import RecipeMixer
from deit_edu.widgets.teacher_comparison import TeacherComparison

__all__ = [
    "AttentionLens",
    "ClaimBuilder",
    "DistilInPage",
    "FusionExplorer",
    "LedgerTable",
    "LiveDeiT",
    "LossLab",
    "PatchExplorer",
    "PositionLab",
    "RecipeMixer",
    "TeacherComparison",
]
