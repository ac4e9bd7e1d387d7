"""Speed and memory on this machine, see `benchmarks.speed` and `benchmarks.loader`; what restorers do to scans, see
`benchmarks.restoration_quality`.
"""
