"""`reproq install` against a release page on loopback that behaves, and ones that do not."""

import hashlib
import http.server
import threading
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from reproq_django import __version__, installer

GOOD = b"#!/bin/sh\necho reproq-worker version " + __version__.encode() + b"\n"
DIGEST = hashlib.sha256(GOOD).hexdigest()


class ReleasePage:
    """A loopback server: path -> (status, headers, body)."""

    def __init__(self):
        self.answers = {}
        self.requests = []
        page = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                page.requests.append((self.path, dict(self.headers)))
                status, headers, body = page.answers.get(self.path, (404, {}, b""))
                self.send_response(status)
                for name, value in ({"Content-Length": str(len(body))} | headers).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/releases"
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def asset(self, tag="latest"):
        folder = "latest/download" if tag == "latest" else f"download/{tag}"
        return f"/releases/{folder}/{installer.asset_name()}"

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def page(settings):
    page = ReleasePage()
    settings.REPROQ_RELEASE_URL = page.url
    yield page
    page.close()


@pytest.fixture
def target(project):
    return project / ".reproq" / "bin" / "reproq"


def install(*arguments):
    out = StringIO()
    call_command("reproq", "install", *arguments, stdout=out, stderr=out, no_color=True)
    return out.getvalue()


def test_a_good_release(page, target):
    page.answers[page.asset()] = (200, {}, GOOD)
    assert "installed" in install("--sha256", DIGEST)
    assert target.read_bytes() == GOOD
    assert target.stat().st_mode & 0o777 == 0o755
    assert [each.name for each in target.parent.iterdir()] == ["reproq"], "nothing temporary is left"
    assert "Authorization" not in page.requests[0][1]
    assert "nothing to do" in install(), "it is there and matches"
    assert len(page.requests) == 1


def test_a_tag_and_the_digest_of_a_setting(page, target, settings):
    settings.REPROQ_RELEASE_SHA256 = DIGEST.upper()
    page.answers[page.asset("v0.2.0")] = (200, {}, GOOD)
    install("--tag", "v0.2.0")
    assert target.read_bytes() == GOOD


def test_a_digest_that_the_package_knows(page, target, monkeypatch):
    monkeypatch.setattr(installer, "known_digest", lambda tag, asset: DIGEST)
    page.answers[page.asset()] = (200, {}, GOOD)
    install()
    assert target.exists()


def test_without_a_digest_nothing_is_even_fetched(page, target):
    page.answers[page.asset()] = (200, {}, GOOD)
    page.answers[page.asset() + ".sha256"] = (200, {}, DIGEST.encode())
    with pytest.raises(CommandError, match="no SHA-256 is known"):
        install()
    assert not page.requests
    assert not target.exists()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((200, {}, GOOD + b"evil"), "it was thrown away"),
        ((200, {"Content-Length": str(len(GOOD) + 9)}, GOOD), "of .* bytes|cannot be fetched"),
        ((500, {}, b"down"), "answered 500"),
        ((404, {}, b""), "answered 404"),
    ],
    ids=["tampered", "truncated", "broken", "missing"],
)
def test_a_bad_answer_leaves_what_was_there(page, target, answer, words):
    target.parent.mkdir(parents=True)
    target.write_text("the old one")
    page.answers[page.asset()] = answer
    with pytest.raises(CommandError, match=words):
        install("--sha256", DIGEST)
    assert target.read_text() == "the old one"
    assert [each.name for each in target.parent.iterdir()] == ["reproq"]


def test_a_file_without_end_is_cut_off(page, target, monkeypatch):
    monkeypatch.setattr(installer, "MAX_BINARY_BYTES", 10)
    page.answers[page.asset()] = (200, {}, GOOD)
    with pytest.raises(CommandError, match="larger than 10 bytes"):
        install("--sha256", DIGEST)


def test_redirects_on_loopback_are_followed(page, target):
    page.answers[page.asset()] = (302, {"Location": page.url + "/elsewhere"}, b"")
    page.answers["/releases/elsewhere"] = (200, {}, GOOD)
    install("--sha256", DIGEST)
    assert target.read_bytes() == GOOD


@pytest.mark.parametrize("where", ["http://192.0.2.1/x", "ftp://127.0.0.1/x", "file:///etc/passwd"])
def test_redirects_to_elsewhere_are_not(page, target, where):
    page.answers[page.asset()] = (302, {"Location": where}, b"")
    with pytest.raises(CommandError, match=r"not an https address|cannot be fetched|answered 302"):
        install("--sha256", DIGEST)
    assert not target.exists()


def test_redirects_without_end(page, target):
    page.answers[page.asset()] = (302, {"Location": page.asset()}, b"")
    with pytest.raises(CommandError, match="answered 302"):
        install("--sha256", DIGEST)
    assert len(page.requests) <= installer.MAX_REDIRECTS + 1


def test_plain_http_beyond_this_machine_is_refused(settings, target):
    settings.REPROQ_RELEASE_URL = "http://192.0.2.1/releases"
    with pytest.raises(CommandError, match="not an https address"):
        install("--sha256", DIGEST)


def test_a_digest_that_is_none(page, target):
    with pytest.raises(CommandError, match="64 digits"):
        install("--sha256", "abc")


def test_a_sibling_checkout_is_built_when_the_page_cannot_help(page, target, project, tmp_path, monkeypatch):
    source = project.parent / "reproq-worker"
    source.mkdir()
    (source / "go.mod").write_text("module x")
    go = tmp_path / "programs" / "go"
    go.parent.mkdir()
    go.write_text('#!/bin/sh\nprintf "#!/bin/sh\\necho reproq-worker version %s\\n" "$VERSION" > "$3"\n')
    go.chmod(0o755)
    monkeypatch.setenv("PATH", str(go.parent))
    monkeypatch.setenv("VERSION", __version__)
    said = install()
    assert "no SHA-256 is known" in said
    assert "go build in" in said
    assert target.stat().st_mode & 0o777 == 0o755


def test_a_place_that_cannot_be_written(page, target):
    page.answers[page.asset()] = (200, {}, GOOD)
    target.mkdir(parents=True)
    with pytest.raises(CommandError, match="cannot be written"):
        install("--sha256", DIGEST)
    assert list(target.parent.iterdir()) == [target]


def test_nothing_to_build(project, tmp_path):
    with pytest.raises(CommandError, match=r"neither Cargo\.toml nor go\.mod"):
        install("--source", str(tmp_path))
    with pytest.raises(CommandError, match="there is no source"):
        install("--build")


@pytest.mark.parametrize(
    ("system", "machine", "name"),
    [
        ("Linux", "x86_64", "reproq-linux-amd64"),
        ("Linux", "aarch64", "reproq-linux-arm64"),
        ("Darwin", "arm64", "reproq-darwin-arm64"),
        ("Windows", "AMD64", "reproq-windows-amd64.exe"),
    ],
)
def test_asset_names(system, machine, name):
    assert installer.asset_name(system, machine) == name


def test_a_platform_without_a_release():
    with pytest.raises(installer.InstallError, match="riscv64"):
        installer.asset_name("Linux", "riscv64")
