"""Adapters for other libraries; each is imported by those who use it, with the library."""
