"""A TCP proxy that makes loopback as slow as a long way: half the round trip in each direction.

``python -m benchmarks.delay PORT TARGET_PORT MILLISECONDS``, on 127.0.0.1.  Connecting itself is
not slowed down: who connects often looks better than it is.
"""

import asyncio
import socket
import sys


async def carry(reader, writer, seconds):
    """Hand on what comes, in order, each piece so much later."""
    loop = asyncio.get_running_loop()
    pieces = asyncio.Queue()

    async def deliver():
        while (piece := await pieces.get()) is not None:
            due, content = piece
            await asyncio.sleep(due - loop.time())
            writer.write(content)
        writer.close()

    delivering = asyncio.create_task(deliver())
    try:
        while content := await reader.read(2**18):
            pieces.put_nowait((loop.time() + seconds, content))
    except ConnectionError:
        pass  # as if it had ended
    pieces.put_nowait(None)
    await delivering


async def serve(port, target, seconds):
    """Take connections for ever."""

    async def connected(reader, writer):
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", target)
        for one in (writer, there_writer):
            one.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.gather(
            carry(reader, there_writer, seconds), carry(there_reader, writer, seconds)
        )

    server = await asyncio.start_server(connected, "127.0.0.1", port)
    print("ready", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    port, target, milliseconds = map(float, sys.argv[1:])
    asyncio.run(serve(int(port), int(target), milliseconds / 2000))
