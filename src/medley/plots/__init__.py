"""Every figure."""

# The public modules; none is imported here, so that importing a package costs nothing.
__all__ = [
    "charts",
    "contact",
    "figures",
    "heatmaps",
    "histograms",
    "maps",
    "panels",
    "phantom",
    "pictures",
    "scatter",
]
