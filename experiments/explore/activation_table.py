"""The strongest activation of every unit in every image, in one pass over the images.

The tables lie in files that are mapped into memory: a pass needs memory for a batch,
and one that was interrupted goes on.
"""

import functools
import pathlib
import time
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from experiments.common import output, topk_pass
from experiments.common.model import LoadedModel
from zf_jax import cli, io, xla
from zf_jax.probes import model_functions, padded_images
from zf_jax.transforms import cpu_forms

# Seconds between two saves.
_SAVE_EVERY = 30.0
# Images whose maps are in memory at a time.
_MICROBATCH = 8


class LayerTable(NamedTuple):
    """A layer's units in all N images.

    Attributes:
      values: [N, U] float32, the strongest activation in the image.
      positions: [N, U, 2] int16, its row and column in the map, ties to the first;
        zeros where a unit has one value an image.
      mean_map: [U, h, w] float32, the mean over the images of what is positive in the
        map; None where a unit has one value an image, or images differ in size.
    """

    values: np.ndarray
    positions: np.ndarray
    mean_map: np.ndarray | None


def gather(
    loaded: LoadedModel, data, layers: Sequence[str], folder: pathlib.Path
) -> dict[str, LayerTable]:
    """Fills the tables under a progress bar; those of a finished pass are opened.

    Args:
      loaded: the model.
      data: the images, as `experiments.common.dataset` opens them.
      layers: their names.
      folder: where the tables are kept. Those of another model, or of other images, are
        written anew.
    """
    folder.mkdir(parents=True, exist_ok=True)
    key = topk_pass.fingerprint(loaded, data.key, tuple(layers), "activation table")
    state = folder / "state.npz"
    seen, sums = _restore(state, key, layers)
    tables = _open(loaded, layers, len(data), folder, is_new=seen == 0)
    saved = time.monotonic()
    bar = cli.progress(
        total=len(data), initial=seen, desc="activations", unit=" images"
    )
    try:
        with bar:
            for batch in _strongest(loaded, data, layers, seen):
                count = _write(tables, seen, batch)
                # At once: an interrupt leaves both as they were, or neither.
                seen, sums = seen + count, _added(sums, batch)
                bar.update(count)
                if time.monotonic() - saved > _SAVE_EVERY:
                    _save(state, key, seen, sums, tables)
                    saved = time.monotonic()
    finally:
        # At the end, and when interrupted.
        _save(state, key, seen, sums, tables)
    return {
        layer: table._replace(
            mean_map=np.moveaxis(sums[layer] / seen, 2, 0) if layer in sums else None
        )
        for layer, table in tables.items()
    }


def _write(tables: dict[str, LayerTable], seen: int, batch: dict[str, tuple]) -> int:
    """Writes a batch behind the `seen` images; returns how many images it has."""
    for layer, (values, rows, columns, _) in batch.items():
        place = slice(seen, seen + len(values))
        tables[layer].values[place] = values
        tables[layer].positions[place] = np.stack([rows, columns], axis=2)
    return len(values)


def _added(sums: dict, batch: dict[str, tuple]) -> dict[str, np.ndarray]:
    totals = {layer: each[-1] for layer, each in batch.items() if each[-1] is not None}
    return {layer: sums.get(layer, 0) + total for layer, total in totals.items()}


def _strongest(
    loaded: LoadedModel, data, layers: Sequence[str], start: int
) -> Iterator[dict[str, tuple]]:
    """By layer: values, rows and columns [N, U] and the sum of maps [h, w, U] or None.

    The images that fill up the last batch are cut off again.
    """
    maps_fn, programs = topk_pass.maps_fn(loaded, layers), {}
    size = -(-data.batch_size // _MICROBATCH) * _MICROBATCH
    for batch in data.batches(start):
        count = len(batch)
        given = (batch,)
        if data.sizes_differ:
            given = padded_images.pad(loaded.model.spec, batch)
        length = count if data.sizes_differ else size
        given = [_filled(each, length) for each in given]
        shapes = tuple((each.shape[1:], each.dtype) for each in given)
        part = min(length, _MICROBATCH)
        if shapes not in programs:
            programs[shapes] = model_functions.prepare_arguments(
                maps_fn, *(jax.ShapeDtypeStruct((part, *s), d) for s, d in shapes)
            )
        program = programs[shapes]
        parts = [each.reshape(-1, part, *each.shape[1:]) for each in given]
        mask = (np.arange(length) < count).reshape(-1, part)
        found = jax.device_get(
            _compute(
                program.weights,
                mask,
                *parts,
                apply=program.apply,
                with_sums=not data.sizes_differ,
            )
        )
        yield {
            layer: (*(each[:count] for each in arrays), total)
            for layer, (*arrays, total) in found.items()
        }


@functools.partial(xla.jit, static_argnames=("apply", "with_sums"))
def _compute(weights, mask, *parts, apply, with_sums: bool):
    """What `_strongest` yields, of [P, B, ...] images in P parts of B."""
    apply = cpu_forms.depthwise(apply, jax.default_backend())

    def of_part(sums, part):
        mask, *arguments = part
        maps = apply(weights, *arguments)
        found = {name: _of_maps(each) for name, each in maps.items()}
        for name, total in sums.items():
            real = jnp.where(mask[:, None, None, None], maps[name], 0)
            sums[name] = total + jnp.maximum(real, 0).sum(axis=0)
        return sums, found

    shapes = jax.eval_shape(apply, weights, *(each[0] for each in parts))
    zeros = {
        name: jnp.zeros(each.shape[1:])
        for name, each in shapes.items()
        if with_sums and each.ndim == 4
    }
    sums, found = lax.scan(of_part, zeros, (mask, *parts))
    joined = jax.tree.map(lambda x: x.reshape(-1, x.shape[-1]), found)
    return {name: (*joined[name], sums.get(name)) for name in joined}


def _of_maps(maps: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The maximum of [N, h, w, U] or [N, U] maps, and its row and column, [N, U]."""
    count, *size, units = maps.shape
    flat = maps.astype(jnp.float32).reshape(count, -1, units)
    rows, columns = jnp.unravel_index(flat.argmax(axis=1), tuple(size) or (1, 1))
    return flat.max(axis=1), rows.astype(jnp.int16), columns.astype(jnp.int16)


def _filled(array: np.ndarray, length: int) -> np.ndarray:
    missing = length - len(array)
    return np.pad(array, [(0, missing)] + [(0, 0)] * (array.ndim - 1))


def _open(
    loaded: LoadedModel,
    layers: Sequence[str],
    count: int,
    folder: pathlib.Path,
    *,
    is_new: bool,
) -> dict[str, LayerTable]:
    mode, tables = "w+" if is_new else "r+", {}
    for layer, stem in zip(
        layers, output.distinct(map(output.slug, layers)), strict=True
    ):
        shape = (count, loaded.layers[layer].channels)
        values, positions = (
            np.lib.format.open_memmap(folder / f"{stem}-{name}.npy", mode, dtype, shape)
            for name, dtype, shape in (
                ("values", np.float32, shape),
                ("positions", np.int16, (*shape, 2)),
            )
        )
        tables[layer] = LayerTable(values, positions, None)
    return tables


def _save(
    path: pathlib.Path, key: str, seen: int, sums: dict, tables: dict[str, LayerTable]
) -> None:
    for table in tables.values():
        table.values.flush()
        table.positions.flush()
    named = {f"sum {layer}": total for layer, total in sums.items()}
    io.save_arrays(path, key=np.array(key), seen=np.array(seen), **named)


def _restore(
    path: pathlib.Path, key: str, layers: Sequence[str]
) -> tuple[int, dict[str, np.ndarray]]:
    """How many images an earlier pass has seen, and its sums of maps by layer."""
    if not path.exists():
        return 0, {}
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            if str(stored["key"]) != key:
                return 0, {}
            names = [layer for layer in layers if f"sum {layer}" in stored]
            return int(stored["seen"]), {name: stored[f"sum {name}"] for name in names}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        topk_pass.set_aside(path)
        return 0, {}
