"""Presets: run files that are bundled with the package."""
