"""Running campaigns: trials in, facts out, stopped and resumed at any moment."""

__all__: list[str] = []
