"""How every command starts and ends: flags, compilation cache, errors, files."""

import os
import pathlib
import sys
from collections.abc import Callable, Iterable

import jax
from absl import app, flags, logging
from tqdm import tqdm

from zf_jax.errors import BadInput


def run(
    main: Callable[[], Iterable[pathlib.Path]],
    required: Iterable[str] = (),
    *,
    exact: bool = True,
) -> None:
    """Runs a command: the last line of its file.

    A user's mistake ends it with one line on stderr and exit code 2; what it wrote is
    listed at the end.

    Args:
      main: does the work and returns the files it wrote.
      required: names of the flags that must be given.
      exact: multiplies float32 as float32 on a GPU and a TPU too, unless the user's
        JAX_DEFAULT_MATMUL_PRECISION says otherwise.
    """

    def checked(arguments: list[str]) -> None:
        try:
            if arguments[1:]:
                raise BadInput(f"{arguments[1]}: not a flag; write --flag=value")
            _keep_compilations()
            if exact:
                _multiply_in_float32()
            written = list(main())
        except BadInput as error:
            name = pathlib.Path(arguments[0]).stem
            print(f"{name}: {error}", file=sys.stderr)
            sys.exit(2)
        except OSError as error:
            # A folder that cannot be made, a full disk: the file is what matters.
            culprit = f"{error.filename}: " if error.filename else ""
            reason = error.strerror or error
            print(
                f"{pathlib.Path(arguments[0]).stem}: {culprit}{reason}", file=sys.stderr
            )
            sys.exit(2)
        for path in written:
            print(f"wrote {os.path.relpath(path)}")

    logging.set_verbosity(logging.ERROR)
    flags.mark_flags_as_required(required)
    app.run(checked)


def progress(iterable: Iterable | None = None, **settings) -> tqdm:
    """A progress bar with rate and time left; rare lines where nobody watches."""
    watched = sys.stderr.isatty()
    return tqdm(
        iterable,
        dynamic_ncols=watched,
        mininterval=0.1 if watched else 10.0,
        disable=jax.process_index() > 0,
        **settings,
    )


def _multiply_in_float32() -> None:
    """By default a GPU multiplies in TF32, of 10 bits, and a TPU in bfloat16, of 7.

    With TF32 up to one switch in a thousand is another, and projections of the last
    filters are off by 2 to 5 % (docs/benchmarks.md).
    """
    if jax.config.jax_default_matmul_precision is None:
        jax.config.update("jax_default_matmul_precision", "float32")


def _keep_compilations() -> None:
    """JAX's persistent cache, so that a second start is quick."""
    if not jax.config.jax_compilation_cache_dir:
        home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        jax.config.update("jax_compilation_cache_dir", os.path.join(home, "zf_jax"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
