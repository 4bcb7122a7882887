"""What other runs have returned, fetched for the arguments of one that starts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

from django.db import connections

from reproq_django.errors import InvalidSpec
from reproq_django.references import Ids
from reproq_django.statements import statement
from reproq_django.status import RunStatus


class ResultsOfRuns:
    """The results that the arguments of one run want: one query, made when the first is asked for."""

    def __init__(self, using: str, wanted: Callable[[], Iterable[int]]) -> None:
        """``using``: alias of the database of their queue. ``wanted``: the ids of all that will be asked
        for."""
        self._using, self._wanted = using, wanted
        self._rows: dict[int, tuple[str, str | None]] | None = None

    def value(self, ids: Ids, path: str) -> Any:
        """The return value of a run, or a list of such. Of a run that has not succeeded it is None.

        Raises InvalidSpec, with ``path``, for a run that is not there.
        """
        if isinstance(ids, tuple):
            return [self.value(inner, f"{path}[{index}]") for index, inner in enumerate(ids)]
        if self._rows is None:
            self._rows = self._fetch()
        if ids not in self._rows:
            raise InvalidSpec(f"{path} is the result of run {ids}, which has been deleted")
        status, text = self._rows[ids]
        # From the text each time: who changes a value in place must not change it for another.
        return json.loads(text) if status == RunStatus.SUCCESSFUL and text is not None else None

    def _fetch(self) -> dict[int, tuple[str, str | None]]:
        ids = sorted(set(self._wanted()))
        connection = connections[self._using]
        given = ids if connection.vendor == "postgresql" else json.dumps(ids)
        with connection.cursor() as cursor:
            cursor.execute(statement(connection.vendor, "results_of_runs"), {"ids": given})
            return {result_id: (status, text) for result_id, status, text in cursor.fetchall()}
