"""Mode ``process``: one task, one envelope on stdout, nothing else there."""

import json
import signal
import subprocess
import sys

import pytest


def test_a_task_returns_and_the_exit_code_says_so(one_shot, spec):
    done = one_shot(spec("add", 1, b=2))
    assert (done.envelope, done.returncode) == ({"ok": True, "return": 3}, 0), done.stderr


@pytest.mark.parametrize("way", ["--payload-json", "--payload-file"])
def test_other_ways_to_hand_over_the_payload(one_shot, spec, tmp_path, way):
    if way == "--payload-file":
        path = tmp_path / "payload.json"
        path.write_text(json.dumps(spec("add", 40, 2)))
        done = one_shot(str(path), payload=way)
    else:
        done = one_shot(spec("add", 40, 2), payload=way)
    assert done.envelope == {"ok": True, "return": 42}, done.stderr


def test_nothing_that_a_task_prints_reaches_the_envelope(one_shot, spec):
    done = one_shot(spec("prints_everywhere"))
    assert done.envelope == {"ok": True, "return": "printed"}
    for source in ("python", "descriptor", "subprocess", "stderr"):
        assert f"{source} says hello" in done.stderr


def test_an_exception_is_an_envelope_without_our_own_frames(one_shot, spec):
    done = one_shot(spec("fails", "no such customer"))
    assert done.returncode == 1
    assert done.envelope["kind"] == "app_error"
    assert done.envelope["exception_class"] == "builtins.ValueError"
    assert done.envelope["message"] == "no such customer"
    assert "in fails" in done.envelope["traceback"]
    assert "execution/run.py" not in done.envelope["traceback"]
    assert "no such customer" in done.stderr, "Django's own logging shows the traceback"


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        ("exits", "builtins.SystemExit"),
        ("interrupts", "builtins.KeyboardInterrupt"),
        ("raises_unprintable", "sample.tasks.UnprintableError"),
    ],
)
def test_whatever_is_raised_becomes_an_envelope(one_shot, spec, task, expected):
    assert one_shot(spec(task)).envelope["exception_class"] == expected


def test_a_hard_exit_leaves_no_envelope(one_shot, spec):
    done = one_shot(spec("dies", 9))
    assert (done.returncode, done.stdout) == (9, "")


def test_a_signal_leaves_no_envelope(one_shot, spec):
    done = one_shot(spec("segfaults"))
    assert (done.returncode, done.stdout) == (-signal.SIGSEGV, "")


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        ("{", "Expecting"),
        ("[]", "not an object"),
        ("{}", "task_path"),
        ("\ud800".encode("utf-8", "replace").decode(), ""),
    ],
)
def test_a_payload_that_is_no_spec(one_shot, payload, words):
    done = one_shot(payload)
    assert done.envelope["kind"] == "invalid_spec"
    assert words in done.envelope["message"]


def test_arguments_that_cannot_be_decoded(one_shot, spec):
    done = one_shot(spec("echo", {"__reproq_type__": "from the future"}))
    assert done.envelope["kind"] == "invalid_spec"
    assert "args[0]" in done.envelope["message"]


@pytest.mark.parametrize(
    "path",
    [
        "sample.tasks.not_a_task",
        "sample.tasks.subprocess.run",
        "os.system",
        "sample.tasks_old.add",
        "sample.tasks.missing",
        "sample.settings.SECRET_KEY",
        "json.dumps",
        "..",
        "sample.tasks",
        "reproq_django.tasks.debug_noop_task",
    ],
)
def test_only_registered_tasks_of_allowed_modules_run(one_shot, spec, path):
    done = one_shot(spec("add") | {"task_path": path})
    assert done.envelope["kind"] == "security_violation"
    assert path in done.envelope["message"]


def test_a_payload_imports_nothing(one_shot, spec, tmp_path):
    (tmp_path / "trap.py").write_text(f"open({str(tmp_path / 'sprung')!r}, 'w')")
    one_shot.environment |= {
        "PYTHONPATH": one_shot.environment["PYTHONPATH"] + f":{tmp_path}",
        "ALLOWED_TASK_MODULES": "*",
    }
    assert one_shot(spec("trap.anything")).envelope["kind"] == "security_violation"
    assert not (tmp_path / "sprung").exists()
    assert one_shot(spec("add", 1)).envelope["ok"], "what the site imports by itself runs under *"


def test_by_hand_the_tasks_of_installed_apps_run(one_shot, spec):
    del one_shot.environment["ALLOWED_TASK_MODULES"]
    assert one_shot(spec("reproq_django.tasks.debug_noop_task")).envelope == {"ok": True, "return": "ok"}


def test_settings_of_the_flag_before_the_spec_before_the_environment(one_shot, spec):
    one_shot.environment["DJANGO_SETTINGS_MODULE"] = "nowhere"
    named = spec("add", 1) | {"django": {"settings_module": "sample.settings"}}
    assert one_shot(named).envelope["ok"]
    wrong = spec("add", 1) | {"django": {"settings_module": "also.nowhere"}}
    assert one_shot(wrong).envelope["exception_class"] == "builtins.ModuleNotFoundError"
    assert one_shot(wrong, "--settings", "sample.settings").envelope["ok"]


def test_task_path_of_the_flag(one_shot, spec):
    assert one_shot(spec("fails"), "--task-path", "sample.tasks.echo").envelope["ok"]


def test_an_interpreter_without_django_says_so(environment, spec):
    command = [sys.executable, "-S", "-m", "reproq_django.executor", "--payload-stdin"]
    done = subprocess.run(
        command, input=json.dumps(spec("add")), env=environment, capture_output=True, text=True, check=False
    )
    assert "django" in json.loads(done.stdout)["message"]
