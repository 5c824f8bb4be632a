"""From data and a machine to a study file: `look`, `propose` and `study_text`.

`look` says what is in the data and which task that is; `propose` chooses space, recipe and budget
for a machine and a time; `study_text` writes it down with a comment a line. What the machine can do
is measured by `measured_machine`.
"""

from nas.proposal.machine import Machine, measured_machine, this_machine
from nas.proposal.propose import Proposal, propose
from nas.proposal.sight import Sight
from nas.proposal.sources import look
from nas.proposal.writing import study_text

__all__ = [
    "Machine",
    "Proposal",
    "Sight",
    "look",
    "measured_machine",
    "propose",
    "study_text",
    "this_machine",
]
