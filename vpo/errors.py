"""The exceptions that a user is meant to read."""

import errno

# What a disk says when it takes no more: never a property of the item that was being written. `vpo.storage.disk` tells whose
# fault it is.
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
DISK_ERRORS = (*DISK_FULL, errno.EACCES, errno.EROFS)


class Terminated(BaseException):
    """SIGTERM asked the run to end; the message says what became of the training that was running.

    Like KeyboardInterrupt it is no Exception: nothing on the way may take it for a failure and go on.
    """


class UserError(Exception):
    """Bad input: the message is one line that says what is wrong, where, and the cure.

    The command line prints it without a traceback and exits with code 2; whatever was finished stays in the store.
    """
