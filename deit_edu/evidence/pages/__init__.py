"""What the pages of the evidence say in numbers: one module a page, and `pieces`, of which they are made.

Each module gives its page's `answer`, `figure` and `reading`, and what only an expert wants, folded. All of it is
computed from the ledger, so that a page holds text and a few short lines.
"""
