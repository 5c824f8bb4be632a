"""The section `task` of a study file: what is learned, from which data, with which options."""

from __future__ import annotations

from collections.abc import Mapping

from nas.config.records import TaskConfig
from nas.data.request import Option, OptionValue
from nas.data.splits import SPLITS
from nas.errors import NotFoundError
from nas.tasks import Task, task_class
from nas.yaml_strict import Reader


def read_task(reader: Reader) -> tuple[TaskConfig, type[Task]]:
    """Return the section `task`, checked, and the task's class."""
    name = reader.text("name")
    try:
        kind = task_class(name)
    except NotFoundError as error:
        reader.fail("name", str(error))
    options = {key: _read_option(reader, key, option) for key, option in kind.options.items()}
    task = TaskConfig(name=name, data=_read_data(reader), options=options)
    reader.done()
    return task, kind


def _read_data(reader: Reader) -> str | dict[str, str]:
    if not isinstance(reader.value("data", expected="a file, a folder or builtin:NAME"), Mapping):
        return reader.text("data")
    section = reader.mapping("data")
    found = {name: section.text(name) for name in SPLITS if name == "train" or section.has(name)}
    section.done()
    return found


def _read_option(reader: Reader, key: str, option: Option) -> OptionValue:
    if isinstance(option.default, bool):
        return reader.boolean(key) if reader.has(key) else option.default
    if isinstance(option.default, int):
        if not reader.has(key):
            return option.default
        if reader.value(key) == option.default:  # such as 0 where it means "as it is"
            return option.default
        return reader.integer(key, minimum=option.minimum, maximum=option.maximum)
    if option.choices:
        return reader.text(key, choices=option.choices, default=option.default)
    return str(reader.value(key, default="")) and reader.text(key)
