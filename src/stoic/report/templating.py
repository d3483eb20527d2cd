"""Templates filled with values: every name is untrusted and escaped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stoic.report.text import limits, percent, shortened

if TYPE_CHECKING:
    from markupsafe import Markup

__all__ = ["rendered"]


def rendered(template: str, **values: Any) -> str:
    """Return a page made of a template and what it shows."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    # Every name in a run is untrusted: nothing reaches the page unescaped but our CSS.
    environment = Environment(
        loader=PackageLoader("stoic.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "count": lambda number: f"{number:,}",
        "percent": percent,
        "limits": limits,
        "short": shortened,
        "breakable": _breakable,
        "tied": lambda text: text.replace(" %", "\u00a0%"),
    }
    return environment.get_template(template).render(**values)


def _breakable(text: str) -> Markup:
    """Let a dotted name break where a reader would break it."""
    from markupsafe import Markup

    # Joining escapes every part.
    return Markup(".<wbr>").join(text.split("."))
