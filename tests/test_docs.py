"""README.md and docs/: their code runs, their commands parse, what they name exists."""

import configparser
import contextlib
import importlib
import io
import itertools
import os
import pathlib
import re
import shlex
import subprocess
import sys
import typing
from collections.abc import Sequence

import jax
import pytest

from zf_jax import cli, deconvnet
from zf_jax.transforms import capture

ROOT = pathlib.Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# What the recipes of models.md need and the package does not.
_OPTIONAL = ("equinox", "haiku", "keras", "safetensors", "timm", "torchax")
# Importing these takes seconds.
_HEAVY = ("keras", "timm", "torchax")
# Scripts that pass their flags on to `launch.train`.
_TRAINS = ("./launch/train_gpu.sh", "./launch/tpu_pod.sh")
# Commands of others.
_FOREIGN = ("git", "cat", ".", "tfds")

_FENCE = re.compile(
    r"^```(?P<language>\w+)\n(?P<fenced>.*?)^```$|^<!-- setup:.*?\n(?P<setup>.*?)^-->$",
    re.MULTILINE | re.DOTALL,
)


def _blocks(page: pathlib.Path, language: str) -> list[str]:
    """The code blocks of a page, and its hidden setups where they are Python."""
    found = []
    for match in _FENCE.finditer(page.read_text(encoding="utf-8")):
        if match["language"] == language:
            found.append(match["fenced"])
        elif match["setup"] is not None and language == "python":
            found.append(match["setup"])
    return found


_PATH = re.compile(r"`((?:zf_jax|experiments|benchmarks|launch|tests|docs)/[\w./]*)`")
_LINK = re.compile(r"\]\(([^)#:]+)(?:#[\w-]+)?\)")


def _of_page(value) -> str:
    """Names a test after its page and, where it has one, its command."""
    if isinstance(value, pathlib.Path):
        return value.stem
    return value if isinstance(value, str) else ""


_PYTHON = [(page, blocks) for page in PAGES if (blocks := _blocks(page, "python"))]


def _commands(page: pathlib.Path) -> list[str]:
    """The lines of a page's shell blocks, and the commands in its tables."""
    found = re.findall(r"\| `(python -m [^`]*)`", page.read_text(encoding="utf-8"))
    for block in _blocks(page, "sh"):
        found += block.replace("\\\n", " ").splitlines()
    return found


_COMMANDS = [(page, line) for page in PAGES for line in _commands(page)]


@pytest.mark.parametrize(("page", "blocks"), _PYTHON, ids=_of_page)
def test_python_runs(page, blocks, tmp_path, monkeypatch):
    """A page's blocks are one program, but for recipes of libraries not installed."""
    monkeypatch.chdir(tmp_path)
    _run(page, [block for block in blocks if not _uses(_HEAVY, block)])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("libraries", "function"),
    [(("keras",), "keras_fn"), (("torchax", "timm"), "torch_fn")],
)
def test_recipe_of_heavy_libraries_runs(libraries, function, tmp_path, monkeypatch):
    """With a projection of the last rectifier behind it."""
    if not all(map(_can_import, libraries)):
        pytest.skip(f"{libraries} cannot be imported")
    monkeypatch.chdir(tmp_path)
    page = ROOT / "docs" / "models.md"
    recipe = [b for b in _blocks(page, "python") if _uses(libraries, b)]
    with jax.numpy_rank_promotion("allow"):
        names = _run(page, ["import jax.numpy as jnp", *recipe])
        apply = names[function]
        images = jax.random.normal(jax.random.key(0), (2, 32, 32, 3))
        *_, layer = [
            each.name
            for each in capture.layers(apply, images)
            if each.operation == "relu"
        ]
        pixels = deconvnet.project(apply, images, layer=layer, channel=0)
    assert pixels.shape == images.shape


def _run(page: pathlib.Path, blocks: list[str]) -> dict:
    """What the blocks define."""
    names = {"__name__": page.stem}
    with contextlib.redirect_stdout(io.StringIO()):
        for block in blocks:
            used = [name for name in _OPTIONAL if _uses((name,), block)]
            if all(map(_can_import, used)):
                exec(compile(block, str(page), "exec"), names)
    return names


def _uses(libraries: Sequence[str], block: str) -> bool:
    return any(
        re.search(rf"^(import|from) {name}\b", block, re.MULTILINE)
        for name in libraries
    )


def _can_import(library: str) -> bool:
    if library == "keras":
        os.environ.setdefault("KERAS_BACKEND", "jax")
    try:
        importlib.import_module(library)
    except Exception:
        # Not installed, or beside a release of PyTorch that it does not know.
        return False
    return True


@pytest.mark.parametrize(("page", "line"), _COMMANDS, ids=_of_page)
def test_command_parses(page, line):
    for command in re.split(r"&&|\|", line):
        words = shlex.split(command, comments=True)
        if words:
            _check(words)


def _check(words: list[str]) -> None:
    program, *rest = words
    if program == "python" and rest[0] == "-m":
        _check_module(rest[1], rest[2:])
    elif program == "pip" and "-e" in rest:
        setup = configparser.ConfigParser()
        setup.read(ROOT / "setup.cfg")
        for extra in re.findall(r"\[(.*)\]", rest[-1])[0].split(","):
            assert extra in setup["options.extras_require"]
    elif program == "sbatch" or program in _TRAINS:
        flags = itertools.dropwhile(lambda word: not word.startswith("--spec"), rest)
        _check_module("launch.train", [*flags])
    elif program == "./launch/local_pod.sh":
        _check(rest[1:])
    elif program.startswith("./launch/"):
        assert (ROOT / program).exists()
        assert all((ROOT / word).exists() for word in rest if word.startswith("tests/"))
    else:
        assert program in (*_FOREIGN, "pip")


def _check_module(name: str, arguments: list[str]) -> None:
    """The module is a command, and its flags are those of its configuration."""
    try:
        module = importlib.import_module(f"{name}.__main__")
    except ModuleNotFoundError:
        module = importlib.import_module(name)
    if arguments == ["--help"]:
        return
    config_class, *_ = typing.get_type_hints(module.main).values()
    cli.config(config_class, arguments)


@pytest.mark.parametrize("page", PAGES, ids=_of_page)
def test_named_files_exist(page):
    text = page.read_text(encoding="utf-8")
    paths, links = set(_PATH.findall(text)), set(_LINK.findall(text))
    missing = {path for path in paths if not (ROOT / path).exists()}
    missing |= {link for link in links if not (page.parent / link).exists()}
    assert not missing


def test_every_deviation_is_listed():
    """Each file that marks a choice of its own is in the table, that many times."""
    table = (ROOT / "docs" / "deviations.md").read_text(encoding="utf-8")
    for folder in ("zf_jax", "experiments", "launch"):
        for path in (ROOT / folder).rglob("*.py"):
            marks = path.read_text(encoding="utf-8").count("Not in the paper")
            name = path.relative_to(ROOT)
            assert table.count(f"`{name}` |") == marks, name


@pytest.mark.slow
def test_site_builds(tmp_path):
    pytest.importorskip("mkdocs", reason="needs pip install -e '.[docs]'")
    build = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "--strict",
        "-d",
        tmp_path / "site",
    ]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "occlusion.sweep" in (tmp_path / "site" / "api.html").read_text()
