"""Commands: a frozen dataclass becomes absl flags, a user's mistake one line.

    @dataclasses.dataclass(frozen=True)
    class Config:
        model: ModelConfig = ModelConfig()  # nested: its fields are flags as well
        k: int = cli.field(9, "images a channel", minimum=1)

    def main(config: Config) -> list[pathlib.Path]:
        '''Does the work; returns the files it wrote.'''

    if __name__ == "__main__":
        cli.run(main)

No other module defines or reads a flag. Tests call `main(Config(...))`, or `call` with
the arguments of a command line.
"""

import dataclasses
import functools
import math
import os
import pathlib
import signal
import sys
import traceback
import types
import typing
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import jax
from absl import app, flags, logging
from tqdm import tqdm

from zf_jax import hosts, interrupts, xla
from zf_jax.errors import BadInput

Main = Callable[[Any], Iterable[pathlib.Path]]

_DEFINE = {
    bool: flags.DEFINE_boolean,
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    str: flags.DEFINE_string,
    pathlib.Path: flags.DEFINE_string,
}
# Bars that are in use: they are closed before an error is printed, not after it.
_bars = weakref.WeakSet()


def field(
    default,
    help: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: Sequence[str] | None = None,
    required: bool = False,
    formerly: str | None = None,
):
    """A field of a configuration, which becomes the flag of its name.

    Types: bool, int, float, str, pathlib.Path (a leading ~ is expanded), any of them or
    None, and tuple[str, ...] or tuple[int, ...], which the flag takes as a,b,c.

    Args:
      default: its value where the flag is not given.
      help: for --help, in the words of the flag's user.
      minimum: the least value, of each number in a tuple too.
      maximum: the largest.
      choices: the only values.
      required: the flag must be given.
      formerly: an older name of the flag, which is answered with the new one.
    """
    metadata = {
        "help": help,
        "minimum": minimum,
        "maximum": maximum,
        "choices": choices,
        "required": required,
        "formerly": formerly,
    }
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True)
class HostsConfig:
    """How several processes, one a host or an accelerator, become one program."""

    coordinator: str | None = field(
        None,
        "HOST:PORT of process 0; unset, SLURM, Cloud TPU, Open MPI or Kubernetes tell; "
        "none: this process alone",
    )
    num_processes: int | None = field(None, "processes of the program", minimum=1)
    process_id: int | None = field(None, "of this process, from 0", minimum=0)

    def initialize(self) -> None:
        """Joins the other processes; the first line of a command's `main`.

        Raises:
          BadInput: as `hosts.initialize`.
        """
        hosts.initialize(self.coordinator, self.num_processes, self.process_id)


def run(main: Main, *, exact: bool = True) -> None:
    """Runs a command: the last line of its file.

    Args:
      main: takes a configuration, which its annotation names, and returns the files
        that it wrote.
      exact: multiplies float32 as float32 on a GPU and a TPU too, unless the user's
        JAX_DEFAULT_MATMUL_PRECISION says otherwise.
    """
    xla.set_flags()
    # An error that a library logs is raised as well; its log is a traceback.
    logging.set_verbosity(logging.FATAL)
    # A line for users, without the file and the code that warned.
    warnings.formatwarning = lambda message, *_, **__: f"{message}\n"
    # absl's --help shows the flags of the module that it takes for the program.
    _define(_config_class(main), flags.FLAGS, sys.argv[0])
    interrupts.install(_name(sys.argv[0]))

    def started(arguments: list[str]) -> int:
        _keep_compilations()
        if exact:
            _multiply_in_float32()
        try:
            code = _finish(main, arguments, flags.FLAGS)
        except Exception:
            if not jax.distributed.is_initialized():
                raise
            traceback.print_exc()
            print(
                f"{_name(arguments[0])}: process {jax.process_index()} of "
                f"{jax.process_count()} ended; if another ended before it, the cause "
                "is in that one's output",
                file=sys.stderr,
            )
            code = 1
        if code:
            # XLA's threads may still compute: Python's own end would crash beside them.
            # Other hosts wait for this one: its end tells them, JAX's would wait, too.
            # So would Python's for a thread that reads from a disk that hangs.
            hosts.leave(code)
        return code

    app.run(started, flags_parser=functools.partial(_parse, main, flags.FLAGS))


def call(main: Main, arguments: Sequence[str], name: str = "command") -> int:
    """Runs a command in this process, as a test does; its exit code.

    Args:
      main: as in `run`.
      arguments: as on the command line, without the program's name.
      name: of the command, in front of its errors.
    """
    values = flags.FlagValues()
    _define(_config_class(main), values, name)
    try:
        rest = _parse(main, values, [name, *arguments])
        return _finish(main, rest, values)
    except SystemExit as end:
        return end.code or 0


def config(config_class: type, arguments: Sequence[str] = ()) -> Any:
    """The configuration that a command line without mistakes describes."""
    values = flags.FlagValues()
    _define(config_class, values, "command")
    values(["command", *arguments])
    return _build(config_class, values)


def progress(iterable: Iterable | None = None, **settings) -> tqdm:
    """A progress bar with rate and time left; rare lines where nobody watches."""
    watched = sys.stderr.isatty()
    bar = _Bar(
        iterable,
        dynamic_ncols=watched,
        mininterval=0.1 if watched else 10.0,
        disable=jax.process_index() > 0,
        **settings,
    )
    _bars.add(bar)
    return bar


class _Bar(tqdm):
    """Looks for signals: a callback of JAX's may have swallowed the interrupt."""

    def __iter__(self) -> Iterator:
        for each in super().__iter__():
            interrupts.raise_if_received()
            yield each

    def update(self, n: float | None = 1) -> bool | None:
        interrupts.raise_if_received()
        return super().update(n)


def _finish(main: Main, arguments: list[str], values: flags.FlagValues) -> int:
    """Runs `main`; a user's mistake, a file's error or an interrupt is one line."""
    name = _name(arguments[0])
    try:
        for path in main(_build(_config_class(main), values)):
            print(f"wrote {os.path.relpath(path)}")
        return 0
    except (Exception, KeyboardInterrupt) as error:
        number = interrupts.received()
        if number or isinstance(error, KeyboardInterrupt):
            # What an interrupt breaks off may end in an error of its own.
            message, code = "interrupted", 128 + (number or signal.SIGINT)
        elif isinstance(error, BadInput):
            message, code = str(error), 2
        elif isinstance(error, OSError):
            # A folder that cannot be made, a full disk: the file is what matters.
            culprit = f"{error.filename}: " if error.filename else ""
            message, code = f"{culprit}{error.strerror or error}", 2
        else:
            raise
        for bar in tuple(_bars):
            bar.close()
        print(f"{name}: {message}", file=sys.stderr)
        return code


def _name(program: str) -> str:
    """Of a command: its file's, or its folder's."""
    path = pathlib.Path(program)
    return path.parent.name if path.stem == "__main__" else path.stem


def _config_class(main: Main) -> type:
    first, *_ = typing.get_type_hints(main).values()
    return first


def _fields(
    config_class: type, defaults: Any = None
) -> Iterator[tuple[dataclasses.Field, Any, Any]]:
    """The fields that are flags, with their types and defaults; nested ones, too.

    Two configurations may share a nested one: its fields are one set of flags. A
    command that nests one as `UnitConfig(maps=("6",))` changes that default.
    """
    hints = typing.get_type_hints(config_class)
    for each in dataclasses.fields(config_class):
        default = getattr(defaults, each.name, each.default)
        if dataclasses.is_dataclass(hints[each.name]):
            yield from _fields(hints[each.name], default)
        else:
            yield each, hints[each.name], default


def _define(config_class: type, values: flags.FlagValues, module: str) -> None:
    for each, hint, default in _fields(config_class):
        if each.name in values:
            continue
        how, value_type = each.metadata, _value_type(hint)
        given = {"flag_values": values, "module_name": module}
        if typing.get_origin(value_type) is tuple:
            default = None if default is None else list(map(str, default))
            flags.DEFINE_list(each.name, default, how["help"], **given)
        elif how["choices"]:
            of = each.name, default, list(how["choices"]), how["help"]
            flags.DEFINE_enum(*of, **given)
        else:
            bounds = {"lower_bound": how["minimum"], "upper_bound": how["maximum"]}
            if value_type not in (int, float):
                bounds = {}
            if isinstance(default, pathlib.Path):
                default = str(default)
            _DEFINE[value_type](each.name, default, how["help"], **bounds, **given)


def _value_type(hint) -> Any:
    """The type of a field's value, where it has one."""
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        (hint,) = (each for each in typing.get_args(hint) if each is not type(None))
    return hint


def _parse(main: Main, values: flags.FlagValues, arguments: list[str]) -> list[str]:
    """What is left of the arguments: the program's name."""
    name = _name(arguments[0])
    try:
        _refuse_former_names(_config_class(main), arguments[1:])
        _, *rest = values(list(arguments))
        if rest:
            raise BadInput(f"{rest[0]}: not a flag; write --flag=value")
        for each, *_ in _fields(_config_class(main)):
            if each.metadata["required"] and values[each.name].value is None:
                raise BadInput(f"--{each.name}: must be given; --help tells more")
    except (flags.Error, BadInput) as error:
        print(f"{name}: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
    return arguments[:1]


def _refuse_former_names(config_class: type, arguments: Sequence[str]) -> None:
    names = {each.metadata["formerly"]: each.name for each, *_ in _fields(config_class)}
    for argument in arguments:
        former = argument.lstrip("-").partition("=")[0]
        if argument.startswith("-") and former in names and former:
            raise BadInput(f"--{former}: this flag is now --{names[former]}")


def _build(config_class: type, values: flags.FlagValues) -> Any:
    hints, found = typing.get_type_hints(config_class), {}
    for each in dataclasses.fields(config_class):
        hint = hints[each.name]
        if dataclasses.is_dataclass(hint):
            found[each.name] = _build(hint, values)
        else:
            found[each.name] = _value(each, _value_type(hint), values[each.name].value)
    return config_class(**found)


def _value(each: dataclasses.Field, value_type, value) -> Any:
    if value is None:
        return None
    if typing.get_origin(value_type) is tuple:
        return _values(each, typing.get_args(value_type)[0], value)
    if value_type is float and math.isnan(value):
        raise BadInput(f"--{each.name}={value}: give a number")
    return _path(value) if value_type is pathlib.Path else value


def _values(each: dataclasses.Field, value_type, given: list[str]) -> tuple:
    """The values of a flag that takes several."""
    shown = f"--{each.name}={','.join(given)}"
    try:
        convert = _path if value_type is pathlib.Path else value_type
        # Of texts the empty ones stay: `--maps=17,` is not `--maps=17`.
        found = tuple(convert(part) for part in given if part or value_type is str)
    except ValueError:
        raise BadInput(f"{shown}: give numbers, as 1,2,5") from None
    least, largest = each.metadata["minimum"], each.metadata["maximum"]
    for value in found:
        if least is not None and value < least:
            raise BadInput(f"{shown}: {value} is below {least}, the least value")
        if largest is not None and value > largest:
            raise BadInput(f"{shown}: {value} is above {largest}, the largest value")
    return found


def _path(given: str) -> pathlib.Path:
    return pathlib.Path(given).expanduser()


def _multiply_in_float32() -> None:
    """By default a GPU multiplies in TF32, of 10 bits, and a TPU in bfloat16, of 7.

    With TF32 up to one switch in a thousand is another, and projections of the last
    filters are off by 2 to 5 %; with bfloat16 one in a hundred, and 7 to 15 %
    (docs/benchmarks.md).
    """
    if jax.config.jax_default_matmul_precision is None:
        jax.config.update("jax_default_matmul_precision", "float32")


def _keep_compilations() -> None:
    """JAX's persistent cache, so that a second start is quick."""
    if not jax.config.jax_compilation_cache_dir:
        home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        jax.config.update("jax_compilation_cache_dir", os.path.join(home, "zf_jax"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
