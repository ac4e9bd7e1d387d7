"""Scores of models on a store."""
