import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from django.tasks.exceptions import InvalidTask
from django.utils import timezone as django_timezone
from hypothesis import given
from hypothesis import strategies as st

from reproq_django import task
from reproq_django.conf import BackendOptions
from reproq_django.errors import UnsupportedArgument
from reproq_django.serialization import canonical_json, encode
from reproq_django.spec import build
from testapp import tasks


def spec_of(task, *args, options=None, **kwargs):
    return build(task, args, kwargs, backend_alias="default", options=options or BackendOptions())


def test_one_moment_has_one_spec_in_every_zone():
    moment = datetime(2030, 1, 2, 12, tzinfo=UTC)
    elsewhere = moment.astimezone(timezone(timedelta(hours=9)))
    assert (
        spec_of(tasks.noop, run_after=moment).spec_hash == spec_of(tasks.noop, run_after=elsewhere).spec_hash
    )


def test_timedelta_run_after_counts_from_now():
    before = django_timezone.now()
    run_after = spec_of(tasks.noop, run_after=timedelta(hours=1)).run_after
    assert before + timedelta(hours=1) <= run_after <= django_timezone.now() + timedelta(hours=1)


def test_enqueue_options_stay_out_of_the_kwargs():
    spec = spec_of(tasks.noop, 1, lock_key="L", priority=3, concurrency_key="c", concurrency_limit=2, x=1)
    assert spec.kwargs == {"x": 1}
    assert (spec.lock_key, spec.priority, spec.concurrency_key, spec.concurrency_limit) == ("L", 3, "c", 2)
    assert json.loads(spec.spec_json)["kwargs"] == {"x": 1}


def test_fair_shares_and_rates_are_no_part_of_the_spec():
    limited = tasks.noop.using(fairness_key="f", rate_limit=1, rate_burst=2, rate_key="r")
    assert spec_of(limited, 1).spec_json == spec_of(tasks.noop, 1).spec_json
    assert (
        spec_of(tasks.noop, 1, fairness_key="f", rate_key="r").spec_hash == spec_of(tasks.noop, 1).spec_hash
    )
    waits = tasks.noop.using(concurrency_key="c", concurrency_limit=1)
    assert spec_of(waits.using(over_limit="replace")).spec_hash == spec_of(waits).spec_hash


@pytest.mark.parametrize(("policy", "column"), [("wait", 0), ("discard", 1), ("replace", 2)])
def test_over_limit_policies(policy, column):
    limited = tasks.noop.using(concurrency_key="c", concurrency_limit=1, over_limit=policy)
    assert spec_of(limited).over_limit == column


def test_fairness_key_may_be_computed_or_given():
    fair = tasks.noop.using(fairness_key=lambda tenant: f"tenant:{tenant}")
    assert spec_of(fair, 7).fairness_key == "tenant:7"
    assert spec_of(tasks.noop, 7, fairness_key="x").fairness_key == "x"
    assert spec_of(tasks.noop.using(fairness_key=lambda *_: None)).fairness_key is None


KEYS = ["lock_key", "concurrency_key", "fairness_key", "rate_key"]


@pytest.mark.parametrize("name", KEYS)
@pytest.mark.parametrize("unit", ["x", "ž", "☃", "🦀"])
def test_a_key_must_fit_an_index(name, unit):
    longest = unit * (400 // len(unit.encode()))
    longer = longest + unit
    assert getattr(spec_of(tasks.noop, **{name: longest}), name).endswith(longest)
    size = len(longer.encode())
    for key in (longer, lambda: longer):
        with pytest.raises(InvalidTask, match=f"^{name} takes {size} bytes.*400.*hash"):
            spec_of(tasks.noop, **{name: key})
    limit = {"concurrency_limit": 1} if name == "concurrency_key" else {}
    with pytest.raises(InvalidTask, match=f"^{name} takes"):
        spec_of(tasks.noop.using(**{name: longer}, **limit))


def test_parameters_that_the_function_declares_are_its_own():
    spec = spec_of(tasks.owns_the_names, run_after="soon", priority="high", lock_key="mine")
    assert spec.kwargs == {"run_after": "soon", "priority": "high", "lock_key": "mine"}
    assert (spec.run_after, spec.priority, spec.lock_key) == (None, 0, None)


def owns_the_keys(fairness_key=None, rate_key=None):
    """Its parameters are named like enqueue options, and stay its own."""


def test_a_function_may_own_the_names_of_keys():
    made = task(owns_the_keys)
    spec = spec_of(made, fairness_key="mine", rate_key="mine")
    assert spec.kwargs == {"fairness_key": "mine", "rate_key": "mine"}
    assert (spec.fairness_key, spec.rate_key) == (None, None)


def test_concurrency_key_may_be_computed_from_the_arguments():
    spec = spec_of(tasks.noop, 7, concurrency_key=lambda first, **_: f"n:{first}", concurrency_limit=1)
    assert spec.concurrency_key == "n:7"


@pytest.mark.parametrize("call", [(), (1, 2, 3)])
def test_arguments_that_do_not_fit_raise_at_once(call):
    with pytest.raises(TypeError, match=r"testapp\.tasks\.add: "):
        spec_of(tasks.add, *call)
    with pytest.raises(TypeError, match="unexpected keyword argument 'c'"):
        spec_of(tasks.add, 1, 2, c=3)


def test_the_context_is_not_an_argument_to_give():
    assert spec_of(tasks.with_context, 5).args == [5]
    with pytest.raises(TypeError):
        spec_of(tasks.with_context)


@pytest.mark.parametrize(
    "options",
    [
        {"run_after": datetime(2030, 1, 1)},  # noqa: DTZ001
        {"run_after": "2030-01-01"},
        {"priority": 2**31},
        {"priority": 1.5},
        {"concurrency_limit": -1},
        {"lock_key": 5},
        {"lock_key": "a\0b"},
        {"lock_key": "\ud800"},
        {"fairness_key": 5},
        {"rate_key": 5},
        {"rate_key": "a\0b"},
    ],
    ids=ascii,
)
def test_enqueue_options_that_cannot_be_honoured_are_refused(options):
    with pytest.raises(InvalidTask):
        spec_of(tasks.noop, **options)


def test_naive_run_after_is_local_time_without_use_tz(settings):
    settings.USE_TZ = False
    assert spec_of(tasks.noop, run_after=datetime(2030, 1, 1, 1)).run_after == datetime(  # noqa: DTZ001
        2030, 1, 1, tzinfo=UTC
    )


def test_task_options_reach_the_spec():
    spec = spec_of(tasks.with_options)
    assert json.loads(spec.spec_json)["exec"] == {
        "max_attempts": 5,
        "timeout_seconds": 8,
        "backoff": {"base": 1, "factor": 3, "cap": 3600, "jitter": True},
    }
    assert (spec.max_attempts, spec.timeout_seconds, spec.lock_key, spec.dedup) == (5, 8, "the-lock", 2)


def test_a_callable_backoff_stays_out_of_the_spec():
    task = tasks.noop.using(backoff=lambda error, attempt: 1.0)
    assert spec_of(task).spec_hash == spec_of(tasks.noop).spec_hash


@pytest.mark.parametrize(("active", "column"), [(True, 2), ("ready", 1), (False, 0)])
def test_dedup_modes(active, column):
    assert spec_of(tasks.noop, options=BackendOptions(dedup_active=active)).dedup == column


def test_large_arguments_up_to_the_limit():
    five_megabytes = "x" * 5_000_000
    assert len(spec_of(tasks.size_of, five_megabytes).spec_json) > 5_000_000
    with pytest.raises(UnsupportedArgument, match="MAX_ARGUMENT_BYTES = 1,000,000"):
        spec_of(tasks.size_of, five_megabytes, options=BackendOptions(max_argument_bytes=1_000_000))


def test_data_that_refers_to_itself_is_refused():
    loop = []
    loop.append(loop)
    with pytest.raises(UnsupportedArgument, match="refer to themselves"):
        spec_of(tasks.echo, loop)
    with pytest.raises(UnsupportedArgument, match="refer to themselves"):
        spec_of(tasks.echo, value=loop)


def test_limits_concurrency_works_above_and_below_task():
    above, below = spec_of(tasks.limited_above, 7), spec_of(tasks.limited_below)
    assert (above.concurrency_key, above.concurrency_limit) == ("account:7", 2)
    assert (below.concurrency_key, below.concurrency_limit) == ("everyone", 1)


text = st.text(st.characters(codec="utf-8"))
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.decimals(allow_nan=False)
    | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=6,
)
words = st.none() | text.filter(lambda word: "\0" not in word and len(word) < 90)


@given(
    args=st.lists(values, max_size=3),
    kwargs=st.dictionaries(st.sampled_from(["x", "žluť", 'a"b', "\n"]), values, max_size=3),
    keys=st.fixed_dictionaries({"lock_key": words, "concurrency_key": words}),
    whole=st.fixed_dictionaries({"priority": st.integers(-100, 100), "concurrency_limit": st.integers(0, 9)}),
    run_after=st.none() | st.datetimes(timezones=st.just(UTC)),
    options=st.builds(BackendOptions, code_ref=words, pip_lock_hash=words, max_attempts=st.integers(1, 9)),
    backoff=st.none() | st.floats(0, 9),
)
def test_the_text_is_the_canonical_one_of_the_whole_spec(
    args, kwargs, keys, whole, run_after, options, backoff
):
    """It is put together from parts, and must not show it."""
    chosen = tasks.noop.using(backoff=backoff)
    spec = spec_of(chosen, *args, options=options, **kwargs, **keys, **whole, run_after=run_after)
    execution = {"timeout_seconds": options.timeout_seconds, "max_attempts": options.max_attempts}
    if backoff is not None:
        execution["backoff"] = {"base": backoff, "factor": 1, "cap": backoff, "jitter": False}
    assert spec.spec_json == canonical_json(
        {
            "v": 1,
            "task_path": "testapp.tasks.noop",
            "args": [encode(value, "it") for value in args],
            "kwargs": {name: encode(value, "it") for name, value in kwargs.items()},
            "takes_context": False,
            "queue_name": "default",
            **whole,
            **keys,
            "run_after": run_after and run_after.isoformat(),
            "exec": execution,
            "provenance": {"code_ref": options.code_ref, "pip_lock_hash": options.pip_lock_hash},
        }
    )
