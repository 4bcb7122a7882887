"""Runs that wait for one another: chains, groups and chords, in any combination.

::

    chain(fetch, (store, [], {"table": "prices"}), notify).enqueue()
    group(*((resize, [photo.pk]) for photo in photos)).enqueue()
    chord((count, ["a"]), (count, ["b"]), callback=call(add_up, result_of())).enqueue()

An item is a task, (task, args), (task, args, kwargs), a ``call()``, or another chain, group or chord.
Everything that one ``enqueue()`` stores is one workflow: one transaction, one row that counts
(``Workflow.status()``). It is part of the caller's transaction, if there is one. Each task keeps its own
options, except for one: members of a workflow are never taken for duplicates, since each has its own place
in it.

A member that fails for good fails all that waits for it, directly or not, with the kind ``workflow_failed``
(``errors.WorkflowFailed``); with ``policy="continue"`` they start all the same. The last step decides how the
workflow as a whole ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, final

from django.tasks.base import Task

from reproq_django.errors import InvalidWorkflow
from reproq_django.references import Reference
from reproq_django.status import WorkflowPolicy
from reproq_django.workflow_handle import Workflow

if TYPE_CHECKING:
    from reproq_django.result import ReproqTaskResult

__all__ = [
    "Call", "Chain", "Chord", "ChordResults", "Group", "Workflow", "WorkflowResults", "call", "chain",
    "chord", "group", "result_of",
]  # fmt: skip


class WorkflowResults(list[Any]):
    """The results of a chain or group, in order; of a nested item they are nested."""

    #: None: there is no workflow, because there was nothing to enqueue.
    workflow: Workflow | None = None
    #: The run that starts when the workflow has failed, if it has one.
    on_failure: ReproqTaskResult | None = None


class ChordResults(tuple[Any, ...]):
    """(list of the members' results, the callback's)."""

    workflow: Workflow | None = None
    on_failure: ReproqTaskResult | None = None


@final
class Call:
    """One run of a task, as an item of a workflow. Two calls are never equal: each has its place."""

    __slots__ = ("args", "kwargs", "task")

    def __init__(self, task: Task, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        self.task, self.args, self.kwargs = task, args, kwargs

    def __repr__(self) -> str:
        return f"call({self.task.module_path})"


class _Items:
    """What chains, groups and chords have in common."""

    #: Whether each item waits for the one before it.
    in_order = False

    def __init__(self, items: tuple[Item, ...], policy: str | None, on_failure: Call | None) -> None:
        self.items, self.policy, self.on_failure = items, policy, on_failure

    def __repr__(self) -> str:
        return f"{type(self).__name__.lower()} of {len(self.items)}"

    def enqueue(self) -> Any:
        """Store all runs, in one transaction.

        A list of results for a chain or group, (list, the callback's result) for a chord, with nested items
        nested; ``.workflow`` of it is the workflow. An empty chain or group stores nothing: the list is
        empty and ``.workflow`` None.

        Raises what ``enqueue()`` of a task raises; InvalidTask also for tasks whose queues live in different
        databases; InvalidWorkflow for a result that is not there when it is needed. Nothing is stored then.
        """
        from reproq_django import workflow_enqueue

        return workflow_enqueue.enqueue(self)

    async def aenqueue(self) -> Any:
        """See enqueue(). Only the storing leaves the event loop."""
        from reproq_django import workflow_enqueue

        return await workflow_enqueue.aenqueue(self)


@final
class Group(_Items):
    """Items that do not wait for one another."""


class Chain(_Items):
    """Items of which each waits for the one before it."""

    in_order = True


@final
class Chord(Chain):
    """A group and what waits for it."""

    def __repr__(self) -> str:
        return "chord"


type Item = Call | _Items


def chain(*items: Any, policy: str | None = None, on_failure: Any = None) -> Chain:
    """Runs one after the other.

    ``policy`` and ``on_failure`` are about the whole workflow, so only the outermost item takes them.

    Args:
        items: see the module.
        policy: what a member that ends FAILED or CANCELLED does to those that wait for it: "fail" (the
            default) or "continue".
        on_failure: a task or call that starts when everything has ended and the workflow has failed. It may
            take ``result_of(step)`` of any step: None for one that has not succeeded.

    Raises:
        TypeError: an item is none of those; InvalidWorkflow: there is no such policy.
    """
    return Chain(_items(items), _policy(policy), _single(on_failure))


def group(*items: Any, policy: str | None = None, on_failure: Any = None) -> Group:
    """Runs side by side. See chain() for the arguments."""
    return Group(_items(items), _policy(policy), _single(on_failure))


def chord(*items: Any, callback: Any, policy: str | None = None, on_failure: Any = None) -> Chord:
    """Runs side by side, and ``callback``, an item as well, when all have ended. See chain() for the others.

    Without items the callback starts at once.
    """
    members = Group(_items(items), None, None)
    return Chord((members, _item(callback)), _policy(policy), _single(on_failure))


def call(task: Task, /, *args: Any, **kwargs: Any) -> Call:
    """One run of ``task`` with these arguments, as an item that ``result_of()`` can be asked about.

    ``kwargs`` may hold what ``task.enqueue()`` takes: ``priority``, ``run_after``, ``lock_key`` and so on.
    """
    if not isinstance(task, Task):
        raise TypeError(f"call() takes a task and its arguments, not {task!r}; is the function a @task?")
    return Call(task, args, kwargs)


def result_of(step: Any = None) -> Any:
    """A placeholder for what ``step`` returns, for the arguments of a later item (also in lists and dicts).

    The result of a call is what the task returns, as JSON gives it back; of a group the list of its items'
    results, in order; of a chain its last item's; of a chord its callback's. Without ``step`` it is that of
    what comes directly before: of the item before in a chain, of the members, a list, in a chord's callback.
    Under ``policy="continue"`` a run that has not succeeded counts as None.

    Args:
        step: a ``call()``, chain, group or chord that is an item of the same workflow and has ended by
            then.

    Raises:
        TypeError: ``step`` is none of those.
    """
    if step is not None and not isinstance(step, Call | _Items):
        raise TypeError(
            f"result_of() takes a call(), chain, group or chord of the same workflow, not {step!r}"
            + ("; make it an item as call(task, ...) and pass that" if isinstance(step, Task) else "")
        )
    return Reference(step)


_WANTED: Final = (
    "an item is a task, (task, args), (task, args, kwargs), a call(), chain, group or chord, "
    "with args in a list or tuple and kwargs in a dict"
)


def _items(items: tuple[Any, ...]) -> tuple[Item, ...]:
    return tuple(map(_item, items))


def _item(item: Any) -> Item:
    match item:
        case Task():
            return Call(item, (), {})
        case Call():
            return item
        case _Items():
            if item.policy is not None or item.on_failure is not None:
                raise InvalidWorkflow(
                    f"the {item!r} is an item of another, so it cannot have a policy or on_failure of its "
                    "own: these are about the whole workflow; give them to the outermost"
                )
            return item
        case (Task() as task, list() | tuple() as args):
            return Call(task, tuple(args), {})
        case (Task() as task, list() | tuple() as args, Mapping() as kwargs):
            return Call(task, tuple(args), kwargs)
    hint = "; unpack a generator: group(*items)" if hasattr(item, "__next__") else ""
    raise TypeError(f"{item!r} is no item of a workflow: {_WANTED}{hint}")


def _policy(policy: str | None) -> str | None:
    if policy is not None and policy not in WorkflowPolicy.values:
        raise InvalidWorkflow(f'policy must be "fail" or "continue", not {policy!r}')
    return policy


def _single(on_failure: Any) -> Call | None:
    if on_failure is None:
        return None
    item = _item(on_failure)
    if not isinstance(item, Call):
        raise TypeError(f"on_failure must be one task or call, not a {item!r}; that task may enqueue more")
    return item
