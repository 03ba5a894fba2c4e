"""Runs commands in this process, and what the tests of them share."""

import contextlib
import importlib
import io
import pathlib
import re
from typing import NamedTuple

import jax
import numpy as np
import pytest
from PIL import Image

from experiments.common import model
from zf_jax import cli, convnet, spec
from zf_jax import model as models
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
    """What a command left: its exit code, and what it printed."""

    code: int
    out: str
    err: str

    @property
    def written(self):
        """The files that it says it wrote."""
        return [pathlib.Path(p) for p in re.findall(r"^wrote (.*)$", self.out, re.M)]


def command(module, *arguments, fails=False):
    """Runs `python -m module` in this process: a fresh one takes seconds to start.

    It must succeed, or fail where `fails`.
    """
    name = f"{module}.__main__" if _is_folder(module) else module
    main = importlib.import_module(name).main
    out, err = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        patch.setitem(spec.NETS, "small", SMALL)
        code = cli.call(main, [*map(str, arguments)], module.rpartition(".")[2])
    assert bool(code) == fails, err.getvalue()
    return Ran(code, out.getvalue(), err.getvalue())


def _is_folder(module):
    return importlib.util.find_spec(module).submodule_search_locations is not None


def train(data, workdir, *more, net="small"):
    """Trains a small net on `creatures_dir`, six steps an epoch; its workdir."""
    command(
        "launch.train",
        f"--spec={net}",
        "--batch_size=16",
        "--learning_rate=0.02",
        "--init=he",
        "--dataset=creatures/64",
        f"--data_dir={data}",
        f"--workdir={workdir}",
        *more,
    )
    return workdir


def untrained(net):
    """A `LoadedModel` of a Spec, its weights at random."""
    images = np.zeros((1, *net.input.size, net.input.channels), np.float32)
    params = convnet.ConvNet(net).init(jax.random.key(0), images)["params"]
    return model.LoadedModel(models.of_spec(net, params), 0, net.input.size)


def assert_png(path):
    """The file is a PNG of more than a few pixels."""
    with Image.open(path) as opened:
        assert opened.format == "PNG"
        opened.load()
        assert min(opened.size) >= 100


def numbers_in(path):
    """The arrays of an .npz file."""
    with np.load(path) as opened:
        return dict(opened)


def assert_one_line(ran, culprit):
    """A mistake is one line on stderr that names it, and nothing is claimed."""
    assert len(ran.err.strip().splitlines()) == 1, ran.err
    assert culprit in ran.err
    assert "wrote" not in ran.out
