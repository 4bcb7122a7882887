"""What a task's function can be called with."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import lru_cache
from inspect import Parameter, signature
from typing import Any, Final

#: Keywords of enqueue() that are about the run, not for the task. One that the function itself declares stays
#: its own.
ENQUEUE_OPTIONS: Final = frozenset(
    {
        "run_after", "lock_key", "priority", "concurrency_key", "concurrency_limit", "fairness_key",
        "rate_key",
    }
)  # fmt: skip


class CallSignature:
    """The signature of a function, made to be asked many times."""

    def __init__(self, func: Callable[..., Any]) -> None:
        self._signature = signature(func)
        parameters = self._signature.parameters.values()
        named = {
            parameter.name
            for parameter in parameters
            if parameter.kind in (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
        }
        #: The enqueue options that the function does not claim (``**kwargs`` claims none).
        self.options = ENQUEUE_OPTIONS - named
        # By the number of positional arguments: the keywords that must be there then, and those that may.
        # Empty for a function with *args or **kwargs.
        self._keywords: list[tuple[frozenset[str], frozenset[str]]] = []
        if all(each.kind not in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD) for each in parameters):
            by_place = [each for each in parameters if each.kind is not Parameter.KEYWORD_ONLY]
            by_name = [each for each in parameters if each.kind is Parameter.KEYWORD_ONLY]
            for count in range(len(by_place) + 1):
                rest = [*by_place[count:], *by_name]
                required = frozenset(each.name for each in rest if each.default is Parameter.empty)
                self._keywords.append((required, frozenset(each.name for each in rest) & named))

    def check(self, args: Collection[Any], kwargs: Mapping[str, Any]) -> None:
        """Raises TypeError, in Python's words, when the function cannot be called so."""
        if len(args) < len(self._keywords):
            required, allowed = self._keywords[len(args)]
            if required <= kwargs.keys() <= allowed:
                return
        self._signature.bind(*args, **kwargs)

    def split(self, kwargs: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """(keywords of the task, keywords of the enqueue). None means "not given" for the latter, as it
        always has."""
        if self.options.isdisjoint(kwargs):
            return dict(kwargs), {}
        own = {key: value for key, value in kwargs.items() if key not in self.options}
        return own, {key: kwargs[key] for key in self.options & kwargs.keys() if kwargs[key] is not None}


@lru_cache(maxsize=4096)
def signature_of(func: Callable[..., Any]) -> CallSignature:
    """The signature of a task's function."""
    return CallSignature(func)
