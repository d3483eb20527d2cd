"""What goes wrong when a case is loaded. No torch here: the command line catches it."""

__all__ = ["CaseError"]


class CaseError(ValueError):
    """A case cannot be had; the message says in one line what its user can do."""
