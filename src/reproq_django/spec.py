"""The spec of a run: what to call, with what, and how. Built here and nowhere else in Python.

Its canonical text is what the row stores and the worker hands to the process that runs the task;
``spec_hash`` is the SHA-256 of that text and decides what a duplicate is. Both match the earlier system byte
for byte, see contracts/.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from hashlib import sha256
from inspect import Parameter, Signature, signature
from typing import Any, Final
from uuid import UUID

from django.conf import settings
from django.tasks.base import Task
from django.tasks.exceptions import InvalidTask
from django.utils import timezone

from reproq_django.conf import MAX_INT, BackendOptions
from reproq_django.db import queue_alias
from reproq_django.definition import backoff_policy, due, whole_seconds
from reproq_django.errors import UnsupportedArgument
from reproq_django.keys import key_of_run
from reproq_django.rates import rate_of_run
from reproq_django.serialization import canonical_json, encode
from reproq_django.status import DEDUP_MODES, OVER_LIMIT

VERSION: Final = 1

#: Keywords of enqueue() that are about the run, not for the task. One that the function itself declares stays
#: its own.
ENQUEUE_OPTIONS: Final = frozenset(
    {
        "run_after", "lock_key", "priority", "concurrency_key", "concurrency_limit", "fairness_key",
        "rate_key",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class RunSpec:
    """A run that is ready to be inserted. Field names are those of ``task_runs`` where there is such a
    column."""

    task: Task
    args: list[Any]
    kwargs: dict[str, Any]
    #: Alias of the database that the queue lives in.
    db_alias: str
    backend_alias: str
    queue_name: str
    priority: int
    #: Aware, UTC.
    run_after: datetime | None
    #: Canonical text, not parsed data.
    spec_json: str
    spec_hash: str
    task_path: str
    max_attempts: int
    timeout_seconds: int
    lock_key: str | None
    concurrency_key: str | None
    concurrency_limit: int
    #: ``status.OVER_LIMIT``.
    over_limit: int
    fairness_key: str | None
    #: Full name: "key:<key>" or "task:<path>".
    rate_key: str | None
    rate_per_second: float | None
    rate_burst: int | None
    #: Counted by the database's clock from the INSERT.
    expires_in: timedelta | None
    dedup: int
    #: Of members of workflows, see plan.py; None: the database's next id, READY, no workflow.
    result_id: int | None = None
    status: str | None = None
    workflow_id: UUID | None = None
    step: int | None = None
    after_step: int | None = None


def build(
    task: Task,
    args: tuple[Any, ...] | list[Any],
    kwargs: Mapping[str, Any],
    *,
    backend_alias: str,
    options: BackendOptions,
) -> RunSpec:
    """The spec of one call. Touches no database (unless a key callable does).

    Raises TypeError when the arguments do not fit the function, UnsupportedArgument (a TypeError) for one
    that cannot be stored, InvalidTask for a key or an enqueue keyword that cannot be honoured.
    """
    own, given = _split(task.func, kwargs)
    _bind(task, args, own)
    run_after = _utc(given.get("run_after", task.run_after))
    priority = _whole("priority", given.get("priority", task.priority), -MAX_INT)

    def key(name: str) -> str | None:
        return key_of_run(name, given.get(name, getattr(task, name, None)), args, own)

    lock_key, concurrency_key = key("lock_key"), key("concurrency_key")
    limit = _whole(
        "concurrency_limit", given.get("concurrency_limit", getattr(task, "concurrency_limit", 0)), 0
    )
    rate_key, rate_per_second, rate_burst = rate_of_run(
        task, given.get("rate_key", getattr(task, "rate_key", None)), args, own
    )
    timeout = getattr(task, "timeout", None)
    timeout_seconds = options.timeout_seconds if timeout is None else whole_seconds(timeout)
    max_attempts = getattr(task, "max_attempts", None) or options.max_attempts
    execution: dict[str, Any] = {"timeout_seconds": timeout_seconds, "max_attempts": max_attempts}
    if (policy := backoff_policy(getattr(task, "backoff", None))) is not None:
        # Only when a task asks for it: the key would change the hash of every other spec.
        execution["backoff"] = policy

    text = _canonical(
        {
            "v": VERSION,
            "task_path": task.module_path,
            "args": _encode_all(args, options),
            "kwargs": _encode_named(own, options),
            "takes_context": task.takes_context,
            "queue_name": task.queue_name,
            "priority": priority,
            "lock_key": lock_key,
            "concurrency_key": concurrency_key,
            "concurrency_limit": limit,
            "run_after": run_after and run_after.isoformat(),
            "exec": execution,
            "provenance": {"code_ref": options.code_ref, "pip_lock_hash": options.pip_lock_hash},
        }
    )
    encoded = text.encode()
    if len(encoded) > options.max_argument_bytes:
        raise UnsupportedArgument(
            f"the arguments of {task.module_path} take {len(encoded):,} bytes, "
            f"more than MAX_ARGUMENT_BYTES = {options.max_argument_bytes:,}; "
            "store the data and pass its id or path"
        )
    dedup = getattr(task, "dedup", None)
    return RunSpec(
        task=task,
        args=list(args),
        kwargs=own,
        db_alias=queue_alias(task.queue_name),
        backend_alias=backend_alias,
        queue_name=task.queue_name,
        priority=priority,
        run_after=run_after,
        spec_json=text,
        spec_hash=sha256(encoded).hexdigest(),
        task_path=task.module_path,
        max_attempts=max_attempts,
        timeout_seconds=timeout_seconds,
        lock_key=lock_key,
        concurrency_key=concurrency_key,
        concurrency_limit=limit,
        over_limit=OVER_LIMIT[getattr(task, "over_limit", "wait")],
        fairness_key=key("fairness_key"),
        rate_key=rate_key,
        rate_per_second=rate_per_second,
        rate_burst=rate_burst,
        expires_in=getattr(task, "expires_in", None) or options.expires_in,
        dedup=DEDUP_MODES[options.dedup_active if dedup is None else dedup],
    )


def encode_call(
    args: Sequence[Any], kwargs: Mapping[str, Any], options: BackendOptions
) -> tuple[list[Any], dict[str, Any]]:
    """Arguments as plain JSON data. Raises UnsupportedArgument for one that cannot be stored."""
    return _encode_all(list(args), options), _encode_named(kwargs, options)


def spec_hash(text: str) -> str:
    """SHA-256 of canonical text, 64 hexadecimal digits."""
    return sha256(text.encode()).hexdigest()


@lru_cache(maxsize=4096)
def _signature(func: Callable[..., Any]) -> tuple[Signature, frozenset[str]]:
    """The signature, and the enqueue options that the function does not claim (``**kwargs`` claims none)."""
    found = signature(func)
    named = {
        name
        for name, parameter in found.parameters.items()
        if parameter.kind in (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
    }
    return found, ENQUEUE_OPTIONS - named


def _split(func: Callable[..., Any], kwargs: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(keywords of the task, keywords of the enqueue). None means "not given" for the latter, as it always
    has."""
    _, options = _signature(func)
    own = {key: value for key, value in kwargs.items() if key not in options}
    return own, {key: kwargs[key] for key in options & kwargs.keys() if kwargs[key] is not None}


def _bind(task: Task, args: tuple[Any, ...] | list[Any], kwargs: Mapping[str, Any]) -> None:
    found, _ = _signature(task.func)
    try:
        found.bind(*((None, *args) if task.takes_context else args), **kwargs)
    except TypeError as error:
        raise TypeError(f"{task.module_path}: {error}") from None


def _encode_all(args: tuple[Any, ...] | list[Any], options: BackendOptions) -> list[Any]:
    typed = options.arguments == "typed"
    try:
        return [encode(value, f"args[{index}]", typed=typed) for index, value in enumerate(args)]
    except RecursionError:
        raise UnsupportedArgument("args are nested too deeply, or refer to themselves") from None


def _encode_named(kwargs: Mapping[str, Any], options: BackendOptions) -> dict[str, Any]:
    typed = options.arguments == "typed"
    try:
        return {key: encode(value, f"kwargs[{key!r}]", typed=typed) for key, value in kwargs.items()}
    except RecursionError:
        raise UnsupportedArgument("kwargs are nested too deeply, or refer to themselves") from None


def _canonical(spec: dict[str, Any]) -> str:
    try:
        return canonical_json(spec)
    except RecursionError:
        raise UnsupportedArgument("the arguments are nested too deeply") from None


def _utc(run_after: Any) -> datetime | None:
    """``run_after`` in UTC, so that one moment has one text whatever zone it was given in."""
    moment = due(run_after)
    if moment is None:
        return None
    if not isinstance(moment, datetime):
        raise InvalidTask(f"run_after must be a datetime or a timedelta, not {moment!r}.")
    if timezone.is_naive(moment):
        if settings.USE_TZ:
            raise InvalidTask("run_after must be an aware datetime.")
        moment = timezone.make_aware(moment)
    return moment.astimezone(UTC)


def _whole(name: str, value: Any, least: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= MAX_INT:
        raise InvalidTask(f"{name} must be a whole number from {least} to {MAX_INT}, not {value!r}.")
    return value
