"""The model card: README.md of a model folder."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from nas.artifact.manifest import Manifest
from nas.families import shape_of
from nas.families.constants import constants_of
from nas.plugins import is_own
from nas.records import TaskSpec

_HARMLESS = frozenset(" ._-,:/+=()")  # beside letters and digits


@dataclass(frozen=True, kw_only=True, slots=True)
class NativeForm:
    """Where a stock class opens the model, and how far its logits were from ours."""

    where: str
    difference: float


def model_card(manifest: Manifest, native: NativeForm | None) -> str:
    """Return the card in Markdown.

    Args:
        manifest: What the folder holds.
        native: The form that transformers opens; None where no stock class has such a model.
    """
    parts = [
        _front_matter(manifest.task_spec.head),
        _title(manifest),
        _shape_table(manifest),
        _metrics_table(manifest),
    ]
    parts += [_training(manifest), _loading(manifest, native)]
    return "\n\n".join(part for part in parts if part) + "\n"


# Of each head: transformers' name of the job, and the classes that open model and processor.
_NATIVE = {
    "causal_lm": ("text-generation", "AutoModelForCausalLM", "AutoTokenizer"),
    "classify": ("text-classification", "AutoModelForSequenceClassification", "AutoTokenizer"),
    "classify_image": (
        "image-classification",
        "AutoModelForImageClassification",
        "AutoImageProcessor",
    ),
    "seq2seq": ("text2text-generation", "AutoModelForSeq2SeqLM", "AutoTokenizer"),
}


def _front_matter(head: str) -> str:
    return f"""\
---
library_name: transformers
pipeline_tag: {_NATIVE[head][0]}
tags: [neural-architecture-search]
---"""


def _title(manifest: Manifest) -> str:
    spec, family = manifest.task_spec, manifest.architecture.family
    name = manifest.candidate_id or manifest.architecture.id
    return (
        f"# {_plain(family)} {_plain(name)}\n\n"
        f"A {_plain(family)} model of {manifest.params:,} parameters for {_plain(spec.task)}: "
        f"{_sizes(spec)}."
        + (f" Found by the architecture search {_code(manifest.study)}." if manifest.study else "")
        + _base(manifest)
    )


def _base(manifest: Manifest) -> str:
    if not manifest.base:
        return ""
    origin = manifest.base.get("candidate_id")
    return f" Fine-tuned from {_code(origin)}." if origin else " Fine-tuned from another model."


def _sizes(spec: TaskSpec) -> str:
    classes = f"{spec.n_class:,} classes"
    if spec.head == "classify_image":
        return f"{classes}, images of {spec.image_size} x {spec.image_size} x {spec.n_channel}"
    text = f"{spec.vocab_size:,} tokens of vocabulary, {spec.context:,} of context"
    return f"{classes}, {text}" if spec.n_class else text


def _shape_table(manifest: Manifest) -> str:
    shape = shape_of(manifest.architecture)
    hidden = constants_of(type(shape)) - set(manifest.architecture.shape)
    rows = [
        f"| {field.name} | {_cell(getattr(shape, field.name))} |"
        for field in dataclasses.fields(shape)  # type: ignore[arg-type]  # every Shape is a dataclass
        if getattr(shape, field.name) is not None and field.name not in hidden
    ]
    return "\n".join(["## Shape", "", "| field | value |", "|---|---|", *rows])


def _cell(value: object) -> str:
    return _plain(", ".join(map(str, value)) if isinstance(value, tuple) else str(value))


def _plain(text: str) -> str:
    """Return a text that Markdown and HTML show as it is: a manifest is content, and may be any."""
    return "".join(
        one if one.isalnum() or one in _HARMLESS else f"&#{ord(one)};" for one in _one_line(text)
    )


def _code(text: str) -> str:
    """Return a text in backticks, within which neither Markdown nor HTML acts."""
    shown = _one_line(text).replace("`", "'")
    return f"`{shown}`"


def _one_line(text: str) -> str:
    return " ".join("".join(one if one.isprintable() else " " for one in text).split())


def _metrics_table(manifest: Manifest) -> str:
    rows = [
        f"| {_plain(split) or '-'} | {_plain(name)} | {value:.4f} |"
        for split, values in manifest.metrics.items()
        for name, value in values.items()
    ]
    head = ["## Metrics", "", "| split | metric | value |", "|---|---|---|"]
    return "\n".join([*head, *rows]) if rows else ""


def _training(manifest: Manifest) -> str:
    if manifest.recipe is None:
        return ""
    recipe = manifest.recipe
    return (
        f"Trained on {manifest.tokens // recipe.context:,} examples of up to {recipe.context:,} "
        f"tokens with AdamW, rate {recipe.rate:g}, {recipe.batch} a step, seed {manifest.seed}."
    )


def _loading(manifest: Manifest, native: NativeForm | None) -> str:
    trust = ", trust=True" if is_own(manifest.architecture.family) else ""
    parts = [
        f"""\
## Load

```python
import nas
model = nas.load("."{trust})  # this folder
```"""
    ]
    if native is None:
        return "\n\n".join([*parts, "No class of transformers holds this model."])
    _, model, processor = _NATIVE[manifest.task_spec.head]
    parts.append(f"""\
or with transformers alone:

```python
from transformers import {model}, {processor}
model = {model}.from_pretrained("{native.where}")
processor = {processor}.from_pretrained("{native.where}")
```""")
    if native.where != ".":
        parts.append(
            f"Layers of this model differ in width, which no stock class has. `{native.where}` "
            "holds the same\nfunction padded to equal layers; logits differed by at most "
            f"{native.difference:.1e} when it was\nwritten."
        )
    return "\n\n".join(parts)
