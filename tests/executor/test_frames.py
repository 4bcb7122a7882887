"""The codec of the stream between the worker and a child."""

import json
import os
import threading
from pathlib import Path

import pytest

from reproq_django.execution import frames

CONTRACT = Path(__file__).parent.parent.parent / "contracts" / "executor.jsonl"


@pytest.fixture
def stream():
    """A pipe whose writing end takes bytes and closes itself."""
    read, write = os.pipe()

    def feed(data, *, chunk=None):
        def work():
            for start in range(0, len(data), chunk or len(data) or 1):
                os.write(write, data[start : start + (chunk or len(data))])
            os.close(write)

        threading.Thread(target=work).start()
        return frames.FrameReader(read)

    yield feed
    os.close(read)


def test_a_frame_is_magic_length_checksum_payload():
    magic, length, checksum = frames.HEADER.unpack(frames.encode(b"123456789")[:12])
    # 0xCBF43926 is the check value that every description of CRC-32 (IEEE) gives for these nine digits.
    assert (magic, length, checksum) == (b"RQF1", 9, 0xCBF43926)


def test_the_messages_of_the_contract_survive(stream):
    lines = CONTRACT.read_bytes().splitlines()
    reader = stream(b"".join(frames.encode(line) for line in lines))
    assert [reader.read() for _ in lines] == lines
    assert all(json.loads(line)["type"] for line in lines)
    assert reader.read() is None


@pytest.mark.parametrize("chunk", [1, 7, 12, 13, 4096])
def test_frames_cut_anywhere(stream, chunk):
    payloads = [b"", b"a", b"b" * 300, b"c" * 20]
    reader = stream(b"".join(map(frames.encode, payloads)), chunk=chunk)
    assert [reader.read() for _ in payloads] == payloads
    assert reader.read() is None


def test_a_large_frame(stream):
    payload = os.urandom(5 * 1024 * 1024)
    assert stream(frames.encode(payload)).read() == payload


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"XXXX" + bytes(8), "starts with"),
        (frames.encode(b"abc")[:-1] + b"X", "checksum"),
        (frames.encode(b"abc")[:-1], "ended inside"),
        (b"RQF", "ended inside"),
        (frames.HEADER.pack(b"RQF1", 2**32 - 1, 0), "is the most"),
    ],
)
def test_a_stream_that_is_out_of_step_is_not_trusted(stream, data, words):
    with pytest.raises(frames.FrameError, match=words):
        stream(data).read()
