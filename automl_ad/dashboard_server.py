"""Starts the dashboard: Streamlit in a process of its own, reachable from this machine alone unless told otherwise."""

from __future__ import annotations

import importlib.util
import ipaddress
import os
import secrets
import socket
import subprocess
import sys
import threading
import time
import webbrowser
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from automl_ad.errors import InputError
from automl_ad.workspace import STORAGE_VARIABLE, TOKEN_VARIABLE, WORKSPACE_VARIABLE, workspace_folder

LOOPBACK = "127.0.0.1"
FIRST_PORT, PORTS_TRIED = 8501, 100
UPLOAD_MB = 2048
"""Largest file that may be uploaded, in megabytes."""

_START_S, _STOP_S = 60.0, 5.0


@dataclass(frozen=True)
class Place:
    """Where the dashboard can be reached.

    Attributes:
        address: What the server listens on.
        port: 1 to 65535.
        token: What readers must know; None where only this machine can reach it.
    """

    address: str
    port: int
    token: str | None

    @property
    def url(self) -> str:
        """What to open in a browser."""
        host = socket.gethostname() if self.address in ("0.0.0.0", "::") else self.address
        shown = f"[{host}]" if ":" in host else host
        return f"http://{shown}:{self.port}/" + (f"?token={self.token}" if self.token else "")


def serve(
    workspace: Path | None,
    storage: str | None,
    *,
    port: int | None = None,
    address: str = LOOPBACK,
    browser: bool = True,
    say: Callable[[Place], None],
) -> int:
    """Serves the dashboard until it is interrupted.

    Args:
        workspace: Folder of studies; the default one when None.
        storage: Database URL; that of ``AUTOML_AD_STORAGE``, else the workspace's SQLite file, when None.
        port: The first free one from 8501 when None.
        address: Of the network interface to listen on; any but loopback gets a token.
        browser: Whether to open a browser window, where only this machine can reach the dashboard.
        say: Called once with where it will be.

    Returns:
        The server's exit code.

    Raises:
        InputError: Streamlit or the pages are missing, or the address or port cannot be used.
        KeyboardInterrupt: Interrupted; jobs go on.
    """
    app = app_file()
    if importlib.util.find_spec("streamlit") is None:
        raise InputError("The dashboard needs the package streamlit; install it with `pip install streamlit`.")
    token = None if is_loopback(address) else secrets.token_urlsafe(24)
    place = Place(address, free_port(address) if port is None else usable_port(address, port), token)
    say(place)
    known = environment(os.environ, workspace_folder(workspace), storage, token)
    server = subprocess.Popen(command(app, place), env=known, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    if browser and token is None and _has_screen():
        threading.Thread(target=_open_browser, args=(place, server), daemon=True).start()
    try:
        return server.wait()
    finally:
        _end(server)


def app_file() -> Path:
    """The dashboard's first file: inside the installed package, or beside it in a source tree.

    Raises:
        InputError: It is not there.
    """
    package = Path(__file__).resolve().parent
    for folder in (package, package.parent):
        if (folder / "dashboard" / "app.py").is_file():
            return folder / "dashboard" / "app.py"
    raise InputError(f"The dashboard's pages are missing beside {package}; install automl-ad again.")


def command(app: Path, place: Place) -> list[str]:
    """The command line of the server; nothing in it is secret."""
    options = {
        "server.address": place.address,
        "server.port": place.port,
        "server.headless": "true",
        "server.fileWatcherType": "none",
        "server.maxUploadSize": UPLOAD_MB,
        "browser.gatherUsageStats": "false",
        "client.toolbarMode": "minimal",
        "global.developmentMode": "false",
        "logger.level": "warning",
        "logger.hideWelcomeMessage": "true",  # it would ask a server on the internet for this machine's address
    }
    flags = [f"--{name}={value}" for name, value in options.items()]
    # A page of another site must not reach us through a name of its own that it points at this machine.
    hosts = {"localhost", LOOPBACK, "::1", place.address} if place.token is None else set()
    flags += [f"--server.allowedHosts={host}" for host in sorted(hosts)]
    return [sys.executable, "-m", "streamlit", "run", str(app), *flags]


def environment(
    inherited: Mapping[str, str], workspace: Path, storage: str | None, token: str | None
) -> dict[str, str]:
    """What the pages learn from their environment: workspace, database and token."""
    known = dict(inherited) | {WORKSPACE_VARIABLE: str(workspace)}
    given = {STORAGE_VARIABLE: storage or inherited.get(STORAGE_VARIABLE), TOKEN_VARIABLE: token}
    for name, value in given.items():
        known.pop(name, None)
        if value is not None:
            known[name] = value
    return known


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def free_port(address: str) -> int:
    """The first port from 8501 that nobody listens on.

    Raises:
        InputError: The address is none of this machine, or a hundred ports are taken.
    """
    for port in range(FIRST_PORT, FIRST_PORT + PORTS_TRIED):
        if _is_free(address, port):
            return port
    raise InputError(
        f"Ports {FIRST_PORT} to {FIRST_PORT + PORTS_TRIED - 1} are all taken; name a free one with --port."
    )


def usable_port(address: str, port: int) -> int:
    """The port, if nobody listens on it.

    Raises:
        InputError: It is taken, or the address is none of this machine.
    """
    if not _is_free(address, port):
        raise InputError(f"--port {port} is taken or not allowed; give another, or leave it out to get a free one.")
    return port


def _is_free(address: str, port: int) -> bool:
    try:
        family, kind, protocol, _, target = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.bind((target[0], 0))
    except (OSError, UnicodeError) as error:
        raise InputError(f"--address {address!r} is no address of this machine; leave it out or give one.") from error
    with socket.socket(family, kind, protocol) as probe:
        if sys.platform != "win32":  # there it would allow two servers on one port
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(target)
        except OSError:
            return False
    return True


def _has_screen() -> bool:
    """Whether a browser has somewhere to open; without, Python might take one that draws into this terminal."""
    return sys.platform in ("win32", "darwin") or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))


def _open_browser(place: Place, server: subprocess.Popen[bytes]) -> None:
    """Opens the page once the server answers."""
    deadline = time.monotonic() + _START_S
    while server.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection((place.address, place.port), timeout=1).close()
        except OSError:
            time.sleep(0.1)
            continue
        webbrowser.open(place.url)
        return


def _end(server: subprocess.Popen[bytes]) -> None:
    """Leaves no server behind; Ctrl-C in a terminal has reached it already."""
    if server.poll() is not None:
        return
    server.terminate()
    try:
        server.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
