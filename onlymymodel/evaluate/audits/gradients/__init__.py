"""Audit of shared gradients: gradient inversion."""
