"""What children share with their zygote without counting."""

import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).parent.parent.parent / "src"

PROGRAM = """
import gc, sys, weakref
from reproq_django.execution import definitions

def function():
    def inner():
        return 1
    return inner

class Class:
    @property
    def name(self):
        return "name"

instance = Class()
instance.itself = instance
ended = []
weakref.finalize(instance, ended.append, True)
definitions.make_immortal()
before = [sys.getrefcount(each) for each in (function, function.__code__, Class, Class.name, sys)]
held = [[function, function.__code__, Class, Class.name, sys] for _ in range(1000)]
assert before == [sys.getrefcount(each) for each in (function, function.__code__, Class, Class.name, sys)]
assert before[0] == sys.getrefcount(None)
del held
assert sys.getrefcount(instance) < 10
del instance
gc.collect()
assert ended == [True], "what is no definition ends as ever"
assert function()() == 1
Class.name = function
del function, Class
gc.collect()
print("sound")
"""


def test_definitions_are_not_counted_and_all_else_is():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={"PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout.strip(), done.returncode) == ("sound", 0), done.stderr


def test_an_interpreter_that_counts_otherwise_is_left_alone(monkeypatch):
    from reproq_django.execution import definitions

    assert definitions._counts_as_expected()
    for name, value in (("byteorder", "big"), ("version_info", (3, 99))):
        with monkeypatch.context() as patch:
            patch.setattr(sys, name, value)
            assert not definitions._counts_as_expected()
