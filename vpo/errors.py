"""The one exception that a user is meant to read."""

import errno

# What a disk says when it takes no more: never a property of the item that was being written.
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS)


class UserError(Exception):
    """Bad input: the message is one line that says what is wrong, where, and the cure.

    The command line prints it without a traceback and exits with code 2; whatever was finished stays in the store.
    """
