"""What holds for all tests; the environment is set before any of them imports torch."""

import os

import pytest
from hypothesis import settings
from postgres import Server
from proxy import Proxy

# One thread each: pytest-xdist runs a process a core, and OpenMP's spinning threads would fight.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Nothing is fetched; transformers would otherwise ask a hub for what it does not find in a folder.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# A database of the user's is none of the tests'.
os.environ.pop("NAS_DATABASE", None)

# A busy machine is slow now and then, which is no failure.
settings.register_profile("nas", deadline=None)
settings.load_profile("nas")


@pytest.fixture(autouse=True, scope="session")
def migrations_are_read_once():
    """Optuna reads its own migrations three times for each database that it makes: 0.1 s."""
    from optuna.storages._rdb.storage import _VersionManager as Manager

    read, found = Manager._create_alembic_script, []

    def once(manager):
        if not found:
            found.append(read(manager))
        return found[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Manager, "_create_alembic_script", once)
        yield


@pytest.fixture(scope="session")
def postgres():
    """A PostgreSQL server, one for all tests of a process."""
    server = Server()
    yield server
    server.close()


@pytest.fixture
def postgres_url(postgres):
    """The URL of an empty database on it, with the password."""
    name = postgres.new_database()
    yield postgres.url(name).replace("postgresql:", "postgresql+psycopg:")  # as Optuna needs it
    postgres.drop(name)


@pytest.fixture
def proxy(postgres):
    """A wire to that server that can be cut."""
    proxy = Proxy(postgres.port)
    yield proxy
    proxy.close()
