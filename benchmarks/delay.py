"""A TCP proxy that makes loopback as slow as a long way: half the round trip in each direction.

``python -m benchmarks.delay PORT TARGET_PORT MILLISECONDS``, on 127.0.0.1.  Connecting itself is
not slowed down: who connects often looks better than it is.
"""

import socket
import sys
import threading
import time
from contextlib import suppress
from queue import SimpleQueue


def carry(source, target, seconds):
    """Hand on what comes, in order, each piece so much later."""
    pieces = SimpleQueue()

    def deliver():
        with suppress(OSError):  # the other side has gone
            while piece := pieces.get():
                due, content = piece
                time.sleep(max(0.0, due - time.monotonic()))
                target.sendall(content)
            target.shutdown(socket.SHUT_WR)

    threading.Thread(target=deliver, daemon=True).start()
    with suppress(OSError):
        while content := source.recv(2**18):
            pieces.put((time.monotonic() + seconds, content))
    pieces.put(None)


def serve(port, target, seconds):
    """Take connections for ever."""
    with socket.create_server(("127.0.0.1", port)) as server:
        print("ready", flush=True)
        while True:
            here, _ = server.accept()
            there = socket.create_connection(("127.0.0.1", target))
            for one, other in ((here, there), (there, here)):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=carry, args=(one, other, seconds), daemon=True).start()


if __name__ == "__main__":
    port, target, milliseconds = map(float, sys.argv[1:])
    serve(int(port), int(target), milliseconds / 2000)
