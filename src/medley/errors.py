"""The one error a user is meant to read, and the one warning."""


class MedleyError(Exception):
    """Input that cannot be used, told in one sentence: which file, what was found, what was expected, what to do.

    The command line prints the message alone and exits with 1; every other exception is a fault of medley and keeps
    its traceback.
    """


class MedleyNotice(UserWarning):
    """Something a user should know although the work goes on: what was found, and what was made of it.

    The command line prints it as a line; of all other warnings it shows none.
    """
