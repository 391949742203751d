"""The version of the package, which the build reads without importing torch."""

__version__ = "0.1.0.dev0"
