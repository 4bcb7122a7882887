"""What a newcomer does, with the built wheel in an empty environment: no cargo, no checkout, two settings."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
#: Everything that goes into the wheel.
INGREDIENTS = ("src", "crates", "Cargo.toml", "Cargo.lock", "pyproject.toml")
BUILD_SECONDS = 1800
STEP_SECONDS = 300
DJANGOS = ("6.0", "6.1")

SETTINGS = """
INSTALLED_APPS += ["reproq_django"]
TASKS = {"default": {"BACKEND": "reproq_django.backend.ReproqBackend"}}
"""
ENQUEUE = """
from reproq_django.tasks import debug_noop_task
result = debug_noop_task.enqueue().wait(timeout=60)
print("ended:", result.status, result.return_value, result.attempts)
"""


def pythons() -> list[Path]:
    """One interpreter of each supported version that this machine has: on PATH, or in pyenv."""
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    found = {f"{sys.version_info.major}.{sys.version_info.minor}": Path(sys._base_executable)}
    for version in ("3.12", "3.13"):
        on_path = shutil.which(f"python{version}")
        candidates = [
            *([Path(on_path)] if on_path else []),
            *sorted(root.glob(f"versions/{version}*/bin/python{version}")),
        ]
        for candidate in candidates:
            # A pyenv shim exists for versions that are not switched on, and fails.
            if (
                version not in found
                and subprocess.run([candidate, "-c", ""], capture_output=True, check=False).returncode == 0
            ):
                found[version] = candidate
    return [found[version] for version in sorted(found)]


def newest_change() -> float:
    """When the newest ingredient changed, seconds since 1970."""
    files = [
        path for name in INGREDIENTS for path in [ROOT / name, *(ROOT / name).rglob("*")] if path.is_file()
    ]
    return max(path.stat().st_mtime for path in files if "__pycache__" not in path.parts)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel in ``dist/`` when it is newer than its ingredients; otherwise one built for this test."""
    for path in (ROOT / "dist").glob("reproq_django-*.whl"):
        if path.stat().st_mtime > newest_change():
            return path
    folder = tmp_path_factory.mktemp("wheel")
    # The profile that the other tests use, so that what they have compiled is used again.
    command = [
        "uv",
        "build",
        "--wheel",
        "--out-dir",
        str(folder),
        "--config-setting",
        "build-args=--profile dev",
    ]
    environment = {**os.environ, "CARGO_TARGET_DIR": str(ROOT / "target")}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=BUILD_SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr
    return next(folder.glob("*.whl"))


class Newcomer:
    """An empty environment and a project in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            "PATH": f"{folder / 'venv' / 'bin'}:/usr/bin:/bin",
            "HOME": str(folder),
            "LANG": "C.UTF-8",
        }

    def run(self, *command: str | Path, cwd: str = ".") -> str:
        """Run a command that has to succeed; returns what it printed."""
        done = subprocess.run(
            [str(part) for part in command],
            cwd=self.folder / cwd,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=STEP_SECONDS,
            check=False,
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout


def test_the_wheel_is_one_for_all_pythons(wheel: Path) -> None:
    assert "-py3-none-" in wheel.name


@pytest.mark.parametrize("django", DJANGOS)
@pytest.mark.parametrize("python", pythons(), ids=lambda path: path.name)
def test_from_an_empty_environment_to_a_task_that_ran(
    wheel: Path, tmp_path: Path, python: Path, django: str
) -> None:
    newcomer = Newcomer(tmp_path)
    uv = shutil.which("uv")
    assert uv is not None, "make test puts uv on PATH"
    create = [uv, "venv", "--quiet", "--python", python, tmp_path / "venv"]
    subprocess.run(create, check=True, timeout=STEP_SECONDS)
    install = [
        uv,
        "pip",
        "install",
        "--quiet",
        "--python",
        tmp_path / "venv" / "bin" / "python",
        wheel,
        f"Django=={django}.*",
    ]
    subprocess.run(install, check=True, timeout=STEP_SECONDS)

    newcomer.run("django-admin", "startproject", "mysite")
    assert shutil.which("cargo", path=newcomer.environment["PATH"]) is None
    with (tmp_path / "mysite" / "mysite" / "settings.py").open("a") as settings:
        settings.write(SETTINGS)
    manage = ("python", "manage.py")
    newcomer.run(*manage, "migrate", cwd="mysite")
    newcomer.run(*manage, "reproq", "check", cwd="mysite")

    log = tmp_path / "worker.log"
    with log.open("wb") as output:
        worker = subprocess.Popen(
            [tmp_path / "venv" / "bin" / "python", "manage.py", "reproq", "worker"],
            cwd=tmp_path / "mysite",
            env=newcomer.environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        said = newcomer.run(*manage, "shell", "-c", ENQUEUE, cwd="mysite")
        assert "ended: SUCCESSFUL ok 1" in said, log.read_text()
    finally:
        worker.send_signal(signal.SIGTERM)
        code = worker.wait(60)
    assert code == 0, log.read_text()
