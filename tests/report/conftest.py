"""Small studies made through the store, whose every figure is known."""

import pytest

from nas.config import config_from_plain
from nas.families import architecture, cost_of
from nas.records import Candidate, Evaluation, Numerics, Outcome, Recipe, TaskSpec
from nas.store.store import Store
from nas.study import open_study

SPACE = {
    "format_version": 1,
    "family": "llama",
    "fixed": {"head_dim": 8, "n_head": 2},
    "dimensions": {
        "n_layer": {"min": 1, "max": 4},
        "d_model": {"choices": [16, 24, 32]},
        "d_ff": {"min": 16, "max": 64, "step": 16, "per_layer": True},
    },
    "reference": {"n_layer": 2, "d_model": 16, "d_ff": 32},
}
SPEC = TaskSpec(task="language_modeling", head="causal_lm", vocab_size=256, context=16)
RECIPE = Recipe(context=16, batch=8, rate=0.01)
RUNGS = (1024, 4096)


class Maker:
    """One study in the making."""

    def __init__(self, store, name, objectives):
        plain = {
            "format_version": 1,
            "space": SPACE,
            "task": {"name": "language_modeling", "data": "builtin:python-docs"},
            "recipe": {"context": 16, "batch": 8},
            "executor": "inline",
        }
        config = config_from_plain(plain, where="test", name="made")
        self.store = store
        self.study = store.create_study(
            name,
            config=config.to_plain(),
            identity=config.identity(),
            rungs=RUNGS,
            objectives=objectives,
            data_fingerprint="abc",
            task_spec=SPEC,
            versions={"transformer-nas": "0.1.0", "python": "3.11"},
            numerics=Numerics(device="cpu", precision="fp32", attention="bmm", threads=1),
        )

    def begin(self, number, role="search", seed=0, **shape):
        fields = {"n_layer": 2, "d_model": 16, "d_ff": 32, **shape}
        made = architecture("llama", head_dim=8, n_head=2, **fields)
        candidate = Candidate(architecture=made, recipe=RECIPE, seed=seed, data_fingerprint="abc")
        columns = cost_of(made, SPEC, context=16, batch=8)
        self.store.add_candidate(
            self.study,
            candidate,
            number=number,
            role=role,
            columns=columns,
            parameters={"n_layer": fields["n_layer"]},
        )
        return candidate

    def complete(self, number, loss, role="search", seed=0, test=None, more=(), **shape):
        candidate = self.begin(number, role, seed, **shape)
        metrics = {"val": {"loss": loss, **dict(more)}}
        if test is not None:
            metrics["test"] = {"loss": test}
        at_rungs = [(0, {"val": {"loss": loss + 0.5, **dict(more)}}), (1, metrics)]
        curve = tuple((n, loss + 512 / n) for n in range(512, 4097, 512))
        self.store.record_outcome(
            self.study,
            Outcome(
                candidate_id=candidate.id,
                state="complete",
                tokens=4096,
                evaluations=tuple(
                    Evaluation(rung=r, tokens=RUNGS[r], seconds=1.0, metrics=m, curve=curve)
                    for r, m in at_rungs
                ),
                timings={"build": 0.5, "run": 4.0, "train": 3.0, "save": 0.5},
            ),
        )
        return candidate

    def fail(self, number, error="ValueError: 3 of 4", traceback="Traceback", **shape):
        candidate = self.begin(number, **shape)
        outcome = Outcome(
            candidate_id=candidate.id,
            state="failed",
            tokens=0,
            error=error,
            traceback=traceback,
            timings={"build": 0.5},
        )
        self.store.record_outcome(self.study, outcome)

    def finish(self, winner, reference=None):
        self.store.set_summary(
            self.study,
            {
                "winner": winner.architecture.id if winner else None,
                "reference": reference.architecture.id if reference else None,
                "elapsed_seconds": 100.0,
            },
        )
        self.store.set_state(self.study, "finished")


@pytest.fixture
def made(tmp_path):
    """Returns a stored study that a function filled."""

    def made(fill=lambda maker: None, name="made", objectives=("val_loss",)):
        folder = tmp_path / "studies" / "made"
        folder.mkdir(parents=True)
        with Store.open(f"sqlite:///{folder}/study.db", create=True) as store:
            fill(Maker(store, name, objectives))
        return open_study(folder)

    return made


def _searched(maker, number=8):
    """Fill a study with so many complete candidates, finals of two shapes and one failure."""
    reference = maker.complete(0, 3.0)
    for at in range(1, number):
        shape = {"n_layer": 1 + at % 4, "d_ff": (16, 32, 48, 64)[at // 4]}
        maker.complete(at, 3.0 - 0.05 * at, d_model=32, **shape)
    maker.fail(number, d_model=24)
    for seed in (1, 2, 3):
        best = maker.complete(
            number - 1,
            2.4 + seed / 100,
            "finalist",
            seed,
            test=2.5 + seed / 100,
            d_model=32,
            **shape,
        )
        maker.complete(0, 2.9 + seed / 100, "reference", seed, test=3.0 + seed / 100)
    maker.finish(best, reference)


@pytest.fixture
def study(made, searched):
    """A finished study (see `_searched`)."""
    return made(searched)


@pytest.fixture
def searched():
    """The function that fills a study; see `_searched`."""
    return _searched
