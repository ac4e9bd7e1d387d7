"""The error and the warning whose messages are written for users."""


class MedleyError(Exception):
    """Input that cannot be used; the message is one sentence: which file, what was found, what is expected, what to do.

    The command line prints only the message and exits with 1. Any other exception is a bug in medley.
    """


class MedleyNotice(UserWarning):
    """A warning for users: what was found, and how medley handled it.

    The command line prints these warnings, one per line, and no others.
    """
