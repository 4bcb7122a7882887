"""What is known of a run's attempts: how each ended, how far the running one is, what they have printed.

The worker writes all of it. It is read with patience: what another program has put there and makes no sense
is left out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from django.conf import settings
from django.utils import timezone

from reproq_django.models import AttemptLog


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """An attempt that has ended. None: it is not known."""

    #: From 1; a run that was given back untouched begins the same one again.
    number: int | None
    worker_id: str | None
    pid: int | None
    #: One word: ``returned``, ``app_error``, ``crashed``, ``timeout``, ...
    outcome: str | None
    #: Exit code or signal of its process.
    exit: str | None
    exception_class: str | None
    message: str | None
    started_at: datetime | None
    ended_at: datetime | None
    #: Processor time in milliseconds.
    cpu_ms: float | None
    #: Peak of its process's resident memory.
    max_rss_kib: int | None

    @classmethod
    def read(cls, entry: Mapping[str, Any]) -> Self:
        """An entry of ``TaskRun.attempts_json``."""
        return cls(
            number=_of(int, entry.get("attempt")),
            worker_id=_of(str, entry.get("worker")),
            pid=_of(int, entry.get("pid")),
            outcome=_of(str, entry.get("outcome")),
            exit=_of(str, entry.get("exit")),
            exception_class=_of(str, entry.get("exception_class")),
            message=_of(str, entry.get("message")),
            started_at=_of(_moment, entry.get("started_at")),
            ended_at=_of(_moment, entry.get("ended_at")),
            cpu_ms=_of(float, entry.get("cpu_ms")),
            max_rss_kib=_of(int, entry.get("max_rss_kib")),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far an attempt says that it is: what its task passed to ``context.progress()`` last."""

    current: float | None
    total: float | None
    message: str | None
    #: When it was stored, which is within about a second of when it was said.
    at: datetime | None

    @property
    def fraction(self) -> float | None:
        """From 0 to 1; None when the task has not said how much there is to do."""
        if self.current is None or not self.total or self.total < 0:
            return None
        return min(max(self.current / self.total, 0.0), 1.0)

    @classmethod
    def read(cls, entry: Mapping[str, Any]) -> Self:
        """``TaskRun.progress_json``."""
        return cls(
            current=_of(_number, entry.get("current")),
            total=_of(_number, entry.get("total")),
            message=_of(str, entry.get("message")) or None,
            at=_of(_moment, entry.get("at")),
        )


def attempts(entries: Any) -> tuple[Attempt, ...]:
    """Oldest first."""
    known = entries if isinstance(entries, list) else []
    return tuple(Attempt.read(entry) for entry in known if isinstance(entry, Mapping))


def progress(entry: Any) -> Progress | None:
    """None when nothing has been said."""
    return Progress.read(entry) if isinstance(entry, Mapping) else None


def logs(alias: str, result_id: int, attempt: int | None = None) -> str:
    """What the attempts of a run have printed, oldest first; of one attempt if ``attempt`` is its number.

    Standard output and standard error, in the order in which the worker read them. Empty when nothing was
    printed, or nothing of it is kept.
    """
    stored = AttemptLog.objects.using(alias).filter(run_id=result_id)
    if attempt is not None:
        stored = stored.filter(attempt=attempt)
    return "".join(
        _text(dropped, chunks)
        for dropped, chunks in stored.order_by("epoch").values_list("dropped", "chunks")
    )


def _text(dropped: int, chunks: str) -> str:
    missing = f"[{dropped} bytes before this are not kept]\n" if dropped else ""
    return missing + "".join(_texts(chunks))


def _texts(chunks: str) -> Iterable[str]:
    try:
        return [str(text) for _, text in json.loads(chunks)]
    except (TypeError, ValueError):
        return []


def _of[T](kind: Callable[[Any], T], value: Any) -> T | None:
    try:
        return None if value is None else kind(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _number(value: Any) -> float:
    """An int stays one."""
    return value if isinstance(value, int) and not isinstance(value, bool) else float(value)


def _moment(text: str) -> datetime:
    """In the form that Django's DateTimeField has under the site's USE_TZ."""
    moment = datetime.fromisoformat(text)
    return moment if settings.USE_TZ else timezone.make_naive(moment)
