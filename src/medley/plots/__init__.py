"""Every figure."""

# The public modules; none is imported here, so that importing a package costs nothing.
__all__ = [
    "charts",
    "choices",
    "contact",
    "figures",
    "heatmaps",
    "histograms",
    "panels",
    "phantom",
    "pictures",
    "scatter",
]
