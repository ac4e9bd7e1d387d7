"""Every figure."""

# The public modules; none is imported here, so that importing a package costs nothing.
__all__ = [
    "charts",
    "contact",
    "figures",
    "histograms",
    "panels",
    "phantom",
    "pictures",
]
