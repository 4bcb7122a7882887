"""Rates as code states them: their spellings, and which rate a run counts for."""

import pytest
from django.tasks.exceptions import InvalidTask

from reproq_django import task
from reproq_django.conf import BackendOptions
from reproq_django.rates import starts_per_second
from reproq_django.spec import build
from testapp import tasks

PATH = "task:testapp.tasks.noop"


def rate_of(task, *args, **kwargs):
    spec = build(task, args, kwargs, backend_alias="default", options=BackendOptions())
    return spec.rate_key, spec.rate_per_second, spec.rate_burst


@pytest.mark.parametrize(
    ("rate", "per_second"),
    [
        (10, 10.0),
        (0.5, 0.5),
        ("10/s", 10.0),
        ("100/m", 100 / 60),
        ("5/h", 5 / 3600),
        ("1/d", 1 / 86400),
        ("100/15m", 100 / 900),
        (" 2.5 / 10 s ", 0.25),
        ("1/366d", 1 / (366 * 86400)),
        (1_000_000, 1_000_000.0),
    ],
)
def test_spellings_of_a_rate(rate, per_second):
    assert starts_per_second(rate) == per_second


@pytest.mark.parametrize(
    "rate",
    [
        0, -1, True, float("nan"), float("inf"), 1_000_001, 1e-9, "", "10", "10/", "/s", "0/s", "10/0s",
        "10/w", "10/-5s", "1e3/s", "१/s", "10/s!", "1/367d", [10], (10, 60), None, b"10/s",
    ],
    ids=ascii,
)  # fmt: skip
def test_what_is_no_rate_is_refused_with_examples(rate):
    with pytest.raises(InvalidTask, match=r'cannot be .*"100/15m"'):
        starts_per_second(rate)


def test_a_rate_without_a_key_is_that_of_the_task():
    assert rate_of(tasks.noop.using(rate_limit="100/m", rate_burst=5)) == (PATH, 100 / 60, 5)
    assert rate_of(tasks.noop.using(rate_limit=3)) == (PATH, 3.0, 1)
    assert rate_of(tasks.noop) == (None, None, None)


@pytest.mark.parametrize("key", ["stripe", lambda account, **_: account])
def test_a_rate_with_a_key_is_that_of_the_key(key):
    limited = tasks.noop.using(rate_limit=2, rate_burst=4, rate_key=key)
    assert rate_of(limited, "stripe") == ("key:stripe", 2.0, 4)


@pytest.mark.parametrize("answer", [None, ""])
def test_a_callable_key_may_leave_a_run_without_a_rate(answer):
    limited = tasks.noop.using(rate_limit=2, rate_key=lambda *_: answer)
    assert rate_of(limited) == (None, None, None)


def test_a_key_without_a_rate_leaves_the_rate_to_an_operator():
    assert rate_of(tasks.noop.using(rate_key="stripe")) == ("key:stripe", None, None)


def test_an_enqueue_may_name_the_key():
    limited = tasks.noop.using(rate_limit=2, rate_key="stripe")
    assert rate_of(limited, rate_key="paypal") == ("key:paypal", 2.0, 1)
    assert rate_of(limited, rate_key=None) == ("key:stripe", 2.0, 1)
    assert rate_of(tasks.noop, rate_key="paypal") == ("key:paypal", None, None)


def limited_by_default():
    """A function to decorate."""


def test_the_decorator_takes_a_rate():
    made = task(rate_limit="5/h", rate_burst=2, rate_key="k")(limited_by_default)
    assert rate_of(made) == ("key:k", 5 / 3600, 2)
