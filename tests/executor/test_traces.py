"""What a task leaves behind is noticed after it, and no other task runs in it."""

import os
import time

import pytest

from executor.waiting import gone, wait_until


def retired(child, spec):
    """Why the child begins no other run after this one; None when it does."""
    child.send(spec, {"task_path": "sample.tasks.add", "args": [1], "kwargs": {}})
    (result,) = child.results(1)
    if "retire" not in result:
        (other,) = child.results(1)
        assert other["envelope"] == {"ok": True, "return": 1}
        assert "retire" not in other
        return None
    assert result["envelope"]["ok"], result
    return result["retire"]


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("folder", "it has changed the working directory"),
        ("lost folder", "it has changed the working directory"),
        ("variable", "it has changed the environment: LEFT"),
        ("no variable", "it has changed the environment: PATH"),
        ("umask", "it has changed the umask"),
        ("SIGTERM", "it has changed a signal handler"),
        ("SIGUSR1", "it has changed a signal handler"),
        ("SIGALRM", "it has changed a signal handler"),
        ("blocked", "it has blocked signals"),
        ("locale", "it has changed the locale"),
        ("thread", "it has left a thread running: left-thread"),
        ("timer", "it has left a thread running: Thread-"),
        ("stdout", "it has replaced sys.stdout or sys.stderr"),
        ("no stderr", "it has replaced sys.stdout or sys.stderr"),
        ("closed stderr", "it has closed sys.stdout or sys.stderr"),
        ("recursion limit", "it has changed the recursion limit"),
        ("trace", "it has set a trace or profile function"),
        ("profile", "it has set a trace or profile function"),
        ("no gc", "it has switched the garbage collector"),
        ("socket timeout", "it has changed the default timeout of sockets"),
    ],
)
def test_a_changed_process_is_given_up(warm, child, spec, what, words):
    why = retired(child, spec("sample.hostile.leaves", what))
    assert why is not None
    assert why.startswith(words)
    assert warm.exit_code(child) == 0
    assert "Traceback" not in child.output.read_text()


def test_a_process_that_is_left_is_killed_before_the_answer(warm, child, spec):
    child.send(spec("sample.hostile.leaves_a_process"))
    (result,) = child.results(1)
    assert result["retire"] == "it has left 1 running process, now killed"
    assert gone(result["envelope"]["return"])
    assert warm.exit_code(child) == 0


def test_so_is_a_daemon_that_has_left_the_session(child, spec, tmp_path):
    witness = tmp_path / "pids"
    child.send(spec("sample.hostile.leaves_a_daemon", str(witness)))
    (result,) = child.results(1)
    assert result["retire"] == "it has left 2 running processes, now killed"
    daemon, grandchild, _ = witness.read_text().split()
    assert gone(daemon)
    assert gone(grandchild)


@pytest.mark.parametrize(
    "task",
    [
        "leaves_a_zombie",
        "uses_threads",
        "uses_threads_async",
        "leaves_a_variable_of_context",
        "leaves_a_variable_of_context_async",
    ],
)
def test_what_nobody_would_notice_costs_no_child(child, spec, task):
    for _ in range(3):
        assert retired(child, spec(f"sample.hostile.{task}")) is None


def test_a_thread_of_the_loop_that_is_busy_is_noticed(child, spec):
    assert retired(child, spec("sample.hostile.uses_threads_async")) is None
    child.send(spec("sample.hostile.leaves_a_busy_thread_async"))
    (result,) = child.results(1)
    assert "thread running: asyncio_" in result["retire"]


@pytest.mark.parametrize("task", ["leaves_a_variable_of_context", "leaves_a_variable_of_context_async"])
def test_context_variables_end_with_their_run(child, spec, task):
    found = [child.run(spec(f"sample.hostile.{task}"))["return"] for _ in range(2)]
    assert found == ["unset", "unset"]


@pytest.fixture
def piped(warm):
    """A child whose stdout is a pipe, with our end of it."""
    read, write = os.pipe()
    child = warm.fork(stdout=write)
    os.close(write)
    yield child, read
    os.close(read)


def test_output_that_nobody_has_read_yet_keeps_the_next_run_waiting(piped, spec):
    child, pipe = piped
    child.send(spec("sample.hostile.prints", 10), spec("add", 1))
    (first,) = child.results(1)
    assert (first["envelope"]["return"], first["output"]) == ("printed", True)
    time.sleep(0.1)
    child.stream.setblocking(False)
    with pytest.raises(BlockingIOError):
        child.stream.recv(1)
    child.stream.setblocking(True)
    assert os.read(pipe, 100) == b"x" * 10
    (second,) = child.results(1)
    assert (second["envelope"]["return"], "output" in second) == (1, False)


def test_a_child_that_waits_for_its_output_to_be_read_notices_the_end_of_the_stream(warm, piped, spec):
    child, _ = piped
    child.send(spec("sample.hostile.prints", 10), spec("add", 1))
    child.results(1)
    child.stream.close()
    assert warm.exit_code(child) == 0
    wait_until(lambda: gone(child.pid), "the child is gone")
