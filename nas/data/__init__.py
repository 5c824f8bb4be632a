"""Data: from a text that a user names to a folder of token arrays that training reads.

`text_files` and `corpora` read documents, `sources` chooses between them, `byte_level` turns text
into token ids, `splits` cuts them into train, validation and test, `prepared` is the folder that a
study keeps, and `language_modeling` puts these together. Cutting batches is the tasks' work.
"""

from __future__ import annotations

from nas.data.language_modeling import prepare_language_modeling
from nas.data.prepared import PreparedData
from nas.data.sources import read_documents, source_changed, source_signature
from nas.data.splits import Split

__all__ = [
    "PreparedData",
    "Split",
    "prepare_language_modeling",
    "read_documents",
    "source_changed",
    "source_signature",
]
