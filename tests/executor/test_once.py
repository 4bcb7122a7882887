"""Children of one run, and what their zygote does before it forks any."""

import itertools
import json
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest

from executor.waiting import gone
from reproq_django.execution import immortal, mappings, pages


@pytest.fixture
def once(zygote):
    """A child for one run."""
    return zygote.fork(once=True)


def test_it_answers_one_run_and_ends_though_its_stream_is_open(zygote, once, spec):
    once.send(spec("add", 1), spec("add", 2))
    (result,) = once.results(1)
    assert result["envelope"] == {"ok": True, "return": 1}
    assert "retire" not in result
    assert zygote.exit_code(once) == 0


def test_it_ends_without_a_run_when_its_stream_does(zygote, once):
    once.stream.close()
    assert zygote.exit_code(once) == 0


def test_what_nobody_comes_to_notice_is_not_looked_for(zygote, once, spec):
    once.send(spec("sample.hostile.leaves", "variable"))
    (result,) = once.results(1)
    assert "retire" not in result
    assert zygote.exit_code(once) == 0


def test_what_works_on_is_noticed(zygote, once, spec):
    once.send(spec("sample.hostile.leaves_a_process"))
    (result,) = once.results(1)
    assert result["retire"] == "it has left 1 running process, now killed"
    assert gone(result["envelope"]["return"])
    threaded = zygote.fork(once=True)
    threaded.send(spec("sample.hostile.leaves", "thread"))
    (result,) = threaded.results(1)
    assert result["retire"].startswith("it has left a thread running")
    # At once: an orderly end would wait for the thread.
    assert zygote.exit_code(threaded) == 0


def test_a_process_that_its_task_forks_does_not_answer(zygote, once, spec):
    once.send(spec("sample.hostile.forks_and_both_return"))
    assert len(once.results(1)) == 1
    assert zygote.exit_code(once) == 0


def test_its_peak_of_memory_is_its_own(once, spec):
    once.run(spec("add", 1))
    assert 1024 < once.usage["max_rss_kib"] < 1024 * 1024


@pytest.mark.parametrize("listener", ["log", "receiver"])
def test_nobody_hears_of_the_rehearsal(start_zygote, environment, spec, tmp_path, listener):
    told = "DEBUG = True" if listener == "log" else "task_started.connect(tell)"
    (tmp_path / "loud.py").write_text(
        "from django.tasks.signals import task_started\n"
        "from sample.settings import *\n"
        "def tell(**kwargs): print('Task heard', flush=True)\n"
        f"{told}\n"
    )
    paths = os.pathsep.join([environment["PYTHONPATH"], str(tmp_path)])
    zygote = start_zygote(DJANGO_SETTINGS_MODULE="loud", PYTHONPATH=paths)
    zygote.packet("ready")
    child = zygote.fork(once=True)
    assert child.run(spec("add", 1))["ok"]
    assert zygote.exit_code(child) == 0
    assert re.search("Task (id|heard)", child.output.read_text()), "a run is heard of"
    assert "Task" not in (tmp_path / "zygote.log").read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="huge pages of Linux")
@pytest.mark.parametrize("reserves", [True, False])
def test_what_is_imported_lies_in_one_piece(environment, reserves):
    # What libraries do: they are mapped between the arenas. So large that they fit into no gap.
    code = f"""
import mmap
from reproq_django.execution import pages
reserved = pages.reserve() if {reserves} else []
objects, libraries = [], []
for _ in range(16):
    objects += [bytes(400) for _ in range(2048)]
    libraries.append(mmap.mmap(-1, 8 * 2**20))
reserved.clear()
print(max((length for _, length in pages._own_memory()), default=0) // 2**20)
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert (int(done.stdout) >= 10) == reserves


@pytest.mark.skipif(sys.platform != "linux", reason="huge pages of Linux")
def test_huge_pages_are_whole_ones_of_this_process_alone():
    held = bytearray(64 * 1024 * 1024)
    found = list(pages._own_memory())
    assert sum(length for _, length in found) > len(held) // 2
    assert all(start % pages._HUGE_BYTES == length % pages._HUGE_BYTES == 0 for start, length in found)
    held[::4096] = b"x" * len(held[::4096])
    pages.collapse()
    assert held[::4096] == b"x" * len(held[::4096])


_COPIED = """
import os, resource
from reproq_django.execution import immortal
# References to objects on hundreds of pages.
objects = [lambda: None for _ in range(20_000)]
marked = immortal.immortalize() if {immortal} else 0
pid = os.fork()
if pid == 0:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for one in objects:
        another = one
    print(marked, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before, flush=True)
    os._exit(0)
os.waitpid(pid, 0)
"""


def test_to_refer_to_what_was_there_before_a_fork_copies_nothing(environment):
    def copied(*, immortal):
        command = [sys.executable, "-c", _COPIED.format(immortal=immortal)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        marked, pages = map(int, done.stdout.split())
        assert (marked > 20_000) == immortal
        return pages

    assert copied(immortal=True) < copied(immortal=False) / 5


def test_code_that_nobody_counts_does_no_harm(environment):
    code = """
import gc, sys, weakref
from reproq_django.execution import immortal
class Thing: pass
def call(): return "constant", lambda: ("inner", 12345)
inner = call()[1].__code__
before, lasting = Thing(), weakref.ref(call)
held = [before, (before,), {"it": before}]
uncounted = sys.getrefcount(None)
assert immortal.immortalize()
for one in (call, call.__code__, Thing, sys, inner, inner.co_consts, inner.co_consts[-1]):
    assert sys.getrefcount(one) == uncounted, one
after = Thing()
mortals = weakref.ref(before), weakref.ref(after)
del before, held, after, call
gc.collect()
assert [one() for one in mortals] == [None, None], "what an end may mean something to ends"
assert lasting()()[0] == "constant"
"""
    # With all of the interpreter's end.
    command = [sys.executable, "-X", "dev", "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_child_has_code_that_nobody_counts(zygote, once, spec):
    once.send(spec("reference_count"))
    (result,) = once.results(1)
    own, uncounted = result["envelope"]["return"]
    assert own == uncounted


def test_an_interpreter_of_another_make_is_left_alone(monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 99, 0))
    assert immortal.immortalize() == 0


def _of_files_that_are_or_were_written(found):
    """And what comes before one of the same file: the linker has written to it and locked it (RELRO)."""
    pairs = itertools.pairwise(found)
    written = [pair for pair in pairs if "w" in pair[1].rights and pair[0].name == pair[1].name != ""]
    return [one for pair in written for one in pair]


@pytest.mark.skipif(platform.machine() != "x86_64", reason="elsewhere linkers leave them together")
@pytest.mark.skipif(sys.platform != "linux", reason="mappings as Linux tells them")
def test_code_and_constants_of_a_library_become_one_mapping_that_nobody_can_write(environment):
    code = """
import json
from reproq_django.execution import mappings
before = mappings.read()
mappings.join()
# Another time it finds nothing left to do.
mappings.join()
print(json.dumps([before, mappings.read()]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    before, after = [[mappings.Mapping(*one) for one in found] for found in json.loads(done.stdout)]
    # Three have become one; the C library is such, and the one that loads it.
    assert len(before) - len(after) >= 2
    assert not [one for one in after if "w" in one.rights and "x" in one.rights]
    executable = {one.name for one in before if "x" in one.rights}
    assert {one.name for one in after if "x" in one.rights} == executable
    assert _of_files_that_are_or_were_written(before) == _of_files_that_are_or_were_written(after)


_NAMED = """
import os, resource, sys, types
from reproq_django.execution import immortal
# Their dictionaries, and what the names in them mean, on hundreds of pages.
for number in range(2_000):
    module = sys.modules[f"made_{{number}}"] = types.ModuleType(f"made_{{number}}")
    module.text = f"made at run time, {{number}}"
if {immortal}:
    immortal.immortalize()
pid = os.fork()
if pid == 0:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for module in sys.modules.values():
        names = module.__dict__
        text = names.get("text")
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before, flush=True)
    os._exit(0)
os.waitpid(pid, 0)
"""


def test_to_look_names_up_in_modules_copies_nothing(environment):
    def copied(*, immortal):
        command = [sys.executable, "-c", _NAMED.format(immortal=immortal)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        return int(done.stdout)

    assert copied(immortal=True) < copied(immortal=False) / 5


@pytest.mark.skipif(sys.platform != "linux", reason="memory as Linux tells it")
def test_a_site_that_cannot_be_forked_keeps_nothing_of_what_was_reserved(start_zygote, environment, tmp_path):
    (tmp_path / "threaded.py").write_text(
        "import threading\nfrom sample.settings import *\n"
        "threading.Thread(target=threading.Event().wait, daemon=True).start()\n"
    )
    paths = os.pathsep.join([environment["PYTHONPATH"], str(tmp_path)])

    def kib(**extra):
        zygote = start_zygote(**extra)
        ready = zygote.packet("ready")
        status = Path(f"/proc/{ready['pid']}/status").read_text()
        found = re.search(r"^VmRSS:\s+(\d+) kB", status, re.MULTILINE)
        return int(found[1]), "unsafe" in ready

    unsafe, is_unsafe = kib(DJANGO_SETTINGS_MODULE="threaded", PYTHONPATH=paths)
    safe, _ = kib()
    assert is_unsafe
    # A fork's needs are no less than a site's that is only imported.
    assert unsafe < safe + 8 * 1024
