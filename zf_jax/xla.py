"""How this package has XLA compile on a CPU: without YNNPACK fusions.

XLA's CPU compiler fuses dot products, reductions and convolutions into calls of YNNPACK
by default. With these fusions JAX 0.10.2 returns wrong sums (jax-ml/jax#39103), and in
JAX 0.10 to 0.12 convolutions run at a half to a tenth of their speed
(docs/performance-notes.md). No other file knows of it: when a release makes this
needless, `jit` becomes `jax.jit` and `set_flags` goes.
"""

import functools
import os

import jax
import jax.numpy as jnp

_FLAG = "xla_cpu_experimental_ynn_fusion_type"


def jit(function=None, **settings):
    """`jax.jit`, without YNNPACK fusions where a CPU runs it.

    Takes the same settings, and serves as a decorator with or without them. Called
    while JAX traces another function it is `jax.jit` itself: the compiler's options
    are those of the outermost call.
    """
    if function is None:
        return functools.partial(jit, **settings)
    nested = jax.jit(function, **settings)

    @functools.cache
    def outermost():
        # The backend is asked for at the first call: an import initialises none.
        options = {_FLAG: ""} if jax.default_backend() == "cpu" else None
        return jax.jit(function, compiler_options=options, **settings)

    @functools.wraps(function)
    def call(*arguments, **named):
        run = nested if is_traced(arguments, named) else outermost()
        return run(*arguments, **named)

    call.lower = lambda *arguments, **named: outermost().lower(*arguments, **named)
    return call


def is_traced(*values) -> bool:
    """Whether what is computed from these pytrees now will have no values yet.

    It has none where one of them holds a tracer, and on constants within a function
    that `jax.jit` is tracing.
    """
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(values)):
        return True
    return isinstance(jnp.zeros(()), jax.core.Tracer)


def set_flags() -> None:
    """Turns the fusions off for a whole program, `jax.pmap` and users' code included.

    To be called where a program starts, before JAX computes anything; what XLA_FLAGS
    holds already stays.
    """
    given = os.environ.get("XLA_FLAGS", "")
    if _FLAG not in given:
        os.environ["XLA_FLAGS"] = f"{given} --{_FLAG}=".strip()
