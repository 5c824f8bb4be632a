"""The section `latency` of a study file, and the names of devices."""

from __future__ import annotations

from collections.abc import Collection

from nas.config.records import AUTO, LatencyConfig
from nas.device import check_device_name
from nas.errors import DeviceError
from nas.measure import DEFAULT_BATCH, why_not
from nas.records import PHASES, WRITING_HEADS
from nas.yaml_strict import Reader

# Objectives that are measured on a device: what `latency:` is for.
TIMED = ("latency_ms", "throughput")
LEAST_MS = 1e-3


def read_latency(
    reader: Reader, context: int, head: str, objectives: Collection[str]
) -> LatencyConfig | None:
    """Return the section `latency`; None where it is left out and no objective is timed.

    Args:
        reader: The study file.
        context: Of the recipe, the longest that can be timed.
        head: Of the task: not every phase is for every head.
        objectives: Of the study; one that is timed asks for the usual section.
    """
    if reader.value("latency", default=None) is None and not set(TIMED) & set(objectives):
        return None
    given = reader.value("latency", default=None) is not None
    section = reader.mapping("latency") if given else Reader({}, where=reader.where, path="latency")
    usual = "decode" if head in WRITING_HEADS else "prefill"
    if "throughput" in objectives and "latency_ms" not in objectives:
        usual = "throughput"
    phase = section.text("phase", choices=PHASES, default=usual)
    if problem := why_not(phase, head):
        section.fail("phase", problem)
    ours = LatencyConfig()
    latency = LatencyConfig(
        phase=phase,
        batch=section.integer("batch", minimum=1, default=DEFAULT_BATCH[phase]),
        context=section.integer("context", minimum=1, maximum=context, default=context),
        device=read_device(section, ours.device),
        threads=section.integer("threads", minimum=1, default=ours.threads),
        max_ms=section.optional_number("max_ms", minimum=LEAST_MS),
    )
    if latency.device == AUTO:
        section.fail("device", "got 'auto'; name the device, so that figures can be compared")
    section.done()
    return latency


def read_device(reader: Reader, default: str) -> str:
    """Return the name of a device under the key `device`."""
    try:
        return check_device_name(reader.text("device", default=default))
    except DeviceError as error:
        reader.fail("device", str(error))
