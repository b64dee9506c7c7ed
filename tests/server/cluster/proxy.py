"""One address for several servers: a TCP entrance that goes to the next door when one does not open."""

from __future__ import annotations

import contextlib
import itertools
import socket
import socketserver
import threading

from tests.conftest import free_port


class Doors:
    """`with Doors(ports) as doors:` connections to `doors.url` go to the ports in turn."""

    def __init__(self, ports: list[int]) -> None:
        turn = itertools.count()

        class Through(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                first = next(turn)
                for n in range(len(ports)):
                    with contextlib.suppress(OSError):
                        inside = socket.create_connection(("127.0.0.1", ports[(first + n) % len(ports)]), 5)
                        break
                else:
                    return
                inside.settimeout(None)
                back = threading.Thread(target=_pump, args=(inside, self.request), daemon=True)
                back.start()
                _pump(self.request, inside)
                back.join()
                inside.close()

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            allow_reuse_address = True
            request_queue_size = 128

        port = free_port()
        self._server = Server(("127.0.0.1", port), Through)
        self.url = f"http://127.0.0.1:{port}"

    def __enter__(self) -> Doors:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def _pump(source: socket.socket, target: socket.socket) -> None:
    """Until one end is gone; then both are."""
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    for end in (source, target):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
