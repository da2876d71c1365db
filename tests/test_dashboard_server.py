from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from typer.testing import CliRunner

from automl_ad import dashboard_server
from automl_ad.cli import app
from automl_ad.dashboard_server import (
    Endpoint,
    checked_base_path,
    command,
    environment,
    free_port,
    is_loopback,
    usable_port,
)
from automl_ad.errors import InputError

PATIENCE_S = 90


@pytest.fixture
def taken() -> Iterator[socket.socket]:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server


@pytest.mark.parametrize(
    ("address", "alone"),
    [
        *((address, True) for address in ("127.0.0.1", "127.1.2.3", "::1", "localhost")),
        *((address, False) for address in ("0.0.0.0", "::", "192.168.0.7", "line-pc", "localhost.example.com")),
    ],
)
def test_loopback_is_told_apart(address: str, alone: bool) -> None:
    assert is_loopback(address) == alone


def test_a_port_that_is_taken_is_refused_or_passed_over(taken: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    port = taken.getsockname()[1]
    with pytest.raises(InputError, match=rf"^--port {port} is taken"):
        usable_port("127.0.0.1", port)
    monkeypatch.setattr(dashboard_server, "FIRST_PORT", port)
    assert free_port("127.0.0.1") > port
    monkeypatch.setattr(dashboard_server, "PORTS_TRIED", 1)
    with pytest.raises(InputError, match="give a free one with --port"):
        free_port("127.0.0.1")


@pytest.mark.parametrize("address", ["203.0.113.9", "no.such.host.invalid", "not an address", ""])
def test_addresses_of_other_machines_are_refused(address: str) -> None:
    with pytest.raises(InputError, match="--address"):
        free_port(address or "\0")


def test_the_command_line_holds_no_secret_and_keeps_to_this_machine() -> None:
    flags = command(Path("app.py"), Endpoint("127.0.0.1", 8600, None))
    assert flags[:5] == [sys.executable, "-m", "streamlit", "run", "app.py"]
    wanted = {"--server.address=127.0.0.1", "--server.port=8600", "--server.headless=true"}
    wanted |= {"--browser.gatherUsageStats=false", "--server.fileWatcherType=none", "--client.toolbarMode=minimal"}
    wanted |= {"--server.allowedHosts=localhost", "--server.allowedHosts=127.0.0.1"}
    assert wanted <= set(flags)
    shown = command(Path("app.py"), Endpoint("0.0.0.0", 8600, "secret"))
    assert not [flag for flag in shown if "secret" in flag or "allowedHosts" in flag]


def test_streamlit_knows_every_flag() -> None:
    config = pytest.importorskip("streamlit.config")
    flags = command(Path("app.py"), Endpoint("127.0.0.1", 8600, None, "/ad"))[5:]
    assert {flag[2:].partition("=")[0] for flag in flags} <= set(config._config_options_template)


def test_pages_learn_the_rest_from_their_environment() -> None:
    inherited = {"PATH": "/bin", "AUTOML_AD_DASHBOARD_TOKEN": "old", "AUTOML_AD_STORAGE": "sqlite:///old.db"}
    url = "postgresql://me:secret@host/base"
    assert environment(inherited, Path("/ws"), url, "new") == {
        "PATH": "/bin",
        "AUTOML_AD_WORKSPACE": "/ws",
        "AUTOML_AD_STORAGE": url,
        "AUTOML_AD_DASHBOARD_TOKEN": "new",
    }
    plain = environment(inherited, Path("/ws"), None, None)
    assert plain == {"PATH": "/bin", "AUTOML_AD_WORKSPACE": "/ws", "AUTOML_AD_STORAGE": "sqlite:///old.db"}


def test_urls_can_be_opened() -> None:
    assert Endpoint("127.0.0.1", 8501, None).url == "http://127.0.0.1:8501/"
    assert Endpoint("::1", 8501, None).url == "http://[::1]:8501/"
    assert Endpoint("0.0.0.0", 8501, "t0-k_n").url == f"http://{socket.gethostname()}:8501/?token=t0-k_n"
    assert Endpoint("127.0.0.1", 8501, None, "/line/ad").url == "http://127.0.0.1:8501/line/ad/"
    assert Endpoint("127.0.0.1", 8501, "t0-k_n", "/ad").url == "http://127.0.0.1:8501/ad/?token=t0-k_n"


@pytest.mark.parametrize(
    ("given", "path"),
    [
        *((given, "/ad") for given in ("/ad", "ad", "/ad/", "ad/")),
        *((given, "") for given in ("", "/")),
        ("/line-7/ad_2.0/~me", "/line-7/ad_2.0/~me"),
    ],
)
def test_base_paths_have_one_form(given: str, path: str) -> None:
    assert checked_base_path(given) == path
    assert checked_base_path(path) == path


BAD_BASE_PATHS = (
    *("/a d", " /ad", "/ad ", "..", "/../ad", "/ad/..", "/./ad", "/ad?x=1", "/ad#x", "/a//d", "//ad", "/ad//", "//"),
    *("/ad%20", "/a\\d", "http://host/ad", "/café", "/ad\n", "/ad\0", "/a&b", "/a;b", '/"', "/\udcff"),
)


@pytest.mark.parametrize("given", BAD_BASE_PATHS)
def test_what_is_no_path_of_a_url_is_refused_in_one_sentence(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dashboard_server.subprocess, "Popen", lambda *_, **__: FakeServer(3))
    result = CliRunner().invoke(app, ["dashboard", "--no-browser", "--base-path", given])
    assert result.exit_code == 2
    assert result.stderr.startswith(f"Error: --base-path {given!r} cannot be the path of a URL; give one such as /ad")
    assert len(result.stderr.splitlines()) == 1


def test_only_a_base_path_is_told_to_the_server() -> None:
    place = Endpoint("127.0.0.1", 8600, "secret", "/ad")
    assert "--server.baseUrlPath=/ad" in command(Path("app.py"), place)
    rooted = command(Path("app.py"), Endpoint("127.0.0.1", 8600, None))
    assert not [flag for flag in rooted if "baseUrlPath" in flag]


def test_the_pages_are_found_in_a_source_tree_and_in_a_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert dashboard_server.app_file().is_file()
    monkeypatch.setattr(dashboard_server, "__file__", str(tmp_path / "automl_ad" / "dashboard_server.py"))
    with pytest.raises(InputError, match="pages are missing"):
        dashboard_server.app_file()
    inside = tmp_path / "automl_ad" / "dashboard" / "app.py"
    inside.parent.mkdir(parents=True)
    inside.touch()
    assert dashboard_server.app_file() == inside


def test_without_streamlit_one_sentence_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dashboard_server.importlib.util, "find_spec", lambda name: None)
    result = CliRunner().invoke(app, ["dashboard"])
    assert result.exit_code == 2
    assert result.stderr == (
        "Error: The dashboard needs the package streamlit; install it with `pip install streamlit`.\n"
    )


class FakeServer:
    """A server that ends at once with a code, or by an interrupt."""

    def __init__(self, ending: int | BaseException) -> None:
        self.ending = ending
        self.terminated = False

    def wait(self, timeout: float | None = None) -> int:
        if isinstance(self.ending, BaseException) and not self.terminated:
            raise self.ending
        return 0 if isinstance(self.ending, BaseException) else self.ending

    def poll(self) -> int | None:
        return None if isinstance(self.ending, BaseException) and not self.terminated else 0

    def terminate(self) -> None:
        self.terminated = True


def test_any_other_address_gets_a_token_and_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, str]] = []

    def start(flags: list[str], *, env: dict[str, str], **_: object) -> FakeServer:
        seen.append(env)
        return FakeServer(0)

    monkeypatch.setattr(dashboard_server.subprocess, "Popen", start)
    results = [CliRunner().invoke(app, ["dashboard", "--address", "0.0.0.0", "--no-browser"]) for _ in range(2)]
    tokens = [env["AUTOML_AD_DASHBOARD_TOKEN"] for env in seen]
    assert tokens[0] != tokens[1]
    assert min(map(len, tokens)) >= 32
    for result, token in zip(results, tokens, strict=True):
        assert result.exit_code == 0
        assert result.stdout.strip().endswith(f"?token={token}")
        assert result.stderr.startswith("Warning: whoever can reach 0.0.0.0")
        assert len(result.stderr.splitlines()) == 1


def test_loopback_needs_neither(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dashboard_server.subprocess, "Popen", lambda *_, **__: FakeServer(0))
    result = CliRunner().invoke(app, ["dashboard", "--no-browser"])
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith("http://127.0.0.1:85")
    assert "token" not in result.stdout


def test_a_base_path_needs_a_token_for_others_reach_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[list[str], dict[str, str]]] = []

    def start(flags: list[str], *, env: dict[str, str], **_: object) -> FakeServer:
        seen.append((flags, env))
        return FakeServer(0)

    monkeypatch.setattr(dashboard_server.subprocess, "Popen", start)
    result = CliRunner().invoke(
        app, ["dashboard", "--no-browser", "--base-path", "ad/", "--port", str(free_port("127.0.0.1"))]
    )
    ((flags, env),) = seen
    assert "--server.baseUrlPath=/ad" in flags
    assert not [flag for flag in flags if "allowedHosts" in flag]  # the proxy's host name is not known here
    assert result.stdout.strip().endswith(f"/ad/?token={env['AUTOML_AD_DASHBOARD_TOKEN']}")
    assert result.stderr.startswith("Warning: whoever can reach a proxy in front of 127.0.0.1 and knows the token")


@pytest.mark.parametrize(
    ("ending", "code", "words"),
    [(KeyboardInterrupt(), 130, "searches and exports that it started go on"), (3, 1, "exit code 3")],
)
def test_how_the_server_ends_is_how_the_command_ends(
    ending: int | BaseException, code: int, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = FakeServer(ending)
    monkeypatch.setattr(dashboard_server.subprocess, "Popen", lambda *_, **__: server)
    result = CliRunner().invoke(app, ["dashboard", "--no-browser"])
    assert result.exit_code == code
    assert words in result.stderr
    assert result.stderr.count("\n") == 1
    assert server.terminated == isinstance(ending, BaseException)


@pytest.mark.skipif(os.name == "nt", reason="needs signals of POSIX")
@pytest.mark.parametrize("base_path", ["", "/line/ad"])
def test_the_real_server_answers_and_ends_quietly(tmp_path: Path, base_path: str) -> None:
    script = "from automl_ad.cli import main; main()"
    arguments = ["dashboard", "--no-browser", "--workspace", str(tmp_path / "ws"), "--base-path", base_path]
    with subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        try:
            url = process.stdout.readline().strip()
            root = url.partition("?")[0]
            assert root.endswith(f"{base_path}/")
            assert answer(f"{root}_stcore/health") == "ok"
            assert "<title>" in answer(url)
            if base_path:
                assert upgraded(root, host="line-pc").startswith("HTTP/1.1 101 ")
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=PATIENCE_S)
        finally:
            if process.poll() is None:  # a server that does not end would be waited for without end
                os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 130
    last = errors.splitlines()[-1]
    assert last == "Interrupted: the dashboard has ended; searches and exports that it started go on."
    assert len(errors.splitlines()) == (2 if base_path else 1)  # the first warns of the token
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(url, timeout=5)
    assert not (tmp_path / "ws").exists()


def upgraded(root: str, host: str) -> str:
    """The status line of the server's answer to a WebSocket that a proxy passes on under its own host name."""
    place = urlsplit(root)
    lines = [
        f"GET {place.path}_stcore/stream HTTP/1.1",
        *(f"Host: {host}", f"Origin: https://{host}", "Upgrade: websocket", "Connection: upgrade"),
        *("Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="),
    ]
    with socket.create_connection((place.hostname, place.port), timeout=PATIENCE_S) as connection:
        connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        return connection.recv(200).decode(errors="replace").splitlines()[0]


def answer(url: str) -> str:
    """What the server says, once it is up."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        with suppress(OSError), urllib.request.urlopen(url, timeout=5) as page:
            return str(page.read().decode())
        time.sleep(0.1)
    return "no answer"
