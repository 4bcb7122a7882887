"""What the zygote finds out about the site, before it says that it is ready."""

import socket

import pytest


@pytest.fixture
def told(start_zygote):
    """Start a zygote for a site that allows more modules; returns its special tasks, how many packets they
    took, and its ``ready``."""

    def start(*modules, **extra):
        zygote = start_zygote(ALLOWED_TASK_MODULES=",".join(["sample.tasks", *modules]), **extra)
        tasks, count = {}, 0
        while (packet := zygote.packet())["type"] == "tasks":
            tasks |= packet["tasks"]
            count += 1
        return zygote, tasks, count, packet

    return start


def test_tasks_that_are_not_plain(told):
    _, tasks, count, ready = told("sample.wishes")
    assert count == 1
    assert tasks["sample.tasks.add_async"] == {"async": True}
    assert tasks["sample.wishes.wants_a_fresh_copy"] == {"isolation": "fork"}
    assert tasks["sample.wishes.wants_a_process"] == {"async": True, "isolation": "process"}
    assert "sample.tasks.add" not in tasks
    assert "unsafe" not in ready


def test_more_of_them_than_a_packet_holds(told):
    _, tasks, count, _ = told("sample.many")
    assert len([path for path in tasks if path.startswith("sample.many.")]) == 2000
    assert count > 1


def test_a_database_connection_is_closed_and_said(told, spec, tmp_path):
    zygote, _, _, ready = told("sample.connects")
    assert "unsafe" not in ready
    log = (tmp_path / "zygote.log").read_text()
    assert "connects to its database 'default' while it is imported" in log
    assert zygote.fork().run(spec("query_in_the_loop_is_closed"))["return"] is True


def test_another_connection_makes_a_fork_unsafe(told):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        _, _, _, ready = told("sample.dials", SAMPLE_PORT=str(port))
    assert ready["unsafe"] == f"the site opens connections while it is imported (to 127.0.0.1:{port})"
