"""Audit of released weights: network inversion."""
