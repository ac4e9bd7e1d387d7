"""Studies to store, store to samples."""
