"""A wire between a program and a server that can be cut: where, when and on which side."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable

BLOCK = 1 << 16


class Proxy:
    """Passes on what goes between clients and a server on this machine, until it is cut.

    Attributes:
        port: Where clients connect.
        cuts: How many connections were cut.
    """

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.cuts = 0
        self._commits = 0
        self._is_cut: Callable[[int], bool] = lambda _number: False
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def cut_commits(self, is_cut: Callable[[int], bool]) -> None:
        """From now on lose the answer to some COMMITs, and the connection with it.

        Args:
            is_cut: Asked for each, counted from 0.
        """
        self._commits, self._is_cut = 0, is_cut

    def cut_clients(self) -> None:
        """Cut the clients off; the server does not notice."""
        for client, _ in self._pairs:
            _close(client)

    def cut_server(self) -> None:
        """Let the server notice too."""
        pairs, self._pairs = self._pairs, []
        for client, server in pairs:
            _close(client)
            _close(server)

    def close(self) -> None:
        """Cut everything and listen no more."""
        _close(self._listener)
        self.cut_server()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._server_port))
            self._pairs.append((client, server))
            lost = threading.Event()  # the answer that comes next does not arrive
            for target, pair in ((self._up, (client, server)), (self._down, (server, client))):
                threading.Thread(target=target, args=(*pair, lost), daemon=True).start()

    def _up(self, client: socket.socket, server: socket.socket, lost: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while block := client.recv(BLOCK):
                if b"COMMIT" in block:
                    if self._is_cut(self._commits):
                        lost.set()
                    self._commits += 1
                server.sendall(block)

    def _down(self, server: socket.socket, client: socket.socket, lost: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while block := server.recv(BLOCK):
                if lost.is_set():  # it was done, and nobody hears of it
                    self.cuts += 1
                    _close(client)
                    _close(server)
                    return
                client.sendall(block)


def _close(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()
