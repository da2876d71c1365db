"""Rows of a ranked table, made up."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

from automl_ad.reporting.trial_table import TrialRow

START = datetime(2026, 1, 2, 8, tzinfo=timezone.utc)


def made_row(number: int, score: float | None = 0.9, **given: Any) -> TrialRow:
    """A complete trial of ten seconds, one a quarter of a minute."""
    begun = START + timedelta(seconds=15 * number)
    usual = {
        "advantage": 0.0,
        "state": "complete",
        "method": "padim",
        "backbone": "embedded",
        "proxy_score": score,
        "interval": None if score is None else (score - 0.02, score + 0.02),
        "latency_ms": 10.0,
        "size_mb": 4.0,
        "started_at": begun,
        "ended_at": begun + timedelta(seconds=10),
        "worker": "bench:1",
        "default": number == 0,
    }
    return TrialRow(**(usual | {"number": number} | given))
