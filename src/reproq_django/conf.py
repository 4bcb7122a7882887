"""Every setting of Reproq and every key of ``TASKS[alias]["OPTIONS"]``, with its default. Nothing else names
a default.

Worker configuration (concurrency, leases, logs, ...) is not here: it belongs to the binary, see ``reproq
config --explain``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from difflib import get_close_matches
from typing import Any, Final

from django.conf import settings

#: Django settings: name -> default.
SETTINGS: Final[Mapping[str, Any]] = {
    # Database alias of every queue that REPROQ_QUEUE_DATABASES does not name.
    "REPROQ_DEFAULT_DB_ALIAS": "default",
    # Queue name or glob (fnmatch, case-sensitive) -> database alias. An exact name wins, then the first glob
    # that matches.
    "REPROQ_QUEUE_DATABASES": {},
    # Result ids as "<alias>:<number>": True, False, or None = when the queues live in more than one database.
    "REPROQ_RESULT_ID_WITH_ALIAS": None,
    # Path of the worker binary; None = the places that binary.py lists.
    "REPROQ_WORKER_BIN": None,
    # Databases that `status` and `stats` read: a list of aliases, "*" = all queue databases, None = the
    # default alias.
    "REPROQ_STATS_DATABASES": None,
    # Whether `migrate` stores the schedules that @recurring declares.
    "REPROQ_RECURRING_AUTOSYNC": True,
    # Where `install` fetches a worker binary, in the layout of GitHub's release pages.
    "REPROQ_RELEASE_URL": "https://github.com/adpena/reproq-worker/releases",
    # The SHA-256 that this file must have, hexadecimal; None = the one that the package knows, if it does.
    "REPROQ_RELEASE_SHA256": None,
}

DEFAULT_TIMEOUT_SECONDS: Final = 900
DEFAULT_MAX_ATTEMPTS: Final = 3
DEFAULT_MAX_ARGUMENT_BYTES: Final = 16 * 1024 * 1024

#: What the worker assumes for keys that a `backoff` policy leaves out (seconds, factor, seconds, full
#: jitter).
BACKOFF_DEFAULTS: Final[Mapping[str, Any]] = {"base": 30, "factor": 2, "cap": 3600, "jitter": True}


#: Those of SETTINGS that the environment may give, where the site's settings do not.
FROM_ENVIRONMENT: Final = frozenset({"REPROQ_WORKER_BIN", "REPROQ_RELEASE_URL", "REPROQ_RELEASE_SHA256"})

#: The most that an integer column holds.
MAX_INT: Final = 2**31 - 1


def setting(name: str) -> Any:
    """The site's value of one of ``SETTINGS``, else the environment's, else the default.

    Works without settings too. KeyError for a name that is not listed.
    """
    default = SETTINGS[name]
    if name not in FROM_ENVIRONMENT:
        return getattr(settings, name, default)
    said = getattr(settings, name, None) if settings.configured else None
    return said or os.environ.get(name) or default


@dataclass(frozen=True, slots=True)
class BackendOptions:
    """``TASKS[alias]["OPTIONS"]``, read once. Field names are the keys in lower case."""

    #: Which runs count as twins of a new one with the same spec: True = those that have not ended (as the
    #: earlier system documents), "ready" = those that have not started, False = none.
    dedup_active: bool | str = "ready"
    #: Wall-clock limit of one attempt, seconds.
    timeout_seconds: int = DEFAULT_TIMEOUT_SECONDS
    #: How often a failing run is tried in all.
    max_attempts: int = DEFAULT_MAX_ATTEMPTS
    #: A run that has not been claimed this long after its enqueue is not run any more. None = never expires.
    expires_in: timedelta | None = None
    #: Stored in each spec as provenance.code_ref, e.g. a commit; part of the hash.
    code_ref: str | None = None
    #: Stored in each spec as provenance.pip_lock_hash; part of the hash.
    pip_lock_hash: str | None = None
    #: "typed": arguments come back as the type they were. "compat": string forms of the earlier system.
    arguments: str = "typed"
    #: Largest spec that is accepted, bytes of UTF-8.
    max_argument_bytes: int = DEFAULT_MAX_ARGUMENT_BYTES

    @classmethod
    def from_mapping(cls, options: Mapping[str, Any]) -> BackendOptions:
        """The options of a backend. Unknown and ill-typed keys keep the default here; ``checks.py`` reports
        them."""
        broken = {key for key, _ in option_problems(options)}
        known = {key: value for key, value in options.items() if key in OPTION_NAMES and key not in broken}
        return cls(**{key.lower(): value for key, value in known.items()})


OPTION_NAMES: Final = frozenset(name.upper() for name in BackendOptions.__dataclass_fields__)


def option_problems(options: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(key, what is wrong with it) for each key of OPTIONS that cannot be used as it stands."""
    problems = []
    for key, value in options.items():
        if key not in OPTION_NAMES:
            close = get_close_matches(str(key).upper(), OPTION_NAMES, n=1, cutoff=0.5)
            problems.append((key, f"is not known (did you mean {close[0]}?)" if close else "is not known"))
        elif (wanted := _wanted(key, value)) is not None:
            problems.append((key, f"must be {wanted}, not {value!r}"))
    return problems


def _wanted(key: str, value: Any) -> str | None:
    """What ``key`` must be, when ``value`` is not that."""
    match key:
        case "DEDUP_ACTIVE":
            good, wanted = value is True or value is False or value == "ready", 'True, False or "ready"'
        case "TIMEOUT_SECONDS" | "MAX_ATTEMPTS" | "MAX_ARGUMENT_BYTES":
            good, wanted = (
                isinstance(value, int) and not isinstance(value, bool) and 0 < value <= MAX_INT,
                f"an int from 1 to {MAX_INT}",
            )
        case "EXPIRES_IN":
            good = value is None or (isinstance(value, timedelta) and value > timedelta(0))
            wanted = "a positive timedelta or None"
        case "ARGUMENTS":
            good, wanted = value in ("typed", "compat"), '"typed" or "compat"'
        case _:
            good, wanted = value is None or isinstance(value, str), "a str or None"
    return None if good else wanted
