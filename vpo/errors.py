"""The one exception that a user is meant to read."""


class UserError(Exception):
    """Bad input: the message is one line that says what is wrong, where, and the cure.

    The command line prints it without a traceback and exits with code 2; whatever was finished stays in the store.
    """
