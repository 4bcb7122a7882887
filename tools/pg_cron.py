"""A throwaway PostgreSQL with pg_cron, for the tests of ``reproq pg-cron``: Debian's binaries, run as
``tools/postgres.py`` runs them.

The wheel that the other tests use has no extensions. Where Debian's packages are missing, root installs them;
elsewhere somebody has to, and is told so: these tests are not skipped.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tools.postgres import PostgresCluster, PostgresUnavailable

_INSTALLED = Path("/usr/lib/postgresql")
#: Read by the packages' scripts: without it they make a cluster and start it with the machine.
_NO_SERVICE = Path("/etc/postgresql-common/createcluster.d/throwaway-tests.conf")
_APT = ["apt-get", "-y", "-q", "-o", "DPkg::Lock::Timeout=300"]


def cluster_with_pg_cron(home: str = "postgres") -> PostgresCluster:
    """A cluster, not started, whose server has loaded pg_cron; its jobs are kept in the database ``home``.

    Raises PostgresUnavailable.
    """
    settings = ["shared_preload_libraries = 'pg_cron'", f"cron.database_name = '{home}'"]
    return PostgresCluster(binaries=binaries_with_pg_cron(), settings=settings)


def binaries_with_pg_cron() -> Path:
    """The folder with the programs of a PostgreSQL that has pg_cron; installs it when it can.

    Raises PostgresUnavailable.
    """
    if (found := _found()) is None:
        _install()
        found = _found()
    if found is None:
        raise PostgresUnavailable(f"pg_cron was installed, and is not below {_INSTALLED}")
    return found


def _found() -> Path | None:
    folders = sorted(
        _INSTALLED.glob("*/lib/pg_cron.so"), key=lambda path: float(path.parent.parent.name), reverse=True
    )
    return next((path.parent.parent / "bin" for path in folders), None)


def _install() -> None:
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        raise PostgresUnavailable(
            "the tests of pg-cron need a PostgreSQL with pg_cron, which is installed only by root on Debian; "
            "install its postgresql-15 and postgresql-15-cron (or a newer pair)"
        )
    if not _INSTALLED.exists():
        _NO_SERVICE.parent.mkdir(parents=True, exist_ok=True)
        _NO_SERVICE.write_text("create_main_cluster = false\n")
    version = _version() or (_apt("update") and _version()) or 15
    names = [f"postgresql-{version}", f"postgresql-{version}-cron"]
    # A server that is there already stays as it is.
    install = ["install", "--no-install-recommends", "--no-upgrade", *names]
    if not _apt(*install):
        _apt("update")
        if not _apt(*install):
            raise PostgresUnavailable(f"apt-get could not install {' and '.join(names)}; its words are above")


def _version() -> int | None:
    """The newest PostgreSQL that apt has pg_cron for; None when it knows of none."""
    known = subprocess.run(
        ["apt-cache", "search", "--names-only", r"^postgresql-[0-9]+-cron$"],
        capture_output=True,
        text=True,
        check=False,
    )
    versions = [int(number) for number in re.findall(r"^postgresql-(\d+)-cron", known.stdout, re.MULTILINE)]
    # The one that is there already needs the least.
    here = [number for number in versions if (_INSTALLED / str(number)).exists()]
    return max(here or versions, default=None)


def _apt(*words: str) -> bool:
    done = subprocess.run(
        [*_APT, *words], env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"}, check=False
    )
    return done.returncode == 0


def main() -> int:
    """Install it, if it is missing, before any test has a server of the same packages running."""
    try:
        print(binaries_with_pg_cron())
    except PostgresUnavailable as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
