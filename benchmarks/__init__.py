"""Speed and memory on this machine; see `benchmarks.speed` and `benchmarks.loader`."""
