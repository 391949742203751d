"""The one error that users are meant to read."""


class UserError(Exception):
    """Something the user can put right (a flag, a file, a model name): one clear sentence, exit code 2."""
