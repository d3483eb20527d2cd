"""From words of ``stoic causes`` to the failures that are asked about."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stoic.cli.output import chat

if TYPE_CHECKING:
    from stoic.causes.failures import Inquiry

__all__ = ["asked", "check_heard"]


def check_heard(option: str, there: bool, given: Mapping[str, object]) -> None:
    """Refuse what changes nothing without another option."""
    for name, value in given.items():
        if value and not there:
            raise ValueError(
                f"{name} must come with {option}, got it alone; give both or none"
            )


def asked(
    case: str,
    failures: int,
    seed: int,
    *,
    images: Path | None,
    strict: bool,
    kept: Path | None = None,
    **which: Any,
) -> Inquiry:
    """Return failures of a case, or among images of one's own.

    Args:
        case: Which.
        failures: How many.
        seed: Chooses them.
        images: Folder of one's own.
        strict: Refuse files that cannot be read.
        kept: Folder to keep failures of a built-in case in.
        which: What they are, and the file of the monitor.
    """
    from stoic.cases import failing, load
    from stoic.cases.folder import with_images
    from stoic.cases.origins import failing_of

    if images is None:
        return failing(case, failures, seed, kept=kept, **which)
    own = with_images(load(case), images, strict=strict, notice=chat)
    return failing_of(own, failures, seed, **which)
