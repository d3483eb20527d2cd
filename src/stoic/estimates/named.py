"""The tables of a run by the names that users give them."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, cast

from stoic.estimates.changed import MAY_KEEP, changed_share
from stoic.estimates.outcomes import outcome_shares
from stoic.estimates.parts import per_class, per_input
from stoic.estimates.population import By
from stoic.estimates.searched import is_searched
from stoic.estimates.tables import About, Row, pvf, worst_sites
from stoic.records import Run

__all__ = ["TABLES", "check_table", "has_table", "table"]

TABLES = {
    "network": "PVF of the whole fault space",
    "kind": "PVF by kind of site",
    "component": "PVF by module",
    "site": "PVF by tensor",
    "worst": "the ten sites with the highest PVF",
    "channel": "PVF by output channel",
    "bit": "PVF by position in the word",
    "role": "PVF by sign, exponent, mantissa, magnitude",
    "stratum": "PVF by stratum of the plan",
    "input": "vulnerability of each input",
    "class": "vulnerability by right class",
    "outcomes": "shares of masked, SDC, non-finite, crash and the others",
    "changed": "share of faults that change their word",
}

_PLACES = ("kind", "component", "site", "worst", "channel", "bit", "role")
_SINGLE_BIT = ("flip", "stuck-at")


def check_table(
    name: str,
    *,
    model: Mapping[str, Any],
    labelled: bool,
    rows: bool = False,
    about: About = "inputs",
    on_units: bool = False,
) -> None:
    """Refuse a table that a campaign does not give, before or after it has run.

    Args:
        name: Of the table.
        model: Fault model as manifests record it.
        labelled: Whether the inputs have labels that are classes.
        rows: Whether they have others, such as boxes.
        about: What the estimates are about.
        on_units: Whether trials are of a fault on one input or a few.

    Raises:
        ValueError: There is no such table, or not for this campaign.
    """
    if name not in TABLES:
        near = get_close_matches(name, TABLES, cutoff=0.5)
        hint = f"; near it: {', '.join(near)}" if near else ""
        raise ValueError(
            f"table must be one of {', '.join(TABLES)}, got {name!r}{hint}"
        )
    if name in _PLACES and model.get("several") is not None:
        raise ValueError(
            f"table {name} must have one fault per trial, got several at once; "
            "ask for network, outcomes, input or class"
        )
    if name in ("bit", "role") and model.get("name") not in _SINGLE_BIT:
        raise ValueError(
            f"table {name} must have faults of one bit each, got fault model "
            f"{model.get('name')}; ask for site or component"
        )
    if name in ("input", "class") and about == "population":
        raise ValueError(
            f"table {name} must be about these inputs, got about population; "
            "ask for it without"
        )
    if on_units and name in ("input", "class", "channel", "changed"):
        raise ValueError(
            f"table {name} must be of trials on all inputs, got some on one or a few; "
            "ask for site or bit, or give only a number of faults"
        )
    if name == "class" and not labelled:
        got = "rows such as boxes; ask for input" if rows else "none; give labels"
        raise ValueError(
            f"table class must have one right class per input as labels, got {got}"
        )
    if name == "changed" and model.get("name") not in MAY_KEEP:
        raise ValueError(
            "table changed must be about faults that may keep their word, got fault "
            f"model {model.get('name')}, which always changes it"
        )


def has_table(run: Run, name: str, about: About = "inputs") -> bool:
    """Say whether a run has a table of this name."""
    try:
        _check(run, name, about)
    except ValueError:
        return False
    return True


def table(
    run: Run, name: str, *, about: About = "inputs", with_nonfinite: bool = False
) -> tuple[Row, ...]:
    """Return a table of a run.

    Args:
        run: That was measured.
        name: One of `TABLES`.
        about: As for `stoic.estimates.pvf`.
        with_nonfinite: As for `stoic.estimates.outcome_shares`.

    Raises:
        ValueError: There is no such table, or not for this run.
    """
    _check(run, name, about)
    match name:
        case "outcomes":
            return outcome_shares(run, about=about, with_nonfinite=with_nonfinite)
        case "changed":
            return changed_share(run)
        case "worst":
            return worst_sites(run, about=about)
        case "input":
            return per_input(run)
        case "class":
            return per_class(run)
    # The names left are those of groupings.
    return pvf(run, cast("By", name), about=about)


def _check(run: Run, name: str, about: About) -> None:
    space, data = run.manifest.space, run.manifest.data
    check_table(
        name,
        model=space.fault_model,
        labelled=data.labelled,
        rows=data.rows,
        about=about,
        on_units=is_searched(run.manifest),
    )
