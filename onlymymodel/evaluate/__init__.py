"""Judging protected files: metrics, harness, report."""
