"""Damaged images: skipped, named once, counted; too many of them stop a run."""

import warnings

from zf_jax.data.sources import Source
from zf_jax.errors import BadInput


class DamagedImages:
    """The damaged images that a process has met.

    Attributes:
      limit: how many images may be skipped.
    """

    def __init__(self, limit: int = 0):
        """Starts the count at none; with a limit of 0 the first image is refused."""
        self.limit, self._known = limit, set()

    def __len__(self) -> int:
        """How many different images were damaged."""
        return len(self._known)

    def add(self, source: Source, index: int, reason: str) -> None:
        """Counts a damaged image, unless it is known from an earlier epoch.

        Args:
          source: the split that it belongs to.
          index: its position in the split.
          reason: why it could not be read, in one line.

        Warns:
          UserWarning: the image is skipped.

        Raises:
          BadInput: it is one more than the limit.
        """
        image = source.name, source.split, int(index)
        if image in self._known:
            return
        self._known.add(image)
        what = f"dataset {source.name!r}: image {index} of {source.split} is damaged"
        if len(self) <= self.limit:
            warnings.warn(f"{what} and skipped: {reason}", stacklevel=2)
        elif self.limit:
            raise BadInput(
                f"{what}, as are {self.limit} before it: {reason}; prepare the data "
                f"set again, or skip more than --max_damaged={self.limit}"
            )
        else:
            raise BadInput(f"{what}: {reason}; prepare the data set again")
