"""Installs what the comparison needs: a virtual environment per peer, brokers by apt-get. Twice is once."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from bench.peers.peer import CACHE, OURS, Peer
from bench.site import BenchError

#: What says that a server is there, and the Debian package that brings it.
SERVERS = {
    "postgres": ("postgresql-15", Path("/usr/lib/postgresql/15/bin/initdb")),
    "redis": ("redis-server", Path("/usr/bin/redis-server")),
    "rabbitmq": ("rabbitmq-server", Path("/usr/lib/rabbitmq/bin/rabbitmq-server")),
}


def prepare(peers: Iterable[Peer]) -> None:
    """Raises BenchError with what to do when something cannot be installed."""
    peers = list(peers)
    needed = {"postgres"} | {peer.stores for peer in peers}
    install_servers(sorted(needed & set(SERVERS)))
    seen = set()
    for peer in peers:
        if peer.python != OURS and peer.environment not in seen:
            seen.add(peer.environment)
            _environment(peer)


def install_servers(names: Iterable[str]) -> None:
    missing = [SERVERS[name][0] for name in names if not SERVERS[name][1].exists()]
    if not missing:
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise BenchError(f"{', '.join(missing)} missing: install them, or run this as root on Debian")
    _say(f"apt-get install {' '.join(missing)}")
    quiet = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    _run(["apt-get", "-qq", "update"], quiet)
    _run(["apt-get", "-qq", "install", "--yes", "--no-install-recommends", *missing], quiet)


def _environment(peer: Peer) -> None:
    """Made anew when what it should hold has changed, or when it was left half-made."""
    folder = CACHE / peer.environment
    stamp = folder / "holds.txt"
    wanted = "\n".join([sys.version, *peer.packages])
    if stamp.exists() and stamp.read_text() == wanted:
        return
    _say(f"{peer.environment}: {', '.join(peer.packages)}")
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    # The interpreter of ours, so that nobody wins by a younger Python.
    base = str(Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}")
    environment = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    if uv := shutil.which("uv"):
        _run([uv, "venv", "--quiet", "--python", base, str(folder)], environment)
        install = [uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", str(peer.python)]
    else:
        _run([base, "-m", "venv", str(folder)], environment)
        install = [str(peer.python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run([*install, *peer.packages], environment)
    stamp.write_text(wanted)


def version(peer: Peer) -> str:
    """Of its distribution, as installed."""
    if not peer.released:
        return ""
    ask = f"from importlib.metadata import version; print(version({peer.released!r}))"
    return subprocess.run(
        [str(peer.python), "-c", ask], capture_output=True, text=True, check=True
    ).stdout.strip()


def _run(command: list[str], environment: dict[str, str]) -> None:
    done = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise BenchError(f"{' '.join(command)} failed:\n{(done.stdout + done.stderr)[-3000:]}")


def _say(what: str) -> None:
    print(f"installing {what}", file=sys.stderr, flush=True)
