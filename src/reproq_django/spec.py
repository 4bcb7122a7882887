"""The spec of a run: what to call, with what, and how. Built here and nowhere else in Python.

Its canonical text is what the row stores and the worker hands to the process that runs the task;
``spec_hash`` is the SHA-256 of that text and decides what a duplicate is. Both match the earlier system byte
for byte, see contracts/.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
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
from reproq_django.serialization import canonical_json, encode_all, encode_named
from reproq_django.signature import signature_of
from reproq_django.status import DEDUP_MODES, OVER_LIMIT

VERSION: Final = 1

_KEYS: Final = ("lock_key", "concurrency_key", "fairness_key", "rate_key")


@dataclass(slots=True)
class RunSpec:
    """A run that is ready to be inserted. Field names are those of ``task_runs`` where there is such a
    column.

    Nobody changes one. It is not frozen, because making a frozen object of so many fields takes longer than
    all else about a simple spec.
    """

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
    """The spec of one call, see ``SpecBuilder.build``."""
    return SpecBuilder(task, backend_alias, options).build(args, kwargs)


class SpecBuilder:
    """Makes the specs of a task's runs: what is the same in all of them is worked out once.

    Raises InvalidTask for what the task itself says.
    """

    def __init__(self, task: Task, backend_alias: str, options: BackendOptions) -> None:
        self.task = task
        self._backend_alias = backend_alias
        self._options = options
        self._typed = options.arguments == "typed"
        self._signature = signature_of(task.func)
        self._path = task.module_path
        self._priority = _whole("priority", task.priority, -MAX_INT)
        self._concurrency_limit = _whole("concurrency_limit", getattr(task, "concurrency_limit", 0), 0)
        self._keys = {name: getattr(task, name, None) for name in _KEYS}
        self._has_keys = any(key is not None for key in self._keys.values())
        #: Whether a spec is made of the arguments alone, without asking the site.
        self.is_inert = not any(map(callable, self._keys.values()))
        self._has_rate = self._keys["rate_key"] is not None or getattr(task, "rate_limit", None) is not None
        timeout = getattr(task, "timeout", None)
        self._timeout = options.timeout_seconds if timeout is None else whole_seconds(timeout)
        self._max_attempts = getattr(task, "max_attempts", None) or options.max_attempts
        self._expires_in = getattr(task, "expires_in", None) or options.expires_in
        dedup = getattr(task, "dedup", None)
        self._dedup = DEDUP_MODES[options.dedup_active if dedup is None else dedup]
        self._over_limit = OVER_LIMIT[getattr(task, "over_limit", "wait")]
        execution: dict[str, Any] = {"timeout_seconds": self._timeout, "max_attempts": self._max_attempts}
        if (policy := backoff_policy(getattr(task, "backoff", None))) is not None:
            # Only when a task asks for it: the key would change the hash of every other spec.
            execution["backoff"] = policy
        # Between these stands what each run brings, in the order of the keys; see _text.
        self._execution = f',"exec":{canonical_json(execution)},"kwargs":'
        provenance = canonical_json({"code_ref": options.code_ref, "pip_lock_hash": options.pip_lock_hash})
        queue = canonical_json(task.queue_name)
        self._place = f',"provenance":{provenance},"queue_name":{queue},"run_after":'
        self._end = (
            f',"takes_context":{canonical_json(task.takes_context)},"task_path":{canonical_json(self._path)}'
            f',"v":{VERSION}}}'
        )

    def build(self, args: tuple[Any, ...] | list[Any], kwargs: Mapping[str, Any]) -> RunSpec:
        """The spec of one call. Touches no database (unless a key callable does).

        Raises TypeError when the arguments do not fit the function, UnsupportedArgument (a TypeError) for one
        that cannot be stored, InvalidTask for a key or an enqueue keyword that cannot be honoured.
        """
        task = self.task
        own, given = self._signature.split(kwargs)
        try:
            self._signature.check((None, *args) if task.takes_context else args, own)
        except TypeError as error:
            raise TypeError(f"{self._path}: {error}") from None
        run_after, priority, limit = task.run_after, self._priority, self._concurrency_limit
        if given:
            run_after = given.get("run_after", run_after)
            priority = _whole("priority", given.get("priority", priority), -MAX_INT)
            limit = _whole("concurrency_limit", given.get("concurrency_limit", limit), 0)
        if run_after is not None:
            run_after = _utc(run_after)

        lock_key = concurrency_key = fairness_key = None
        if given or self._has_keys:

            def key(name: str) -> str | None:
                return key_of_run(name, given.get(name, self._keys[name]), args, own)

            lock_key, concurrency_key = key("lock_key"), key("concurrency_key")
            fairness_key = key("fairness_key")
        rate: tuple[str | None, float | None, int | None] = (None, None, None)
        if self._has_rate or "rate_key" in given:
            rate = rate_of_run(task, given.get("rate_key", self._keys["rate_key"]), args, own)
        text = self._text(
            encode_all(args, typed=self._typed),
            encode_named(own, typed=self._typed) if own else own,
            concurrency_key,
            limit,
            lock_key,
            priority,
            run_after,
        )
        encoded = text.encode()
        if len(encoded) > self._options.max_argument_bytes:
            raise UnsupportedArgument(
                f"the arguments of {self._path} take {len(encoded):,} bytes, "
                f"more than MAX_ARGUMENT_BYTES = {self._options.max_argument_bytes:,}; "
                "store the data and pass its id or path"
            )
        # By position, in the order of the fields: names would take as long again.
        return RunSpec(
            task,
            list(args),
            own,
            queue_alias(task.queue_name),
            self._backend_alias,
            task.queue_name,
            priority,
            run_after,
            text,
            sha256(encoded).hexdigest(),
            self._path,
            self._max_attempts,
            self._timeout,
            lock_key,
            concurrency_key,
            limit,
            self._over_limit,
            fairness_key,
            *rate,
            self._expires_in,
            self._dedup,
        )

    def _text(
        self,
        args: list[Any],
        kwargs: dict[str, Any],
        concurrency_key: str | None,
        limit: int,
        lock_key: str | None,
        priority: int,
        run_after: datetime | None,
    ) -> str:
        """``canonical_json`` of the whole spec. Only what differs between runs is made anew."""
        try:
            written_args = canonical_json(args)
            written_kwargs = canonical_json(kwargs) if kwargs else "{}"
        except RecursionError:
            raise UnsupportedArgument("the arguments are nested too deeply") from None
        return (
            f'{{"args":{written_args}'
            f',"concurrency_key":{_written(concurrency_key)},"concurrency_limit":{limit:d}'
            f"{self._execution}{written_kwargs}"
            f',"lock_key":{_written(lock_key)},"priority":{priority:d}'
            f"{self._place}{_written(None if run_after is None else run_after.isoformat())}"
            f"{self._end}"
        )


def encode_call(
    args: Sequence[Any], kwargs: Mapping[str, Any], options: BackendOptions
) -> tuple[list[Any], dict[str, Any]]:
    """Arguments as plain JSON data. Raises UnsupportedArgument for one that cannot be stored."""
    typed = options.arguments == "typed"
    return encode_all(args, typed=typed), encode_named(kwargs, typed=typed)


def spec_hash(text: str) -> str:
    """SHA-256 of canonical text, 64 hexadecimal digits."""
    return sha256(text.encode()).hexdigest()


def _written(value: str | None) -> str:
    return "null" if value is None else canonical_json(value)


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
