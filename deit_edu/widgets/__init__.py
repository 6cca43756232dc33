"""The interactive figures: in Jupyter, and in a page without a kernel."""

from deit_edu.widgets.attention_lens import AttentionLens
from deit_edu.widgets.live_deit import LiveDeiT
from deit_edu.widgets.loss_lab import LossLab
from deit_edu.widgets.patch_explorer import PatchExplorer
from deit_edu.widgets.teacher_comparison import TeacherComparison

__all__ = ["AttentionLens", "LiveDeiT", "LossLab", "PatchExplorer", "TeacherComparison"]
