"""Audit of the intermediate outputs of a network: representation inversion and membership inference, by layer."""
