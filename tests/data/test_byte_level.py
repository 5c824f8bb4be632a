"""The byte-level vocabulary: numpy's encoding, the stored tokenizer and transformers agree."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stand_ins import write_byte_tokenizer
from tokenizers import Tokenizer

from nas.data import byte_level

TRICKY = (
    "Plain text , it 's  spaced .\n\n\t don't \r\n"
    + "".join(map(chr, range(0x80)))
    + "Straße 漢字 🙂 👩\u200d🚀 e\u0301 \u00a0\u2028\ufeff ﷽"
)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_str(byte_level.tokenizer_json())


@settings(max_examples=50, deadline=None)
@given(text=st.text())
def test_tokenizer_and_corpus_encoder_agree_on_any_text(tokenizer: Tokenizer, text: str) -> None:
    ids = byte_level.encode_documents([text.encode()])
    if byte_level.END_OF_TEXT not in text:
        assert tokenizer.encode(text).ids == ids.tolist()
    assert tokenizer.decode(ids.tolist(), skip_special_tokens=False) == text


def test_an_id_is_the_value_of_its_byte() -> None:
    ids = byte_level.encode_documents([bytes(range(256))])
    assert ids.tolist() == list(range(256))
    assert ids.dtype == np.uint16


def test_each_of_several_documents_is_ended() -> None:
    assert byte_level.encode_documents([b"a", b"bc"]).tolist() == [97, 256, 98, 99, 256]
    assert byte_level.encode_documents([b"a"]).tolist() == [97]


def test_end_of_text_written_in_a_corpus_stays_bytes(tokenizer: Tokenizer) -> None:
    text = "a<|endoftext|>b"
    ids = byte_level.encode_documents([text.encode()]).tolist()
    assert byte_level.END_OF_TEXT_ID not in ids
    assert tokenizer.encode(text).ids == [97, byte_level.END_OF_TEXT_ID, 98]


@pytest.mark.parametrize("model_type", ["llama", "mistral", "gpt2"])
def test_stock_autotokenizer_opens_the_files_and_loses_nothing(
    tmp_path: Path, model_type: str
) -> None:
    from transformers import AutoTokenizer

    write_byte_tokenizer(tmp_path, 64)
    native = {"model_type": model_type, "vocab_size": 257, "bos_token_id": 256, "eos_token_id": 256}
    (tmp_path / "config.json").write_text(json.dumps(native))
    opened = AutoTokenizer.from_pretrained(tmp_path)
    ids = opened(TRICKY)["input_ids"]
    assert ids == list(TRICKY.encode())
    assert opened.decode(ids) == TRICKY
    assert (opened.bos_token_id, opened.eos_token_id, len(opened)) == (256, 256, 257)
    assert opened.model_max_length == 64
