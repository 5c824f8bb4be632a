"""A model for use: read from a folder or built fresh, saved, and asked for text.

Finding a study's model is the work of `loading`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch
from torch import Tensor, nn

from nas.artifact import (
    Manifest,
    is_model_folder,
    is_stock_folder,
    read_manifest,
    verify_files,
)
from nas.artifact.folder import read_json
from nas.artifact.golden import verify_golden
from nas.artifact.manifest import PREPROCESSOR, PROCESSOR_FILES, file_path
from nas.artifact.stock import read_stock
from nas.artifact.stock_weights import read_stock_network
from nas.artifact.tokenizer import read_tokenizer, tokenizer_errors
from nas.artifact.weights import read_network
from nas.artifact.writing import Written, write_model
from nas.device import resolve_device, resolve_dtype
from nas.errors import ArtifactError, InputError, ShapeError
from nas.families import shape_of
from nas.generation import Sampling, generate_ids
from nas.inputs import check_images, check_prompt, check_texts
from nas.predicting import Asked, Wanted, predict
from nas.records import Architecture, TaskSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tokenizers import Tokenizer

Prompt = TypeVar("Prompt", str, list[int], Tensor, list[str], list[list[int]])


class Model(nn.Module):
    """A family's network with its record. Its state dict has transformers' names.

    Args:
        network: The family's module.
        manifest: What it is and where it came from.
        folder: The model folder that it was read from; None for a fresh one.

    Attributes:
        network: As given.
        manifest: As given.
        folder: As given.
    """

    def __init__(self, network: nn.Module, manifest: Manifest, folder: Path | None = None) -> None:
        super().__init__()
        self.network, self.manifest, self.folder = network, manifest, folder
        self.register_state_dict_post_hook(_hide_wrapper)  # type: ignore[no-untyped-call]  # untyped in torch
        self.register_load_state_dict_pre_hook(_add_wrapper)  # type: ignore[no-untyped-call]  # untyped in torch

    def forward(self, *inputs: Tensor | None) -> Tensor:
        """Return the logits for the inputs of the model's head (see `records.HEADS`).

        Raises:
            InputError: If a text has no token, or more than the model has positions, an image is of
                another size, or an input is no batch.
        """
        given = [tensor for tensor in inputs if tensor is not None]
        if self.task_spec.head == "classify_image":
            check_images(given, self.task_spec)
        else:
            check_texts(given, self.task_spec)
        if any(not tensor.numel() for tensor in given):
            raise InputError("got an empty input, the model needs a token at least")
        logits: Tensor = self.network(*inputs)
        return logits

    @property
    def architecture(self) -> Architecture:
        """Family and shape."""
        return self.manifest.architecture

    @property
    def task_spec(self) -> TaskSpec:
        """Task, head, vocabulary and context."""
        return self.manifest.task_spec

    @property
    def metrics(self) -> Mapping[str, Mapping[str, float]]:
        """What was measured when it was trained: split, name, value."""
        return self.manifest.metrics

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    @cached_property
    def tokenizer(self) -> Tokenizer | None:
        """The folder's tokenizer, read when first asked for; None if there is none.

        Raises:
            ArtifactError: If the file is missing or damaged.
        """
        return None if self.folder is None else read_tokenizer(self.folder, self.manifest)

    @cached_property
    def preprocessor(self) -> str | None:
        """What the folder's `preprocessor_config.json` says, as JSON; None if there is none.

        Raises:
            ArtifactError: If the file is missing or damaged.
        """
        if self.folder is None or PREPROCESSOR not in self.manifest.files:
            return None
        file_path(self.folder, self.manifest, PREPROCESSOR)
        return json.dumps(read_json(self.folder, PREPROCESSOR))

    def predict(
        self,
        inputs: Any,
        *,
        batch: int = 32,
        top_k: int | None = None,
        exclude_seen: bool = True,
    ) -> Any:
        """Return what the model makes of raw inputs, prepared as in training.

        A text gets a class or, of sequence_to_sequence, a text; an image gets a class; a history,
        a list of items' names with the oldest first, gets a list of items, the likeliest first.
        An image is a path, an image of Pillow, an array (H, W[, C]) or a tensor ([C, ]H, W); of
        integers 0 to 255 or fractions 0 to 1. Classes and items come as `Prediction(label,
        score)`, the score being the probability among all of them. An input beyond the context is
        cut as in training: a text at its end or as `task_spec.long_inputs` says, a history at its
        beginning.

        Args:
            inputs: One input, or several in a list or (images) in an array or tensor.
            batch: Inputs that pass the network at once.
            top_k: So many of the likeliest classes, then in a list, or items; None: the likeliest
                class, 10 items.
            exclude_seen: Whether items of the history are left out of its answer, as they are in
                measurements.

        Returns:
            An answer, or a list of them for several inputs.

        Raises:
            InputError: If it is a model of language, which `generate` is for, an input cannot be
                read, or an item is unknown.
        """
        wanted = Wanted(batch=batch, top_k=top_k, exclude_seen=exclude_seen)
        return predict(self.asked, inputs, wanted)

    @property
    def asked(self) -> Asked:
        """What predictors need of the model."""
        return Asked(
            network=self.network,
            spec=self.task_spec,
            tokenizer=self.tokenizer,
            preprocessor=self.preprocessor,
            folder=self.folder or Path(),
        )

    def generate(
        self,
        prompt: Prompt,
        *,
        max_new_tokens: int = 200,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int | None = None,
    ) -> Prompt:
        """Return the prompt with its continuation, up to and with the end token.

        A text that outgrows the context goes on from its last half context. Several prompts are
        written on at once, each as it would be by itself.

        Args:
            prompt: Text (bytes that are not whole characters come back as U+FFFD), a list of ids
                or a tensor of ids, shape (T,) or (1, T). An empty one begins with the begin token.
                Or several: a list of texts or of lists of ids.
            max_new_tokens: Largest number of new tokens.
            temperature: 0 or less always takes the likeliest token.
            top_k: Only this many of the likeliest tokens.
            top_p: Only the likeliest tokens that together reach this probability.
            seed: The same seed gives the same continuation.

        Raises:
            InputError: If the model is none of language, an argument is out of range, or the
                prompt has ids that the model does not know.
        """
        if self.task_spec.head != "causal_lm":
            raise InputError(
                f"a {self.task_spec.task} model does not go on with a text; use predict "
                "(nas predict) instead"
            )
        if type(max_new_tokens) is not int or max_new_tokens < 1:
            raise InputError(f"max_new_tokens: got {max_new_tokens!r}, expected an integer >= 1")
        sampling = Sampling(temperature=temperature, top_k=top_k, top_p=top_p, seed=seed)
        several = isinstance(prompt, list) and bool(prompt) and isinstance(prompt[0], (str, list))
        prompts: list[Any] = list(prompt) if several else [prompt]
        asked = [self._check_ids(self._prompt_ids(one)) for one in prompts]
        begun = [ids or [self._begin()] for ids in asked]
        new = generate_ids(self.network, begun, self.task_spec, sampling, max_new_tokens)
        texts = [
            self._as_given(one, ids + more)
            for one, ids, more in zip(prompts, asked, new, strict=True)
        ]
        return cast("Prompt", texts if several else texts[0])

    def _as_given(self, prompt: str | list[int] | Tensor, ids: list[int]) -> Any:
        if isinstance(prompt, str):
            tokenizer = self._need_tokenizer()
            with tokenizer_errors(self.folder or Path()):
                return tokenizer.decode(ids, skip_special_tokens=True)
        if isinstance(prompt, Tensor):
            return torch.tensor(ids, device=prompt.device).view(*prompt.shape[:-1], -1)
        return ids

    def __repr__(self) -> str:
        shape = ", ".join(f"{name} {value}" for name, value in self.architecture.shape.items())
        spec = self.task_spec
        return (
            f"Model({self.architecture.family}: {shape}; {self.manifest.params:,} parameters; "
            f"{spec.task}, context {spec.context}; {self.device})"
        )

    def _prompt_ids(self, prompt: str | list[int] | Tensor) -> list[int]:
        if isinstance(prompt, str):
            tokenizer = self._need_tokenizer()
            with tokenizer_errors(self.folder or Path()):
                return list(tokenizer.encode(check_prompt(prompt)).ids)
        if isinstance(prompt, Tensor):
            if prompt.is_floating_point() or prompt.numel() != prompt.shape[-1:].numel():
                raise InputError(
                    f"prompt: got {prompt.dtype} of shape {tuple(prompt.shape)}, "
                    "expected integers of shape (T,) or (1, T)"
                )
            return cast("list[int]", prompt.flatten().tolist())
        if isinstance(prompt, Iterable):
            return list(prompt)
        raise InputError(f"prompt: got {type(prompt).__name__}, expected text or token ids")

    def _check_ids(self, ids: list[int]) -> list[int]:
        size = self.task_spec.vocab_size
        for token in ids:
            if type(token) is not int or not 0 <= token < size:
                raise InputError(f"prompt: got id {token!r}, expected integers 0 to {size - 1}")
        return ids

    def _begin(self) -> int:
        begin = self.task_spec.bos_token_id
        if begin is None:
            raise InputError("prompt: is empty, and this model has no begin token; write something")
        return begin

    def _need_tokenizer(self) -> Tokenizer:
        if self.tokenizer is None:
            raise InputError("prompt: this model has no tokenizer for text; give token ids")
        return self.tokenizer


def load_folder(
    folder: str | Path,
    *,
    device: str = "auto",
    dtype: str | torch.dtype = "float32",
    labels: Sequence[str] | None = None,
    verify: bool = False,
    trust: bool = False,
) -> Model:
    """Return the model of a folder, in eval mode.

    Args:
        folder: A model folder, or a stock transformers folder of a family that we know.
        device: auto (the best one), cpu, cuda, cuda:N or mps.
        dtype: Of the weights: float32, bfloat16 or float16.
        labels: Of a stock folder without a classification head: names of the classes of a new
            one, to be fine-tuned.
        verify: Also compare every file's hash, and the logits of a stored input.
        trust: Whether a family of the user's own may be imported, which runs its code.

    Raises:
        ArtifactError: If the folder is incomplete, altered or not a model folder, or it needs
            `trust`.
        DeviceError: If the device is unknown or not here.
        InputError: If the dtype is unknown, or labels are given to a model that needs none.
    """
    folder, place, kind = Path(folder), resolve_device(device), resolve_dtype(dtype)
    if is_stock_folder(folder):
        if verify:
            raise InputError(f"{folder}: verify: it has no nas.json with hashes to compare with")
        stock = read_stock(folder, labels)
        network = read_stock_network(folder, stock, kind)
        return Model(network, stock.manifest, folder).to(place).eval()
    manifest = read_manifest(folder, trust=trust)
    if labels is not None:
        raise InputError(f"{folder}: labels: the model has its own; fine-tune it for others")
    if verify:
        verify_files(folder, manifest)
    model = Model(read_network(folder, manifest), manifest, folder).to(place).eval()
    if verify:
        verify_golden(model, folder, manifest)
    return model.to(kind)


def build(architecture: Architecture, task_spec: TaskSpec, *, seed: int = 0) -> Model:
    """Return an untrained model on the CPU; the same seed gives the same weights.

    Raises:
        ShapeError: If the architecture is not valid or cannot carry the task's head.
    """
    from nas.training.loop import fresh_network

    shape = shape_of(architecture)
    if task_spec.head not in shape.heads:
        raise ShapeError(
            f"family '{architecture.family}' has no head '{task_spec.head}'; "
            f"it has {', '.join(sorted(shape.heads))}"
        )
    network = fresh_network(architecture, task_spec, seed).eval()
    params = sum(weight.numel() for weight in network.parameters())
    manifest = Manifest(architecture=architecture, task_spec=task_spec, seed=seed, params=params)
    return Model(network, manifest)


def save(model: Model, folder: str | Path) -> Written:
    """Write a complete model folder, which `load` and transformers read.

    Args:
        model: From `load` or `build`; its metrics are stored as they are.
        folder: A new folder, or an older model folder to replace.

    Raises:
        ArtifactError: If there is something else in its place, or it cannot be written.
    """
    if not isinstance(model, Model):
        raise InputError(
            f"save: got {type(model).__name__}, expected a model from nas.load or nas.build"
        )
    folder = Path(folder)
    check_free(folder)
    source = model.folder
    processor = [name for name in PROCESSOR_FILES if name in model.manifest.files]
    for name in processor:
        assert source is not None, "a model with files was read from a folder"
        file_path(source, model.manifest, name)
    return write_model(
        folder, model.state_dict(), model.manifest, processor_dir=source if processor else None
    )


def check_free(folder: Path) -> None:
    """Do nothing if a model folder may be written here.

    Raises:
        ArtifactError: If there is something else in its place.
    """
    try:
        if not folder.exists() or is_model_folder(folder):
            return
        taken = not folder.is_dir() or any(folder.iterdir())
    except OSError as error:
        raise ArtifactError(f"{folder}: cannot be written ({error.strerror})") from error
    if taken:
        raise ArtifactError(
            f"{folder}: holds something that is not a model; choose a new folder to save to"
        )


_WRAPPED = "network."


def _hide_wrapper(_: nn.Module, state: dict[str, Any], prefix: str, *__: Any) -> None:
    for key in [key for key in state if key.startswith(prefix + _WRAPPED)]:
        state[prefix + key.removeprefix(prefix + _WRAPPED)] = state.pop(key)


def _add_wrapper(_: nn.Module, state: dict[str, Any], prefix: str, *__: Any) -> None:
    for key in [key for key in state if key.startswith(prefix)]:
        state[prefix + _WRAPPED + key.removeprefix(prefix)] = state.pop(key)
