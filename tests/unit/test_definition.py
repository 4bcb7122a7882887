import pickle
from datetime import timedelta

import django
import pytest
from django.tasks import task as django_task
from django.tasks.exceptions import InvalidTask
from django.utils import timezone

from reproq_django import task
from reproq_django.concurrency import limits_concurrency
from reproq_django.definition import ReproqTask, backoff_policy
from reproq_django.limits import memory_bytes, soft_seconds
from testapp import tasks


def plain():
    """A function to decorate."""


def test_both_decorators_make_the_same_task():
    assert django_task(plain) == task(plain) == task()(plain)
    assert isinstance(django_task(plain), ReproqTask)


def test_djangos_decorator_takes_the_options_from_6_1_on():
    if django.VERSION < (6, 1):
        with pytest.raises(TypeError):
            django_task(max_attempts=2, timeout=5)
    else:
        assert django_task(max_attempts=2, timeout=5)(plain) == task(max_attempts=2, timeout=5)(plain)


def test_unknown_and_static_options_are_refused():
    with pytest.raises(TypeError, match="unknown option 'max_attempt'"):
        task(max_attempt=2)
    with pytest.raises(TypeError, match="run_after"):
        task(run_after=timezone.now())
    with pytest.raises(TypeError, match="unknown option 'tries'"):
        tasks.noop.using(tries=3)


def test_other_backends_go_without_the_options(settings):
    settings.TASKS = {"default": {"BACKEND": "django.tasks.backends.immediate.ImmediateBackend"}}
    made = task(max_attempts=2)(plain)
    assert not isinstance(made, ReproqTask)


def test_options_survive_using():
    changed = tasks.with_options.using(priority=5, queue_name="mail", max_attempts=9)
    assert (changed.max_attempts, changed.timeout, changed.priority, changed.queue_name) == (
        9,
        7.5,
        5,
        "mail",
    )


def test_using_takes_a_timedelta():
    before = timezone.now()
    assert tasks.noop.using(run_after=timedelta(hours=1)).run_after >= before + timedelta(hours=1)


@pytest.mark.parametrize(
    "task",
    [
        tasks.noop,
        tasks.with_options,
        tasks.limited_above,
        tasks.with_options.using(priority=4, max_attempts=1),
        tasks.limited_above.using(over_limit="replace", rate_limit="5/m", rate_key="k", fairness_key="f"),
    ],
    ids=lambda task: task.name,
)
def test_tasks_can_be_pickled(task):
    assert pickle.loads(pickle.dumps(task)) == task


ALL_LIMITS = {
    "lock_key": "l",
    "concurrency_key": "c",
    "concurrency_limit": 2,
    "over_limit": "replace",
    "fairness_key": lambda value: f"tenant:{value}",
    "rate_limit": "10/s",
    "rate_burst": 3,
    "rate_key": lambda value: "r",
}


@pytest.mark.parametrize("backend", ["immediate.ImmediateBackend", "dummy.DummyBackend"])
def test_djangos_own_backends_go_without_the_limits(settings, monkeypatch, backend):
    settings.TASKS = {"default": {"BACKEND": f"django.tasks.backends.{backend}"}}
    made = limits_concurrency("k", over_limit="discard")(task(**ALL_LIMITS)(echo))
    # The dummy backend copies the task, which looks it up by its path.
    monkeypatch.setitem(globals(), "echo", made)
    result = made.enqueue(5)
    assert result.args == [5]
    if backend.startswith("immediate"):
        assert result.return_value == 5


def echo(value):
    """A function to decorate."""
    return value


@pytest.mark.parametrize(
    "options",
    [
        {"max_attempts": 0},
        {"max_attempts": True},
        {"max_attempts": 2**31},
        {"timeout": 0},
        {"timeout": float("inf")},
        {"timeout": float("nan")},
        {"timeout": 2**31},
        {"timeout": timedelta(0)},
        {"timeout": "5"},
        {"concurrency_limit": -1},
        {"concurrency_limit": 2**31},
        {"concurrency_key": "k"},
        {"expires_in": timedelta(0)},
        {"expires_in": 5},
        {"expires_in": timedelta.max},
        {"dedup": "always"},
        {"backoff": -1},
        {"backoff": "fast"},
        {"backoff": {"bse": 1}},
        {"backoff": {"base": float("inf")}},
        {"backoff": {"jitter": 1}},
        {"rate_limit": 0},
        {"rate_limit": "fast"},
        {"rate_limit": 1, "rate_burst": 0},
        {"rate_limit": 1, "rate_burst": 1.5},
        {"rate_limit": 1, "rate_burst": True},
        {"rate_limit": 1, "rate_burst": 2**31},
        {"rate_burst": 2},
        {"retry_on": "ValueError"},
        {"retry_on": ()},
        {"retry_on": [ValueError]},
        {"discard_on": (ValueError, 5)},
        {"discard_on": int},
        {"soft_timeout": 0},
        {"soft_timeout": True},
        {"soft_timeout": float("nan")},
        {"soft_timeout": "5"},
        {"soft_timeout": 5, "timeout": 5},
        {"soft_timeout": timedelta(minutes=2), "timeout": 60},
        {"soft_timeout": 900},
        {"max_memory": 256},
        {"max_memory": 2**61},
        {"max_memory": True},
        {"max_memory": 1e9},
        {"max_memory": "256"},
        {"max_memory": "1.5G"},
        {"max_memory": "much"},
        {"isolation": "thread"},
        {"isolation": ["fork"]},
        {"over_limit": "drop", "concurrency_key": "k", "concurrency_limit": 1},
        {"over_limit": None, "concurrency_key": "k", "concurrency_limit": 1},
        {"over_limit": ["wait"], "concurrency_key": "k", "concurrency_limit": 1},
        {"over_limit": "discard"},
        {"over_limit": "replace"},
    ],
    ids=str,
)
def test_options_that_no_run_could_honour_are_refused(options):
    with pytest.raises(InvalidTask):
        task(**options)(plain)


def limited():
    """A function to decorate."""


def test_limits_concurrency_says_what_becomes_of_runs_over_the_limit():
    above = limits_concurrency("k", to=2, over_limit="replace")(task(plain))
    assert (above.concurrency_key, above.concurrency_limit, above.over_limit) == ("k", 2, "replace")
    below = task(limits_concurrency("k", to=2, over_limit="discard")(limited))
    assert (below.concurrency_key, below.concurrency_limit, below.over_limit) == ("k", 2, "discard")
    with pytest.raises(InvalidTask, match='"wait", "discard" or "replace"'):
        limits_concurrency("k", over_limit="drop")(task(plain))


def test_a_policy_for_runs_over_the_limit_needs_the_limit():
    with pytest.raises(InvalidTask, match="give it a concurrency_key"):
        task(over_limit="discard")(plain)
    with pytest.raises(InvalidTask, match="without a rate_limit"):
        task(rate_burst=5)(plain)


def test_backoff_policies_are_complete():
    assert backoff_policy(5) == {"base": 5, "factor": 1, "cap": 5, "jitter": False}
    assert backoff_policy({"base": 1}) == {"base": 1, "factor": 2, "cap": 3600, "jitter": True}
    assert backoff_policy(lambda error, attempt: None) is None


def test_what_a_task_says_of_its_process():
    made = task(
        retry_on=(OSError, TimeoutError),
        discard_on=ValueError,
        soft_timeout=timedelta(seconds=5),
        timeout=6,
        max_memory="256M",
        isolation="fork",
    )(plain)
    assert made.discard_on is ValueError
    assert soft_seconds(made.soft_timeout) == 5.0
    assert [memory_bytes(text) for text in ("256M", "1G", "4 mib", "2GB", 2**20)] == [
        256 * 2**20,
        2**30,
        4 * 2**20,
        2 * 2**30,
        2**20,
    ]


@pytest.mark.parametrize(
    "options",
    [
        {"retry_on": OSError},
        {"discard_on": OSError},
        {"soft_timeout": 5},
        {"max_memory": "1G"},
        {"isolation": "fork"},
    ],
    ids=str,
)
def test_a_run_does_not_carry_what_the_process_reads_from_the_code(options):
    with pytest.raises(TypeError, match="give it to the decorator"):
        tasks.noop.using(**options)


def test_a_shorter_timeout_must_leave_room_for_the_soft_one(settings):
    patient = task(soft_timeout=20)(plain)
    with pytest.raises(InvalidTask, match=r"leaves no time before its timeout \(10 s\)"):
        patient.using(timeout=10)
    settings.TASKS = {
        "default": {"BACKEND": "reproq_django.backend.ReproqBackend", "OPTIONS": {"TIMEOUT_SECONDS": 20}}
    }
    with pytest.raises(InvalidTask, match="TIMEOUT_SECONDS"):
        task(soft_timeout=20)(plain)
