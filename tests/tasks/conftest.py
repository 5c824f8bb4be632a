"""Small data for each task, prepared once."""

import pytest
from task_cases import CASES, request_for

from nas.data import PreparedData
from nas.tasks import task_class


@pytest.fixture(scope="session")
def prepared_for(tmp_path_factory):
    """Prepare a task's small source, once a session."""
    done: dict[str, PreparedData] = {}

    def prepare(name: str) -> PreparedData:
        if name not in done:
            folder = tmp_path_factory.mktemp(name)
            request = request_for(name, CASES[name].source(folder))
            done[name] = task_class(name).prepare(request, folder / "data")
        return done[name]

    return prepare
