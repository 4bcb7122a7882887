"""Frames between worker and pool child: ``RQF1``, length, CRC-32, payload (``contracts/executor.md``)."""

from __future__ import annotations

import os
import struct
import zlib

MAGIC = b"RQF1"
HEADER = struct.Struct("<4sII")
#: No honest frame comes near this; a length beyond it means that the stream is out of step.
MAX_PAYLOAD_BYTES = 256 * 1024 * 1024
READ_BYTES = 256 * 1024


class FrameError(Exception):
    """The stream does not hold what the contract says; nothing read from it any more can be trusted."""


def encode(payload: bytes) -> bytes:
    """Return ``payload`` as one frame.

    Raises:
        FrameError: the payload is larger than ``MAX_PAYLOAD_BYTES``.
    """
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise FrameError(
            f"a frame of {len(payload)} bytes is larger than the {MAX_PAYLOAD_BYTES} that a frame may hold"
        )
    return HEADER.pack(MAGIC, len(payload), zlib.crc32(payload)) + payload


def write(descriptor: int, payload: bytes) -> None:
    """Write one frame; an ``OSError`` (``EPIPE``) means that the worker is gone."""
    frame = encode(payload)
    written = os.write(descriptor, frame)
    if written == len(frame):
        return
    rest = memoryview(frame)[written:]
    while rest:
        rest = rest[os.write(descriptor, rest) :]


class FrameReader:
    """Payloads from a blocking stream, several per ``read`` when the worker sent several.

    Args:
        descriptor: the stream; it stays the caller's to close.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._buffer = bytearray()
        self._start = 0

    def read(self) -> bytearray | None:
        """Wait for the next payload; ``None`` when the worker has closed the stream between two frames.

        Raises:
            FrameError: wrong magic, wrong checksum, absurd length, or an end of the stream inside a frame.
        """
        if len(self._buffer) - self._start < HEADER.size and not self._fill(HEADER.size):
            return None
        magic, length, checksum = HEADER.unpack_from(self._buffer, self._start)
        if magic != MAGIC:
            raise FrameError(f"a frame starts with {MAGIC!r}, not with {bytes(magic)!r}")
        if length > MAX_PAYLOAD_BYTES:
            raise FrameError(f"a frame says that it holds {length} bytes; {MAX_PAYLOAD_BYTES} is the most")
        if len(self._buffer) - self._start < HEADER.size + length:
            self._fill(HEADER.size + length)
        begin = self._start + HEADER.size
        payload = self._buffer[begin : begin + length]
        if zlib.crc32(payload) != checksum:
            raise FrameError(f"the checksum of a frame of {length} bytes is wrong")
        self._start = begin + length
        if self._start == len(self._buffer):
            self._buffer.clear()
            self._start = 0
        return payload

    def arrived(self) -> list[bytearray] | None:
        """Read once, without waiting if something is there; return the whole payloads so far, ``None`` at the
        end of the stream.

        Raises:
            FrameError: as ``read``.
        """
        chunk = os.read(self._descriptor, READ_BYTES)
        if not chunk:
            return None
        self._buffer += chunk
        payloads = []
        while len(self._buffer) - self._start >= HEADER.size:
            _, length, _ = HEADER.unpack_from(self._buffer, self._start)
            if length <= MAX_PAYLOAD_BYTES and len(self._buffer) - self._start < HEADER.size + length:
                break
            # All of it is here, so this does not read; or it is no frame, which this says.
            payload = self.read()
            if payload is None:
                break
            payloads.append(payload)
        return payloads

    def _fill(self, wanted: int) -> bool:
        """Read until ``wanted`` bytes are waiting; ``False`` when the stream ended with none at all."""
        while len(self._buffer) - self._start < wanted:
            chunk = os.read(self._descriptor, max(READ_BYTES, wanted - (len(self._buffer) - self._start)))
            if not chunk:
                waiting = len(self._buffer) - self._start
                if waiting == 0:
                    return False
                raise FrameError(
                    f"the stream ended inside a frame, after {waiting} of at least {wanted} bytes"
                )
            if self._start:
                # Only now: moving the rest of the buffer once per read, not once per frame.
                del self._buffer[: self._start]
                self._start = 0
            self._buffer += chunk
        return True
