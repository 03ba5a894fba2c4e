"""The exception for a caller's mistake."""


class BadInput(ValueError):
    """An argument, flag or file that cannot be used.

    The message is one line that names the culprit (the flag, file, layer or array) and
    what would be right; the commands print it without a traceback.
    """
