"""A stored model in the format of another runtime, and the proof that it computes the same.

`EXPORTERS` is the table of targets; adding one is a module and a row. `placing` writes an export
under a temporary name and puts it in place once it has passed `gate`, the one parity gate of all
targets. Importing this package loads neither torch nor any target's runtime.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from nas.errors import ExportError, InputError, NotFoundError, nearest
from nas.plugins import import_row

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from nas.loading import What
    from nas.model import Model
    from nas.study import Study

EXPORTERS: dict[str, str] = {
    "hf": "nas.exporters.hf:HfExporter",
    "onnx": "nas.exporters.onnx:OnnxExporter",
    "tensorflow": "nas.exporters.tensorflow:TensorFlowExporter",
    "torch": "nas.exporters.torch:TorchExporter",
}


class Runner(Protocol):
    """An export opened in its own runtime.

    That of a model with a head of `records.WRITING_HEADS` may also have
    `greedy(ids: list[int], n: int) -> list[int]`: the `n` likeliest next ids after a prompt, or
    written for a source, by whatever cache the target has; an end token ends nothing.
    """

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """Return the logits.

        Args:
            inputs: By the names of `artifact.golden.golden_inputs`: ids, mask, decoder_ids (int64)
                or pixels (fp32), as the model's head takes them.
        """
        ...


class Exporter(Protocol):
    """One target. It is made with the options of its constructor, keyword arguments with defaults.

    Its constructor raises `ExportError` where a package is missing (see `packages`). One that has
    more to measure than parity also has `measure(model: Model, folder: Path) -> dict[str, float]`,
    called once the gate is passed, whose numbers are shown and stored. One whose files can run code
    of their own when they are opened says so with `runs_code = True`: an export that is there
    already is then opened only with `trust`.

    Attributes:
        bound: Largest difference of logits that passes the gate.
    """

    bound: ClassVar[float]

    def refuse(self, model: Model) -> None:
        """Raise where the target cannot express the model; called before anything is written.

        Raises:
            ExportError: Naming the knob and the target.
        """
        ...

    def write(self, model: Model, folder: Path) -> None:
        """Write the export.

        Args:
            model: On the CPU, in fp32 and eval mode.
            folder: Empty; it is renamed afterwards.
        """
        ...

    def open(self, folder: Path) -> Runner:
        """Open an export in the target's own runtime."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Exported:
    """An export that passed the gate.

    Attributes:
        to: The target, a key of `EXPORTERS`.
        path: Its folder.
        bytes: The size of its files.
        difference: The largest difference of logits that was found.
        bound: The largest that passes.
        greedy_tokens: How many tokens were written and found equal; 0 where nothing is written.
        figures: What else was measured, by name.
    """

    to: str
    path: Path
    bytes: int
    difference: float
    bound: float
    greedy_tokens: int = 0
    figures: Mapping[str, float] = field(default_factory=dict)


def export(
    what: What,
    to: str,
    out: str | Path | None = None,
    *,
    candidate: str | None = None,
    study: str | Path | Study | None = None,
    trust: bool = False,
    check: bool = False,
    **options: Any,
) -> Exported:
    """Write a stored model in another format, and prove that it computes the same.

    The export is opened in its own runtime and its logits are compared with the model's for the
    golden input and for other batches and lengths; a model that writes must write the same tokens.
    What was found goes into the model's `nas.json`.

    Args:
        what: As for `nas.load`: a model folder, a study, a candidate's row or id.
        to: hf, onnx, tensorflow or torch.
        out: A new folder, or an earlier export to replace; `exports/<to>` in the model folder if
            left out.
        candidate: As for `nas.load`.
        study: As for `nas.load`.
        trust: As for `nas.load`, and needed to check an export whose files may run code: torch.
        check: Only compare an export that is there once more; nothing but `nas.json` is written.
        options: Of the target: `int8` and `data` of onnx.

    Raises:
        NotFoundError: If there is no such model or target.
        ArtifactError: If the model folder is incomplete or altered.
        ExportError: If the target cannot express the model, a package is missing, or the place is
            taken.
        ParityError: If the export computes something else; it is not put in place.
    """
    exporter = make_exporter(to, options)
    if check and getattr(exporter, "runs_code", False) and not trust:
        raise ExportError(
            f"export to {to}: to open such a file can run code that it holds; if you know where it "
            "comes from, check it with trust (--trust)"
        )
    from nas.exporters import placing
    from nas.loading import load

    model = load(what, candidate=candidate, study=study, device="cpu", trust=trust)
    if check:
        return placing.check_export(exporter, model, to, out)
    return placing.place_export(exporter, model, to, out)


def make_exporter(to: str, options: Mapping[str, Any]) -> Exporter:
    """Return a target's exporter with its options.

    Raises:
        NotFoundError: If there is no such target.
        InputError: If it has no such option.
        ExportError: If a package that it needs is not installed.
    """
    if to not in EXPORTERS:
        known = ", ".join(EXPORTERS)
        raise NotFoundError(f"export: got format '{to}', expected {known}{nearest(to, EXPORTERS)}")
    kind = import_row(EXPORTERS[to])
    known_options = inspect.signature(kind).parameters
    for name in options:
        if name not in known_options:
            raise InputError(f"export to {to}: has no option '{name}'; leave it out")
    exporter: Exporter = kind(**options)
    return exporter


__all__ = ["EXPORTERS", "ExportError", "Exported", "Exporter", "Runner", "export", "make_exporter"]
