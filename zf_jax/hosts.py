"""Several processes as one program: how they find each other, agree and share.

A process is one host, or one accelerator of it where a scheduler starts one process an
accelerator. Every function here does the plain thing where there is one process.
"""

import ctypes
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import Any, NoReturn

import jax
import numpy as np
from jax.experimental import multihost_utils

from zf_jax.errors import BadInput

# Seconds without a sign of life after which a process is taken for lost; JAX then ends
# all others.
_HEARTBEAT_TIMEOUT = 30
# Seconds that the processes wait for each other at the start.
_START_TIMEOUT = 300
# Seconds that processes wait at the end: the first may draw for long.
_END_TIMEOUT = 24 * 3600
# What `on_primary` tells the others.
_NOTHING, _ARRAYS, _REFUSED = range(3)

# The preemption service's handler of SIGTERM, and whether it was called.
_notify_preemption_service: Callable[[int], None] | None = None
_passed_on = False
# Calls of `stop_agreed`: the service compares these numbers between processes.
_polls = 0


def initialize(
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
) -> None:
    """Joins the other processes; to be called before JAX computes anything.

    Without arguments this process stays alone, unless SLURM, Open MPI, Kubernetes or
    Cloud TPU started several.

    Args:
      coordinator: HOST:PORT of process 0; "none" stays alone in any case.
      num_processes: of the whole program; a scheduler may know it.
      process_id: of this process, from 0; a scheduler may know it.

    Raises:
      BadInput: arguments that do not fit together, or process 0 is not within reach.
    """
    given = (coordinator, num_processes, process_id)
    if coordinator == "none" or jax.distributed.is_initialized():
        return
    if given == (None, None, None) and not _scheduled():
        return
    _check(*given)
    if coordinator and process_id:
        _wait_for(coordinator)
    handler = signal.getsignal(signal.SIGTERM)
    try:
        jax.distributed.initialize(
            *given,
            heartbeat_timeout_seconds=_HEARTBEAT_TIMEOUT,
            initialization_timeout=_START_TIMEOUT,
            shutdown_timeout_seconds=_END_TIMEOUT,
        )
    except (ValueError, RuntimeError) as error:
        if given == (None, None, None) and not _several_announced():
            # A machine with TPUs that are no part of a cluster.
            return
        raise BadInput(
            f"--coordinator={coordinator or ''}: the processes did not find each other "
            f"({' '.join(str(error).split())[:200]}); give --coordinator=HOST:PORT, "
            "--num_processes and --process_id, or --coordinator=none for one process"
        ) from error
    _keep_preemption_handler()
    signal.signal(signal.SIGTERM, handler)


def is_primary() -> bool:
    """Whether this process is the one that writes files and shows progress."""
    return jax.process_index() == 0


def stop_agreed(asked: bool) -> bool:
    """Whether all processes stop here, as a signal asked one of them to.

    Every process must call it equally often: JAX's preemption service picks the first
    call that none of them has made yet.

    Args:
      asked: whether this process was asked to stop.
    """
    global _passed_on, _polls
    if jax.process_count() == 1:
        return asked
    if asked and not _passed_on:
        _passed_on = True
        _notify_preemption_service(signal.SIGTERM)
    _polls += 1
    return multihost_utils.reached_preemption_sync_point(_polls)


def on_primary(function: Callable[[], Any], like: Any = None) -> Any:
    """What process 0 gets from a function that it alone calls, on every process.

    Args:
      function: to call, for example one that touches the disk.
      like: a pytree of the shapes and dtypes that the function returns, if it returns
        arrays. It may return None instead.

    Returns:
      The pytree, on several processes with NumPy arrays; or None.

    Raises:
      BadInput: on every process, where the function raised it.
    """
    if jax.process_count() == 1:
        return function()
    told, refusal = b"", None
    if is_primary():
        try:
            result = function()
            told = _to_bytes(result if like is not None else None)
        except BadInput as error:
            refusal = error
            told = bytes([_REFUSED]) + str(error).encode()
    told = _broadcast(told)
    if told[0] == _REFUSED:
        raise refusal or BadInput(told[1:].decode())
    return _from_bytes(told[1:], like) if told[0] == _ARRAYS else None


def leave(code: int) -> NoReturn:
    """Ends this process at once, without waiting for the others: they are to notice."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _scheduled() -> bool:
    """Whether JAX may find a cluster here."""
    # A CPU process beside the TPUs of a host is none of the cluster's.
    on_tpu = os.path.exists("/dev/accel0") or os.path.exists("/dev/vfio/0")
    return _several_announced() or (on_tpu and jax.config.jax_platforms != "cpu")


def _several_announced() -> bool:
    """Whether a scheduler says that it started several processes."""
    named = os.environ
    if "SLURM_STEP_NODELIST" in named and "SLURM_PROCID" in named:
        return int(named.get("SLURM_STEP_NUM_TASKS", named["SLURM_NTASKS"])) > 1
    if "KUBERNETES_SERVICE_HOST" in named and "JOB_COMPLETION_INDEX" in named:
        return True
    hosts = named.get("TPU_PROCESS_ADDRESSES", named.get("TPU_WORKER_HOSTNAMES", ""))
    return int(named.get("OMPI_COMM_WORLD_SIZE", 1)) > 1 or "," in hosts


def _check(
    coordinator: str | None, num_processes: int | None, process_id: int | None
) -> None:
    """Raises BadInput for arguments that do not fit together."""
    _, colon, port = (coordinator or "").rpartition(":")
    if coordinator and not (colon and port.isdigit()):
        raise BadInput(f"--coordinator={coordinator}: give HOST:PORT, as node1:8476")
    if not _several_announced():
        flags = {
            "coordinator": coordinator,
            "num_processes": num_processes,
            "process_id": process_id,
        }
        for name, value in flags.items():
            if value is None:
                raise BadInput(
                    f"--{name}: must be given; --coordinator, --num_processes and "
                    "--process_id go together where no scheduler tells them"
                )
    if None not in (num_processes, process_id) and process_id >= num_processes:
        raise BadInput(
            f"--process_id={process_id}: of {num_processes} processes the last is "
            f"{num_processes - 1}"
        )


def _wait_for(coordinator: str) -> None:
    """Waits until process 0 listens: JAX would end this process without a word."""
    host, _, port = coordinator.rpartition(":")
    given_up = time.monotonic() + _START_TIMEOUT
    while True:
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
            return
        except OSError as error:
            if time.monotonic() > given_up:
                raise BadInput(
                    f"--coordinator={coordinator}: process 0 is not within reach "
                    f"({error}); start it, or open that port"
                ) from None
            time.sleep(0.5)


def _keep_preemption_handler() -> None:
    """Keeps XLA's handler of SIGTERM, so that ours can pass the notice on.

    JAX has no other way to notify its preemption service.
    """
    global _notify_preemption_service
    ask = ctypes.pythonapi.PyOS_getsig
    ask.argtypes, ask.restype = [ctypes.c_int], ctypes.c_void_p
    handler = ctypes.CFUNCTYPE(None, ctypes.c_int)
    _notify_preemption_service = handler(ask(signal.SIGTERM))


def _to_bytes(result: Any) -> bytes:
    if result is None:
        return bytes([_NOTHING])
    leaves = [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(result)]
    return b"".join([bytes([_ARRAYS]), *leaves])


def _from_bytes(told: bytes, like: Any) -> Any:
    leaves, tree = jax.tree.flatten(like)
    found, start = [], 0
    for leaf in leaves:
        count = int(np.prod(leaf.shape))
        part = np.frombuffer(told, leaf.dtype, count, start).reshape(leaf.shape)
        found.append(part)
        start += part.nbytes
    return jax.tree.unflatten(tree, found)


def _broadcast(told: bytes) -> bytes:
    """Process 0's bytes: arrays as such would lose the sign of -0.0 in a sum."""
    length = int(multihost_utils.broadcast_one_to_all(np.uint32(len(told))))
    words = np.zeros(-(-length // 4), np.uint32)
    if is_primary():
        words = np.frombuffer(told.ljust(4 * len(words), b"\0"), np.uint32)
    return multihost_utils.broadcast_one_to_all(words).tobytes()[:length]
