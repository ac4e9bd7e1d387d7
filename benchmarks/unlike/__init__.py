"""Inputs that do not belong to a network: foreign scans, phantoms, wrong units and noise."""
