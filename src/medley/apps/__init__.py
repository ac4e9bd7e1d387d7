"""The command line."""

# The public modules; none is imported here, so that importing a package costs nothing.
__all__ = [
    "adapt",
    "calibrate",
    "check",
    "cli",
    "compare",
    "convert",
    "degrade",
    "demo",
    "describe",
    "doctor",
    "evaluate",
    "export",
    "inspect",
    "interference",
    "jobs",
    "listing",
    "pacs",
    "predict",
    "predict_files",
    "report_scores",
    "research",
    "restore",
]
