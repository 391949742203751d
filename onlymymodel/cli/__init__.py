"""The command line: flags, commands and printed output."""
