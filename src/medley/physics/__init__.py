"""How good scans become bad ones."""
