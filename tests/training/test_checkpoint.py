"""Checkpoints: what is saved comes back anywhere; what is damaged says so."""

import dataclasses
import functools
import gc
import json
import os
import resource
import shutil
import subprocess
import sys
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zf_jax import spec
from zf_jax.errors import BadInput
from zf_jax.training import checkpoint, loop, optimizer, run_metadata, step


def state_of(run, done=0, seed=0):
    """A state as after `done` steps, its optimizer's numbers not all zero."""
    return _state(run.net, run.recipe, run.steps_per_epoch, seed)._replace(
        step=jnp.int32(done)
    )


@functools.cache
def _state(net, recipe, steps_per_epoch, seed):
    optimize = optimizer.make_optimizer(recipe, steps_per_epoch)
    state = step.first_state(loop.make_model(net, recipe), optimize, seed)
    moved = jax.tree.map(
        lambda x: x + 0.5 if x.dtype == jnp.float32 else x, state.optimizer
    )
    return state._replace(optimizer=moved)


def assert_same(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    jax.tree.map(np.testing.assert_array_equal, one, other)


@pytest.fixture(scope="module")
def saved(tmp_path_factory, toy):
    """A workdir with the checkpoints of steps 6 and 12. To be copied before damage."""
    folder, run = tmp_path_factory.mktemp("run"), toy.run()
    with checkpoint.Store(folder, run.metadata) as store:
        for done in (6, 12):
            store.save(state_of(run, done, seed=done))
    return folder


@pytest.fixture
def copy(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "copy")


def line(call, *arguments):
    with pytest.raises(BadInput) as error:
        call(*arguments)
    message = str(error.value)
    assert "\n" not in message
    assert len(message) < 500
    return message


def test_a_round_trip(saved, toy):
    run = toy.run()
    like = jax.tree.map(jnp.zeros_like, state_of(run))
    with checkpoint.Store(saved, run.metadata) as store:
        assert store.newest == 12
        assert_same(store.restore(like), state_of(run, 12, seed=12))


def test_load_needs_to_be_told_nothing_else(saved, toy):
    run = toy.run()
    restored = checkpoint.load(saved)
    assert restored.metadata == run.metadata
    assert restored.metadata.net == toy.net
    assert restored.metadata.labels == ("red", "green", "blue")
    assert restored.step == 12
    assert_same(restored.params, jax.tree.map(np.asarray, state_of(run, 12, 12).params))
    for leaf in jax.tree.leaves(restored.params):
        assert isinstance(leaf, np.ndarray)


def test_load_an_earlier_step_or_the_inner_folder(saved, toy):
    restored = checkpoint.load(saved, 6)
    assert restored.step == 6
    want = jax.tree.map(np.asarray, state_of(toy.run(), 6, seed=6).params)
    assert_same(restored.params, want)
    inner, outer = checkpoint.load(saved / "checkpoints"), checkpoint.load(saved)
    assert_same(inner.params, outer.params)


def test_relative_paths_and_home(saved, toy, monkeypatch):
    # Orbax itself wants absolute ones (apax#465).
    monkeypatch.chdir(saved.parent)
    assert checkpoint.load(saved.name).step == 12
    monkeypatch.setenv("HOME", str(saved.parent))
    assert checkpoint.load(f"~/{saved.name}").step == 12
    with checkpoint.Store(f"~/{saved.name}", toy.run().metadata) as store:
        assert store.newest == 12


def test_epochs_that_are_kept(copy):
    # Six steps an epoch; what a Ctrl-C left inside of one is no column of fig. 4.
    assert checkpoint.epochs(copy) == {1: 6, 2: 12}
    shutil.copytree(copy / "checkpoints" / "12", copy / "checkpoints" / "62")
    shutil.copytree(copy / "checkpoints" / "12", copy / "checkpoints" / "60")
    assert checkpoint.epochs(copy) == {1: 6, 2: 12, 10: 60}
    assert list(checkpoint.epochs(copy / "checkpoints")) == [1, 2, 10]
    assert "no such folder" in line(checkpoint.epochs, copy / "nowhere")


ELSEWHERE = """
import sys
import jax
from zf_jax.training import checkpoint, loop, optimizer, recipe, step
assert jax.device_count() == int(sys.argv[2])
metadata = checkpoint.load(sys.argv[1]).metadata
how = recipe.Recipe(batch_size=8, init="he", filter_rms=0.0, resize=18)
optimize = optimizer.make_optimizer(how, metadata.steps_per_epoch)
like = step.first_state(loop.make_model(metadata.net, how), optimize, 5)
with checkpoint.Store(sys.argv[1], metadata) as store:
    state = store.restore(like)
print(int(state.step), *(float(jax.numpy.abs(x).sum()) for x in jax.tree.leaves(state)))
"""


@pytest.mark.devices
@pytest.mark.slow
def test_another_number_of_devices_restores(tmp_path, toy):
    # As training leaves it: after a step of both devices.
    run = toy.run()
    optimize = optimizer.make_optimizer(run.recipe, run.steps_per_epoch)
    train_step = step.make_train_step(loop.make_model(run.net, run.recipe), optimize)
    examples = run.train.examples[:8]
    batch = loop.batches.Batch(
        np.stack([each["image"][:16, :16] for each in examples]),
        np.array([each["label"] for each in examples], np.int32),
        np.ones(8, bool),
    )
    first = jax.tree.map(jnp.copy, state_of(run))
    state = train_step(first, step.shard_batch(batch))
    assert len(state.step.sharding.device_set) == 2
    with checkpoint.Store(tmp_path, run.metadata) as store:
        store.save(state)
    environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=1"}
    ran = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, str(tmp_path), "1"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    want = [float(abs(x).sum()) for x in jax.tree.leaves(state)]
    got = ran.stdout.split()
    assert got[0] == "1"
    # Sums of the same numbers in float32.
    np.testing.assert_allclose([float(x) for x in got[1:]], want, rtol=1e-5)


def test_what_is_kept(tmp_path, toy):
    run = toy.run()
    assert run.steps_per_epoch == 6
    with checkpoint.Store(tmp_path, run.metadata, keep_epochs=[1, 3, 40]) as store:
        for epoch in range(1, 7):
            store.save(state_of(run, 6 * epoch))
    # Epochs 1 and 3 for good, and the newest two.
    folder = tmp_path / "checkpoints"
    assert {int(p.name) for p in folder.iterdir() if p.is_dir()} == {6, 18, 30, 36}
    for done in (6, 18, 30, 36):
        assert checkpoint.load(tmp_path, done).step == done


def test_saving_a_step_twice_keeps_the_first(copy, toy):
    run = toy.run()
    with checkpoint.Store(copy, run.metadata) as store:
        store.save(state_of(run, 12, seed=99))
    assert_same(
        checkpoint.load(copy).params,
        jax.tree.map(np.asarray, state_of(run, 12, seed=12).params),
    )


def test_a_new_run_has_nothing_to_restore(tmp_path, toy):
    run = toy.run()
    with checkpoint.Store(tmp_path / "new" / "run", run.metadata) as store:
        assert store.newest is None
        assert store.restore(state_of(run)) is None


def test_a_full_disk(copy, toy, monkeypatch):
    run, full = toy.run(), shutil.disk_usage(copy)._replace(free=100)
    monkeypatch.setattr(checkpoint.shutil, "disk_usage", lambda folder: full)
    with checkpoint.Store(copy, run.metadata) as store:
        message = line(store.save, state_of(run, 18))
    assert f"{copy / 'checkpoints' / '18'}: not written: no space left" in message
    assert "100 are free" in message
    assert checkpoint.load(copy).step == 12


# Orbax prints what it raises from its threads, too.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_file_that_may_not_become_as_large(copy, toy):
    # What a quota does: seen by writing alone.
    run, allowed = toy.run(), resource.getrlimit(resource.RLIMIT_FSIZE)
    with checkpoint.Store(copy, run.metadata) as store:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, allowed[1]))
        try:
            message = line(store.save, state_of(run, 18))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, allowed)
    assert f"{copy / 'checkpoints' / '18'}: not written: File too large" in message
    assert checkpoint.load(copy).step == 12


def test_a_missing_folder(tmp_path):
    assert f"{tmp_path / 'none'}: no such folder" in line(
        checkpoint.load, tmp_path / "none"
    )


def test_a_file(tmp_path):
    (tmp_path / "weights.bin").write_bytes(b"x")
    assert "weights.bin" in line(checkpoint.load, tmp_path / "weights.bin")


def test_an_empty_folder(tmp_path):
    message = line(checkpoint.load, tmp_path)
    assert f"checkpoint {tmp_path}" in message
    assert "--workdir" in message
    (tmp_path / "checkpoints").mkdir()
    assert "no finished checkpoint" in line(checkpoint.load, tmp_path)


def test_an_unknown_step(saved):
    assert "step 7" in (message := line(checkpoint.load, saved, 7))
    assert "6, 12" in message


def test_what_a_crash_left_is_passed_over(copy, toy):
    # Orbax writes into STEP.orbax-checkpoint-tmp-... and renames it when finished.
    folder = copy / "checkpoints"
    left = folder / "18.orbax-checkpoint-tmp"
    shutil.copytree(folder / "12" / "params", left / "params")
    assert checkpoint.load(copy).step == 12
    with checkpoint.Store(copy, toy.run().metadata) as store:
        assert store.newest == 12
        store.save(state_of(toy.run(), 18))
    assert checkpoint.load(copy).step == 18
    assert not left.exists()


def empty(folder):
    shutil.rmtree(folder)
    folder.mkdir()


def lose(part):
    def damage(folder):
        path = folder / part
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    damage.__name__ = f"lose {part}"
    return damage


def arrays(folder, item="params"):
    """The files of the arrays, the largest first."""
    files = [path for path in (folder / item).rglob("*") if path.is_file()]
    return sorted(files, key=lambda path: -path.stat().st_size)


def flip(path, at):
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def flip_a_byte(folder):
    # In the middle of the largest file: of an array's numbers.
    path = arrays(folder)[0]
    flip(path, path.stat().st_size // 2)


def flip_a_byte_of_the_optimizer(folder):
    path = arrays(folder, "rest")[0]
    flip(path, path.stat().st_size // 2)


def rename_a_class(folder):
    path = folder / "about" / "metadata"
    path.write_text(path.read_text().replace('"green"', '"grein"'))


def truncate(folder):
    path = arrays(folder)[0]
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DAMAGES = [
    empty,
    flip_a_byte,
    rename_a_class,
    truncate,
    lose("about"),
    lose("about/metadata"),
    lose("params"),
    lose("params/manifest.ocdbt"),
]
# Orbax leaves an event loop half done when it fails, which is told at collection.
half_done = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)


@half_done
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_passed_over(copy, damage):
    broken = copy / "checkpoints" / "12"
    damage(broken)
    with pytest.warns(UserWarning, match="step 6 is taken") as told:
        assert checkpoint.load(copy).step == 6
    assert str(broken) in str(told[0].message)
    gc.collect()
    # Asked for by its number, it is refused; it stays where it is.
    assert str(broken) in line(checkpoint.load, copy, 12)
    assert checkpoint.epochs(copy) == {1: 6, 2: 12}


@half_done
@pytest.mark.parametrize(
    "damage", [*DAMAGES, lose("rest"), flip_a_byte_of_the_optimizer]
)
def test_a_run_goes_on_from_before_the_damage(copy, toy, damage):
    run, folder = toy.run(), copy / "checkpoints"
    damage(folder / "12")
    with checkpoint.Store(copy, run.metadata) as store:
        with pytest.warns(UserWarning, match=r"renamed to 12\.damaged") as told:
            assert_same(store.restore(state_of(run)), state_of(run, 6, seed=6))
        assert str(folder / "12") in str(told[0].message)
        assert (folder / "12.damaged").is_dir()
        # The same step can be saved anew.
        store.save(state_of(run, 12, seed=99))
    assert checkpoint.load(copy).step == 12
    flip_a_byte(folder / "12")
    with (
        checkpoint.Store(copy, run.metadata) as store,
        pytest.warns(UserWarning, match=r"renamed to 12\.damaged-2"),
    ):
        store.restore(state_of(run))
    gc.collect()


@half_done
def test_nothing_is_whole(copy, toy):
    run = toy.run()
    for step_ in ("6", "12"):
        flip_a_byte(copy / "checkpoints" / step_)
    with checkpoint.Store(copy, run.metadata) as store:
        message = line(store.restore, state_of(run))
        assert "as are the 1 before it; train anew in another --workdir" in message
        assert store.newest == 12
    assert message == line(checkpoint.load, copy).replace("rest/", "params/")


def test_a_checkpoint_from_before_there_were_digests(copy, toy):
    rewrite(copy / "checkpoints" / "12", digests=None)
    assert checkpoint.load(copy).step == 12
    with checkpoint.Store(copy, toy.run().metadata) as store:
        assert store.restore(state_of(toy.run())).step == 12


@half_done
@pytest.mark.slow
def test_any_flipped_byte(copy, saved, toy):
    """Either the numbers are those that were saved, or the one before is taken."""
    run, rng = toy.run(), np.random.default_rng(0)
    whole = saved / "checkpoints" / "12"
    files = [path for path in whole.rglob("*") if path.stat().st_size]
    states = {"6": state_of(run, 6, seed=6), "12": state_of(run, 12, seed=12)}
    passed_over = 0
    for original in [path for path in files if path.is_file()] * 3:
        target = copy / "checkpoints" / "12"
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(whole, target)
        path = target / original.relative_to(whole)
        flip(path, rng.integers(path.stat().st_size))
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            with checkpoint.Store(copy, run.metadata) as store:
                state = store.restore(state_of(run))
        assert_same(state, states[str(int(state.step))])
        passed_over += int(state.step) == 6
        assert bool(told) == (int(state.step) == 6)
    assert passed_over


def rewrite(folder, **fields):
    """Changes the metadata, as if it had been saved like that."""
    path = folder / "about" / "metadata"
    data = json.loads(path.read_text()) | fields
    del data["digest"]
    path.write_text(json.dumps(data))


@pytest.mark.parametrize("layout", [0, 2, None, "old"])
def test_another_layout(copy, toy, layout):
    rewrite(copy / "checkpoints" / "12", layout=layout)
    message = line(checkpoint.load, copy)
    assert f"layout {layout}" in message
    assert f"reads {run_metadata.LAYOUT}" in message
    assert f"layout {layout}" in line(checkpoint.Store, copy, toy.run().metadata)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"x"', "\x00\xff", "{}"])
def test_a_description_that_is_none(copy, text):
    path = copy / "checkpoints" / "12" / "about" / "metadata"
    path.write_bytes(text.encode("latin1"))
    assert str(copy / "checkpoints" / "12") in line(checkpoint.load, copy, 12)


def test_a_net_that_is_none(copy):
    rewrite(copy / "checkpoints" / "12", net='{"name": "x"}')
    message = line(checkpoint.load, copy, 12)
    assert "12" in message
    assert "not the JSON of a Spec" in message


def test_weights_of_another_net(copy, toy):
    other = spec.to_json(toy.net.with_classes(4))
    rewrite(copy / "checkpoints" / "12", net=other)
    message = line(checkpoint.load, copy)
    assert "layer3" in message
    assert str(copy / "checkpoints" / "12") in message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 16}, "batch_size 8, not 16"),
        ({"seed": 1}, "seed 0, not 1"),
        ({"resize": 64}, "resize 18, not 64"),
        ({"schedule": "constant"}, "schedule plateau, not constant"),
        ({"momentum": 0.5}, "momentum 0.9, not 0.5"),
    ],
)
def test_another_recipe_in_the_same_workdir(copy, toy, change, message):
    found = line(checkpoint.Store, copy, toy.run(**change).metadata)
    assert message in found
    assert "--workdir" in found
    assert str(copy) in found


def test_another_net_in_the_same_workdir(copy, toy):
    other = dataclasses.replace(toy.net, name="other")
    found = line(checkpoint.Store, copy, toy.run(other).metadata)
    assert "toy, not other" in found
    assert str(copy) in found


def test_another_net_of_the_same_name(copy, toy):
    metadata = toy.run(toy.without_dropout()).metadata
    assert "other layers" in line(checkpoint.Store, copy, metadata)


def test_other_data_in_the_same_workdir(copy, toy):
    metadata = toy.run(train=toy.source(name="cifar10")).metadata
    assert "dataset toy, not cifar10" in line(checkpoint.Store, copy, metadata)
    # As many more images as make a seventh batch.
    metadata = toy.run(train=toy.source(56)).metadata
    found = line(checkpoint.Store, copy, metadata)
    assert "no longer what the run began with: an epoch has 7 steps, not 6" in found
    # A class that was renamed since.
    metadata = toy.run().metadata._replace(labels=("red", "green", "navy"))
    found = line(checkpoint.Store, copy, metadata)
    assert "of its classes, class 2 is navy, not blue; restore the data" in found


def test_what_may_differ_when_a_run_goes_on(copy, toy):
    metadata = toy.run(epochs=9, learning_rate=0.001).metadata
    with checkpoint.Store(copy, metadata) as store:
        assert store.newest == 12
