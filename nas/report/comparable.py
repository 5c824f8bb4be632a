"""Why searches do not compare, or only in part: a sentence for each reason."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from nas.config import identity_diff
from nas.study import Study

# What makes figures of two searches mean different things, with the words for it.
MEANING = {
    "task": "another task",
    "split": "another split",
}
# What makes it no surprise that one is better.
TERMS = {
    "per_candidate": "another budget a candidate",
    "recipe": "another recipe",
    "space": "another space",
}
TIMED = ("latency_ms", "latency_iqr_ms", "throughput")
MOST = 3  # settings that a warning names
# How a warning begins after which no figure is better or worse than another.
FIGURES, LOSSES = "figures do not compare", "losses do not compare"


def warnings_of(studies: Sequence[Study], firsts: Sequence[Study], objective: str) -> Iterator[str]:
    """Yield why searches do not compare, each with what differs between which.

    Args:
        studies: The searches.
        firsts: The first one of each kind of settings; each is held against the first of all.
        objective: What they are compared on.
    """
    yield from _objectives(firsts, objective)
    yield from _data(firsts)
    for key, words in MEANING.items():
        yield from _differing(firsts, key, f"{FIGURES}, {words}")
    of_times = objective in TIMED
    begin = f"{FIGURES}, latency" if of_times else "latencies do not compare,"
    yield from _differing(firsts, "latency", f"{begin} timed otherwise")
    yield from _vocabularies(firsts, objective)
    for key, words in TERMS.items():
        yield from _differing(firsts, key, words)
    yield from _limits(firsts)
    yield from _machines(studies)
    yield from _seeds(studies)
    yield from _unfinished(studies)


def _objectives(studies: Sequence[Study], objective: str) -> Iterator[str]:
    if len({study.objectives[0] for study in studies}) > 1:
        words = ", ".join(f"{study.name} {study.objectives[0]}" for study in studies)
        yield f"each was searched for another metric ({words}): compared on {objective}"


def _data(studies: Sequence[Study]) -> Iterator[str]:
    for one in _others(studies, lambda study: study.record.data_fingerprint):
        yield (
            f"{FIGURES}, other data: {one.name} has "
            f"{one.record.data_fingerprint}, {studies[0].name} "
            f"{studies[0].record.data_fingerprint}"
        )


def _vocabularies(studies: Sequence[Study], objective: str) -> Iterator[str]:
    if objective != "val_loss":
        return
    for one in _others(studies, lambda study: study.record.task_spec.vocab_size):
        yield (
            f"{LOSSES}, another vocabulary: {one.name} has "
            f"{one.record.task_spec.vocab_size:,} tokens, {studies[0].name} "
            f"{studies[0].record.task_spec.vocab_size:,}; val_bits_per_byte would compare"
        )


def _differing(studies: Sequence[Study], key: str, words: str) -> Iterator[str]:
    first = studies[0]
    for one in studies[1:]:
        found = _differences(_part(first, key), _part(one, key))
        if found:
            yield f"{words}: {one.name} against {first.name}: {_few(found)}"


def _part(study: Study, key: str) -> dict[str, Any]:
    value = study.record.identity.get(key)
    if key == "task" and isinstance(value, Mapping):  # the data has a warning of its own
        value = {name: each for name, each in value.items() if name != "data"}
    return {key: value}


def _differences(first: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    return [
        line.replace(" in the study, ", " and ").removesuffix(" asked for")
        for line in identity_diff(other, first)
    ]


def _few(found: Sequence[str]) -> str:
    more = f" and {len(found) - MOST} more" if len(found) > MOST else ""
    return "; ".join(found[:MOST]) + more


def _limits(firsts: Sequence[Study]) -> Iterator[str]:
    """Say whose search was given more; the figures after equal times still compare."""
    first = firsts[0]
    for key, words in (("stop", "another limit to the search"), ("finalists", "other finals")):
        for one in firsts[1:]:
            found = _differences({key: first.config.get(key)}, {key: one.config.get(key)})
            if found:
                yield f"{words}: {one.name} against {first.name}: {_few(found)}"


def _machines(studies: Sequence[Study]) -> Iterator[str]:
    def machine(study: Study) -> object:
        return study.record.versions.get("platform"), study.record.numerics

    for one in _others(studies, machine):
        yield f"times do not compare: {one.name} ran on another machine, or with other arithmetic"


def _seeds(studies: Sequence[Study]) -> Iterator[str]:
    seen: dict[str, str] = {}
    for study in studies:
        told = repr((study.config, study.record.data_fingerprint))
        if told in seen:
            yield f"{study.name} and {seen[told]} have all settings and the seed in common"
        seen.setdefault(told, study.name)


def _unfinished(studies: Sequence[Study]) -> Iterator[str]:
    for study in studies:
        if study.record.state != "finished":
            yield f"{study.name} is not finished: there were no finals yet"


def _others(studies: Sequence[Study], what: Callable[[Study], object]) -> list[Study]:
    """Return those in which something is not as in the first one."""
    return [study for study in studies[1:] if what(study) != what(studies[0])]
