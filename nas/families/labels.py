"""The entries of a native configuration that name classes."""

from __future__ import annotations

from typing import Any

from nas.records import TaskSpec


def label_maps(spec: TaskSpec) -> dict[str, Any]:
    """Return `id2label` and `label2id`."""
    return {
        "id2label": {str(index): label for index, label in enumerate(spec.labels)},
        "label2id": {label: index for index, label in enumerate(spec.labels)},
    }
