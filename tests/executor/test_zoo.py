"""Whatever a task does, there is one defined end of it, and the next one runs."""

import pytest


@pytest.mark.parametrize("task", ["raises", "raises_async"])
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("SystemExit", "builtins.SystemExit"),
        ("KeyboardInterrupt", "builtins.KeyboardInterrupt"),
        ("GeneratorExit", "builtins.GeneratorExit"),
        ("odd", "OddError"),
        ("group", "builtins.ExceptionGroup"),
        ("base group", "builtins.BaseExceptionGroup"),
        ("recursion", "builtins.RecursionError"),
        ("surrogate", "builtins.ValueError"),
        ("large", "builtins.ValueError"),
        ("chain", "builtins.ValueError"),
        ("import", "builtins.RuntimeError"),
        ("memory", "builtins.MemoryError"),
    ],
)
def test_whatever_is_raised(child, spec, task, name, expected):
    found = child.run(spec(f"sample.hostile.{task}", name))
    assert (found["ok"], found["kind"], found["exception_class"]) == (False, "app_error", expected)
    assert len(found["message"].encode()) <= 8 * 1024
    assert len(found["traceback"].encode()) <= 64 * 1024
    for task in ("add", "add_async"):
        assert child.run(spec(task, 1, 2)) == {"ok": True, "return": 3}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("50 MB", "invalid_result"),
        ("odd", "app_error"),
        ("nan", "invalid_result"),
        ("infinity", "invalid_result"),
        ("lone surrogate", None),
        ("nul", None),
        ("large number", "invalid_result"),
        ("keys", None),
    ],
)
def test_whatever_is_returned(child, spec, name, kind):
    found = child.run(spec("sample.hostile.returns", name))
    assert found.get("kind") == kind, found
    assert child.run(spec("add", 1, 2)) == {"ok": True, "return": 3}


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("sample.tasks.not_a_task", "security_violation"),
        ("sample.tasks.seen", "security_violation"),
        ("sample.tasks", "security_violation"),
        ("sample.hostile.os.getpid", "security_violation"),
        ("sample.tasks.add.func", "security_violation"),
        ("sample.nothing.add", "security_violation"),
        ("sample.tasks..add", "security_violation"),
    ],
)
def test_what_is_no_task(child, spec, path, kind):
    assert child.run(spec("add") | {"task_path": path})["kind"] == kind


@pytest.mark.parametrize("task", ["closes_everything", "closes_stdout", "closes_its_stream"])
def test_a_task_that_closes_what_is_not_its_own_ends_its_process(warm, child, spec, task):
    child.send(spec(f"sample.hostile.{task}"))
    assert child.stream.recv(1) == b"", "no answer"
    assert warm.exit_code(child) == 74
    assert warm.fork().run(spec("add", 1))["ok"]


def test_a_task_that_returns_twice_answers_once(child, spec):
    child.send(spec("sample.hostile.forks_and_both_return"), spec("add", 1))
    (first,) = child.results(1)
    assert first["envelope"]["return"] == child.pid
    # The other process ends by itself or is killed; a next run is begun only when it has ended.
    if "retire" not in first:
        (second,) = child.results(1)
        assert second["envelope"]["return"] == 1
    assert child.reader.read() is None if "retire" in first else True


def test_garbage_on_the_stream_is_told_from_an_answer(child, spec):
    from reproq_django.execution import frames

    child.send(spec("sample.hostile.talks_to_the_stream"))
    with pytest.raises(frames.FrameError, match="starts with b'RQF1', not with b'garb'"):
        child.results(1)
