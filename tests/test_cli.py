"""Commands: flags from dataclasses, and what a user reads when something is wrong."""

import dataclasses
import pathlib
import signal
import subprocess
import sys
import textwrap

import pytest

from zf_jax import cli
from zf_jax.errors import BadInput


@dataclasses.dataclass(frozen=True)
class Model:
    checkpoint: pathlib.Path | None = cli.field(None, "a workdir", required=True)
    rule: str = cli.field("deconvnet", "of ReLU", choices=["deconvnet", "guided"])


@dataclasses.dataclass(frozen=True)
class Config:
    model: Model = Model()
    k: int = cli.field(9, "images a channel", minimum=1, maximum=100)
    fill: float | None = cli.field(None, "of the occluder")
    channels: tuple[int, ...] = cli.field((1, 2), "which", minimum=0, formerly="maps")
    layers: tuple[str, ...] | None = cli.field(None, "which")
    strict: bool = cli.field(False, "whether a warning is an error")


def build(*arguments):
    return cli.config(Config, ["--checkpoint=run", *arguments])


def test_defaults():
    run = pathlib.Path("run")
    assert build() == Config(Model(run))
    assert dataclasses.is_dataclass(build().model)


def test_every_type_of_field():
    given = ["--rule=guided", "--k=3", "--fill=0.5", "--layers=a,b", "--strict"]
    found = build(*given, "--channels=4,0")
    model = Model(pathlib.Path("run"), "guided")
    assert found == Config(model, 3, 0.5, (4, 0), ("a", "b"), True)
    assert not build("--nostrict").strict
    assert build("--channels=").channels == ()


def test_a_path_in_the_home_folder(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ada")
    found = cli.config(Config, ["--checkpoint=~/run"])
    assert found.model.checkpoint == pathlib.Path("/home/ada/run")


def line(capsys, main, *arguments):
    """The one line on stderr of a command that a user has used wrongly."""
    assert cli.call(main, arguments, "draw") == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    (found,) = printed.err.splitlines()
    assert found.startswith("draw: ")
    return found


def never(config: Config) -> list[pathlib.Path]:
    raise AssertionError("main ran")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--k=0"], "--k=0"),
        (["--k=101"], "--k=101"),
        (["--k=many"], "--k=many"),
        (["--fill=nan"], "--fill=nan: give a number"),
        (["--rule=sideways"], "<deconvnet|guided>"),
        (["--channels=1,two"], "--channels=1,two: give numbers, as 1,2,5"),
        (["--channels=3,-1"], "--channels=3,-1: -1 is below 0"),
        (["--ruel=guided"], "rule"),
        (["--maps=1,2"], "--maps: this flag is now --channels"),
        (["guided"], "guided: not a flag; write --flag=value"),
    ],
)
def test_refuses(capsys, arguments, message):
    assert message in line(capsys, never, "--checkpoint=run", *arguments)


def test_a_required_flag(capsys):
    assert "--checkpoint: must be given" in line(capsys, never)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (BadInput("layer9: there are layer1, layer2"), "layer9: there are"),
        (FileNotFoundError(2, "No such file", "a.png"), "a.png: No such file"),
    ],
)
def test_an_error_is_one_line(capsys, error, message):
    def main(config: Config) -> list[pathlib.Path]:
        raise error

    assert message in line(capsys, main, "--checkpoint=run")


def test_an_error_of_the_program_keeps_its_traceback():
    def main(config: Config) -> list[pathlib.Path]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        cli.call(main, ["--checkpoint=run"])


def test_what_was_written_is_listed(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def main(config: Config) -> list[pathlib.Path]:
        return [tmp_path / "figures" / "a.png"]

    assert cli.call(main, ["--checkpoint=run"]) == 0
    assert capsys.readouterr().out == "wrote figures/a.png\n"


def test_an_interrupt(capsys):
    def main(config: Config) -> list[pathlib.Path]:
        raise KeyboardInterrupt

    assert cli.call(main, ["--checkpoint=run"], "draw") == 130
    assert capsys.readouterr().err == "draw: interrupted\n"


INTERRUPTED = """
    import dataclasses, os, pathlib, signal
    from zf_jax import cli

    @dataclasses.dataclass(frozen=True)
    class Config:
        how: str = cli.field("swallowed", "what becomes of the interrupt")

    class Finalizer:
        def __del__(self):
            # An exception in here is swallowed, as in a callback of JAX's.
            os.kill(os.getpid(), signal.SIGTERM)

    def main(config: Config) -> list[pathlib.Path]:
        bar = cli.progress(total=3)
        if config.how == "wrapped":
            try:
                os.kill(os.getpid(), signal.SIGINT)
            except KeyboardInterrupt:
                raise RuntimeError("of a library")
        Finalizer()
        for _ in range(3):
            bar.update()
        return [pathlib.Path("the end")]

    cli.run(main)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "number"), [("swallowed", signal.SIGTERM), ("wrapped", signal.SIGINT)]
)
def test_an_interrupt_that_something_catches(tmp_path, how, number):
    program = tmp_path / "draw.py"
    program.write_text(textwrap.dedent(INTERRUPTED))
    ran = subprocess.run(
        [sys.executable, str(program), f"--how={how}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 128 + number
    assert ran.stdout == ""
    assert ran.stderr.splitlines()[-1] == "draw: interrupted"
    assert "Traceback" not in ran.stderr


def test_training_alone_multiplies_in_less_than_float32():
    # Every command of the probes does so in float32, on GPUs and TPUs alike.
    root = pathlib.Path(__file__).parents[1]
    folders = ("benchmarks", "experiments", "launch")
    files = [path for folder in folders for path in (root / folder).rglob("*.py")]
    commands = {path: path.read_text() for path in files}
    commands = {path: text for path, text in commands.items() if "cli.run(" in text}
    assert len(commands) > 10
    inexact = [path for path, text in commands.items() if "exact=False" in text]
    assert inexact == [root / "launch" / "train.py"]
