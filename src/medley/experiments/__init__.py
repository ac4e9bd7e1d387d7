"""Comparisons of methods: runs, statistics, reports."""
