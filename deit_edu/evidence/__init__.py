"""The reruns of the paper's tables: what is claimed, what is trained, what came out.

`claims` come first; `regime` and `grids` name the networks, `cells` and `runner` train them into the `ledger`;
`verdicts` and `report` read it, `verify` runs it again.
"""

from deit_edu.evidence.claims import CLAIMS
from deit_edu.evidence.grids import EXPERIMENTS
from deit_edu.evidence.ledger import Ledger
from deit_edu.evidence.report import Results, judge
from deit_edu.evidence.verdicts import paired_difference, verdict

__all__ = ["CLAIMS", "EXPERIMENTS", "Ledger", "Results", "judge", "paired_difference", "verdict"]
