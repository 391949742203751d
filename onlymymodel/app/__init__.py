"""The local web page of `omm app`. Importing onlymymodel does not import it."""
