"""Monitors: knowing in the same inference that it went wrong, and why."""
