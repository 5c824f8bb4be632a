"""`nas.load`: every way to name a model, and every way in which there is none."""

from pathlib import Path

import pytest
import torch
from stand_ins import build

from nas.artifact import Manifest
from nas.artifact.writing import write_model
from nas.errors import ArtifactError, InputError, NotFoundError
from nas.families import architecture
from nas.loading import load
from nas.records import Candidate, Evaluation, Outcome, Recipe, TaskSpec
from nas.store.store import Store
from nas.study import Study, open_study

SPEC = TaskSpec(task="language_modeling", head="causal_lm", vocab_size=64, context=8)
ARCHITECTURE = architecture("llama", n_layer=1, d_model=8, n_head=2, d_ff=8)


def candidate_of(seed: int) -> Candidate:
    recipe = Recipe(context=8, batch=2, rate=0.01)
    return Candidate(architecture=ARCHITECTURE, recipe=recipe, seed=seed, data_fingerprint="ab")


BEST, KEPT, DROPPED, FAILED = (candidate_of(seed) for seed in range(4))


def make_study(folder: Path, losses: dict[Candidate, float | None], keep: set[str]) -> Study:
    """Store candidates with their loss (None: failed) and the folders of those to keep."""
    folder.mkdir(parents=True)
    with Store.open(folder / "study.db", create=True) as store:
        study = store.create_study(
            folder.name,
            config={"keep": len(keep)},
            identity={},
            rungs=[100],
            objectives=["val_loss"],
            data_fingerprint="ab",
            task_spec=SPEC,
            versions={},
        )
        for number, (candidate, loss) in enumerate(losses.items()):
            store.add_candidate(
                study, candidate, number=number, role="search", columns={}, parameters={}
            )
            store.record_outcome(study, outcome_of(candidate, loss))
            if candidate.id in keep:
                path = f"models/{candidate.id}"
                state = build(ARCHITECTURE, SPEC, seed=candidate.seed).state_dict()
                manifest = Manifest(architecture=ARCHITECTURE, task_spec=SPEC, seed=candidate.seed)
                done = write_model(folder / path, state, manifest)
                store.record_model(
                    study, candidate.id, path=path, size_bytes=done.bytes, sha256=done.sha256
                )
    return open_study(folder)


def outcome_of(candidate: Candidate, loss: float | None) -> Outcome:
    if loss is None:
        return Outcome(candidate_id=candidate.id, state="failed", tokens=0, error="boom")
    evaluation = Evaluation(rung=0, tokens=100, seconds=1.0, metrics={"val": {"loss": loss}})
    return Outcome(
        candidate_id=candidate.id, state="complete", tokens=100, evaluations=(evaluation,)
    )


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    monkeypatch.setenv("NAS_STUDIES", str(tmp_path / "studies"))
    losses = {KEPT: 2.0, BEST: 1.5, DROPPED: 3.0, FAILED: None}
    return make_study(tmp_path / "studies" / "tiny", losses, {BEST.id, KEPT.id})


def test_study_loads_its_best_by_name_path_url_and_object(study: Study) -> None:
    for what in ("tiny", study.folder, str(study.folder), study.url, study):
        assert load(what).manifest.seed == BEST.seed


def test_candidate_loads_by_id_prefix_row_and_folder(study: Study) -> None:
    row = study.candidate(KEPT.id)
    assert load(KEPT.id).manifest.seed == KEPT.seed
    assert load(KEPT.id[:6]).manifest.seed == KEPT.seed
    assert load("tiny", candidate=KEPT.id[:6]).manifest.seed == KEPT.seed
    assert load(study, candidate=KEPT.id).manifest.seed == KEPT.seed
    assert load(KEPT.id, study="tiny").manifest.seed == KEPT.seed
    assert load(row).manifest.seed == KEPT.seed
    assert load(row, study=study).manifest.seed == KEPT.seed
    assert load(study.folder / "models" / KEPT.id, verify=True).manifest.seed == KEPT.seed


def test_package_offers_load_itself(study: Study) -> None:
    import nas

    model = nas.load("tiny", device="cpu")
    assert model(torch.tensor([[1, 2, 3]])).shape == (1, 3, 64)


def test_candidate_without_kept_weights_says_how_to_train_it(study: Study) -> None:
    expected = (
        rf"study 'tiny': candidate {DROPPED.id}: its weights were not kept \(keep: 2\); "
        rf"train it again with: nas train tiny --candidate {DROPPED.id}"
    )
    with pytest.raises(NotFoundError, match=expected):
        load("tiny", candidate=DROPPED.id)


def test_study_without_a_complete_candidate_says_so(tmp_path: Path) -> None:
    failed = make_study(tmp_path / "bad", {FAILED: None}, set())
    with pytest.raises(NotFoundError, match=r"study 'bad': no complete candidate to load \(1 fai"):
        load(failed.folder)


def test_unknown_name_is_neither_study_nor_candidate(study: Study) -> None:
    with pytest.raises(NotFoundError, match=r"no study 'tinny' in .*; did you mean 'tiny'\?"):
        load("tinny")
    with pytest.raises(NotFoundError, match=r"study 'tiny': no candidate 'zz' among 4"):
        load("tiny", candidate="zz")


def test_nothing_at_all_names_what_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NAS_STUDIES", str(tmp_path / "none"))
    with pytest.raises(NotFoundError, match=r"no study 'abcdef'"):
        load("abcdef")
    with pytest.raises(NotFoundError, match=r"no study"):
        load("x" * 5000)


def test_folder_of_something_else_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"neither a complete model folder .* nor a study's"):
        load(tmp_path)


def test_model_folder_deleted_behind_the_database_is_named(study: Study) -> None:
    (study.folder / "models" / BEST.id / "nas.json").unlink()
    with pytest.raises(ArtifactError, match=rf"{BEST.id}: not a complete model folder"):
        load("tiny")


def test_what_names_no_model_is_refused() -> None:
    with pytest.raises(InputError, match=r"load: got int, expected a model folder, a study"):
        load(5)  # type: ignore[arg-type]  # the point
