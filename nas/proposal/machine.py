"""What the machine at hand can do: cores, memory, device, a pace that is measured or assumed."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from nas.config import StudyConfig
from nas.device import cpu_count
from nas.executors.kernel import free_bytes

# Equivalent FLOPs a second of one worker, where nothing was measured: of a CPU core a low figure
# (70e9 on products alone were measured on one of Zen 3), of a GPU with small models likewise.
ASSUMED = {"cpu": 2e10, "mps": 3e11, "cuda": 2e12}


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """A machine as a proposal sees it.

    Attributes:
        device: `cpu`, `cuda` or `mps`.
        cores: CPUs that a search may use.
        memory_bytes: That new processes can have; None: not known.
        flops_per_second: Of one worker (see `driver.pace`).
        is_measured: Whether that was measured here.
    """

    device: str
    cores: int
    memory_bytes: int | None
    flops_per_second: float
    is_measured: bool = False

    @property
    def slots(self) -> int:
        """How many candidates train at once, each at that pace; a GPU's workers share it."""
        return self.cores if self.device == "cpu" else 1

    def words(self) -> str:
        """Return the machine in words: 2 cores, 32 GFLOP/s each (measured)."""
        how = "measured" if self.is_measured else "assumed"
        cores = f"{self.cores} core" + ("s" if self.cores > 1 else "")
        place = cores if self.device == "cpu" else f"{self.device}, {cores}"
        each = " each" if self.device == "cpu" and self.cores > 1 else ""
        return f"{place}, {self.flops_per_second / 1e9:.3g} GFLOP/s{each} ({how})"


def this_machine() -> Machine:
    """Return what can be known without training anything; imports torch."""
    from nas.device import resolve_device

    device = resolve_device("auto")
    return Machine(
        device=device,
        cores=cpu_count(),
        memory_bytes=free_bytes(),
        flops_per_second=ASSUMED[device.partition(":")[0]],
    )


def measured_machine(machine: Machine, config: StudyConfig) -> Machine:
    """Return the machine with its pace at a study's candidates, from a few timed steps.

    The data are prepared as the search would, in a temporary folder: what the search would refuse
    is refused here.

    Raises:
        InputError: If anything is wrong with the study.
        NasError: If its shapes cannot be trained here.
    """
    from nas.driver.estimate import estimate, plan_search

    with tempfile.TemporaryDirectory(prefix="nas-") as folder:
        plan = plan_search(config, Path(folder) / "data")
        found = estimate(plan, np.random.default_rng(config.seed))
    pace = found.pace.flops_per_second
    assert pace is not None, "it has learned"
    return replace(machine, flops_per_second=pace, is_measured=True)
