"""Run the command line by `python -m onlymymodel`."""

from onlymymodel.cli.main import entry

entry()
