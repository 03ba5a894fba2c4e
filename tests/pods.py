"""Several processes of one program on this machine, for tests."""

import os
import subprocess
import sys


def run(*command, processes=2, devices=2):
    """Runs a Python command as several processes of several CPU devices each.

    One process is started without a pod. What they print is in `stdout`.
    """
    pod = ["launch/local_pod.sh", str(processes)] if processes > 1 else []
    flag = "--xla_force_host_platform_device_count"
    return subprocess.run(
        [*pod, sys.executable, *map(str, command)],
        env=os.environ
        | {
            "JAX_PLATFORMS": "cpu",
            "PYTHONPATH": os.getcwd(),
            "XLA_FLAGS": f"{flag}={devices}",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
