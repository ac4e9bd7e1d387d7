"""Files and folders, names, locks, signals, memory and threads."""
