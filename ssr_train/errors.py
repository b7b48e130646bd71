"""The one exception type whose message is meant for the person at the keyboard."""


class SsrError(ValueError):
    """Something the user gave is wrong. The message names what was wrong and what was expected.

    Every command line of the project prints the message as one line and exits with status 1;
    a library caller catches it as the ``ValueError`` that it is.
    """
