"""Where what is fetched for a case lies."""

import os
from pathlib import Path

__all__ = ["cache_folder"]


def cache_folder() -> Path:
    """Return where fetched files lie: ``STOIC_CACHE``, or ``~/.cache/stoic``."""
    chosen = os.environ.get("STOIC_CACHE")
    return Path(chosen) if chosen else Path.home() / ".cache" / "stoic"
