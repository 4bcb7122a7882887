"""Where the worker binary is looked for, and whether it is the right one."""

import pytest

from reproq_django import __version__, binary


def test_the_error_lists_every_place(project):
    with pytest.raises(binary.BinaryError) as caught:
        binary.find()
    text = str(caught.value)
    for words in (
        ".reproq/bin/reproq",
        "reproq_django/bin/reproq",
        "no-scripts/reproq",
        "on PATH",
        "reproq install",
        "REPROQ_WORKER_BIN",
    ):
        assert words in text


def test_the_order_of_places(project, tmp_path, fake_worker, monkeypatch, settings):
    on_path = fake_worker.write(tmp_path / "programs" / "reproq", version="1")
    monkeypatch.setenv("PATH", str(on_path.parent))
    assert binary.find() == on_path
    in_scripts = fake_worker.write(tmp_path / "no-scripts" / "reproq", version="1")
    assert binary.find() == in_scripts
    installed = fake_worker.write(project / ".reproq" / "bin" / "reproq", version="1")
    assert binary.find() == installed
    by_variable = fake_worker.write(tmp_path / "variable", version="1")
    monkeypatch.setenv("REPROQ_WORKER_BIN", str(by_variable))
    assert binary.find() == by_variable
    by_setting = fake_worker.write(tmp_path / "setting", version="1")
    settings.REPROQ_WORKER_BIN = by_setting
    assert binary.find() == by_setting


def test_a_wrong_override_is_not_papered_over(project, tmp_path, fake_worker, settings):
    fake_worker.write(project / ".reproq" / "bin" / "reproq", version="1")
    settings.REPROQ_WORKER_BIN = str(tmp_path / "missing")
    with pytest.raises(binary.BinaryError, match="missing"):
        binary.find()


def test_an_override_may_be_a_program_on_path(tmp_path, fake_worker, monkeypatch, settings):
    path = fake_worker.write(tmp_path / "programs" / "reproq-next", version="1")
    monkeypatch.setenv("PATH", str(path.parent))
    settings.REPROQ_WORKER_BIN = "reproq-next"
    assert binary.find() == path


def test_a_file_that_cannot_be_executed_is_none(project):
    path = project / ".reproq" / "bin" / "reproq"
    path.parent.mkdir(parents=True)
    path.write_text("text")
    with pytest.raises(binary.BinaryError):
        binary.find()


def test_the_version_has_to_match(project, fake_worker):
    path = fake_worker.write(project / ".reproq" / "bin" / "reproq", version=__version__)
    assert binary.find_matching() == path
    fake_worker.write(path, version="0.0.144")
    with pytest.raises(binary.BinaryError, match=r"is version 0\.0\.144, but reproq-django is"):
        binary.find_matching()


@pytest.mark.parametrize(
    "text", ["#!/bin/sh\necho something else\n", "#!/bin/sh\nexit 3\n", "#!/no/such/interpreter\n"]
)
def test_something_else_of_that_name(project, text):
    path = project / ".reproq" / "bin" / "reproq"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    path.chmod(0o755)
    with pytest.raises(binary.BinaryError, match=r"not the reproq binary|cannot be run"):
        binary.find_matching()
