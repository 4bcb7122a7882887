"""What a task says of its own run: again later, again, never again, not wanted any more."""

import pytest


def test_a_snooze_is_no_failure(child, spec):
    found = child.run(spec("sample.wishes.snoozes", 90))
    assert (found["kind"], found["retry_in"]) == ("snoozed", 90.0)
    assert found["exception_class"] == "reproq_django.errors.Snooze"
    assert "traceback" not in found
    assert "state=FAILED" not in child.output.read_text()
    assert child.run(spec("sample.wishes.snoozes_async"))["retry_in"] == 2.5


def test_a_snoozed_run_keeps_its_notes(child, spec):
    run = spec("sample.wishes.snoozes_with_a_note") | {"takes_context": True}
    assert child.run(run, metadata={"looked": 2})["metadata"] == {"looked": 3}
    assert "state=READY" in child.output.read_text()


def test_a_snooze_that_is_no_time_is_the_tasks_error(child, spec):
    found = child.run(spec("sample.wishes.snoozes", "tomorrow"))
    assert (found["kind"], found["exception_class"]) == ("app_error", "builtins.TypeError")


def test_a_task_says_when_to_try_again(child, spec):
    found = child.run(spec("sample.wishes.retries", 12, "the shop is closed"))
    assert (found["kind"], found["retry_in"], found["message"]) == ("app_error", 12.0, "the shop is closed")
    assert found["exception_class"] == "reproq_django.errors.Retry"
    assert child.run(spec("sample.wishes.retries"))["retry_in"] == 40, "without a time its backoff decides"


def test_a_task_gives_up(child, spec):
    found = child.run(spec("sample.wishes.discards"))
    assert (found["kind"], found["message"]) == ("given_up", "no such customer")
    assert found["exception_class"] == "reproq_django.errors.Discard"


def test_a_task_cancels_its_run(child, spec):
    found = child.run(spec("sample.wishes.cancels"))
    assert (found["kind"], found["message"]) == ("cancelled", "nobody wants it")


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        ("os", "app_error"),
        ("timeout", "app_error"),  # a subclass of OSError
        ("missing", "given_up"),  # one, too, but named by discard_on
        ("value", "given_up"),
        ("group", "app_error"),
        ("mixed", "given_up"),
        ("worse", "given_up"),
        ("exit", "given_up"),
    ],
)
def test_some_errors_are_worth_another_attempt(child, spec, raised, kind):
    found = child.run(spec("sample.wishes.chooses", raised))
    assert found["kind"] == kind
    assert found["exception_class"] != "reproq_django.errors.Discard", "the task's own error is told"


def test_in_mode_process_too(one_shot, spec):
    found = one_shot(spec("sample.wishes.snoozes", 90)).envelope
    assert (found["kind"], found["retry_in"]) == ("snoozed", 90.0)
