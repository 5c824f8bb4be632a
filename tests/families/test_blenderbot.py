"""Encoder and decoder: what each sees, and greedy decoding as stock transformers does it."""

from __future__ import annotations

import pytest
import torch
from family_cases import SPECS
from stand_ins import draw_matrices

from nas.artifact import Manifest
from nas.artifact.writing import write_model
from nas.decoding import greedy_decode
from nas.errors import ShapeError
from nas.families import architecture
from nas.training.loop import fresh_network

SPEC = SPECS["seq2seq"]
ARCH = architecture(
    "blenderbot", n_layer=2, d_model=32, n_head=4, d_ff=48,
    n_layer_decoder=3, n_head_decoder=2, d_ff_decoder=40,
)  # fmt: skip


@pytest.fixture
def network():
    network = fresh_network(ARCH, SPEC, 0).eval()
    draw_matrices(network, torch.Generator().manual_seed(0))
    return network


@pytest.fixture
def sources():
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(3, SPEC.vocab_size, (6, 20), generator=generator)
    mask = (torch.arange(20) < torch.tensor([20, 17, 9, 4, 2, 1])[:, None]).long()
    return ids * mask, mask


def test_a_decoder_like_the_encoder_is_left_out_of_the_shape():
    same = architecture(
        "blenderbot", n_layer=2, d_model=32, n_head=4, d_ff=48, n_layer_decoder=2, d_ff_decoder=48
    )
    assert same == architecture("blenderbot", n_layer=2, d_model=32, n_head=4, d_ff=48)


def test_heads_of_the_decoder_must_divide_the_width():
    with pytest.raises(ShapeError, match="n_head_decoder: 3 does not divide d_model 32"):
        architecture("blenderbot", **{**ARCH.shape, "n_head_decoder": 3})


@torch.no_grad()
def test_the_source_moves_the_logits_and_its_padding_does_not(network, sources):
    ids, mask = sources
    targets = torch.arange(3, 10).expand(len(ids), -1)
    logits = network(ids, mask, targets)
    other = ids.clone()
    other[:, 0] = (other[:, 0] + 1) % SPEC.vocab_size
    assert ((network(other, mask, targets) - logits).abs().amax((1, 2)) > 1e-3).all()
    padding = torch.where(mask == 1, ids, 7)
    torch.testing.assert_close(network(padding, mask, targets), logits, rtol=0, atol=1e-5)
    for row, length in enumerate(mask.sum(1).tolist()):
        single = network(ids[row : row + 1, :length], None, targets[:1])
        torch.testing.assert_close(single, logits[row : row + 1], rtol=0, atol=1e-5)


@torch.no_grad()
def test_later_targets_do_not_move_earlier_logits(network, sources):
    ids, mask = sources
    targets = torch.arange(3, 13).expand(len(ids), -1)
    changed = targets.clone()
    changed[:, -1] = 50
    first, second = network(ids, mask, targets), network(ids, mask, changed)
    assert torch.equal(first[:, :-1], second[:, :-1])


@torch.no_grad()
def test_steps_give_the_logits_of_the_whole(network, sources):
    ids, mask = sources
    targets = torch.arange(3, 13).expand(len(ids), -1)
    memory, past, parts = network.encode(ids, mask), None, []
    for column in range(targets.shape[1]):
        logits, past = network.step(targets[:, column : column + 1], memory, mask, past)
        parts.append(logits)
    whole = network(ids, mask, targets)
    torch.testing.assert_close(torch.cat(parts, 1), whole, rtol=0, atol=2e-5)


def test_greedy_decoding_writes_what_stock_transformers_writes(network, sources, tmp_path):
    from transformers import AutoModelForSeq2SeqLM

    ids, mask = sources
    write_model(tmp_path / "m", network.state_dict(), Manifest(architecture=ARCH, task_spec=SPEC))
    stock = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "m").eval()
    theirs = stock.generate(
        input_ids=ids, attention_mask=mask, max_new_tokens=20, num_beams=1, do_sample=False
    )
    ours = greedy_decode(network, ids, mask, SPEC, limit=20)
    assert len({tuple(row) for row in ours}) > 1
    for row, written in zip(theirs.tolist(), ours, strict=True):
        end = row.index(SPEC.eos_token_id) if SPEC.eos_token_id in row else len(row)
        assert row[1:end] == written


def test_decoding_ends_at_the_end_token_and_the_limit(network, sources):
    ids, mask = sources
    network.final_logits_bias[0, SPEC.eos_token_id] = 1e4
    assert greedy_decode(network, ids, mask, SPEC, limit=20) == [[]] * len(ids)
    network.final_logits_bias[0, SPEC.eos_token_id] = -1e4
    assert {len(row) for row in greedy_decode(network, ids, mask, SPEC, limit=5)} == {5}
    assert {len(row) for row in greedy_decode(network, ids, mask, SPEC, limit=99)} == {SPEC.context}
