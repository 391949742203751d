"""onlymymodel: one authorized model still reads the photo, unseen models do not, people see the same photo."""

__version__ = "0.1.0.dev0"
