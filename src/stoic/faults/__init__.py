"""Number formats, fault models and fault spaces: how, times where."""

__all__: list[str] = []
