"""Protect photos: regions, faces, budgets, the attack, records, and whole folders."""
