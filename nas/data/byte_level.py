"""The byte-level vocabulary: a token is a byte of UTF-8, and one more ends a document.

Ids 0 to 255 are the bytes' values; 256 is `<|endoftext|>`, the begin and end token. The stored
tokenizer reads the characters `<|endoftext|>` in a prompt as that one token; a corpus is encoded
as plain bytes, so that no user's text can end a document.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

NAME = "byte_level"
END_OF_TEXT = "<|endoftext|>"
END_OF_TEXT_ID = 256
VOCAB_SIZE = 257

# The bytes that GPT-2's byte alphabet shows as themselves; the others become U+0100 and on.
# Source: https://github.com/openai/gpt-2/blob/master/src/encoder.py (bytes_to_unicode)
_SHOWN = frozenset([*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)])


def encode_documents(documents: Sequence[bytes]) -> NDArray[np.uint16]:
    """Return the ids of all documents in a row, each of several followed by `<|endoftext|>`."""
    ends = len(documents) if len(documents) > 1 else 0
    tokens = np.full(sum(map(len, documents)) + ends, END_OF_TEXT_ID, dtype="<u2")
    start = 0
    for document in documents:
        tokens[start : start + len(document)] = np.frombuffer(document, dtype=np.uint8)
        start += len(document) + 1
    return tokens


def tokenizer_json() -> str:
    """Return the content of a `tokenizer.json` whose ids are the bytes' values."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    vocabulary = {character: byte for byte, character in enumerate(alphabet())}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    # Without merges there is nothing for words to keep together: no regex that splits into them.
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(END_OF_TEXT, special=True, normalized=False)])
    return str(tokenizer.to_str(pretty=True))


def alphabet() -> list[str]:
    """Return the character that stands for each byte in `tokenizer.json`."""
    hidden = [byte for byte in range(256) if byte not in _SHOWN]
    return [chr(b) if b in _SHOWN else chr(0x100 + hidden.index(b)) for b in range(256)]
