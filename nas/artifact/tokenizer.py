"""The tokenizer of a model folder, read and used so that a hostile file is an error and no crash.

The library panics on some files, when it reads them or on the first text, and ends the process
where a file asks for more padding than there is memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from nas.artifact.folder import broken
from nas.artifact.manifest import TOKENIZER_FILES, Manifest, file_path
from nas.data.bpe import is_failure
from nas.errors import NasError

if TYPE_CHECKING:
    from tokenizers import Tokenizer


def read_tokenizer(folder: Path, manifest: Manifest) -> Tokenizer | None:
    """Return the folder's tokenizer, which neither pads nor cuts; None if there is none.

    Raises:
        ArtifactError: If the file is missing or damaged.
    """
    if TOKENIZER_FILES[0] not in manifest.files:
        return None
    from tokenizers import Tokenizer

    path = file_path(folder, manifest, TOKENIZER_FILES[0])
    with tokenizer_errors(folder):
        tokenizer = Tokenizer.from_buffer(path.read_bytes())
        tokenizer.no_padding()
        tokenizer.no_truncation()
    # As in `tokenizer_config.json`: only a prompt to go on with may have special tokens.
    tokenizer.encode_special_tokens = manifest.task_spec.head != "causal_lm"
    return tokenizer


@contextmanager
def tokenizer_errors(folder: Path) -> Iterator[None]:
    """Turn what the library raises over a damaged tokenizer into an `ArtifactError`.

    What `nas` itself raises passes.
    """
    try:
        yield
    except BaseException as error:
        if isinstance(error, NasError) or not is_failure(error):
            raise
        raise broken(folder, TOKENIZER_FILES[0], f"is no usable tokenizer ({error})") from error
