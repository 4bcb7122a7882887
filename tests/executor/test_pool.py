"""Mode ``pool``: a zygote, its children, and what the worker sees of both."""

import json
import os
import signal
import socket
from pathlib import Path

import pytest

from executor.waiting import WAIT_SECONDS, gone, wait_until
from reproq_django import __version__


def test_ready_says_what_is_running(start_zygote):
    zygote = start_zygote()
    packet = zygote.packet("ready")
    assert packet["pid"] == zygote.process.pid
    assert packet["version"] == __version__
    assert packet.keys() == {"type", "pid", "python", "django", "version", "source_roots"}
    assert str(Path(__file__).parent / "sample") in packet["source_roots"]
    assert not any("site-packages" in root for root in packet["source_roots"])


def test_a_site_that_cannot_be_imported(start_zygote):
    zygote = start_zygote(DJANGO_SETTINGS_MODULE="no.such.site")
    packet = zygote.packet()
    assert packet["type"] == "failed"
    assert "No module named 'no'" in packet["message"]
    assert "Traceback" in packet["traceback"]
    assert zygote.process.wait(WAIT_SECONDS) == 1


def test_runs_are_worked_off_in_order(zygote, spec):
    child = zygote.fork()
    child.send(*(spec("add", number) for number in range(200)))
    results = child.results(200)
    assert [each["envelope"]["return"] for each in results] == list(range(200))
    assert [each["epoch"] for each in results] == list(range(1, 201))
    assert {(each["type"], each["result_id"]) for each in results} == {("result", "17")}


def test_each_result_says_how_long_its_run_took(zygote, spec):
    child = zygote.fork()
    child.send(spec("add", 1), spec("sleeps", 0.05), spec("add", 2))
    took = [each["took_us"] for each in child.results(3)]
    assert took[1] >= 50_000 > max(took[0], took[2]) >= 0


def test_a_child_owns_itself_and_nothing_of_the_zygote(zygote, spec):
    child = zygote.fork()
    facts = child.run(spec("process_facts"))["return"]
    assert facts["pid"] == facts["session"] == facts["group"] == child.pid
    assert facts["stdin"] == "/dev/null"
    # Three streams, the stream to the worker, and the listing's own descriptor.
    assert len(facts["descriptors"]) == 5, facts


def test_children_do_not_share_their_random_numbers(zygote, spec):
    numbers = {zygote.fork().run(spec("random_number"))["return"] for _ in range(3)}
    assert len(numbers) == 3


def test_output_of_every_kind_is_in_the_log_before_the_result(zygote, spec):
    child = zygote.fork()
    assert child.run(spec("prints_everywhere")) == {"ok": True, "return": "printed"}
    text = child.output.read_text()
    for source in ("python", "descriptor", "subprocess", "stderr"):
        assert f"{source} says hello" in text


def test_a_closed_stream_ends_the_child(zygote):
    child = zygote.fork()
    child.stream.close()
    packet = zygote.packet("exited")
    assert packet["pid"] == child.pid
    assert packet["status"] == 0
    assert packet["max_rss_kib"] > 1000


@pytest.mark.parametrize(
    ("task", "args", "status"), [("dies", [7], 7 << 8), ("segfaults", [], signal.SIGSEGV)]
)
def test_a_child_that_dies_is_reported_and_others_live(zygote, spec, task, args, status):
    doomed, other = zygote.fork(), zygote.fork()
    doomed.send(spec(task, *args))
    assert doomed.stream.recv(1) == b""
    packet = zygote.packet("exited")
    assert (packet["pid"], packet["status"] & ~0x80) == (doomed.pid, status)
    assert other.run(spec("add", 1)) == {"ok": True, "return": 1}


def test_a_child_ends_when_what_it_reads_is_no_frame(zygote):
    child = zygote.fork()
    child.stream.sendall(b"this is not a frame")
    assert os.waitstatus_to_exitcode(zygote.packet("exited")["status"]) == 71
    assert "stream from the worker is broken" in child.output.read_text()


def test_a_fork_without_three_descriptors_is_refused(zygote, spec):
    token = zygote.ask([])
    packet = zygote.packet("fork_failed")
    assert packet["token"] == token
    assert "three descriptors" in packet["message"]
    assert zygote.fork().run(spec("add", 1))["ok"]


def test_when_the_worker_goes_everyone_goes(zygote, spec, tmp_path):
    children = [zygote.fork() for _ in range(3)]
    for number, child in enumerate(children):
        child.send(spec("sleeps", 600, str(tmp_path / f"up-{number}")))
    wait_until(lambda: len(list(tmp_path.glob("up-*"))) == 3, "all three sleep")
    assert zygote.close() == 0
    for child in children:
        wait_until(lambda pid=child.pid: gone(pid), f"{child.pid} is gone")


def test_a_thread_of_the_site_keeps_nobody(start_zygote, spec, tmp_path):
    zygote = start_zygote(DJANGO_SETTINGS_MODULE="sample.threads_at_import")
    assert "threads while it is imported (site-thread)" in zygote.packet("ready")["unsafe"]
    assert zygote.fork().run(spec("add", 1))["ok"]
    assert zygote.close() == 0
    assert "site-thread" in (tmp_path / "zygote.log").read_text()


def test_when_the_zygote_is_killed_its_children_die(zygote, spec, tmp_path):
    child = zygote.fork()
    child.send(spec("sleeps", 600, str(tmp_path / "up")))
    wait_until((tmp_path / "up").exists, "the task sleeps")
    zygote.process.kill()
    wait_until(lambda: gone(child.pid), "the child is gone")


def test_stopping_is_the_workers_decision(zygote, spec):
    zygote.process.send_signal(signal.SIGTERM)
    zygote.process.send_signal(signal.SIGINT)
    child = zygote.fork()
    assert child.run(spec("terminates_itself")) == {"ok": True, "return": "still here"}


def test_what_a_task_forks_can_be_terminated(zygote, spec, tmp_path):
    assert zygote.fork().run(spec("starts_child", str(tmp_path / "up")))["return"] == -signal.SIGTERM


def test_a_large_result_crosses_whole(zygote, spec):
    value = "x" * (4 * 1024 * 1024)
    assert zygote.fork().run(spec("echo", value))["return"] == value


def test_a_worker_that_stops_reading_kills_nobody_else(zygote, spec):
    child, other = zygote.fork(), zygote.fork()
    child.send(spec("echo", "x" * (4 * 1024 * 1024)))
    child.stream.shutdown(socket.SHUT_RD)
    child.stream.close()
    assert zygote.packet("exited")["pid"] == child.pid
    assert other.run(spec("add", 1))["ok"]


def test_streams_that_the_task_closed(zygote, spec):
    child = zygote.fork()
    child.send(spec("closes_its_streams"), spec("add", 1))
    (result,) = child.results(1)
    assert (result["envelope"]["return"], result["retire"]) == (
        "closed",
        "it has closed sys.stdout or sys.stderr",
    )
    assert zygote.packet("exited")["status"] == 0, "it has begun no other run"


def test_the_envelope_is_ascii(zygote, spec):
    child = zygote.fork()
    child.send(spec("returns_odd_text"))
    result = child.results(1)[0]
    assert json.dumps(result["envelope"]["return"]) == '"nul \\u0000 surrogate \\ud800 snow \\u2603"'
