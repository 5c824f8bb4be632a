"""To Hugging Face transformers: the files that it opens, and nothing else of the folder.

A model whose layers differ in width goes as the padded copy that its folder holds.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from nas.artifact.manifest import PADDED, PROCESSOR_FILES, WEIGHTS, file_path
from nas.errors import ExportError, ParityError
from nas.exporters.packages import need_packages
from nas.families import shape_of

if TYPE_CHECKING:
    from nas.model import Model

FILES = ("config.json", WEIGHTS, "generation_config.json", *PROCESSOR_FILES)

# What stock classes call the inputs of our heads.
NATIVE_NAMES = {
    "ids": "input_ids",
    "mask": "attention_mask",
    "decoder_ids": "decoder_input_ids",
    "pixels": "pixel_values",
}


class HfExporter:
    """Copies the native files; opens them with the stock class that `config.json` names."""

    bound: ClassVar[float] = 1e-5

    def __init__(self) -> None:
        need_packages("hf", "hf", "transformers")

    def refuse(self, model: Model) -> None:
        """Raise where no stock class has such a shape, padded or not."""
        shape, spec = shape_of(model.architecture), model.task_spec
        if shape.native_config(spec) is None and shape.uniform().native_config(spec) is None:
            raise ExportError(
                f"export to hf: no class of transformers has family '{model.architecture.family}' "
                f"with {_words(model.architecture.shape)}; export to torch instead"
            )

    def write(self, model: Model, folder: Path) -> None:
        """Copy the native files of the model folder."""
        assert model.folder is not None, "nas.load reads models from folders"
        is_native = shape_of(model.architecture).native_config(model.task_spec) is not None
        prefix = "" if is_native else f"{PADDED}/"
        for name in FILES:
            if prefix + name in model.manifest.files:
                source = file_path(model.folder, model.manifest, prefix + name)
                shutil.copyfile(source, folder / name)

    def open(self, folder: Path) -> HfRunner:
        """Open with transformers; nothing is fetched.

        Raises:
            ParityError: If it cannot, or a weight is missing or unexpected.
        """
        import transformers

        try:
            config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
            kind = getattr(transformers, config.architectures[0])
            with _no_progress_bar():
                network, report = kind.from_pretrained(
                    folder, local_files_only=True, output_loading_info=True, dtype=torch.float32
                )
        except (OSError, ValueError, RuntimeError, AttributeError) as error:
            raise ParityError(f"export to hf: transformers cannot open it ({error})") from error
        for trouble in ("missing_keys", "unexpected_keys", "mismatched_keys"):
            if report[trouble]:
                raise ParityError(
                    f"export to hf: transformers reports {trouble.replace('_', ' ')}: "
                    f"{', '.join(sorted(map(str, report[trouble])))}"
                )
        return HfRunner(network.eval())


class HfRunner:
    """A stock model that takes our inputs."""

    def __init__(self, network: Any) -> None:
        self._network = network

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """Return the logits."""
        given = {NATIVE_NAMES[name]: torch.from_numpy(value) for name, value in inputs.items()}
        with torch.no_grad():
            logits: NDArray[np.float32] = self._network(**given).logits.numpy()
        return logits

    def greedy(self, ids: list[int], n: int) -> list[int]:
        """Return the likeliest next tokens by the stock class's own generation."""
        self._network.generation_config.eos_token_id = None
        given = torch.tensor([ids])
        written = self._network.generate(
            given, attention_mask=torch.ones_like(given), do_sample=False, max_new_tokens=n
        )
        tokens: list[int] = written[0, -n:].tolist()
        return tokens


@contextmanager
def _no_progress_bar() -> Iterator[None]:
    from transformers.utils import logging

    was_shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # untyped there
    try:
        yield
    finally:
        if was_shown:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]  # untyped there


def _words(shape: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in shape.items())
