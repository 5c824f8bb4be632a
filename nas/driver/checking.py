"""Look over a study's database: is it whole, and does it agree with folder and mirror?

Nothing is changed. Each check is one finding, in the order in which it makes sense to read them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from nas.artifact import is_model_folder, read_manifest
from nas.artifact.manifest import file_path
from nas.errors import ArtifactError, StoreError
from nas.places import Place, folder_of
from nas.plugins import is_own
from nas.store.inspection import Inspection
from nas.store.mirror import is_mirrored, trials_of
from nas.store.ranking import number_of
from nas.store.rows import CandidateRow, StudyRecord
from nas.store.store import Store
from nas.store.tables import SCHEMA_VERSIONS

SHOWN = 3  # of many problems of a kind


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """What one check found."""

    name: str
    ok: bool
    found: str
    study: str | None = None  # None: it is about the whole database

    @property
    def result(self) -> str:
        """The verdict in a word."""
        return "ok" if self.ok else "wrong"


def check(place: Place) -> list[Finding]:
    """Look over the database at a place: the study that is named, or all in it.

    Raises:
        InputError: If the URL is malformed, or there is no such file.
    """
    found: list[Finding] = []
    try:
        for finding in _findings(place):
            found.append(finding)  # noqa: PERF402 - what was found before an error stays
    except StoreError as error:
        name = "readable" if found else "reachable"
        found.append(Finding(name=name, ok=False, found=str(error)))
    return found


def _findings(place: Place) -> Iterator[Finding]:
    with Inspection.of(place.url) as inspection:
        yield Finding(name="reachable", ok=True, found=inspection.server())
        schema = _schema(inspection)
        yield schema
        if not schema.ok:
            return
        yield _listed("integrity", inspection.damage(), "the database finds nothing wrong")
        yield _listed("references", inspection.orphans(), "every row finds those that it names")
        with Store.open(place.url) as store:
            for name in _wanted(store, place):
                yield from _of_study(inspection, store, name, place.folder)


def _schema(inspection: Inspection) -> Finding:
    newest = SCHEMA_VERSIONS[-1]
    try:
        found = inspection.schema()
    except StoreError as error:
        return Finding(name="schema", ok=False, found=str(error))
    if found is None:
        return Finding(name="schema", ok=False, found="it holds no studies of nas")
    words = found
    if found != newest:
        words = f"{found}, of an older nas; upgrade to {newest} with: nas db upgrade"
    return Finding(name="schema", ok=found == newest, found=words)


def _wanted(store: Store, place: Place) -> list[str]:
    names = store.studies()
    if place.name:
        return [store.study(place.name).name]
    folder = place.folder.absolute().name if place.folder else ""
    return [folder] if folder in names else names


def _of_study(
    inspection: Inspection, store: Store, name: str, folder: Path | None
) -> Iterator[Finding]:
    try:
        record = store.study(name)
        rows = store.rows(record)
    except StoreError as error:
        yield Finding(name="records", ok=False, found=str(error), study=name)
        return
    there = folder or folder_of(record)
    counts = Counter(row.state for row in rows)
    states = ", ".join(f"{count} {state}" for state, count in counts.items()) or "no candidates"
    yield _listed("records", _misnamed(rows), states, name)
    yield _listed("measurements", inspection.disagreements(record), "all add up", name)
    yield _models(there, rows, name)
    yield _checkpoints(there, rows, name)
    yield _mirror(store.url, record, rows)


def _misnamed(rows: Sequence[CandidateRow]) -> list[str]:
    """Return the candidates that do not have the id of what they are."""
    found = [row for row in rows if row.architecture.id != row.architecture_id]
    others = [row for row in rows if row.candidate.id != row.candidate_id and row not in found]
    return [
        *(f"{row.candidate_id}: its shape is not that of {row.architecture_id}" for row in found),
        *(f"{row.candidate_id}: is what the id {row.candidate.id} says" for row in others),
    ]


def _models(folder: Path, rows: Sequence[CandidateRow], study: str) -> Finding:
    kept = [(folder / row.model_path, row) for row in rows if row.model_path]
    if kept and not folder.is_dir():
        words = f"{folder} is not here, and {len(kept)} models are in it"
        return Finding(name="models", ok=False, found=words, study=study)
    problems = [problem for path, row in kept if (problem := _unreadable(path, row))]
    return _listed("models", problems, f"{len(kept)} of {len(kept)} are readable", study)


def _unreadable(folder: Path, row: CandidateRow) -> str:
    """Return what is wrong with a model folder, nothing if it is complete; no hash is taken."""
    if is_own(row.family) and is_model_folder(folder):
        return ""  # to read it would run the user's code
    try:
        manifest = read_manifest(folder)
        for name in manifest.files:
            file_path(folder, manifest, name)
    except ArtifactError as error:
        return str(error)
    return ""


def _checkpoints(folder: Path, rows: Sequence[CandidateRow], study: str) -> Finding:
    named = [row.checkpoint for row in rows if row.checkpoint]
    problems = []
    for one in named:
        path = folder / one.uri
        if not path.is_file():
            problems.append(f"{path}: is missing; training begins anew where it is needed")
        elif path.stat().st_size != one.bytes:
            problems.append(f"{path}: has {path.stat().st_size} bytes, expected {one.bytes}")
    return _listed("checkpoints", problems, f"{len(named)} of {len(named)} are there", study)


def _mirror(url: str, record: StudyRecord, rows: Sequence[CandidateRow]) -> Finding:
    """Compare Optuna's trials with what they show."""
    wanted = {row.candidate_id: row for row in rows if is_mirrored(row)}
    try:
        trials = trials_of(url, record.name)
    except StoreError as error:
        return Finding(name="mirror", ok=False, found=str(error), study=record.name)
    shown = Counter(trial.user_attrs.get("candidate_id", "?") for trial in trials)
    values = {t.user_attrs.get("candidate_id", "?"): t.values for t in trials if t.values}
    problems = [f"{own}: {count} trials" for own, count in shown.items() if count > 1]
    problems += [
        f"{own}: a trial of no candidate that ended" for own in shown.keys() - wanted.keys()
    ]
    if missing := wanted.keys() - shown.keys():
        problems.append(f"{len(missing)} are not shown yet; the next nas search adds them")
    for own in wanted.keys() & values.keys():
        expected = [number_of(wanted[own], name) for name in record.objectives]
        if values[own] != expected:
            problems.append(f"{own}: shows {values[own]}, measured {expected}")
    return _listed("mirror", problems, f"Optuna shows all {len(wanted)}", record.name)


def _listed(name: str, problems: Sequence[str], fine: str, study: str | None = None) -> Finding:
    """Return a finding: what is fine, or the first problems and how many there are."""
    more = f"; and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
    words = "; ".join(problems[:SHOWN]) + more if problems else fine
    return Finding(name=name, ok=not problems, found=words, study=study)
