"""The hostile zoo: what a task may do, and what has to be recorded of it. The tasks: ``testapp/zoo.py``."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from testapp import unending, unimportable, zoo

REPEAT = int(os.environ.get("REPROQ_REPEAT", "1"))
#: What is printed without a newline.
MEGABYTES = 64 if REPEAT == 1 else 1024

RETURNED, RAISED = "returned", "app_error"
CRASHED, QUARANTINED = "crashed", "quarantined"
TIMEOUT, MEMORY = "timeout", "memory_limit"
INVALID, FORBIDDEN = "invalid_result", "security_violation"


@dataclass(frozen=True)
class Case:
    """One behaviour, and its end."""

    task: Any
    #: As the history has it. RETURNED: the run is SUCCESSFUL; else FAILED, and this is the error's kind.
    outcome: str
    #: In the error's message; of a run that is SUCCESSFUL, nothing.
    says: str = ""
    returns: Any = None
    args: tuple[Any, ...] = ()
    attempts: int = 1
    #: How long it takes by itself, or until its limit.
    seconds: float = 0.5
    #: It kills the processes of others, who take longer then: only those who look have to be in its company.
    alone: bool = False

    @property
    def name(self) -> str:
        return str(self.task.name)


def ends(task: Any, outcome: str, says: str = "", **more: Any) -> Case:
    return Case(task, outcome, says, **more)


def leaves(task: Any, **more: Any) -> Case:
    """It returns, and has left something behind."""
    return Case(task, RETURNED, **more)


STOPPED = "stopped after its timeout of 1 s"

ZOO = [
    # The process ends.
    ends(zoo.segfaults, CRASHED, "signal 11 (SIGSEGV)"),
    ends(zoo.aborts, CRASHED, "signal 6 (SIGABRT)"),
    ends(zoo.exits_with_0, CRASHED, "exit code 0"),
    ends(zoo.exits_with_3, CRASHED, "exit code 3"),
    ends(zoo.kills_its_group, CRASHED, "signal 9 (SIGKILL"),
    ends(zoo.kills_its_parent, CRASHED, seconds=8, alone=True),
    ends(zoo.becomes_another_program, CRASHED, "exit code 0"),
    ends(zoo.crashes_whenever_it_runs, QUARANTINED, "signal 11 (SIGSEGV)", attempts=3, seconds=2),
    # It uses what there is.
    ends(zoo.eats_memory, MEMORY),
    ends(zoo.eats_shared_memory, MEMORY, "its max_memory is 64.0 MiB", seconds=1),
    ends(zoo.eats_memory_elsewhere, MEMORY, "with what it had started", seconds=2),
    leaves(zoo.forks_a_storm, seconds=3),
    ends(zoo.waits_in_its_storm, TIMEOUT, STOPPED, seconds=1),
    leaves(zoo.prints_without_newlines, args=(MEGABYTES,), seconds=1 + MEGABYTES / 64),
    # It does not end.
    ends(zoo.loops_in_c, TIMEOUT, STOPPED, seconds=1),
    ends(zoo.backtracks, TIMEOUT, STOPPED, seconds=1),
    ends(zoo.sleeps_in_c, TIMEOUT, STOPPED, seconds=1),
    ends(zoo.ignores_signals, TIMEOUT, STOPPED, seconds=1),
    ends(zoo.blocks_signals, TIMEOUT, STOPPED, seconds=1),
    ends(zoo.swallows_everything, TIMEOUT, STOPPED, seconds=1),
    ends(zoo.stops_itself, TIMEOUT, STOPPED, seconds=1),
    ends(zoo.waits_for_a_lock, TIMEOUT, STOPPED, seconds=1),
    # It touches what the worker uses.
    ends(zoo.closes_all_descriptors, CRASHED, "exit code"),
    ends(zoo.closes_its_stream, CRASHED, "exit code 74"),
    ends(zoo.puts_something_in_place_of_all_descriptors, CRASHED),
    ends(zoo.writes_garbage_to_all_descriptors, CRASHED),
    ends(zoo.answers_for_another_run, CRASHED, "it answered run 999999 instead of"),
    # What it returns.
    ends(zoo.returns_50_megabytes, INVALID, "store it elsewhere", seconds=2),
    ends(zoo.returns_nan, INVALID, "return value[0] is nan"),
    ends(zoo.returns_a_lone_surrogate, RETURNED, returns="\ud800"),
    ends(zoo.returns_nul, RETURNED, returns="a\0b"),
    ends(zoo.returns_bytes, INVALID, "is of type builtins.bytes"),
    ends(zoo.returns_itself, INVALID, "contains itself"),
    ends(zoo.returns_deeply_nested, INVALID, "nested too deeply", args=(100_000,)),
    # What it raises.
    ends(zoo.recurses, RAISED, "maximum recursion depth"),
    ends(zoo.exits_softly, RAISED, "enough"),
    ends(zoo.interrupts_itself, RAISED),
    ends(zoo.raises_without_text, RAISED, "whose text cannot be made"),
    ends(zoo.raises_a_group, RAISED, "many (1000 sub-exceptions)"),
    ends(zoo.raises_what_no_database_takes, RAISED, "nul \N{REPLACEMENT CHARACTER} and"),
    # It is no task.
    ends(zoo.is_no_task, FORBIDDEN, "is not a registered task"),
    ends(unimportable.is_out_of_reach, RAISED, "this module cannot be imported"),
    ends(unending.is_out_of_reach, TIMEOUT, STOPPED, seconds=1),
    # What it leaves behind.
    leaves(zoo.leaves_a_grandchild),
    leaves(zoo.leaves_a_daemon),
    leaves(zoo.leaves_a_thread),
    leaves(zoo.leaves_a_transaction),
    leaves(zoo.leaves_a_transaction_of_its_own_making),
    leaves(zoo.leaves_its_folder),
    leaves(zoo.leaves_variables),
    leaves(zoo.leaves_a_locale),
    leaves(zoo.leaves_a_handler),
    leaves(zoo.leaves_signals_blocked),
    leaves(zoo.leaves_an_alarm),
    leaves(zoo.leaves_a_umask),
    leaves(zoo.leaves_another_stdout),
    leaves(zoo.leaves_a_closed_stdout),
    leaves(zoo.leaves_a_recursion_limit),
]
