"""A stand-in for the worker binary: says its version, or writes down how it was started."""

from __future__ import annotations

import stat
import sys
from pathlib import Path

SCRIPT = """\
#!{python}
import json, os, sys
if sys.argv[1:] == ["version"]:
    print("reproq-worker version {version}")
else:
    with open({record!r}, "w") as file:
        json.dump({{"arguments": sys.argv[1:], "environment": dict(os.environ)}}, file)
    sys.exit({code})
"""


def write(path: Path, *, version: str, record: Path | None = None, code: int = 0) -> Path:
    """Write an executable stand-in to ``path``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(SCRIPT.format(python=sys.executable, version=version, record=str(record), code=code))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path
