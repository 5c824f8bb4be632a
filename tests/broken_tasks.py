"""Language modelling that fails: each task in its own way, of shapes with one feed-forward width.

Named `broken_tasks:NAME` in a study; workers find this module because tests do. `BRIEF` is a study
of four shapes, of which two fail.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from nas.tasks.language_modeling import LanguageModeling

BAD_D_FF = 48
# The first one, the reference, is a good one.
FEW = {
    "format_version": 1,
    "family": "llama",
    "fixed": {"n_layer": 1, "n_head": 1},
    "dimensions": {"d_model": {"choices": [16, 24]}, "d_ff": {"choices": [32, BAD_D_FF]}},
    "reference": {"n_layer": 1, "d_model": 16, "n_head": 1, "d_ff": 32},
}
BRIEF = {"per_candidate": {"tokens": 1024, "eta": 1}, "finalists": {"top": 0}, "space": FEW}
RELEASE = threading.Event()  # ends what hangs in this process
ENORMOUS = 2**50  # bytes that no machine has
MANY = 2**29  # bytes that are easily had


class _Broken(LanguageModeling):
    def loss(self, network, batch):
        if network.training and network.shape.d_ff == BAD_D_FF:
            self.fail(batch)
        return super().loss(network, batch)

    def fail(self, batch):
        raise NotImplementedError


class Raises(_Broken):
    def fail(self, batch):
        raise KeyError("no such word")


class Exits(_Broken):
    def fail(self, batch):
        sys.exit(3)


class NotANumber(LanguageModeling):
    def loss(self, network, batch):
        factor = float("nan") if network.shape.d_ff == BAD_D_FF else 1.0
        return super().loss(network, batch) * factor


class Hungry(_Broken):
    """Wants more than there is for more than two examples at once."""

    def fail(self, batch):
        if len(batch) > 2:
            np.empty((len(batch), ENORMOUS), dtype=np.uint8)


class Starving(_Broken):
    def fail(self, batch):
        np.empty((len(batch), ENORMOUS), dtype=np.uint8)


class Bloated(_Broken):
    """Takes 64 MB an example, in a process that may grow by 256 MB."""

    limited = False

    def fail(self, batch):
        if not Bloated.limited:
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            most = pages * resource.getpagesize() + 256 * 2**20
            resource.setrlimit(resource.RLIMIT_AS, (most, most))
            Bloated.limited = True
        self.held = torch.ones(len(batch), 2**24)


class Gorges(_Broken):
    """Fails with half a gigabyte in its hands, in a circle that only a collection frees."""

    def fail(self, batch):
        self.held = [torch.ones(MANY // 4), self]
        raise MemoryError("enough")


class Spoils(_Broken):
    """Fails as an index that is out of range does on a GPU."""

    def fail(self, batch):
        raise RuntimeError("CUDA error: device-side assert triggered")


class Hangs(_Broken):
    def fail(self, batch):
        RELEASE.wait()


class Segfaults(_Broken):
    def fail(self, batch):
        ctypes.string_at(0)


class Killed(_Broken):
    def fail(self, batch):
        os.kill(os.getpid(), signal.SIGKILL)


class KilledOnce(_Broken):
    def fail(self, batch):
        mark = self.prepared.folder.parent / "killed"
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)


def with_task(config, name):
    """Return a study of one of these tasks, on the data of another one."""
    return replace(config, task=replace(config.task, name=f"broken_tasks:{name}"))


def by_width(study):
    """Split the four candidates of a search into good and bad ones."""
    rows = study.trials(role="search")
    assert len(rows) == 4
    bad = [row for row in rows if row.shape["d_ff"] == BAD_D_FF]
    return [row for row in rows if row not in bad], bad
