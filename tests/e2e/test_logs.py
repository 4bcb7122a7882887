"""What tasks print, from the real worker's database to the reader: Python, ``reproq logs`` and files."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connections
from django.tasks import default_task_backend
from harness import ALIAS, Site, until
from test_operate import reproq

from reproq_django.models import AttemptLog
from testapp import tasks

ONE_SLOT = ("--concurrency", "1")


def kept(site: Site, result: Any) -> list[AttemptLog]:
    return list(AttemptLog.objects.using(ALIAS).filter(run_id=result.result_id).order_by("epoch"))


def streams(log: AttemptLog) -> dict[str, str]:
    """The text of each stream."""
    texts = {"o": "", "e": ""}
    for stream, text in json.loads(log.chunks):
        texts[stream] += text
    return texts


def ask(site: Site, line: str) -> None:
    """Of a task that waits for this line."""
    with site.witness.open("a") as file:
        file.write(f"{line}\n")


@contextmanager
def following(site: Site, *arguments: str) -> Iterator[Any]:
    """``reproq logs -f``, as a process that goes on; ``said()`` is its output so far."""
    place = site.folder / "followed"
    with place.open("wb") as output:
        process = subprocess.Popen(
            [site.binary, "logs", "-f", *arguments],
            env=site.environment(), cwd=site.folder, stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        yield process, place.read_text
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("mode", ["pool", "process"])
def test_each_attempt_has_what_it_printed_in_its_order(site: Site, mode: str) -> None:
    result, silent = tasks.speak.enqueue(), tasks.echo.enqueue(1)
    with site.worker("--executor-mode", mode, *ONE_SLOT):
        site.ended()
    first, second = kept(site, result)
    assert (first.attempt, second.attempt) == (1, 2)
    for log in (first, second):
        texts, printed = streams(log), f"one {log.attempt}\ntwo\nthree\n"
        if mode == "pool":
            assert texts["o"] == f"{printed}five"
            assert texts["e"].index("four") < texts["e"].index("six")
        else:
            # There, everything that is not the envelope goes to stderr.
            assert texts["o"] == ""
            assert texts["e"].startswith(printed)
            assert texts["e"].index("four") < texts["e"].index("six")
        assert (log.bytes, log.dropped) == (sum(len(text) for text in texts.values()), 0)
    assert kept(site, silent) == []
    assert silent.logs() == ""
    assert "one 1" in result.logs(1)
    assert "one 2" not in result.logs(1)
    assert result.logs() == result.logs(1) + result.logs(2)


def test_only_the_end_of_too_much_output_is_kept(site: Site) -> None:
    result = tasks.print_without_newlines.enqueue(10)
    with site.worker(*ONE_SLOT):
        site.ended()
    (log,) = kept(site, result)
    assert (log.bytes, log.bytes + log.dropped) == (262_144, 10 * 1024 * 1024 + 3)
    assert json.loads(log.chunks) == [["o", "x" * (262_144 - 3) + "END"]]
    assert result.logs().startswith(f"[{log.dropped} bytes before this are not kept]\nxxx")


def test_bytes_that_are_no_text_are_kept_as_text(site: Site) -> None:
    result = tasks.print_garbage.enqueue()
    with site.worker("--max-log-bytes", "1000"):
        site.ended()
    (log,) = kept(site, result)
    assert json.loads(log.chunks) == [["o", "a\ufffdb" + "\ufffd" * 5 + "c\n"]]


def test_the_output_of_a_running_task_can_be_followed_across_its_attempts(site: Site) -> None:
    site.witness.touch()
    result = tasks.print_in_steps.enqueue()
    with site.worker(*ONE_SLOT), following(site, str(result.result_id)) as (process, said):
        for step in ("1.1", "1.2", "2.1", "2.2"):
            assert f"step {step}" not in said()
            ask(site, f"print {step}")
            until(lambda step=step: f"step {step}" in said(), what=f"step {step} is read")
            if step in ("1.1", "2.1"):
                assert site.run(result).status == "RUNNING"
                assert f"step {step}" in result.logs()
        assert process.wait(10) == 0
        site.ended()
    lines = said().splitlines()
    assert [line.split(" of")[0] for line in lines] == [
        "step 1.1", "step 1.2", "-- attempt 2 --", "step 2.1", "step 2.2"
    ]  # fmt: skip
    assert len({line.split()[-1] for line in lines if line.startswith("step")}) == 2, "two processes"


def test_one_attempt_and_one_stream_can_be_asked_for(site: Site) -> None:
    result = tasks.speak.enqueue()
    with site.worker(*ONE_SLOT):
        site.ended()
    assert (
        reproq(site, "logs", result.id, "--attempt", "2", "--stream", "stdout") == "one 2\ntwo\nthree\nfive"
    )
    assert reproq(site, "logs", result.id, "-f", "--attempt", "1").startswith("one 1\n")
    answer = json.loads(reproq(site, "logs", result.id, "--stream", "stderr", "--json"))
    assert (answer["status"], [log["attempt"] for log in answer["logs"]]) == ("SUCCESSFUL", [1, 2])
    assert {chunk["stream"] for log in answer["logs"] for chunk in log["chunks"]} == {"stderr"}
    lines = [json.loads(line) for line in reproq(site, "logs", result.id, "-f", "--json").splitlines()]
    assert "".join(line["text"] for line in lines if line["attempt"] == 1) == result.logs(1)
    reproq(site, "logs", result.id, "--attempt", "3", code=1)


def complaint(site: Site, *arguments: str) -> str:
    done = subprocess.run(
        [site.binary, "logs", *arguments],
        env=site.environment(), cwd=site.folder, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.stdout == ""
    return done.stderr


def test_no_log_is_explained(site: Site) -> None:
    assert "there is no run 4711" in complaint(site, "4711")
    result = tasks.speak.enqueue()
    number = str(result.result_id)
    assert "has not started" in complaint(site, number)
    with site.worker(*ONE_SLOT, "--logs", "none"):
        site.ended()
    assert kept(site, result) == []
    assert "pruned" in complaint(site, number)
    other = tasks.print_garbage.enqueue()
    with site.worker(*ONE_SLOT):
        site.ended()
    assert "nothing in it is of stderr" in complaint(site, str(other.result_id), "--stream", "stderr")


def test_a_directory_asks_for_files_too(site: Site) -> None:
    result = tasks.speak.enqueue()
    with site.worker(*ONE_SLOT, "--logs-dir", "logs"):
        site.ended()
    files = sorted(path.name for path in (site.folder / "logs").iterdir())
    assert files == [f"task-{result.result_id}-attempt-{attempt}.log" for attempt in (1, 2)]
    text = (site.folder / "logs" / files[0]).read_text()
    assert text.startswith("STDOUT:\none 1\ntwo\nthree\nfive\nSTDERR:\n")
    assert len(kept(site, result)) == 2
    assert site.run(result).logs_uri == str(site.folder / "logs" / files[1])


def test_files_alone_leave_nothing_in_the_database(site: Site) -> None:
    result = tasks.speak.enqueue()
    with site.worker(*ONE_SLOT, "--logs-dir", "logs", "--logs", "files"):
        site.ended()
    assert kept(site, result) == []
    assert "; its worker has written" in complaint(site, str(result.result_id))


def test_old_logs_are_pruned_and_their_runs_stay(site: Site) -> None:
    result = tasks.speak.enqueue()
    with site.worker(*ONE_SLOT):
        site.ended()
    assert reproq(site, "prune", "logs", "--dry-run", "--older-than", "0s") == "2 logs would be deleted\n"
    assert reproq(site, "prune", "logs") == "0 logs deleted\n"
    assert reproq(site, "prune", "logs", "--older-than", "0s") == "2 logs deleted\n"
    assert kept(site, result) == []
    assert site.run(result).status == "SUCCESSFUL"


def test_the_next_task_of_a_process_does_not_get_what_the_last_one_printed(site: Site) -> None:
    results = [
        tasks.print_garbage.enqueue() if number % 2 else tasks.echo.enqueue(number) for number in range(40)
    ]
    with site.worker(*ONE_SLOT):
        site.ended()
    for number, result in enumerate(results):
        assert len(kept(site, result)) == number % 2, number


def test_what_one_of_many_short_tasks_prints_is_its_own(site: Site) -> None:
    default_task_backend.bulk_enqueue([(tasks.print_now_and_then, (number,), {}) for number in range(3400)])
    with site.worker(*ONE_SLOT):
        site.ended()
    printed = AttemptLog.objects.using(ALIAS).values_list("run__spec_json__args__0", "chunks")
    assert {number: json.loads(chunks) for number, chunks in printed} == {
        number: [["o", f"{number}\n"]] for number in range(0, 3400, 17)
    }


def test_logs_survive_a_worker_that_is_killed(site: Site) -> None:
    """What was stored while the attempt ran stays, though nobody wrote its end."""
    site.witness.touch()
    result = tasks.print_in_steps.enqueue()
    with site.worker(*ONE_SLOT, "--lease-seconds", "6", "--heartbeat-seconds", "2") as worker:
        ask(site, "print 1.1")
        until(lambda: "step 1.1" in result.logs(), what="the first line is stored")
        worker.process.kill()
        worker.process.wait()
    assert "step 1.1" in result.logs(1)


REFUSALS = {
    "postgres": """
        CREATE FUNCTION refuse() RETURNS TRIGGER LANGUAGE plpgsql AS
            $$ BEGIN RAISE EXCEPTION 'no logs' USING ERRCODE = '23514'; END $$;
        CREATE TRIGGER refuse BEFORE INSERT ON reproq_attempt_logs FOR EACH ROW EXECUTE FUNCTION refuse()""",
    "sqlite": """
        CREATE TRIGGER refuse BEFORE INSERT ON reproq_attempt_logs
        BEGIN SELECT RAISE(ABORT, 'no logs'); END""",
}


@pytest.mark.parametrize("trouble", ["refused", "gone"])
def test_a_log_that_cannot_be_stored_holds_up_no_ending(site: Site, trouble: str) -> None:
    refusal = REFUSALS["postgres" if site.is_postgres else "sqlite"]
    with connections[ALIAS].cursor() as cursor:
        gone = "ALTER TABLE reproq_attempt_logs RENAME TO somewhere_else"
        cursor.execute(refusal if trouble == "refused" else gone)
    results = [tasks.print_garbage.enqueue(), tasks.echo.enqueue(1), tasks.speak.enqueue()]
    with site.worker(*ONE_SLOT) as worker:
        site.ended(seconds=15)
        until(lambda: "could not be stored" in worker.said, what="the worker says so")
    assert {site.run(result).status for result in results} == {"SUCCESSFUL"}
