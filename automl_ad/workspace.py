"""The default folder of studies and caches; imports no third-party package, since the doctor command uses it."""

from __future__ import annotations

import os
from pathlib import Path

WORKSPACE_VARIABLE = "AUTOML_AD_WORKSPACE"
STORAGE_VARIABLE = "AUTOML_AD_STORAGE"
"""Passes the database URL between processes: unlike arguments, other users cannot read it."""
TOKEN_VARIABLE = "AUTOML_AD_DASHBOARD_TOKEN"
"""Passes the access token of a dashboard that is reachable from other machines."""
DEFAULT_WORKSPACE = "automl_ad_workspace"


def workspace_folder(given: str | Path | None) -> Path:
    """The given folder, else that of ``AUTOML_AD_WORKSPACE``, else the default in the current directory."""
    return Path(given or os.environ.get(WORKSPACE_VARIABLE) or DEFAULT_WORKSPACE).absolute()
