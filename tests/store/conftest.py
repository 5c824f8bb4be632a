import pytest

from nas.families import architecture
from nas.records import Candidate, Evaluation, Outcome, Recipe, TaskSpec
from nas.store.store import Store


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def store_url(request, tmp_path):
    """The URL of a database that holds nothing yet; the contract of the store runs on each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/study.db"
    return request.getfixturevalue("postgres_url")


@pytest.fixture
def store(store_url):
    with Store.open(store_url, create=True) as store:
        yield store


@pytest.fixture
def study(store):
    return new_study(store)


@pytest.fixture
def build():
    """The functions below, for tests that make what they need."""
    return Build


class Build:
    @staticmethod
    def study(store, name="tiny", **changes):
        return new_study(store, name, **changes)

    @staticmethod
    def candidate(seed=0, **shape):
        fields = {"n_layer": 2, "d_model": 64, "n_head": 2, "d_ff": 128, **shape}
        return Candidate(
            architecture=architecture("llama", **fields),
            recipe=Recipe(context=64, batch=8, rate=0.01),
            seed=seed,
            data_fingerprint="abc",
        )

    @staticmethod
    def evaluation(rung=0, loss=2.0, **metrics):
        values = {"val": {"loss": loss, "bits_per_byte": loss * 1.44}, **metrics}
        return Evaluation(
            rung=rung,
            tokens=100 * (rung + 1),
            seconds=0.5 * (rung + 1),
            metrics=values,
            curve=((50, 3.0), (100, 2.5)),
        )

    @staticmethod
    def outcome(candidate, *evaluations, state="complete", **changes):
        return Outcome(
            candidate_id=candidate.id,
            state=state,
            tokens=max((e.tokens for e in evaluations), default=0),
            evaluations=evaluations,
            **changes,
        )

    @staticmethod
    def add(store, study, candidate, *, number=0, role="search", parameters=None):
        columns = {"params": 1000.0 + number, "flops_per_token": 2e3, "train_memory_bytes": 1e6}
        return store.add_candidate(
            study,
            candidate,
            number=number,
            role=role,
            columns=columns,
            parameters={"n_layer": 2} if parameters is None else parameters,
        )


def new_study(store, name="tiny", **changes):
    fields = {
        "config": {"task": {"name": "language_modeling"}},
        "identity": {"seed": 0},
        "rungs": (100, 200),
        "objectives": ("val_loss",),
        "data_fingerprint": "abc",
        "task_spec": TaskSpec(
            task="language_modeling", head="causal_lm", vocab_size=256, context=64
        ),
        "versions": {"nas": "0.1.0"},
    }
    return store.create_study(name, **(fields | changes))
