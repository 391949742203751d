"""Tuning: search for the least visible budget that meets a target."""
