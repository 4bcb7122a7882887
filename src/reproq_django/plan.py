"""What a chain, group or chord means: which run counts for which step, and which step it waits for.

A step is over when all runs that count for it have ended; then those start that wait for it. Every run
counts for one step and waits for one at most, which is enough for whatever chains, groups and chords can be
combined to: a chain makes a step of each of its items but the last, whose runs count for the step of the
chain itself; a group makes none. The last step is the workflow's.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from reproq_django.errors import InvalidWorkflow
from reproq_django.references import Ids, Reference, RunResults
from reproq_django.workflows import Call, Chord, Item, _Items


@dataclass(eq=False, slots=True)
class Step:
    """A row of ``reproq_workflow_steps``."""

    #: From 1, in an order in which they can be over.
    number: int = 0
    #: How many runs count for it.
    pending: int = 0


@dataclass(eq=False, slots=True)
class Place:
    """An item in its workflow. The same item may have several."""

    item: Item
    parent: Place | None = None
    #: Position among the parent's items.
    index: int = 0
    inner: list[Place] = field(default_factory=list)
    #: Runs in it.
    size: int = 0
    #: Of a call, once it is known.
    result_id: int = 0

    @property
    def is_ordered(self) -> bool:
        return isinstance(self.item, _Items) and self.item.in_order


@dataclass(eq=False, slots=True)
class PlannedRun:
    """A call, the step that it counts for and the one that it waits for. ``step`` None: on_failure."""

    place: Place
    call: Call
    step: Step | None
    after: Step | None


class Plan:
    """A workflow, laid out. Pure: neither tasks nor the database are asked."""

    def __init__(self, workflow: _Items) -> None:
        self.workflow = workflow
        self._places: defaultdict[Item, list[Place]] = defaultdict(list)
        self.root = self._lay_out(workflow, None, 0)
        self.steps: list[Step] = []
        #: In the order of their items, on_failure last.
        self.runs: list[PlannedRun] = []
        if self.root.size:
            final = Step()
            self._assign(self.root, None, final)
            self._close(final)
            if workflow.on_failure is not None:
                self.runs.append(PlannedRun(Place(workflow.on_failure), workflow.on_failure, None, None))

    @property
    def expected(self) -> int:
        """Runs that the workflow counts."""
        return self.root.size

    @property
    def callback(self) -> Place | None:
        """The callback, if the workflow is a chord and that is one run."""
        last = self.root.inner[-1] if isinstance(self.workflow, Chord) else None
        return last if last is not None and isinstance(last.item, Call) else None

    @property
    def on_failure(self) -> Place | None:
        """The run that starts when the workflow has failed."""
        return self.runs[-1].place if self.runs and self.runs[-1].step is None else None

    def _lay_out(self, item: Item, parent: Place | None, index: int) -> Place:
        place = Place(item, parent, index)
        self._places[item].append(place)
        if isinstance(item, Call):
            place.size = 1
        else:
            place.inner = [self._lay_out(inner, place, at) for at, inner in enumerate(item.items)]
            place.size = sum(inner.size for inner in place.inner)
        return place

    def _assign(self, place: Place, after: Step | None, step: Step) -> None:
        if isinstance(place.item, Call):
            step.pending += 1
            self.runs.append(PlannedRun(place, place.item, step, after))
            return
        # What has no runs would never be over.
        inner = [each for each in place.inner if each.size]
        if place.is_ordered:
            for each in inner[:-1]:
                before = Step()
                self._assign(each, after, before)
                self._close(before)
                after = before
            inner = inner[-1:]
        for each in inner:
            self._assign(each, after, step)

    def _close(self, step: Step) -> None:
        self.steps.append(step)
        step.number = len(self.steps)

    def results(self, reference: Reference, place: Place) -> RunResults:
        """The runs whose results a call in ``place`` refers to. Raises InvalidWorkflow."""
        try:
            return RunResults(_ids(self._referred(reference, place)))
        except InvalidWorkflow as error:
            raise InvalidWorkflow(f"{place.item!r} takes {error}") from None

    def _referred(self, reference: Reference, place: Place) -> Place:
        if reference.step is None:
            return _before(place)
        step: Item = reference.step
        places = self._places.get(step, [])
        if not places:
            raise InvalidWorkflow(f"the result of a {step!r} that is no item of this workflow")
        if len(places) > 1:
            raise InvalidWorkflow(
                f"the result of a {step!r} that is in this workflow {len(places)} times, "
                "so it is not clear which one is meant; make a call(), chain, group or chord for each"
            )
        # on_failure waits for all.
        if place.parent is not None and (problem := _problem(places[0], place)):
            raise InvalidWorkflow(f"the result of a {step!r} {problem}")
        return places[0]


def _before(place: Place) -> Place:
    """What comes directly before."""
    here = place
    while (parent := here.parent) is not None:
        if parent.is_ordered:
            for index in range(here.index - 1, -1, -1):
                if not _is_void(parent.inner[index]):
                    return parent.inner[index]
        here = parent
    raise InvalidWorkflow("result_of() without a step, but nothing comes before it; name a step")


def _problem(step: Place, place: Place) -> str | None:
    """Why ``step`` has not ended when ``place`` starts; None: it has."""
    at = {place: 0}
    here = place
    while here.parent is not None:
        at[here.parent] = here.index
        here = here.parent
    if step in at:
        return "that it is itself a part of"
    while (common := step.parent) is not None and common not in at:
        step = common
    if common is None or not common.is_ordered:
        return "that runs beside it: members of a group do not wait for one another"
    return None if step.index < at[common] else "that comes after it"


def _ids(place: Place) -> Ids:
    if isinstance(place.item, Call):
        return place.result_id
    if not place.is_ordered:
        return tuple(map(_ids, place.inner))
    for inner in reversed(place.inner):
        if not _is_void(inner):
            return _ids(inner)
    raise InvalidWorkflow("the result of an empty chain, which has none")


def _is_void(place: Place) -> bool:
    """A chain of nothing has no result; a group of nothing has an empty list."""
    return place.is_ordered and all(map(_is_void, place.inner))


def shaped(place: Place, results: dict[Place, Any], many: Any, pair: Any) -> Any:
    """The results of the calls in ``place``, nested as its items are: ``many`` makes the lists of chains and
    groups, ``pair`` what a chord gives."""
    if isinstance(place.item, Call):
        return results[place]
    inner = [shaped(each, results, many, pair) for each in place.inner]
    return pair(inner) if isinstance(place.item, Chord) else many(inner)
