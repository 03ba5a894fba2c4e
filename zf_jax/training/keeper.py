"""When a run is saved, and when it ends: what several hosts must agree on."""

import time
from collections.abc import Callable

from zf_jax import hosts
from zf_jax.training import checkpoint
from zf_jax.training.divergence import LossMonitor
from zf_jax.training.step import State


class Stopped(Exception):
    """A run was asked to end before its last epoch, and is saved."""


class Keeper:
    """Saves a run when it is time to, and ends it when that is asked for."""

    def __init__(
        self,
        store: checkpoint.Store,
        monitor: LossMonitor,
        stop: Callable[[], bool],
        save_minutes: float,
    ):
        """Starts the clock.

        Args:
          store: of the run's checkpoints.
          monitor: is asked whether a state is good before it is saved.
          stop: whether this process was asked to end.
          save_minutes: between two checkpoints.
        """
        self._store, self._monitor = store, monitor
        self._stop, self._minutes = stop, save_minutes
        self._saved = time.monotonic()

    def save(self, state: State) -> None:
        """Saves a state, on all hosts at the same step.

        Raises:
          BadInput: the run diverged, or the checkpoint could not be written.
        """
        hosts.on_primary(lambda: self._save(state))
        self._monitor.saved(state)

    def stop_if_asked(self, state: State) -> None:
        """Saves where that is due. All hosts call it equally often.

        Raises:
          Stopped: one of the hosts was asked to stop; the state is saved.
          BadInput: as `save`.
        """
        if hosts.stop_agreed(self._stop()):
            self.save(state)
            raise Stopped
        due = time.monotonic() - self._saved > 60 * self._minutes
        if due and hosts.is_primary():
            # Not agreed with the others, which go on: their clocks are their own.
            self._save(state)
            self._monitor.saved(state)

    def _save(self, state: State) -> None:
        self._monitor.check_weights(state)
        self._store.save(state)
        self._saved = time.monotonic()
