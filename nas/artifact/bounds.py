"""What sizes a model folder may claim: its numbers are untrusted, and decide what is built.

Nothing beyond these bounds is read or built; those of a shape are its family's (`Shape.limits`),
those of JSON are `folder`'s. What a file may hold follows from the architecture's closed form, so
that no claim costs more than the bytes that are there.
"""

from __future__ import annotations

from nas.errors import InputError
from nas.families import cost_of, shape_of
from nas.plugins import is_own
from nas.records import HEADS, LONG_INPUTS, Architecture, Recipe, TaskSpec

MAX_VOCAB_SIZE = 1 << 24
MAX_CONTEXT = 1 << 20
MAX_IMAGE_SIZE = 1 << 13
MAX_CHANNELS = 1 << 10

MAX_FILE_BYTES = 1 << 36  # 64 GiB: weights of 17 billion parameters
MAX_TEXT_BYTES = 1 << 26  # 64 MiB: a vocabulary of a million tokens
MAX_HEADER_BYTES = 1 << 23  # of safetensors; 512 layers, the most that a family has, take 3 MiB
TEXT_ENDINGS = (".json", ".md")
WEIGHT_BYTES = 4  # fp32
ID_BYTES = 8  # int64

# Of golden inputs.
MAX_ROWS = 2
MAX_TOKENS = 16


def check_task_spec(spec: TaskSpec) -> None:
    """Raise `InputError` where a size or an id is out of bounds, or a word is none of the known."""
    if spec.head not in HEADS:
        raise InputError(f"task_spec.head: got '{spec.head}', expected one of {', '.join(HEADS)}")
    if spec.long_inputs not in LONG_INPUTS:
        allowed = ", ".join(LONG_INPUTS)
        raise InputError(f"task_spec.long_inputs: got '{spec.long_inputs}', expected {allowed}")
    is_image = spec.head == "classify_image"
    least = 0 if is_image else 1
    for name, low, limit in (
        ("vocab_size", least, MAX_VOCAB_SIZE),
        ("context", 1, MAX_CONTEXT),
        ("image_size", 1 - least, MAX_IMAGE_SIZE),
        ("n_channel", 1 - least, MAX_CHANNELS),
        ("chunk_overlap", 0, max(0, spec.context - 1)),
    ):
        value = getattr(spec, name)
        if not low <= value <= limit:
            raise InputError(f"task_spec.{name}: got {value}, expected {low} to {limit}")
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        value = getattr(spec, name)
        if value is not None and not 0 <= value < spec.vocab_size:
            raise InputError(f"task_spec.{name}: got {value}, expected 0 to {spec.vocab_size - 1}")
    if spec.head.startswith("classify") and not spec.labels:
        raise InputError("task_spec.labels: got none, expected the names of the classes")


def check_recipe(recipe: Recipe) -> None:
    """Raise `InputError` where a recipe has no tokens or no examples a step."""
    for name in ("context", "batch"):
        if getattr(recipe, name) < 1:
            raise InputError(f"recipe.{name}: got {getattr(recipe, name)}, expected 1 or more")


def check_shape(architecture: Architecture, spec: TaskSpec) -> None:
    """Raise `InputError` where the family has no such shape, or not for this task."""
    shape = shape_of(architecture)
    if spec.head not in shape.heads:
        raise InputError(
            f"family '{shape.family}' has no head '{spec.head}'; "
            f"it has {', '.join(sorted(shape.heads))}"
        )
    columns = cost_of(architecture, spec, context=1, batch=1)
    for name, least in shape.least.items():
        if columns[name] < least:
            raise InputError(f"the shape has {name} {columns[name]:g}, expected {least:g} or more")


def stored_params(architecture: Architecture, spec: TaskSpec) -> int | None:
    """Return how many weights are stored; None for a family of the user's own.

    Its closed form need not be exact, and it is only built where its code is trusted.
    """
    if is_own(architecture.family):
        return None
    return int(cost_of(architecture, spec, context=1, batch=1)["params"])


def weights_range(architecture: Architecture, spec: TaskSpec) -> tuple[int, int]:
    """Return the least and the most bytes that the file of weights can have."""
    params = stored_params(architecture, spec)
    if params is None:
        return 0, MAX_FILE_BYTES
    least = WEIGHT_BYTES * params
    if least > MAX_FILE_BYTES:
        raise InputError(
            f"its architecture has {least} bytes of weights, at most {MAX_FILE_BYTES} are read"
        )
    return least, least + MAX_HEADER_BYTES


def golden_most(spec: TaskSpec) -> int:
    """Return the most bytes that the file of golden inputs and logits can have."""
    pixels = spec.n_channel * spec.image_size**2
    outputs = max(spec.vocab_size, spec.n_class)
    floats = MAX_ROWS * (pixels + MAX_TOKENS * outputs)
    ids = 3 * MAX_ROWS * MAX_TOKENS  # ids, a mask and a decoder's ids
    return MAX_TEXT_BYTES + WEIGHT_BYTES * floats + ID_BYTES * ids


def check_size(name: str, found: int, least: int, most: int) -> None:
    """Raise `InputError` where a file's size is out of bounds."""
    if not least <= found <= most:
        raise InputError(f"files: '{name}' has {found} bytes, expected {least} to {most}")
