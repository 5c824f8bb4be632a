"""TensorBoard: a run for each candidate, in `tensorboard/` in the study's folder.

Event files are written record by record with TensorBoard's own protocol buffers, so that neither
torch nor TensorFlow is loaded. A candidate that goes on begins another file in its folder, whose
first record says from which step on; readers leave out what an earlier file has beyond it.
"""

from __future__ import annotations

import json
import os
import re
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nas.loggers import Run, means_of
from nas.records import FAILED_STATES

FOLDER = "tensorboard"
RESULT = "result"  # the run that has the study's result


class TensorBoardLogger:
    """Writes event files; see `loggers.Logger`."""

    def __init__(self, *, study: str, folder: Path) -> None:
        self._study, self._folder = study, folder / FOLDER
        self._files: dict[str, EventFile] = {}  # of candidates under way

    def begin(self, run: Run) -> None:
        """Begin an event file with the candidate's hyperparameters."""
        name = re.sub(r"[^\w.-]+", "-", run.name.lstrip("#").strip())
        number, _, rest = name.partition("-")
        padded = "-".join(part for part in (number.zfill(4), rest, run.candidate_id) if part)
        file = EventFile(self._folder / padded, purge_step=run.start + 1)
        self._files[run.candidate_id] = file
        file.write(plugin=session_start(run))

    def log(self, candidate_id: str, tokens: int, values: Mapping[str, float]) -> None:
        """Write scalars; `val_loss` is the tag `val/loss`, so that splits are grouped."""
        scalars = {_tag(name): value for name, value in values.items()}
        self._files[candidate_id].write(tokens, scalars=scalars)

    def end(self, candidate_id: str, state: str, error: str) -> None:
        """Write the state, and close the candidate's file."""
        file = self._files.pop(candidate_id)
        file.write(texts={"state": f"{state}: {error}" if error else state})
        if state == "complete" or state in FAILED_STATES:
            file.write(plugin=session_end(failed=state != "complete"))
        file.close()

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Write the result as a text, and the finals' means as scalars, in a run of its own."""
        file = EventFile(self._folder / RESULT, purge_step=0)
        text = f"```json\n{json.dumps(summary, indent=2, default=str)}\n```"
        file.write(scalars=means_of(summary), texts={self._study: text})
        file.close()

    def close(self) -> None:
        """Close what is open."""
        for file in self._files.values():
            file.close()
        self._files.clear()


def _tag(name: str) -> str:
    split, _, metric = name.partition("_")
    return f"{split}/{metric}" if metric and split in ("train", "val", "test") else name


class EventFile:
    """One event file; every record is on disk when `write` returns.

    Args:
        folder: Where it is made; its name is its own.
        purge_step: Readers leave out what earlier files of the folder have at this step or beyond.
    """

    def __init__(self, folder: Path, *, purge_step: int) -> None:
        from tensorboard.compat.proto import event_pb2
        from tensorboard.summary.writer.record_writer import RecordWriter

        folder.mkdir(parents=True, exist_ok=True)
        self._event = event_pb2
        # Readers take the files of a folder in the order of their names.
        seconds, rest = divmod(time.time_ns(), 10**9)
        name = f"events.out.tfevents.{seconds}.{rest:09d}.{socket.gethostname()}.{os.getpid()}"
        self._records = RecordWriter((folder / name).open("xb"))
        self._put(file_version="brain.Event:2")
        start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
        self._put(step=purge_step, session_log=start)

    def write(
        self,
        step: int = 0,
        *,
        scalars: Mapping[str, float] | None = None,
        texts: Mapping[str, str] | None = None,
        plugin: Mapping[str, Any] | None = None,
    ) -> None:
        """Write what belongs to one step.

        Args:
            step: The step.
            scalars: Numbers by tag.
            texts: Markdown by tag.
            plugin: Metadata of a plugin by tag, which has no content of its own.
        """
        from tensorboard.compat.proto import summary_pb2
        from tensorboard.plugins.hparams.metadata import NULL_TENSOR

        made = summary_pb2.Summary.Value
        values = [made(tag=tag, simple_value=value) for tag, value in (scalars or {}).items()]
        values += [_text(tag, text) for tag, text in (texts or {}).items()]
        for tag, metadata in (plugin or {}).items():
            values.append(made(tag=tag, metadata=metadata, tensor=NULL_TENSOR))
        self._put(step=step, summary=summary_pb2.Summary(value=values))

    def close(self) -> None:
        """Close the file."""
        self._records.close()

    def _put(self, **fields: Any) -> None:
        event = self._event.Event(wall_time=time.time(), **fields)
        self._records.write(event.SerializeToString())
        self._records.flush()


def _text(tag: str, text: str) -> Any:
    """Return a text as TensorBoard's plugin `text` reads it."""
    from tensorboard.compat.proto import summary_pb2, tensor_pb2, tensor_shape_pb2, types_pb2

    data = summary_pb2.SummaryMetadata.PluginData(plugin_name="text")
    one = tensor_shape_pb2.TensorShapeProto.Dim(size=1)
    return summary_pb2.Summary.Value(
        tag=tag,
        metadata=summary_pb2.SummaryMetadata(plugin_data=data),
        tensor=tensor_pb2.TensorProto(
            dtype=types_pb2.DT_STRING,
            string_val=[text.encode("utf-8", "replace")],
            tensor_shape=tensor_shape_pb2.TensorShapeProto(dim=[one]),
        ),
    )


def session_start(run: Run) -> dict[str, Any]:
    """Return what begins a session of TensorBoard's plugin `hparams`: metadata by tag."""
    from tensorboard.plugins.hparams import metadata, plugin_data_pb2

    info = plugin_data_pb2.SessionStartInfo(
        group_name=run.candidate_id, start_time_secs=time.time()
    )
    given = {**run.hyperparameters, "role": run.role, "seed": run.seed}
    for name, value in given.items():
        if isinstance(value, bool):
            info.hparams[name].bool_value = value
        elif isinstance(value, str):
            info.hparams[name].string_value = value
        else:
            info.hparams[name].number_value = value
    content = plugin_data_pb2.HParamsPluginData(session_start_info=info)
    return {metadata.SESSION_START_INFO_TAG: metadata.create_summary_metadata(content)}


def session_end(*, failed: bool) -> dict[str, Any]:
    """Return what ends such a session."""
    from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

    status = api_pb2.STATUS_FAILURE if failed else api_pb2.STATUS_SUCCESS
    info = plugin_data_pb2.SessionEndInfo(status=status, end_time_secs=time.time())
    content = plugin_data_pb2.HParamsPluginData(session_end_info=info)
    return {metadata.SESSION_END_INFO_TAG: metadata.create_summary_metadata(content)}
