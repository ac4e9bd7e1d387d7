"""Comparisons of methods: runs, statistics, reports."""

# The public modules; none is imported here, so that importing a package costs nothing.
__all__ = [
    "adapt",
    "adapt_card",
    "adapt_records",
    "calibrate",
    "compare",
    "curves",
    "interference",
    "interference_runs",
    "internals",
    "report",
    "report_tables",
    "step_time",
]
