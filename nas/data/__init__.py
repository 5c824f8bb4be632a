"""Data: from what a user names to a folder of arrays that training reads.

Readers: `text_files`, `tables`, `images`, `interactions`, `corpora` and `examples` (built in).
`byte_level` and `bpe` turn text into token ids; `request` says what is asked for, `splits` cuts,
`sources` knows a source again, `prepared` is the folder that a study keeps. A module for each task
puts these together. Cutting batches is the tasks' work.
"""

from __future__ import annotations

from nas.data.prepared import PreparedData
from nas.data.request import DataRequest, Option, Trained
from nas.data.sources import read_documents, signature, source_changed
from nas.data.splits import Split

__all__ = [
    "DataRequest",
    "Option",
    "PreparedData",
    "Split",
    "Trained",
    "read_documents",
    "signature",
    "source_changed",
]
