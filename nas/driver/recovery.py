"""What becomes of a job that failed: whether it is tried again, how, and when that has to stop.

- Memory ran out: once more in parts of a batch, whose gradients are summed: the same training in
  less memory. Then it is `oom`, and shapes of as much memory are proposed no more (`proposing`).
- The worker died: again from the last checkpoint, a few times. A worker may be killed for reasons
  that are not the candidate's; one that dies under it each time is taken for its doing.
- All else (an exception, divergence) would only happen again, and stands.

What happened is stored with the candidate before it is tried again, and one that an earlier run
left with such a note has used up one of its retries.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from nas.errors import NasError
from nas.families import cost_of
from nas.records import Job, Outcome
from nas.store.rows import CandidateRow

RETRIES = 3  # of a candidate whose worker died
# So many workers, beside two for each slot, may die one after another before any job comes back.
LOST_IN_A_ROW = 8
# By the cost model a step in parts takes at most this share of the memory of a whole one. It is a
# small one because there is one try, and nobody knows what else took memory.
SHARE = 0.25


class Recovery:
    """Judges the outcomes of one run of a search.

    Args:
        study: Its name, for messages.
        unfinished: Candidates that an earlier run left.
    """

    def __init__(self, study: str, unfinished: Iterable[CandidateRow]) -> None:
        self._study = study
        self._lost = Counter(row.candidate_id for row in unfinished if row.error)
        self._in_a_row = 0
        self._last = ""

    def judge(self, job: Job, outcome: Outcome) -> tuple[Outcome, Job | None]:
        """Return what is to be recorded of a job that came back, and the job to try instead.

        Args:
            job: As it was submitted; the checkpoint of the one returned is the caller's to renew.
            outcome: What came of it.
        """
        self._in_a_row = self._in_a_row + 1 if outcome.lost else 0
        self._last = outcome.error
        if outcome.state == "oom":
            return self._out_of_memory(job, outcome)
        if not outcome.lost:
            return outcome, None
        self._lost[outcome.candidate_id] += 1
        times = self._lost[outcome.candidate_id]
        if times <= RETRIES:
            return outcome, job
        return replace(outcome, error=f"{outcome.error}, {times} times under it"), None

    def _out_of_memory(self, job: Job, outcome: Outcome) -> tuple[Outcome, Job | None]:
        batch = job.candidate.recipe.batch
        if job.micro_batch is not None:
            text = f"with {job.micro_batch} of {batch} examples at once too: {outcome.error}"
            return replace(outcome, error=text), None
        smaller = smaller_batch(job)
        return outcome, None if smaller is None else replace(job, micro_batch=smaller)

    def check(self, slots: int) -> None:
        """Raise if workers keep dying and nothing comes back any more.

        Args:
            slots: Jobs at once, all of which one event may end, such as the end of a machine.

        Raises:
            NasError: If so.
        """
        if self._in_a_row >= LOST_IN_A_ROW + 2 * slots:
            raise NasError(
                f"study '{self._study}': {self._in_a_row} workers died one after another and no "
                f"job came back meanwhile; the last time {self._last}; what was trained is kept, "
                "and the same command goes on"
            )


def smaller_batch(job: Job) -> int | None:
    """Return how many examples are to be trained on at once instead of all; None: no fewer can be.

    The batch is halved until a step takes a quarter of the memory, or is one example.
    """
    candidate = job.candidate
    recipe = candidate.recipe

    def memory(batch: int) -> float:
        columns = cost_of(
            candidate.architecture, job.task_spec, context=recipe.context, batch=batch
        )
        return columns["train_memory_bytes"]

    most, size = SHARE * memory(recipe.batch), recipe.batch
    while size > 1 and memory(size) > most:
        size //= 2
    return size if size < recipe.batch else None


def retry_words(job: Job, outcome: Outcome) -> str:
    """Return in a line why and how a job is tried again.

    Args:
        job: The one that is tried now.
        outcome: Why.
    """
    if outcome.state == "oom":
        how = f"in parts of {job.micro_batch} of {job.candidate.recipe.batch} examples"
    else:
        tokens = job.checkpoint.tokens if job.checkpoint else 0
        how = f"from {tokens:,} tokens" if tokens else "from the beginning"
    return f"{outcome.candidate_id}: {outcome.error or outcome.state}; once more, {how}"
