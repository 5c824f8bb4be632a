"""What a search says of itself, checked from outside."""

import base64
import json
import math
import subprocess
import sys

import numpy as np
import pytest

import nas

RECOMPUTE = """
import json, sys
sys.modules["nas"] = None  # not even by accident
import numpy as np, torch
import torch.nn.functional as F
from transformers import AutoModelForCausalLM

folder, tokens_file, context = sys.argv[1], sys.argv[2], int(sys.argv[3])
model, info = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
tokens = torch.from_numpy(np.load(tokens_file).astype(np.int64))
count = (len(tokens) - 1) // context
rows = tokens[: count * context].view(count, context)
next_rows = tokens[1 : count * context + 1].view(count, context)
with torch.no_grad():
    logits = torch.cat([model(ids).logits for ids in rows.split(64)])
loss = F.cross_entropy(logits.flatten(0, 1), next_rows.flatten())
keys = [sorted(info[name]) for name in ("missing_keys", "unexpected_keys", "mismatched_keys")]
print(json.dumps({"loss": float(loss), "keys": keys}))
"""


def test_stock_transformers_recomputes_the_stored_loss(configure):
    study = nas.search(configure(stop={"candidates": 2}))
    row = study.best()
    arguments = [study.folder / row.model_path, study.folder / "data" / "val.ids.npy", 16]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", RECOMPUTE, *map(str, arguments)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    answer = json.loads(done.stdout.splitlines()[-1])
    assert answer["keys"] == [[], [], []]
    assert answer["loss"] == pytest.approx(row.metrics["val_loss"], abs=1e-3)


@pytest.mark.slow
def test_random_text_is_not_predicted(configure, tmp_path):
    """No loss below the entropy of the text: what is validated was not trained on."""
    noise = np.random.default_rng(0).integers(256, size=1_500_000, dtype=np.uint8)
    (tmp_path / "noise.txt").write_bytes(base64.b64encode(noise.tobytes()))
    config = configure(
        task={"name": "language_modeling", "data": str(tmp_path / "noise.txt")},
        space={
            "format_version": 1,
            "family": "llama",
            "fixed": {"n_layer": 2, "n_head": 2},
            "dimensions": {"d_model": {"choices": [32, 64]}, "d_ff": {"choices": [64, 128]}},
        },
        recipe={"context": 64, "batch": 8, "rate": 0.005},
        per_candidate={"tokens": 400_000},
        stop={"candidates": 3},
        executor="processes",
    )
    study = nas.search(config)
    values = [value for row in study.trials() for value in row.metrics.values()]
    losses = [row.metrics["val_loss"] for row in study.trials()]
    assert min(losses) > 4.15
    assert max(losses) < math.log(64) + 0.05, "it learned that there are 64 characters"
    assert all(math.isfinite(value) for value in values)
