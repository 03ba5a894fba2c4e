"""A pass over images for the top-k of every channel, resumed after an interruption."""

import contextlib
import hashlib
import pathlib
import re
import time
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from typing import Protocol

import jax
import numpy as np

from experiments.common.model import LoadedModel
from zf_jax import cli, hosts, interrupts, io
from zf_jax.data.batches import HostShard
from zf_jax.probes import padded_images, topk
from zf_jax.transforms import jaxpr

# Seconds between two saves.
_SAVE_EVERY = 30.0
_PARTS = topk.TopK._fields


class Images(Protocol):
    """What a pass goes through, as `experiments.common.dataset` has it."""

    key: str
    batch_size: int
    sizes_differ: bool

    def __len__(self) -> int:
        """How many images."""

    def batches(self, start: int, shard: HostShard) -> Iterator[np.ndarray]:
        """[N, H, W, C] uint8, from image `start` on: a host's part of each batch."""


def scan(
    loaded: LoadedModel,
    data: Images,
    layers: Sequence[str],
    *,
    k: int,
    path: pathlib.Path,
    desc: str = "strongest images",
) -> dict[str, topk.TopK]:
    """The k strongest images of every channel of the layers, under a progress bar.

    Several hosts share each batch, images of different sizes excepted, and all get the
    same. The first keeps the pass.

    Args:
      loaded: the net.
      data: the images.
      layers: their names.
      k: how many.
      path: the .npz file that keeps the pass; one that has ended is not repeated for
        the same net and images.
      desc: for the progress bar.
    """
    key = fingerprint(loaded, data.key, tuple(layers), k)
    start, saved = _start(loaded, layers, k, path, key), time.monotonic()
    seen = int(start.seen) if start else 0
    if seen == len(data):
        return start.best
    shard, devices = HostShard(jax.process_index(), jax.process_count()), jax.devices()
    if data.sizes_differ:
        # Their shapes tell what is compiled, which must be the same on all hosts.
        shard, devices = HostShard(), jax.local_devices()
    batches = data.batches(seen, shard)
    if data.sizes_differ:
        batches = (padded_images.pad(loaded.model.spec, batch) for batch in batches)
    state = None
    states = topk.scan_states(
        maps_fn(loaded, layers),
        batches,
        k=k,
        start=start,
        batch_size=data.batch_size,
        devices=devices,
    )
    bar = cli.progress(total=len(data), initial=seen, desc=desc, unit=" images")
    stopped = False
    try:
        with bar, _agreeing_to_stop() as signals:
            for state in states:
                state = state._replace(seen=min(state.seen, len(data)))
                bar.update(state.seen - bar.n)
                if stopped := hosts.stop_agreed(bool(signals)):
                    break
                if hosts.is_primary() and time.monotonic() - saved > _SAVE_EVERY:
                    _save(path, key, state)
                    saved = time.monotonic()
    except BaseException:
        # Of several hosts that do not stop together none may have the last batch whole.
        if state and jax.process_count() == 1:
            _save(path, key, state)
        raise
    if state:
        hosts.on_primary(lambda: _save(path, key, state))
    if stopped:
        raise KeyboardInterrupt
    return jax.device_get(state.best)


def _agreeing_to_stop() -> contextlib.AbstractContextManager[list[int]]:
    """Gives the signals that ask to stop: several hosts do so after the same batch.

    What one of them computes is lost where another has stopped before.
    """
    if jax.process_count() == 1:
        return contextlib.nullcontext([])
    return interrupts.kept()


def maps_fn(loaded: LoadedModel, layers: Sequence[str]):
    """Pixels, and their sizes where they were padded, to the layers' maps."""
    apply = loaded.maps(layers)

    def of_pixels(pixels, sizes=None):
        prepared = loaded.model.prepare(pixels)
        if sizes is None:
            return apply(prepared)
        net, params = loaded.model.spec, loaded.model.params
        maps = padded_images.maps(net, params, prepared, sizes)
        return {layer: maps[layer] for layer in layers}

    return of_pixels


def fingerprint(loaded: LoadedModel, *given) -> str:
    """A digest of a model, its weights and whatever else a computed file depends on."""
    model, size = loaded.model, loaded.crop_size or loaded.input.size
    one = jax.ShapeDtypeStruct((1, *size, model.input.channels), np.float32)
    program, _ = jaxpr.inlined(model.apply, model.params, one)
    # The address of a function that the program mentions is another in every process.
    text = re.sub(r" at 0x[0-9a-f]+", "", str(program.jaxpr))
    sha = hashlib.sha256(repr((text, model.input, given)).encode())
    # Weights may be parameters, or closed over.
    for leaf in (*jax.tree.leaves(model.params), *program.consts):
        sha.update(np.asarray(leaf))
    return sha.hexdigest()


def set_aside(path: pathlib.Path) -> None:
    """Renames a damaged file, and says so."""
    aside = path.with_suffix(".damaged")
    path.replace(aside)
    print(f"{path}: damaged, set aside as {aside.name}; it is computed anew")


def _start(
    loaded: LoadedModel, layers: Sequence[str], k: int, path: pathlib.Path, key: str
) -> topk.ScanState | None:
    """An earlier pass over the same images, which the first host kept."""
    fresh = {layer: topk.empty(loaded.layers[layer].channels, k) for layer in layers}
    like = topk.ScanState(fresh, np.zeros((), np.int64))
    return hosts.on_primary(lambda: _restore(path, key), like)


def _save(path: pathlib.Path, key: str, state: topk.ScanState) -> None:
    best = jax.device_get(state.best)
    arrays = {
        f"{layer}.{part}": getattr(found, part)
        for layer, found in best.items()
        for part in _PARTS
    }
    io.save_arrays(path, key=np.array(key), seen=np.array(state.seen), **arrays)


def _restore(path: pathlib.Path, key: str) -> topk.ScanState | None:
    """An earlier pass over the same images; a damaged file is set aside."""
    if not path.exists():
        return None
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            if str(stored["key"]) != key:
                return None
            layers = [
                name.removesuffix(".values") for name in stored if ".values" in name
            ]
            best = {
                layer: topk.TopK(*(stored[f"{layer}.{p}"] for p in _PARTS))
                for layer in layers
            }
            return topk.ScanState(best, int(stored["seen"]))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        set_aside(path)
        return None
