"""Starts the dashboard: Streamlit in its own process, by default reachable from this machine only."""

from __future__ import annotations

import importlib.util
import ipaddress
import os
import re
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
_PATH_SEGMENT = re.compile(r"[A-Za-z0-9_~.-]+")


@dataclass(frozen=True)
class Endpoint:
    """Address of a running dashboard.

    Attributes:
        address: Network address that the server listens on.
        port: 1 to 65535.
        token: Access token; None if only this machine can reach the server.
        base_path: Path that all URLs begin with, in the form of `checked_base_path`.
    """

    address: str
    port: int
    token: str | None
    base_path: str = ""

    @property
    def url(self) -> str:
        """URL for a browser, with the token."""
        host = socket.gethostname() if self.address in ("0.0.0.0", "::") else self.address
        shown = f"[{host}]" if ":" in host else host
        return f"http://{shown}:{self.port}{self.base_path}/" + (f"?token={self.token}" if self.token else "")


def serve(
    workspace: Path | None,
    storage: str | None,
    *,
    port: int | None = None,
    address: str = LOOPBACK,
    base_path: str = "",
    browser: bool = True,
    announce: Callable[[Endpoint], None],
) -> int:
    """Runs the dashboard server until it is interrupted.

    Args:
        workspace: Folder of studies; the default workspace when None.
        storage: Database URL; when None that of ``AUTOML_AD_STORAGE``, else the workspace's SQLite file.
        port: Port to listen on; the first free port from 8501 when None.
        address: Address of the network interface to listen on; any but loopback requires a token.
        base_path: Path below which the pages are served, such as ``/ad``, for a reverse proxy that others reach: it
            requires a token on any address.
        browser: Whether to open a browser window; never done if a token is required.
        announce: Called once with the endpoint, before the server starts.

    Returns:
        The server's exit code.

    Raises:
        InputError: Streamlit or the pages are missing, or the address, port or base path cannot be used.
        KeyboardInterrupt: The user interrupted the server; jobs keep running.
    """
    base_path = checked_base_path(base_path)
    app = app_file()
    if importlib.util.find_spec("streamlit") is None:
        raise InputError("The dashboard needs the package streamlit; install it with `pip install streamlit`.")
    token = None if is_loopback(address) and not base_path else secrets.token_urlsafe(24)
    endpoint = Endpoint(address, free_port(address) if port is None else usable_port(address, port), token, base_path)
    announce(endpoint)
    variables = environment(os.environ, workspace_folder(workspace), storage, token)
    server = subprocess.Popen(
        command(app, endpoint), env=variables, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    if browser and token is None and _has_screen():
        threading.Thread(target=_open_browser, args=(endpoint, server), daemon=True).start()
    try:
        return server.wait()
    finally:
        _end(server)


def app_file() -> Path:
    """The dashboard's entry script: inside the installed package, or beside it in a source tree.

    Raises:
        InputError: It is missing.
    """
    package = Path(__file__).resolve().parent
    for folder in (package, package.parent):
        if (folder / "dashboard" / "app.py").is_file():
            return folder / "dashboard" / "app.py"
    raise InputError(f"The dashboard's pages are missing beside {package}; install automl-ad again.")


def command(app: Path, endpoint: Endpoint) -> list[str]:
    """The command line of the server; it contains no secrets."""
    options = {
        "server.address": endpoint.address,
        "server.port": endpoint.port,
        "server.headless": "true",
        "server.fileWatcherType": "none",
        "server.maxUploadSize": UPLOAD_MB,
        "browser.gatherUsageStats": "false",
        "client.toolbarMode": "minimal",
        "global.developmentMode": "false",
        "logger.level": "warning",
        "logger.hideWelcomeMessage": "true",  # otherwise Streamlit asks an internet server for this machine's address
    }
    if endpoint.base_path:
        options["server.baseUrlPath"] = endpoint.base_path
    flags = [f"--{name}={value}" for name, value in options.items()]
    # DNS rebinding: a page of another site must not reach the server through a host name that resolves to this machine.
    hosts = {"localhost", LOOPBACK, "::1", endpoint.address} if endpoint.token is None else set()
    flags += [f"--server.allowedHosts={host}" for host in sorted(hosts)]
    return [sys.executable, "-m", "streamlit", "run", str(app), *flags]


def environment(
    inherited: Mapping[str, str], workspace: Path, storage: str | None, token: str | None
) -> dict[str, str]:
    """Environment variables of the server: workspace, database and token."""
    variables = dict(inherited) | {WORKSPACE_VARIABLE: str(workspace)}
    given = {STORAGE_VARIABLE: storage or inherited.get(STORAGE_VARIABLE), TOKEN_VARIABLE: token}
    for name, value in given.items():
        variables.pop(name, None)
        if value is not None:
            variables[name] = value
    return variables


def checked_base_path(given: str) -> str:
    """The base path of URLs in one form: with a leading slash and none at the end, empty for the root.

    >>> checked_base_path("line/ad/")
    '/line/ad'

    Args:
        given: As typed; slashes at its ends may be left out.

    Raises:
        InputError: It holds a character that has another meaning in URLs, an empty segment, ``.`` or ``..``.
    """
    if given in ("", "/"):
        return ""
    segments = given.removeprefix("/").removesuffix("/").split("/")
    if any(segment in (".", "..") or not _PATH_SEGMENT.fullmatch(segment) for segment in segments):
        raise InputError(
            f"--base-path {given!r} cannot be the path of a URL; give one such as /ad, of letters, digits, -, _, . "
            "or ~ between single slashes."
        )
    return "".join(f"/{segment}" for segment in segments)


def is_loopback(address: str) -> bool:
    """Whether an address is reachable from this machine only."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def free_port(address: str) -> int:
    """The first free port from 8501.

    Raises:
        InputError: The address does not belong to this machine, or a hundred ports are taken.
    """
    for port in range(FIRST_PORT, FIRST_PORT + PORTS_TRIED):
        if _is_free(address, port):
            return port
    raise InputError(
        f"Ports {FIRST_PORT} to {FIRST_PORT + PORTS_TRIED - 1} are all taken; give a free one with --port."
    )


def usable_port(address: str, port: int) -> int:
    """Returns the port if it is free.

    Raises:
        InputError: It is taken, or the address does not belong to this machine.
    """
    if not _is_free(address, port):
        raise InputError(
            f"--port {port} is taken or not permitted; give another port, or leave the option out to use a free one."
        )
    return port


def _is_free(address: str, port: int) -> bool:
    try:
        family, kind, protocol, _, target = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.bind((target[0], 0))
    except (OSError, UnicodeError) as error:
        raise InputError(
            f"--address {address!r} is not an address of this machine; leave it out or give one."
        ) from error
    with socket.socket(family, kind, protocol) as probe:
        if sys.platform != "win32":  # on Windows it would allow two servers on one port
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(target)
        except OSError:
            return False
    return True


def _has_screen() -> bool:
    """Whether there is a display; without one, Python may open a text-mode browser in this terminal."""
    return sys.platform in ("win32", "darwin") or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))


def _open_browser(endpoint: Endpoint, server: subprocess.Popen[bytes]) -> None:
    """Opens the page as soon as the server accepts connections."""
    deadline = time.monotonic() + _START_S
    while server.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection((endpoint.address, endpoint.port), timeout=1).close()
        except OSError:
            time.sleep(0.1)
            continue
        webbrowser.open(endpoint.url)
        return


def _end(server: subprocess.Popen[bytes]) -> None:
    """Terminates the server if it is still running; Ctrl-C in a terminal has already reached it."""
    if server.poll() is not None:
        return
    server.terminate()
    try:
        server.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
