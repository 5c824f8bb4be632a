"""optuna-dashboard in this process, for this machine alone and to look at.

The database's URL, with its password, stays in this process: nothing is handed over on a command
line. The mirror is written by a search alone, so whatever would change it is refused.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from nas.errors import InputError

if TYPE_CHECKING:
    import optuna

HOST = "127.0.0.1"
App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class Dashboard:
    """A server of optuna-dashboard; a context manager.

    Args:
        study: Optuna's study, whose storage is shown; its own page comes first.
        port: The port; 0 for any that is free.

    Attributes:
        address: Where a browser finds it.

    Raises:
        InputError: If the port is taken.
    """

    def __init__(self, study: optuna.Study, port: int) -> None:
        import optuna_dashboard

        try:
            self._server = _Server((HOST, port), _Quiet)
        except OSError as error:
            raise InputError(
                f"port {port}: cannot be listened on ({error.strerror}); choose another one with "
                "--port, or 0 for any that is free"
            ) from error
        port = self._server.server_port
        app: Any = optuna_dashboard.wsgi(study._storage)
        self._server.set_app(guarded(app, hosts=(f"{HOST}:{port}", f"localhost:{port}")))
        self.address = f"http://{HOST}:{port}/dashboard/studies/{study._study_id}"

    def serve(self) -> None:
        """Answer requests until this is interrupted, or `stop` is called by another thread."""
        self._server.serve_forever()

    def stop(self) -> None:
        """Have `serve` return."""
        self._server.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.server_close()


def guarded(app: App, *, hosts: tuple[str, ...]) -> App:
    """Return a web application that only shows, and only to who asks for one of these hosts.

    A page elsewhere whose name was made to lead here (DNS rebinding) asks for another host.
    """

    def answer(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        if environ.get("HTTP_HOST") not in hosts:
            return _refuse(start, "this is for this machine alone")
        if environ.get("REQUEST_METHOD") not in ("GET", "HEAD"):
            return _refuse(start, "this only shows a search; nothing can be changed here")
        return app(environ, start)

    return answer


def _refuse(start: Callable[..., Any], why: str) -> list[bytes]:
    start("403 Forbidden", [("Content-Type", "text/plain; charset=utf-8")])
    return [why.encode()]


class _Server(ThreadingMixIn, WSGIServer):
    """A thread a request: browsers open connections ahead and leave them idle."""

    daemon_threads = True
    # On Windows it would let a second process listen on the port; elsewhere it only saves a wait.
    allow_reuse_address = os.name != "nt"


class _Quiet(WSGIRequestHandler):
    """Writes no line a request."""

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Write nothing."""
