"""The PACS node: receives series, restores or predicts those that rules select, and sends the results."""

# The public modules; none is imported here, so that importing a package costs nothing.
__all__ = [
    "archives",
    "completion",
    "database",
    "delivery",
    "header",
    "incoming",
    "metrics",
    "network",
    "node",
    "pull",
    "queue",
    "receiver",
    "settings",
    "worker",
]
