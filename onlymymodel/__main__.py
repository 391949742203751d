"""`python -m onlymymodel` is `omm`."""

from onlymymodel.cli import entry

entry()
