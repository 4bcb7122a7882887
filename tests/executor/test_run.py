"""One attempt inside a warm child: endings, signals, context, and what it leaves to the next one."""

import pytest


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("object", "return value['rows'][1] is of type builtins.object"),
        ("set", "return value['a'] is of type builtins.set"),
        ("nan", "return value[1] is nan"),
        ("circle", "contains itself"),
        ("deep", "nested too deeply"),
        ("tuple key", "a key of a dict"),
        ("large", "16777216 are allowed"),
    ],
)
def test_a_result_that_cannot_be_stored(child, spec, kind, words):
    found = child.run(spec("returns_foreign", kind))
    assert found["kind"] == "invalid_result"
    assert found["exception_class"] == "reproq_django.errors.InvalidResult"
    assert words in found["message"]
    assert child.run(spec("add", 1))["ok"], "the next task runs"


def test_text_of_an_error_can_be_stored_anywhere(child, spec):
    found = child.run(spec("raises_odd_text"))
    assert found["message"] == "nul \ufffd surrogate ? snow ☃"
    assert "\0" not in found["traceback"]


def test_long_texts_keep_their_ends(child, spec):
    found = child.run(spec("fails", "start " + "x" * 100_000 + " end"))
    assert len(found["message"]) <= 8 * 1024
    assert found["message"].startswith("start")
    assert found["message"].endswith("end")
    assert len(found["traceback"]) <= 64 * 1024


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        ("exits", "builtins.SystemExit"),
        ("interrupts", "builtins.KeyboardInterrupt"),
        ("raises_unprintable", "sample.tasks.UnprintableError"),
    ],
)
def test_whatever_is_raised_ends_the_task_and_not_the_child(child, spec, task, expected):
    assert child.run(spec(task))["exception_class"] == expected
    assert child.run(spec("add", 1))["ok"]


def test_wrong_arguments_are_the_tasks_error(child, spec):
    found = child.run(spec("add", 1, 2, 3))
    assert (found["kind"], found["exception_class"]) == ("app_error", "builtins.TypeError")


def test_the_tasks_own_delay(child, spec):
    assert child.run(spec("fails_with_backoff"), attempt=3)["retry_in"] == 22.5
    found = child.run(spec("fails_with_broken_backoff"))
    assert "retry_in" not in found
    assert found["message"] == "later", "the task's error is not hidden by its backoff's"


def test_coroutines_share_one_loop(child, spec):
    assert child.run(spec("add_async", 1, 2)) == {"ok": True, "return": 3}
    assert child.run(spec("loop_identity")) == child.run(spec("loop_identity"))


def test_a_stray_coroutine_does_not_outlive_its_task(child, spec):
    assert child.run(spec("leaves_a_stray"))["return"] == ["stray"]
    assert child.run(spec("leaves_a_stray"))["return"] == ["stray"]


def test_context_and_metadata(child, spec):
    found = child.run(spec("with_context", "hello") | {"takes_context": True}, metadata={"kept": 1})
    assert found == {
        "ok": True,
        "return": [2, "17", "sample.tasks.with_context"],
        "metadata": {"kept": 1, "note": "hello"},
    }
    again = child.run(spec("with_context", "hello"), metadata={"kept": 1, "note": "hello"})
    assert "metadata" not in again, "unchanged metadata is not sent"


def test_receivers_that_raise_fail_no_task(child, spec):
    assert child.run(spec("connects_raising_receivers"))["ok"]
    assert child.run(spec("add", 1))["return"] == 1
    assert child.run(spec("fails"))["message"] == "boom"
    seen = child.run(spec("what_receivers_saw"))["return"]
    assert ["ReproqBackend", "SUCCESSFUL", "add"] in seen
    assert ["ReproqBackend", "FAILED", "fails"] in seen
    assert "RuntimeError: receiver" in child.output.read_text()


def test_an_open_transaction_is_not_handed_on(child, spec):
    assert child.run(spec("leaves_transaction_open"))["return"] is False
    assert child.run(spec("autocommit_is_on"))["return"] == [True, False]
    assert child.run(spec("query_in_the_loop_is_closed"))["return"] is True


def test_an_activated_language_is_not_handed_on(child, spec):
    before = child.run(spec("language"))
    assert child.run(spec("activates_language"))["return"] == "cs"
    assert child.run(spec("language")) == before


def test_a_forbidden_task_in_a_warm_child(child, spec):
    found = child.run(spec("add") | {"task_path": "os.getpid"})
    assert found["kind"] == "security_violation"
    assert "ALLOWED_TASK_MODULES allows sample.tasks" in found["message"]


@pytest.mark.parametrize("broken", [{}, {"task_path": None}, [], "text"])
def test_a_spec_that_is_none(child, broken):
    found = child.run(broken)
    assert found["kind"] == "invalid_spec"
    assert "task_path" in found["message"]
