"""Evaluate protected files: harness, results, tables, reports, tuning and audits."""
