"""Choosing sites by glob and kind."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from fnmatch import fnmatchcase

from stoic.network.sites import Kind, Site

__all__ = ["chosen_sites", "globs"]

_SHOWN = 5


def globs(text: str) -> list[str]:
    """Return the globs in a comma-separated text."""
    return [part.strip() for part in text.split(",") if part.strip()]


def chosen_sites(
    sites: Sequence[Site],
    *,
    include: str = "*",
    exclude: str = "",
    kinds: Sequence[Kind] = ("parameter",),
) -> tuple[Site, ...]:
    """Return the sites that some globs name, in order of depth.

    Args:
        sites: To choose from.
        include: Globs, comma-separated; each must name a site of the kinds.
        exclude: Globs of sites to leave out; each must name a site.
        kinds: What kinds of sites are meant.

    Raises:
        ValueError: A glob names nothing; near matches are listed.
    """
    of_kind = [site for site in sites if site.kind in kinds]
    wanted = _named(of_kind, sites, include, "sites", kinds)
    unwanted = _named(sites, sites, exclude, "excluded sites", kinds)
    left = tuple(site for site in of_kind if site in wanted and site not in unwanted)
    if not left:
        raise ValueError(
            f"sites must name at least 1 {' or '.join(kinds)}, got {include!r} "
            f"without {exclude!r}; choose other globs or another kind"
        )
    return left


def _named(
    among: Sequence[Site],
    all_sites: Sequence[Site],
    text: str,
    what: str,
    kinds: object,
) -> set[Site]:
    found: set[Site] = set()
    for glob in globs(text):
        named = {site for site in among if _matches(site, glob)}
        if not named:
            raise ValueError(
                f"{what} must match the network's, got {glob!r}; "
                f"{_hint(glob, among, all_sites)}"
            )
        found |= named
    return found


def _matches(site: Site, glob: str) -> bool:
    names = (site.name, *site.aliases)
    return any(fnmatchcase(name, glob) for name in names)


def _hint(glob: str, among: Sequence[Site], all_sites: Sequence[Site]) -> str:
    other = {site.kind for site in all_sites if _matches(site, glob)}
    if other:
        return f"it matches sites of kind {', '.join(sorted(other))} only: choose these"
    names = [site.name for site in among] or [site.name for site in all_sites]
    near = difflib.get_close_matches(glob.strip("*."), names, _SHOWN, cutoff=0.3)
    return f"near it: {', '.join(near or names[:_SHOWN])}"
