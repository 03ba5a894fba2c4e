"""What `rectify` does in a jaxpr: where which gate is emitted."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
from jax.extend.core import Jaxpr, JaxprEqn
from jax.extend.core import Literal as JaxprLiteral

from zf_jax.errors import BadInput
from zf_jax.transforms import activations, bodies, flat_program, gates
from zf_jax.transforms import jaxpr as jaxprs
from zf_jax.transforms.activations import Activation, Kind

Nonlinear = Literal["gradient", "sign"]

# Kernels and code outside of JAX, which cannot be looked into.
_OPAQUE = ("pallas_call", "ffi_call", "pure_callback", "io_callback")


class Options(NamedTuple):
    """As of `rectify`."""

    rule: gates.Rule
    nonlinear: Nonlinear | None


# (equation, values of its operands, values of all variables so far) -> its results
Site = Callable[[JaxprEqn, list, dict], list]


class Plan(NamedTuple):
    """A jaxpr and what is to be done in it.

    Attributes:
      program: its equations, those calls opened that something is done within.
      sites: what is done in place of an equation, by its first result.
      rectifiers: how many there are, in inner jaxprs too.
      others: where other nonlinearities stand, likewise.
    """

    program: flat_program.FlatProgram
    sites: dict[object, Site]
    rectifiers: int
    others: list[str]

    def run(self, arguments) -> list:
        """The results of the jaxpr, with the rule's derivative."""
        program = self.program
        values = dict(program.constants)
        values.update(zip(program.inputs, arguments, strict=True))

        def handle(equation, inputs):
            site = self.sites.get(equation.outvars[0]) if equation.outvars else None
            return site(equation, inputs, values) if site else None

        live = jaxprs.Program((), (), program.equations, program.results)
        jaxprs.run(jaxprs.live_equations(live), values, handle=handle, inline={})
        return [jaxprs.value_of(atom, values) for atom in program.results]


def plan(jaxpr: Jaxpr, consts, is_image: list[bool], options: Options) -> Plan:
    """Finds what is to be done.

    Args:
      jaxpr: of a function.
      consts: values of its constants.
      is_image: which of its inputs depend on the images.
      options: of `rectify`.
    """
    flat = flat_program.flatten(jaxpr, consts, lambda each, _: _stays_closed(each))
    program = jaxprs.Program((), (), flat.equations, flat.results)
    equations = jaxprs.live_equations(program)
    images = {v for v, use in zip(flat.inputs, is_image, strict=True) if use}
    sites, rectifiers, others = {}, 0, []
    for equation in equations:
        from_images = [_is_in(atom, images) for atom in equation.invars]
        if not any(from_images):
            continue
        images.update(equation.outvars)
        site, inner = _site_of(equation, from_images, flat.constants, options)
        if site:
            sites[equation.outvars[0]] = site
        rectifiers += sum(each.rectifiers for each in inner)
        others += [place for each in inner for place in each.others]
    found = activations.find(equations, flat.constants, images)
    rectifiers += sum(each.kind is Kind.RECTIFIER for each in found)
    others += [_place(each, jaxpr) for each in found if each.kind is Kind.OTHER]
    gated = {each.result: _gate(each, jaxpr, options) for each in found}
    gated = {result: gate for result, gate in gated.items() if gate}
    opened = _open(jaxpr, consts, [*sites, *gated])
    for each in found:
        if each.result in gated:
            operand = _within(opened, flat, each.operand)
            sites[each.result] = _gated(each, gated[each.result], operand)
    return Plan(opened, sites, rectifiers, others)


def _is_in(atom, variables: set) -> bool:
    return not isinstance(atom, JaxprLiteral) and atom in variables


def _stays_closed(equation: JaxprEqn) -> bool:
    is_gate = gates.of(equation) or gates.marked(equation)
    return bool(is_gate) or bodies.is_checkpoint(equation)


def _open(jaxpr: Jaxpr, consts, results) -> flat_program.FlatProgram:
    """The jaxpr with those calls opened that some results are within."""
    paths = {v.path[:n] for v in results for n in range(1, len(v.path) + 1)}
    return flat_program.flatten(jaxpr, consts, lambda _, path: path not in paths)


def _within(opened, flat, variable):
    """What a variable of all equations is where some calls are not opened."""
    made = {v for equation in opened.equations for v in equation.outvars}
    made.update(opened.inputs)
    atom = opened.renamed.get(variable, variable)
    if atom not in made:
        outer = flat.outermost[variable]
        atom = opened.renamed.get(outer, outer)
    return atom


def _site_of(equation, from_images, constants, options) -> tuple[Site | None, list]:
    """What is done for an equation that is no activation, and the plans within it."""
    marked = gates.marked(equation)
    if marked:
        # Of max pooling the rule is the derivative, and the gate has it faster.
        is_kept = options.rule == "gradient" and marked.window is None
        return (None if is_kept else _emitted(marked)), []
    gate = _max_pool(equation, constants)
    if gate:
        return _emitted(gate), []
    inner = [plan(*body, options) for body in bodies.of(equation, from_images)]
    _check_followed(equation, inner, options)
    if any(each.sites for each in inner) and bodies.can_rebuild(equation):
        runs = [each.run for each in inner]
        return lambda equation, inputs, _: bodies.rebuild(equation, inputs, runs), inner
    return None, inner


def _check_followed(equation, inner: list[Plan], options) -> None:
    name = equation.primitive.name
    holds = any(each.rectifiers or each.others for each in inner)
    is_lost = holds and not bodies.can_rebuild(equation)
    if options.rule != "gradient" and (name in _OPAQUE or is_lost):
        held = "holds nonlinearities" if is_lost else "may hold rectifiers"
        raise BadInput(
            f"{name}{_at(equation)} {held}, and rule {options.rule!r} cannot follow it "
            "there: write that part in jax.numpy, loops with lax.scan or lax.fori_loop "
            "of a fixed length"
        )


def _emitted(gate: gates.Gate) -> Site:
    def site(equation, inputs, _):
        value = gates.emit(gate, inputs[0])
        if len(equation.outvars) == 1:
            return [value]
        # The switches of a marked pool, say: whole numbers without a derivative.
        return [value, *jaxprs.bind(equation, [jax.lax.stop_gradient(inputs[0])])[1:]]

    return site


def _max_pool(equation, constants) -> gates.Gate | None:
    """The gate of max pooling with a window that has switches."""
    params = equation.params
    if equation.primitive.name != "reduce_window_max":
        return None
    dilations = *params["base_dilation"], *params["window_dilation"]
    window = tuple(
        tuple(params[name])
        for name in ("window_dimensions", "window_strides", "padding")
    )
    is_simple = all(step == 1 for step in dilations) and gates.has_switches(*window)
    return gates.max_pool(*window) if is_simple else None


def _gate(activation: Activation, jaxpr, options) -> gates.Gate | None:
    """What is emitted for an activation; None where it keeps its derivative."""
    if activation.kind is Kind.OTHER:
        is_rectified = options.nonlinear == "sign" and options.rule != "gradient"
        return gates.passing(options.rule) if is_rectified else None
    # By itself `max` has another gradient at 0 than jax.nn.relu, and who writes a
    # derivative of their own may have yet another.
    if options.rule == "gradient" and not _is_jax_relu(activation.result.path, jaxpr):
        return None
    return gates.rectifier(options.rule)


def _gated(activation: Activation, gate: gates.Gate, operand) -> Site:
    def rectified(equation, inputs, values):
        value = gates.emit(gate, values[operand])
        if equation.primitive.name == "clamp":
            value = jax.lax.min(value, inputs[2])
        return [value]

    def passed(equation, inputs, values):
        (value,) = jaxprs.bind(equation, inputs)
        return [gates.straight_through(gates.emit(gate, values[operand]), value)]

    return rectified if activation.kind is Kind.RECTIFIER else passed


def _calls(jaxpr: Jaxpr, path: flat_program.Path):
    """The calls at a path, and the jaxprs that they call."""
    for index in path:
        equation = jaxpr.eqns[index]
        jaxpr, _ = jaxprs.called_jaxpr(equation)
        yield equation, jaxpr


def _is_jax_relu(path: flat_program.Path, jaxpr: Jaxpr) -> bool:
    """Whether calls are those of jax.nn.relu."""
    calls = [equation for equation, _ in _calls(jaxpr, path)]
    is_custom = [each.primitive.name not in jaxprs.JIT for each in calls]
    if is_custom[-2:] != [True, False] or any(is_custom[:-2]):
        return False
    return calls[-1].params["name"] == "relu"


def _place(activation: Activation, jaxpr: Jaxpr) -> str:
    """What an activation is called, and where in the model it stands."""
    path, around = activation.result.path, activation.operand.path
    name = activation.operation
    if name == "hard_sigmoid":
        return name + _at(activation.equation)
    for depth, (equation, _) in enumerate(_calls(jaxpr, path)):
        if path[: depth + 1] != around[: depth + 1] and equation.params.get("name"):
            name = equation.params["name"].strip("_")
            break
    return name + _at(activation.equation)


def _at(equation: JaxprEqn) -> str:
    stack = str(equation.source_info.name_stack)
    return f" at {stack}" if stack else ""
