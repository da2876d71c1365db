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

import pytest
from typer.testing import CliRunner

from automl_ad import dashboard_server
from automl_ad.cli import app
from automl_ad.dashboard_server import Endpoint, command, environment, free_port, is_loopback, usable_port
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
    flags = command(Path("app.py"), Endpoint("127.0.0.1", 8600, None))[5:]
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
def test_the_real_server_answers_and_ends_quietly(tmp_path: Path) -> None:
    script = "from automl_ad.cli import main; main()"
    arguments = ["dashboard", "--no-browser", "--workspace", str(tmp_path / "ws")]
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
            assert answer(f"{url}_stcore/health") == "ok"
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=PATIENCE_S)
        finally:
            if process.poll() is None:  # a server that does not end would be waited for without end
                os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 130
    assert errors == "Interrupted: the dashboard has ended; searches and exports that it started go on.\n"
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(url, timeout=5)
    assert not (tmp_path / "ws").exists()


def answer(url: str) -> str:
    """What the server says, once it is up."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        with suppress(OSError), urllib.request.urlopen(url, timeout=5) as page:
            return str(page.read().decode())
        time.sleep(0.1)
    return "no answer"
