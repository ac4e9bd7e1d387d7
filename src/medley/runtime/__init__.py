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
    "plugins",
    "prefetch",
    "processes",
    "registry",
    "signals",
    "temporary",
    "text",
    "worker",
]
