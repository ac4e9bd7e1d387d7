"""Scores of models on stores, and their comparison."""
