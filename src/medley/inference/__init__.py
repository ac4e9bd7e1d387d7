"""Trained networks applied to scans."""
