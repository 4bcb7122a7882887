"""What may stand between a worker and PostgreSQL. ``python -m bench.pooler <how> <port of the server>``
prints the port where it listens, and ends with its standard input.

``transaction``: clients share a few connections to the server, each lent for one transaction, as PgBouncer
does with ``pool_mode=transaction``. What a client has set, prepared or listens to is unknown to the server
that it meets next. Settings in a client's first message are refused in PgBouncer's words. ``deaf``: a
connection for each client, on which no notification arrives. Both are only for servers that trust everybody.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
import sys
from collections import deque
from collections.abc import AsyncIterator

HOST = "127.0.0.1"
#: Connections to each database.
SERVERS = 3
DECLINED = {80877103, 80877104}
"""Requests for encryption."""
CANCEL = 80877102
#: What PgBouncer takes in a client's first message.
KNOWN = {
    *("user", "database", "client_encoding", "datestyle", "timezone", "application_name"),
    "standard_conforming_strings",
}
#: Each of them is answered with one ReadyForQuery.
ENDS_A_REQUEST = (b"Q", b"S", b"F")
IDLE = b"Z\0\0\0\5I"


class Peer:
    """One end of a connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def startup(self) -> bytes:
        """The body of the first message, once encryption has been declined."""
        while True:
            (length,) = struct.unpack("!i", await self._reader.readexactly(4))
            body = await self._reader.readexactly(length - 4)
            if struct.unpack("!i", body[:4])[0] not in DECLINED:
                return body
            self.send(b"N")

    async def messages(self) -> AsyncIterator[tuple[bytes, bytes]]:
        """The kind of each message and all of it, until the other side is gone."""
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await self._reader.readexactly(5)
                (length,) = struct.unpack("!i", head[1:])
                yield head[:1], head + await self._reader.readexactly(length - 4)

    def send(self, data: bytes) -> None:
        # Not awaited: what these clients and servers say is small.
        if not self._writer.is_closing():
            self._writer.write(data)

    def close(self) -> None:
        self._writer.close()


class Backend:
    """A connection to the server, and whom it works for."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.client: Client | None = None
        self.owed = 0
        """How often it still has to say that it is ready."""
        self.in_request = False


class Client:
    """A connection from a client."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.backend: Backend | None = None


class Pool:
    """The connections to one database."""

    def __init__(self, port: int, startup: bytes) -> None:
        self._port, self._startup = port, startup
        self._idle: deque[Backend] = deque()
        self._room = asyncio.Semaphore(SERVERS)
        self._tasks: set[asyncio.Task[None]] = set()
        self.greeting = b""
        """What the server says to a client that it lets in."""

    async def lend(self, client: Client) -> Backend:
        await self._room.acquire()
        # The one that has rested longest: who counts on meeting the same one again is wrong at once.
        backend = self._idle.popleft() if self._idle else await self._connect()
        backend.client, client.backend = client, backend
        return backend

    def take_back(self, backend: Backend, *, fit: bool) -> None:
        if backend.client:
            backend.client.backend = None
            backend.client = None
        if fit:
            self._idle.append(backend)
        else:
            backend.peer.close()
        self._room.release()

    async def _connect(self) -> Backend:
        peer, self.greeting = await connected(self._port, self._startup)
        backend = Backend(peer)
        task = asyncio.ensure_future(self._answers(backend))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return backend

    async def _answers(self, backend: Backend) -> None:
        async for kind, whole in backend.peer.messages():
            client = backend.client
            if kind == b"Z":
                backend.owed -= 1
                if not backend.owed and not backend.in_request and whole == IDLE:
                    self.take_back(backend, fit=True)
            if client:
                client.peer.send(whole)
        if backend.client:
            backend.client.peer.close()


async def connected(port: int, startup: bytes) -> tuple[Peer, bytes]:
    """A server that waits for requests, and what it has said until then."""
    peer, said = Peer(*await asyncio.open_connection(HOST, port)), b""
    peer.send(struct.pack("!i", len(startup) + 4) + startup)
    async for kind, whole in peer.messages():
        if kind == b"Z":
            return peer, said
        said += whole
    raise ConnectionError("the server lets nobody in")


class Transactions:
    """``transaction``."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._pools: dict[tuple[str, str], Pool] = {}

    async def serve(self, client: Client, startup: bytes) -> None:
        words = [word.decode() for word in startup[4:].split(b"\0")]
        named = dict(zip(words[::2], words[1::2], strict=False))
        named.pop("", None)
        for name in named:
            if name.lower() not in KNOWN:
                said = f"SFATAL\0VFATAL\0C08P01\0Munsupported startup parameter: {name}\0\0".encode()
                client.peer.send(b"E" + struct.pack("!i", len(said) + 4) + said)
                return
        user, database = named["user"], named.get("database", named["user"])
        first = startup[:4] + f"user\0{user}\0database\0{database}\0\0".encode()
        pool = self._pools.setdefault((user, database), Pool(self._port, first))
        if not pool.greeting:
            pool.take_back(await pool.lend(client), fit=True)
        client.peer.send(pool.greeting + IDLE)
        async for kind, whole in client.peer.messages():
            if kind == b"X":
                break
            backend = client.backend or await pool.lend(client)
            backend.in_request = kind not in ENDS_A_REQUEST
            backend.owed += not backend.in_request
            backend.peer.send(whole)
        if client.backend:
            pool.take_back(client.backend, fit=False)


class Deaf:
    """``deaf``."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def serve(self, client: Client, startup: bytes) -> None:
        server, said = await connected(self._port, startup)
        client.peer.send(said + IDLE)
        answers = asyncio.ensure_future(self._answers(server, client))
        async for _, whole in client.peer.messages():
            server.send(whole)
        server.close()
        await answers

    async def _answers(self, server: Peer, client: Client) -> None:
        async for kind, whole in server.messages():
            if kind != b"A":
                client.peer.send(whole)
        client.peer.close()


HOW = {"transaction": Transactions, "deaf": Deaf}


async def main(how: str, port: int) -> None:
    between = HOW[how](port)

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = Client(Peer(reader, writer))
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            startup = await client.peer.startup()
            if struct.unpack("!i", startup[:4])[0] != CANCEL:
                await between.serve(client, startup)
        client.peer.close()

    server = await asyncio.start_server(accept, HOST, 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
