"""Bundled tiny models, trained here on rendered portraits."""
