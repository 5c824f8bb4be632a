"""How long candidates take on this machine, learned from those that ran."""

from __future__ import annotations

# A prediction is raised by this much before something is begun that must end in time.
CAUTION = 1.1
# Equivalent FLOPs of a token's fixed cost: what every token costs whatever the model. On a 2.4 GHz
# Zen 3 core a step of 768 tokens takes about 3 ms beside its products, which run at some
# 70 GFLOP/s: 3e-3 / 768 * 70e9.
FIXED_FLOPS = 3e5


class Pace:
    """Predicts seconds from training FLOPs: measured seconds over measured FLOPs.

    Small models use a machine less well than large ones, so the FLOPs of a token are taken with a
    constant on top, `FIXED_FLOPS`.
    """

    def __init__(self) -> None:
        self._work = 0.0
        self._seconds = 0.0

    def learn(self, *, tokens: int, flops_per_token: float, seconds: float) -> None:
        """Take in one job: what it trained and how long it was busy, validation included."""
        if tokens > 0 and seconds > 0:
            self._work += self._of(tokens, flops_per_token)
            self._seconds += seconds

    def predict(self, *, tokens: int, flops_per_token: float) -> float | None:
        """Return the seconds that a job would take; None before anything was learned."""
        if not self._work:
            return None
        return self._of(tokens, flops_per_token) * self._seconds / self._work

    @property
    def flops_per_second(self) -> float | None:
        """Equivalent FLOPs a second, the fixed ones included; None before anything was learned."""
        return self._work / self._seconds if self._work else None

    def _of(self, tokens: int, flops_per_token: float) -> float:
        return tokens * (flops_per_token + FIXED_FLOPS)
