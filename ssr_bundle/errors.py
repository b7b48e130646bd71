"""The exceptions whose message is meant for the person at the keyboard."""

import signal


class SsrError(ValueError):
    """Something the user gave is wrong. The message names what was wrong and what was expected.

    Every command line of the project prints the message as one line and exits with status 1;
    a library caller catches it as the ``ValueError`` that it is.
    """

    status = 1


class UsageError(SsrError):
    """An option or argument that cannot be meant, whatever is at hand."""

    status = 2


class Interrupted(SsrError):
    """Work was asked to stop by the signal ``number``, and what it had done is kept."""

    def __init__(self, message: str, number: int = signal.SIGINT) -> None:
        super().__init__(message)
        self.number = number
        self.status = 128 + number


def stopped_by(stop: KeyboardInterrupt | SystemExit) -> int:
    """The signal that raised ``stop``: SIGTERM, which :mod:`ssr_bundle.commandline` turns into SystemExit, or
    SIGINT."""
    return signal.SIGTERM if isinstance(stop, SystemExit) else signal.SIGINT
