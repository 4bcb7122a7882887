"""Arguments that are results of other runs of the same workflow.

``result_of()`` makes a ``Reference``, which is about a step; enqueueing the workflow turns it into
``RunResults``, which is about runs; the process that runs the task gets what these have returned.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

#: A run, or a list of such, nested as the step is.
type Ids = int | tuple[Ids, ...]


class _NotKnownYet:
    __slots__ = ()

    def __format__(self, form: str) -> NoReturn:
        # A callable key would become a text that no other run has, and nobody would notice.
        raise TypeError(
            "the result of a run is not known before it has ended, so no text can be made of it now; "
            "a key of a run must not depend on one"
        )


@dataclass(frozen=True, slots=True, eq=False)
class Reference(_NotKnownYet):
    """The result of ``step``, an item of the same workflow; None: of what comes directly before."""

    step: Any = None


@dataclass(frozen=True, slots=True)
class RunResults(_NotKnownYet):
    """What runs return, in the arguments of a run that has not started: one run's value, or a list."""

    ids: Ids

    def all_ids(self) -> list[int]:
        """The runs, in order."""
        return _flat(self.ids)

    def stored(self) -> Any:
        """As JSON has it: an id, or nested lists of ids."""
        return _as_lists(self.ids)

    @classmethod
    def from_stored(cls, data: Any) -> RunResults:
        """The inverse of ``stored``. Raises TypeError for anything else."""
        return cls(_as_tuples(data))


def _flat(ids: Ids) -> list[int]:
    return [ids] if isinstance(ids, int) else [number for inner in ids for number in _flat(inner)]


def _as_lists(ids: Ids) -> Any:
    return ids if isinstance(ids, int) else [_as_lists(inner) for inner in ids]


def _as_tuples(data: Any) -> Ids:
    if isinstance(data, list):
        return tuple(map(_as_tuples, data))
    if not isinstance(data, int) or isinstance(data, bool):
        raise TypeError(f"{data!r} is no id of a run")
    return data


def holds_reference(value: Any) -> bool:
    """Whether there is a Reference in ``value`` or in a list, tuple or dict in it."""
    if isinstance(value, Reference):
        return True
    if isinstance(value, dict):
        return any(map(holds_reference, value.values()))
    return isinstance(value, list | tuple) and any(map(holds_reference, value))


def resolved(value: Any, results_of: Callable[[Reference], RunResults]) -> Any:
    """``value`` with each Reference replaced; what holds none stays the same object."""
    if isinstance(value, Reference):
        return results_of(value)
    if not holds_reference(value):
        return value
    if isinstance(value, dict):
        return {key: resolved(item, results_of) for key, item in value.items()}
    return [resolved(item, results_of) for item in value]
