"""One file for each known way in which data sets lie on disk."""
