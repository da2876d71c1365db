"""Where studies and caches are kept when nothing else is said; imports no package, for the doctor asks here too."""

from __future__ import annotations

import os
from pathlib import Path

WORKSPACE_VARIABLE = "AUTOML_AD_WORKSPACE"
STORAGE_VARIABLE = "AUTOML_AD_STORAGE"
"""Carries the database URL from process to process: unlike arguments, other users cannot read it."""
TOKEN_VARIABLE = "AUTOML_AD_DASHBOARD_TOKEN"
"""Carries what readers of a dashboard that others can reach must know."""
DEFAULT_WORKSPACE = "automl_ad_workspace"


def workspace_folder(given: str | Path | None) -> Path:
    """The workspace given, else that of ``AUTOML_AD_WORKSPACE``, else the default below the present folder."""
    return Path(given or os.environ.get(WORKSPACE_VARIABLE) or DEFAULT_WORKSPACE).absolute()
