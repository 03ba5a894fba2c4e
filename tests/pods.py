"""Several processes of one program on this machine, for tests."""

import os
import socket
import subprocess
import sys


def run(*command, processes=2, devices=2):
    """Runs a Python command as several processes of several CPU devices each.

    One process is started without a pod. What they print is in `stdout`.
    """
    pod = ["launch/local_pod.sh", str(processes)] if processes > 1 else []
    return subprocess.run(
        [*pod, sys.executable, *map(str, command)],
        env=_environment(devices),
        **_OUTPUT,
        timeout=300,
        check=False,
    )


def start(*command):
    """Two processes of a Python command, of a device each, which nobody looks after."""
    with socket.socket() as unused:
        unused.bind(("localhost", 0))
        port = unused.getsockname()[1]
    together = (f"--coordinator=localhost:{port}", "--num_processes=2")
    return [
        subprocess.Popen(
            [sys.executable, *map(str, command), *together, f"--process_id={number}"],
            env=_environment(1),
            **_OUTPUT,
        )
        for number in range(2)
    ]


_OUTPUT = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}


def _environment(devices):
    return os.environ | {
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": os.getcwd(),
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
    }
