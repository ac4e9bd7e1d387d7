"""Files and folders, names, locks, signals, memory and threads."""

# The public modules; none is imported here, so that importing a package costs nothing.
__all__ = [
    "allocator",
    "atomic",
    "configuration",
    "extras",
    "guard",
    "limits",
    "locks",
    "memory",
    "names",
    "prefetch",
    "processes",
    "signals",
    "temporary",
    "text",
    "worker",
]
