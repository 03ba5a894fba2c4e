"""Runs commands as a user does, for the tests of them."""

import contextlib
import importlib
import io
import pathlib
import re
import runpy
import signal
import sys
from typing import NamedTuple

import jax
import numpy as np
import pytest
from absl import app, flags
from PIL import Image

from zf_jax import spec
from zf_jax.layers import LRN, Conv, Dense, Dropout, Flatten, Layer, Pool, Relu

# A net that compiles in a second: 32 x 32 pixels; its third layer is called as the
# paper's last filtering layer, the default of `experiments.occlusion`.
SMALL = spec.Spec(
    "small",
    spec.Input(32, mean=(118.0, 116.0, 108.0), scale=1 / 64),
    (
        Layer("layer1", (Conv(6, 5, 2, 2), Relu(), Pool(3, 2, 1), LRN())),
        Layer("layer5", (Conv(8, 3, padding=1), Relu(), Pool())),
        Layer("layer6", (Flatten(), Dense(16), Relu(), Dropout())),
        Layer("layer8", (Dense(10),)),
    ),
)


class Ran(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def written(self):
        """The files that it says it wrote."""
        return [pathlib.Path(p) for p in re.findall(r"^wrote (.*)$", self.out, re.M)]


def forget():
    """Modules that define flags do so anew for every command."""
    for name in [
        n for n in sys.modules if re.match(r"(experiments\.|launch\.settings)", n)
    ]:
        module = sys.modules.pop(name)
        parent, _, child = name.rpartition(".")
        if parent in sys.modules and hasattr(sys.modules[parent], child):
            delattr(sys.modules[parent], child)
        del module


def command(module, *arguments):
    """Runs `python -m module` in this process: a fresh one takes seconds to start."""
    app.define_help_flags()
    known = set(flags.FLAGS)
    handlers = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
    kept = {
        name: getattr(jax.config, name)
        for name in ("jax_persistent_cache_min_compile_time_secs",)
    }
    out, err = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        path = importlib.util.find_spec(module).origin
        patch.setattr(sys, "argv", [path, *map(str, arguments)])
        patch.setitem(spec.NETS, "small", SMALL)
        forget()
        try:
            runpy.run_module(module, run_name="__main__")
            code = 0
        except SystemExit as exit_:
            code = exit_.code or 0
        finally:
            for name in set(flags.FLAGS) - known:
                delattr(flags.FLAGS, name)
            forget()
            flags.FLAGS.unparse_flags()
            for number, handler in handlers.items():
                signal.signal(number, handler)
            for name, value in kept.items():
                jax.config.update(name, value)
    return Ran(code, out.getvalue(), err.getvalue())


def assert_png(path):
    with Image.open(path) as opened:
        assert opened.format == "PNG"
        opened.load()
        assert min(opened.size) >= 100


def numbers_in(path):
    with np.load(path) as opened:
        return dict(opened)


def assert_one_line(ran, culprit):
    """A mistake: exit code, one line on stderr that names it, nothing claimed."""
    assert ran.code not in (0, None)
    assert len(ran.err.strip().splitlines()) == 1, ran.err
    assert culprit in ran.err
    assert "wrote" not in ran.out
