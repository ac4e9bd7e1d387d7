"""The measures of `benchmarks.restoration_quality` and `benchmarks.good_scans`."""
