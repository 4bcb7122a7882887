"""Getting a worker binary without the wheel: from a release page, or built from source.

Nothing is run before its SHA-256 has matched one that was known beforehand: from ``release_digests.json`` in
this package, or from the operator. A digest that lies next to the binary proves nothing, whoever could
replace the one could replace the other, so it is not even asked for.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import ipaddress
import json
import os
import platform
import re
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from importlib.resources import files
from pathlib import Path
from typing import Any

LATEST = "latest"
MAX_BINARY_BYTES = 256 * 1024 * 1024
MAX_REDIRECTS = 5
#: Per read from the socket; the whole download is bounded by the size.
TIMEOUT_SECONDS = 30
BUILD_TIMEOUT_SECONDS = 3600
CHUNK_BYTES = 256 * 1024


class InstallError(Exception):
    """The binary could not be installed; whatever was there before is untouched."""


def asset_name(system: str | None = None, machine: str | None = None) -> str:
    """Name of the release's file for a platform, this one unless said otherwise.

    Raises:
        InstallError: no release has one.
    """
    system = (system or platform.system()).lower()
    machine = (machine or platform.machine()).lower()
    architecture = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}.get(machine)
    if system in {"linux", "darwin"} and architecture:
        return f"reproq-{system}-{architecture}"
    if system == "windows" and architecture == "amd64":
        return "reproq-windows-amd64.exe"
    raise InstallError(
        f"there is no released binary for {system} on {machine}; build one with --source DIR --build"
    )


def known_digest(tag: str, asset: str) -> str | None:
    """The SHA-256 that this package was published with, or None."""
    digests: dict[str, dict[str, str]] = json.loads(
        files("reproq_django").joinpath("release_digests.json").read_text()
    )
    return digests.get(tag, {}).get(asset)


def asset_url(base: str, tag: str, asset: str) -> str:
    """Address of a release's file in the layout of GitHub's release pages."""
    base = base.rstrip("/")
    if tag == LATEST:
        return f"{base}/latest/download/{asset}"
    return f"{base}/download/{urllib.parse.quote(tag, safe='')}/{asset}"


def download(base: str, tag: str, target: Path, *, sha256: str | None = None) -> str:
    """Fetch this platform's binary, verify it and put it at ``target`` in one step.

    Args:
        base: the release page.
        tag: a release, or ``latest``.
        sha256: the digest in hex, when the operator knows it.

    Returns:
        The address it came from.

    Raises:
        InstallError: no digest is known, or anything at all went wrong; ``target`` is as it was.
    """
    asset = asset_name()
    expected = (sha256 or known_digest(tag, asset) or "").strip().lower()
    if not expected:
        raise InstallError(
            f"no SHA-256 is known for {asset} of release {tag!r}, so nothing was fetched. "
            "The wheel of reproq-django for this platform has the binary inside. Else pass --sha256 "
            "(or set REPROQ_RELEASE_SHA256) with a digest from a source that you trust, "
            "or build it: --source DIR --build"
        )
    if not re.fullmatch(r"[0-9a-f]{64}", expected):
        raise InstallError(f"{expected!r} is not a SHA-256 in hex (64 digits)")
    url = asset_url(base, tag, asset)
    temporary: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=target.parent, prefix=".reproq-", delete=False) as file:
            temporary = Path(file.name)
            found = _fetch(url, file)
            file.flush()
            os.fsync(file.fileno())
        if not hmac.compare_digest(found, expected):
            raise InstallError(f"{url} has the SHA-256 {found}, expected {expected}; it was thrown away")
        _put(temporary, target)
    except OSError as error:
        raise InstallError(f"{target} cannot be written: {error}") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
    return url


def build(source: Path, target: Path) -> str:
    """Build the binary in ``source`` (Cargo or Go) and put it at ``target``; returns what was run.

    Raises:
        InstallError: there is nothing to build, or the build failed.
    """
    source = source.resolve()
    with tempfile.TemporaryDirectory(prefix="reproq-build-") as folder:
        built = Path(folder, target.name)
        if (source / "Cargo.toml").is_file():
            command = ["cargo", "build", "--release", "--bin", "reproq", "--target-dir", folder]
            built = Path(folder, "release", target.name)
        elif (source / "go.mod").is_file():
            command = ["go", "build", "-o", str(built), "./cmd/reproq"]
        else:
            raise InstallError(f"{source} holds neither Cargo.toml nor go.mod, so there is nothing to build")
        if shutil.which(command[0]) is None:
            raise InstallError(f"building in {source} needs {command[0]!r} on PATH")
        try:
            subprocess.run(command, cwd=source, check=True, timeout=BUILD_TIMEOUT_SECONDS)  # noqa: S603 - fixed programs
        except (OSError, subprocess.SubprocessError) as error:
            raise InstallError(f"building in {source} failed: {error}") from error
        temporary = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(built, temporary)
            _put(temporary, target)
        except OSError as error:
            raise InstallError(f"the built binary cannot be put at {target}: {error}") from error
        finally:
            temporary.unlink(missing_ok=True)
    return " ".join(command[:2])


def _put(temporary: Path, target: Path) -> None:
    """Swap atomically: a worker that is being started sees the old file or the new one, never a part."""
    temporary.chmod(0o755)
    temporary.replace(target)


def _fetch(url: str, file: Any) -> str:
    """Write what ``url`` answers to ``file``; returns its SHA-256."""
    opener = urllib.request.build_opener(_CarefulRedirects(_is_loopback(url)))
    request = urllib.request.Request(url, headers={"User-Agent": "reproq-django"})  # noqa: S310 - checked just below
    _check_address(url, loopback_allowed=True)
    digest = hashlib.sha256()
    size = 0
    try:
        with opener.open(request, timeout=TIMEOUT_SECONDS) as answer:
            announced = answer.headers.get("Content-Length")
            while chunk := answer.read(CHUNK_BYTES):
                size += len(chunk)
                if size > MAX_BINARY_BYTES:
                    raise InstallError(f"{url} is larger than {MAX_BINARY_BYTES} bytes; it was thrown away")
                digest.update(chunk)
                file.write(chunk)
    except urllib.error.HTTPError as error:
        error.close()
        raise InstallError(f"{url} answered {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException) as error:
        raise InstallError(f"{url} cannot be fetched: {error}") from error
    if announced is not None and announced.isdecimal() and size != int(announced):
        raise InstallError(f"{url} ended after {size} of {announced} bytes; it was thrown away")
    return digest.hexdigest()


class _CarefulRedirects(urllib.request.HTTPRedirectHandler):
    """Follows a bounded number of redirects, and only to where the first address could have been."""

    max_redirections = MAX_REDIRECTS
    max_repeats = MAX_REDIRECTS

    def __init__(self, loopback_allowed: bool) -> None:
        self._loopback_allowed = loopback_allowed

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        _check_address(newurl, loopback_allowed=self._loopback_allowed)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _check_address(url: str, *, loopback_allowed: bool) -> None:
    """Refuse everything but https, and http to this machine itself when that is where we started."""
    scheme = urllib.parse.urlsplit(url).scheme
    if scheme == "https" or (scheme == "http" and loopback_allowed and _is_loopback(url)):
        return
    raise InstallError(f"{url} is not an https address; nothing was fetched from it")


def _is_loopback(url: str) -> bool:
    host = urllib.parse.urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def sibling_source() -> Path | None:
    """A ``reproq-worker`` checkout next to the project, if there is one."""
    folder = Path.cwd().parent / "reproq-worker"
    return folder if (folder / "Cargo.toml").is_file() or (folder / "go.mod").is_file() else None
