"""What a task says while it runs: how far it is, how much longer it needs."""

import json
import os
import signal
import subprocess
import sys

import pytest

from executor.waiting import until_it_says
from reproq_django.execution import frames


def with_context(spec):
    return spec | {"takes_context": True}


def test_the_first_word_comes_at_once_and_the_last_before_the_result(child, spec):
    assert child.run(with_context(spec("sample.wishes.reports", 1000)))["return"] == "reported"
    first, last = child.notes
    assert first == {
        "type": "progress",
        "result_id": "17",
        "epoch": 1,
        "progress": {"current": 0, "total": 1000, "message": "word 0"},
    }
    assert last["progress"] == {"current": 999, "total": 1000, "message": "word 999"}


def test_words_in_between_come_once_a_second(child, spec):
    child.run(with_context(spec("sample.wishes.reports", 50, 0.03)))
    assert len(child.notes) == 3, child.notes
    assert 20 < child.notes[1]["progress"]["current"] < 45


def test_a_coroutine_says_it_too_and_any_text_can_be_stored(child, spec):
    child.run(with_context(spec("sample.wishes.reports_async")))
    assert [note["progress"] for note in child.notes] == [
        {"current": 1, "total": 2, "message": ""},
        {"current": 2, "total": 2, "message": "nul \ufffd surrogate ?"},
    ]


def test_threads_do_not_tear_each_others_words(child, spec):
    assert child.run(with_context(spec("sample.wishes.reports_from_threads")))["ok"]
    extended = [note["seconds"] for note in child.notes if note["type"] == "extend"]
    assert sorted(extended) == sorted([1.0, 2.0, 3.0, 4.0] * 200)


def test_an_interruption_does_not_tear_a_word(child, spec, tmp_path):
    """The stream is read all the while, so each note is on its way when the signal comes."""
    for number in range(40):
        witness = tmp_path / f"witness-{number}"
        child.send(with_context(spec("sample.wishes.extends_for_ever", str(witness))))
        until_it_says(witness, "up")
        os.kill(child.pid, signal.SIGINT)
        assert child.results(1)[0]["envelope"]["kind"] == "cancelled"
    assert child.run(spec("add", 1))["ok"]


def test_nothing_is_said_of_a_run_after_its_result(child, spec):
    child.send(with_context(spec("sample.wishes.keeps_talking")), spec("add", 1))
    (result,) = child.results(1)
    assert "thread" in result["retire"]
    child.notes.clear()
    assert child.reader.read() is None, "neither a note nor another result"


def test_in_mode_process_they_have_a_descriptor_of_their_own(environment, spec):
    read, write = os.pipe()
    command = [sys.executable, "-m", "reproq_django.executor", "--payload-json"]
    done = subprocess.run(
        [*command, json.dumps(with_context(spec("sample.wishes.reports", 10)))],
        env=environment | {"REPROQ_NOTES_FD": str(write)},
        pass_fds=[write],
        capture_output=True,
        check=True,
    )
    os.close(write)
    reader = frames.FrameReader(read)
    notes = [json.loads(reader.read()) for _ in range(2)]
    assert reader.read() is None
    os.close(read)
    assert [note["progress"]["current"] for note in notes] == [0, 9]
    assert json.loads(done.stdout)["return"] == "reported"


@pytest.mark.parametrize("said", [{}, {"REPROQ_NOTES_FD": "none"}, {"REPROQ_NOTES_FD": "999"}], ids=str)
def test_run_by_hand_they_go_nowhere(one_shot, spec, said):
    one_shot.environment |= said
    done = one_shot(with_context(spec("sample.wishes.reports", 10)))
    assert done.envelope["return"] == "reported", done.stderr
