"""One model folder, written and read. It knows no study and no database.

`manifest` is the record `nas.json` and the checks that need no weights, `stock` describes
transformers' own folders likewise; these are all that is imported here, because the rest needs
torch. `weights` is the safetensors file and the way from it to a network, `stock_weights` the same
of transformers' own, `golden` the stored input and logits that a loaded model must reproduce,
`card` the folder's README.md, `writing` puts a whole folder in place. A folder's content is
untrusted input: nothing is unpickled, evaluated or fetched, and no link within it is followed.
"""

from __future__ import annotations

from nas.artifact.manifest import (
    MANIFEST,
    FileInfo,
    Manifest,
    is_model_folder,
    read_manifest,
    verify_files,
)
from nas.artifact.stock import holds_model, is_stock_folder, read_architecture

__all__ = [
    "MANIFEST",
    "FileInfo",
    "Manifest",
    "holds_model",
    "is_model_folder",
    "is_stock_folder",
    "read_architecture",
    "read_manifest",
    "verify_files",
]
