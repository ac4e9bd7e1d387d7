"""The one error a user is meant to read."""


class MedleyError(Exception):
    """Input that cannot be used, told in one sentence: which file, what was found, what was expected, what to do.

    The command line prints the message alone and exits with 1; every other exception is a fault of medley and keeps
    its traceback.
    """
