"""Search, store, query and load Transformer architectures.

Everything below is imported when it is first used: `import nas` alone loads no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nas.driver import search as search
    from nas.errors import NasError as NasError
    from nas.exporters import export as export
    from nas.families import architecture as architecture
    from nas.finetuning import finetune as finetune
    from nas.keras import load_keras as load_keras
    from nas.loading import load as load
    from nas.model import Model as Model
    from nas.model import build as build
    from nas.model import save as save
    from nas.predicting import Prediction as Prediction
    from nas.records import Architecture as Architecture
    from nas.records import TaskSpec as TaskSpec
    from nas.study import Study as Study
    from nas.study import open_study as open_study

_HOME = {
    "Architecture": "nas.records",
    "Model": "nas.model",
    "NasError": "nas.errors",
    "Prediction": "nas.predicting",
    "Study": "nas.study",
    "TaskSpec": "nas.records",
    "architecture": "nas.families",
    "build": "nas.model",
    "export": "nas.exporters",
    "finetune": "nas.finetuning",
    "load": "nas.loading",
    "load_keras": "nas.keras",
    "open_study": "nas.study",
    "save": "nas.model",
    "search": "nas.driver",
}

__all__ = list(_HOME)  # one table for both


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'nas' has no attribute '{name}'")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
