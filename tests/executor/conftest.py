"""Executors as the worker would start them: real processes, real descriptors."""

from __future__ import annotations

import array
import itertools
import json
import os
import socket
import struct
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SOURCE = HERE.parent.parent / "src"
WAIT_SECONDS = 60


def make_environment(folder):
    """The environment that a worker of the sample site hands down."""
    paths = [str(SOURCE), str(HERE)]
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join(paths),
        "DJANGO_SETTINGS_MODULE": "sample.settings",
        "ALLOWED_TASK_MODULES": "sample.tasks.,sample.wishes,sample.hostile",
        "REPROQ_DB_ALIAS": "default",
        "SAMPLE_DATABASE": str(folder / "sample.sqlite3"),
    }


@pytest.fixture
def environment(tmp_path):
    """See make_environment."""
    return make_environment(tmp_path)


def make_spec(name, *args, **kwargs):
    """The parts of a spec that an executor reads."""
    path = name if "." in name else f"sample.tasks.{name}"
    return {
        "v": 1,
        "task_path": path,
        "args": list(args),
        "kwargs": kwargs,
        "takes_context": False,
        "queue_name": "default",
        "priority": 0,
    }


@pytest.fixture
def spec():
    return make_spec


class OneShot:
    """Mode ``process``."""

    def __init__(self, environment):
        self.environment = environment

    def __call__(self, spec, *flags, payload="--payload-stdin", attempt=1):
        """Run one spec; returns the finished process with its parsed ``envelope``."""
        text = spec if isinstance(spec, str) else json.dumps(spec)
        given = [payload] if payload == "--payload-stdin" else [payload, text]
        command = [
            sys.executable,
            "-m",
            "reproq_django.executor",
            "--result-id",
            "17",
            "--attempt",
            str(attempt),
        ]
        done = subprocess.run(
            [*command, *given, *flags],
            input=text if payload == "--payload-stdin" else "",
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=WAIT_SECONDS,
            check=False,
        )
        done.envelope = json.loads(done.stdout) if done.stdout else None
        done.usage = (done.envelope or {}).pop("usage", None)
        return done


@pytest.fixture
def one_shot(environment):
    return OneShot(environment)


class PoolChild:
    """One child of a zygote, as the worker sees it."""

    def __init__(self, pid, stream, output):
        self.pid = pid
        self.stream = stream
        self.output = output
        self.epochs = itertools.count(1)
        #: The notes that came before the last results, and what the last run has used.
        self.notes = []
        self.usage = None

    def send(self, *specs, **fields):
        """Send one run per spec in a single write."""
        from reproq_django.execution import frames

        data = b""
        for each in specs:
            run = {
                "type": "run",
                "result_id": "17",
                "epoch": next(self.epochs),
                "attempt": 2,
                "worker_id": "w",
                "backend_alias": "default",
                "enqueued_at": 1767225600000000,
                "started_at": 1767225601000000,
                "last_attempted_at": 1767225602000000,
                "worker_ids": ["v", "w"],
                "errors": [],
                "metadata": {},
                "spec": each,
            } | fields
            data += frames.encode(json.dumps(run).encode())
        self.stream.sendall(data)

    def message(self):
        """The next message, of whatever kind."""
        from reproq_django.execution import frames

        reader = self.__dict__.setdefault("reader", frames.FrameReader(self.stream.fileno()))
        payload = reader.read()
        assert payload is not None, "the child closed its stream"
        return json.loads(payload)

    def results(self, count):
        """The next results; notes that come before them are in ``notes``."""
        found = []
        self.notes = []
        while len(found) < count:
            message = self.message()
            if message["type"] == "result":
                self.usage = message["envelope"].pop("usage", None)
                found.append(message)
            else:
                self.notes.append(message)
        return found

    def run(self, spec, **fields):
        """One run, one envelope."""
        self.send(spec, **fields)
        return self.results(1)[0]["envelope"]


class Zygote:
    """Mode ``pool``, from the worker's end of the control socket."""

    def __init__(self, environment, folder):
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.control.settimeout(WAIT_SECONDS)
        self.folder = folder
        self.tokens = itertools.count(1)
        self.set_aside = []
        self.children = []
        # Kept in files: pytest reads them when a test fails.
        self.log = open(folder / "zygote.log", "wb")  # noqa: SIM115
        command = [sys.executable, "-m", "reproq_django.executor", "--serve", str(theirs.fileno())]
        self.process = subprocess.Popen(
            command,
            env=environment,
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
        )
        theirs.close()

    def packet(self, kind=None):
        """The next packet, or the next of a kind; others wait their turn."""
        for index, waiting in enumerate(self.set_aside):
            if kind in (None, waiting["type"]):
                return self.set_aside.pop(index)
        while True:
            data = self.control.recv(1 << 20)
            assert data, "the zygote closed the control socket:\n" + (self.folder / "zygote.log").read_text()
            packet = json.loads(data)
            if kind in (None, packet["type"]):
                return packet
            self.set_aside.append(packet)

    def exit_code(self, child):
        """The exit code of a child, when it has ended."""
        while True:
            packet = self.packet("exited")
            if packet["pid"] == child.pid:
                return os.waitstatus_to_exitcode(packet["status"])

    def ask(self, descriptors, **shape):
        token = next(self.tokens)
        packet = json.dumps({"type": "fork", "token": token, **shape}).encode()
        rights = (
            [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
        )
        self.control.sendmsg([packet], rights)
        return token

    def fork(self, stdout=None, **shape):
        """One more child; what it prints goes to a file, or to ``stdout``."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        output = self.folder / f"child-{next(self.tokens)}.log"
        with theirs, open(output, "wb") as log:
            out = log.fileno() if stdout is None else stdout
            token = self.ask([theirs.fileno(), out, log.fileno()], **shape)
            answer = self.packet("forked")
        assert answer["token"] == token
        # A blocking descriptor, which gives up all the same.
        ours.settimeout(None)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", WAIT_SECONDS, 0))
        child = PoolChild(answer["pid"], ours, output)
        self.children.append(child)
        return child

    def close(self):
        self.control.close()
        for child in self.children:
            child.stream.close()
        code = self.process.wait(WAIT_SECONDS)
        self.log.close()
        return code


@pytest.fixture
def start_zygote(environment, tmp_path):
    """Start zygotes that end with the test."""
    started = []

    def start(**extra):
        zygote = Zygote(environment | extra, tmp_path)
        started.append(zygote)
        return zygote

    yield start
    for zygote in started:
        zygote.close()


@pytest.fixture
def zygote(start_zygote):
    """A zygote that is ready."""
    zygote = start_zygote()
    zygote.packet("ready")
    return zygote


@pytest.fixture(scope="module")
def warm(tmp_path_factory):
    """A zygote for all tests of a module: those that do something to a child, and nothing to the zygote."""
    folder = tmp_path_factory.mktemp("warm")
    zygote = Zygote(make_environment(folder), folder)
    zygote.packet("ready")
    yield zygote
    zygote.close()


@pytest.fixture
def child(warm):
    """A child that no other test has used."""
    child = warm.fork()
    yield child
    child.stream.close()
