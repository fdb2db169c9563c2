"""The one kind of error that the programs tell their users about in a line, without a traceback."""


class UserError(ValueError):
    """Something the user can put right; the command line shows the message alone."""
