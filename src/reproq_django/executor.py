"""``python -m reproq_django.executor``: what the worker starts.

Mode ``process`` runs one task and prints one envelope (``--payload-stdin``, ``--payload-file``,
``--payload-json``); mode ``pool`` is the zygote (``--serve <fd>``), or a child that was not
forked (``--child <fd>``). All are described in ``contracts/executor.md``.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from reproq_django.execution import streams


def main(arguments: list[str] | None = None) -> int:
    """Parse ``arguments`` and run one of the modes; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m reproq_django.executor", description=__doc__)
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument(
        "--serve", type=int, metavar="FD", help="be the zygote of a pool on this control socket"
    )
    mode.add_argument(
        "--child", type=int, metavar="FD", help="be a child of a pool on this stream, without a zygote"
    )
    mode.add_argument("--payload-stdin", action="store_true", help="read the spec from stdin")
    mode.add_argument("--payload-file", type=Path, metavar="PATH", help="read the spec from a file")
    mode.add_argument(
        "--payload-json", metavar="TEXT", help="the spec itself; visible to every user of the machine"
    )
    parser.add_argument(
        "--shared", choices=("async", "threads"), help="with --child: work on several runs at once"
    )
    parser.add_argument(
        "--once",
        action="store_true",
        help="with --child: end after the first run; with --serve: most children will",
    )
    parser.add_argument("--result-id", default="0", help="id of the run")
    parser.add_argument("--attempt", type=int, default=1, help="number of this attempt, from 1")
    parser.add_argument("--task-path", help="run this task instead of the one that the spec names")
    parser.add_argument(
        "--settings", help="settings module; goes before the spec's and DJANGO_SETTINGS_MODULE"
    )
    options = parser.parse_args(arguments)
    if options.serve is not None:
        # Before the zygote's modules and the site's, which are to lie in it.
        from reproq_django.execution import pages

        reserved = pages.reserve()
        from reproq_django.execution import zygote

        streams.write_lines_at_once()
        code = zygote.serve(options.serve, reserved, once=options.once)
        streams.flush()
        # The worker is gone: a thread that the site started while it was imported must not keep us.
        os._exit(code)
    if options.child is not None:
        from reproq_django.execution import site

        streams.write_lines_at_once()
        site.load()
        # Imported now that models can be.
        from reproq_django.execution import child

        code = child.start(options.child, shared=options.shared is not None, once=options.once)
        streams.flush()
        os._exit(code)
    return _run_once(options)


def _run_once(options: argparse.Namespace) -> int:
    private = streams.claim_stdout()
    # Imported late: the site's settings have to be known first, and its output must already be redirected.
    from reproq_django.execution import envelope

    try:
        text = _execute(options)
    except BaseException as error:  # noqa: BLE001 - no Django, a broken site, Ctrl-C: the worker gets to read it all
        text = envelope.failed(error)
    streams.flush()
    # From here on the outcome is settled; a late signal must not tear the envelope.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    streams.write_all(private, text.encode("ascii"))
    # The end of the answer, even if threads of the task keep this process: the worker kills it then.
    streams.release_stdout()
    return 0 if text.startswith('{"ok":true') else 1


def _execute(options: argparse.Namespace) -> str:
    from reproq_django.execution import envelope, site

    try:
        spec = _read_spec(options)
    except ValueError as error:
        return envelope.refused(envelope.INVALID_SPEC, error)
    site.load(options.settings or (spec.get("django") or {}).get("settings_module"))
    from reproq_django.execution import notes, run, usage

    this = run.by_hand(options.result_id, options.attempt, spec)
    return run.execute(this, usage.Meter(), notes.channel_from_environment())


def _read_spec(options: argparse.Namespace) -> dict[str, Any]:
    """The spec as an object; ``ValueError`` when it is none."""
    if options.payload_file is not None:
        text = options.payload_file.read_bytes()
    else:
        text = sys.stdin.buffer.read() if options.payload_stdin else options.payload_json
    spec = json.loads(text)
    if not isinstance(spec, dict):
        raise ValueError(f"the payload is a JSON {type(spec).__name__}, not an object")
    if options.task_path:
        spec["task_path"] = options.task_path
    if not isinstance(spec.get("task_path"), str):
        raise ValueError("the payload has no task_path")
    return spec


if __name__ == "__main__":
    sys.exit(main())
