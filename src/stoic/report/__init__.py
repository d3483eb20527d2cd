"""Reports: a run folder made into one HTML file that opens offline; no torch."""

from stoic.report.page import write_report

__all__ = ["write_report"]
