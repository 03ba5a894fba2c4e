"""The one exception for a caller's mistake."""


class BadInput(ValueError):
    """What the caller gave cannot be used.

    The message is one line that names the culprit (the flag, file, layer or array)
    and what would be right; the scripts print it without a traceback.
    """
