"""The run: it learns, and a run that was stopped ends where one that was not does."""

import contextlib

import jax
import numpy as np
import pytest

from zf_jax.errors import BadInput
from zf_jax.training import checkpoint, keeper, loop, optimizer, step


def train(run, folder, *, keep_epochs=(), **options):
    """Reports of `loop.train_epochs` into a workdir."""
    with checkpoint.Store(folder, run.metadata, keep_epochs) as store:
        reports = []
        with contextlib.suppress(keeper.Stopped):
            state = loop.restore(run, store)
            reports.extend(loop.train_epochs(run, store, state, **options))
        return reports


def state_in(run, folder):
    """The newest state in a workdir."""
    optimize = optimizer.make_optimizer(run.recipe, run.steps_per_epoch)
    like = step.first_state(loop.make_model(run.net, run.recipe), optimize, 0)
    with checkpoint.Store(folder, run.metadata) as store:
        return store.restore(like)


def assert_same_bits(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


def what_counts(reports):
    """All but the speed."""
    return [report._replace(images_per_second=0.0) for report in reports]


@pytest.fixture(scope="module")
def uninterrupted(toy, tmp_path_factory):
    """Three epochs of six steps in one go."""
    folder, run = tmp_path_factory.mktemp("whole"), toy.run(epochs=3)
    reports = train(run, folder)
    return run, reports, state_in(run, folder)


def test_reports(uninterrupted):
    run, reports, state = uninterrupted
    assert [report.epoch for report in reports] == [1, 2, 3]
    assert [report.step for report in reports] == [6, 12, 18]
    assert int(state.step) == 18
    for report in reports:
        assert report.learning_rate == pytest.approx(run.recipe.learning_rate)
        assert 0 <= report.top1 <= report.top5 <= 1
        # Three classes: all are among the top five.
        assert report.top5 == 1
        assert report.images_per_second > 0
    assert float(state.error) == pytest.approx(1 - reports[-1].top1)
    assert float(state.seen.count) == 0


@pytest.mark.parametrize(
    "stop_at",
    [
        pytest.param(4, marks=pytest.mark.slow),
        pytest.param(6, marks=pytest.mark.slow),
        12,
    ],
)
def test_resume_equals_uninterrupted(uninterrupted, tmp_path, stop_at):
    # After the last step of an epoch (6, 12) and within one (4).
    run, want, state = uninterrupted
    steps = []
    reports = train(
        run,
        tmp_path,
        on_step=lambda done, loss: steps.append(done),
        stop=lambda: bool(steps) and steps[-1] >= stop_at,
    )
    assert steps == list(range(1, stop_at + 1))
    # The evaluation of a finished epoch is left to the next start.
    assert len(reports) == (stop_at - 1) // 6
    assert checkpoint.load(tmp_path).step == stop_at
    reports += train(run, tmp_path, on_step=lambda done, loss: steps.append(done))
    assert steps == list(range(1, 19))
    assert what_counts(reports) == what_counts(want)
    assert_same_bits(state_in(run, tmp_path), state)


def test_stopped_in_the_evaluation(uninterrupted, tmp_path, monkeypatch):
    run, want, state = uninterrupted
    asked = []

    def stop():
        asked.append(1)
        # Six steps ask, then each of the evaluation's three batches: here, the second.
        return len(asked) == 8

    assert train(run, tmp_path, stop=stop) == []
    assert len(asked) == 8
    assert checkpoint.load(tmp_path).step == 6
    # It is stopped there again, before anything new is to be saved.
    assert train(run, tmp_path, stop=lambda: True) == []
    reports = train(run, tmp_path)
    assert what_counts(reports) == what_counts(want)
    # Nothing was trained in the start that reported the first epoch.
    assert reports[0].images_per_second == 0
    assert_same_bits(state_in(run, tmp_path), state)


def test_a_crash_costs_what_was_not_saved(uninterrupted, tmp_path):
    run, want, state = uninterrupted

    class Crash(Exception):
        pass

    def crash(done, loss):
        if done == 15:
            raise Crash

    with pytest.raises(Crash):
        train(run, tmp_path, on_step=crash)
    assert checkpoint.load(tmp_path).step == 12
    assert what_counts(train(run, tmp_path)) == what_counts(want[2:])
    assert_same_bits(state_in(run, tmp_path), state)


def test_saving_within_an_epoch_changes_nothing(uninterrupted, tmp_path):
    run, want, state = uninterrupted
    assert what_counts(train(run, tmp_path, save_minutes=0.0)) == what_counts(want)
    found = state_in(run, tmp_path)
    assert_same_bits(found._replace(error=0, seen=0), state._replace(error=0, seen=0))
    # The last checkpoint is of the last evaluation's first batch: it is to be done.
    assert found.seen.count == 48
    assert what_counts(train(run, tmp_path)) == what_counts(want[2:])


def test_a_finished_run_is_left_alone(toy, tmp_path):
    run, told = toy.run(epochs=1), {}
    assert len(train(run, tmp_path, on_step=told.__setitem__)) == 1
    # The loss is told now and then, and at an epoch's end.
    assert list(told) == [1, 2, 3, 4, 5, 6]
    assert told[6] > 0
    assert told[1] is None
    called = []
    again = train(run, tmp_path, on_step=lambda *_: called.append(1))
    assert again == called == []


def test_more_epochs_go_on(uninterrupted, tmp_path, toy):
    # The rate of the plateau schedule does not depend on how many epochs there are.
    run, want, _ = uninterrupted
    train(toy.run(epochs=2), tmp_path)
    (third,) = train(run, tmp_path)
    assert what_counts([third]) == what_counts(want[2:])


def test_it_learns(toy, tmp_path):
    run = toy.run(epochs=6)
    reports = train(run, tmp_path, keep_epochs=[1])
    # Chance is a loss of log 3 = 1.1 and a top-1 of a third.
    assert reports[-1].train_loss < 0.5 * reports[0].train_loss
    assert reports[-1].loss < 0.5
    assert reports[-1].top1 > 0.9
    # What is kept are the weights that were validated.
    assert {checkpoint.load(tmp_path, s).step for s in (6, 30, 36)} == {6, 30, 36}


def files(folder):
    return {
        path.relative_to(folder): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_loss_that_is_not_a_number(toy, tmp_path):
    train(toy.run(epochs=1), tmp_path)
    before = files(tmp_path)
    wild = toy.run(epochs=2, learning_rate=1e30)
    with pytest.raises(
        BadInput, match=r"loss nan by step 12: .*--learning_rate below 1e\+30"
    ) as error:
        train(wild, tmp_path)
    assert "\n" not in str(error.value)
    assert "the last good checkpoint, of step 6" in str(error.value)
    # The earlier checkpoint is as it was, and none of the wild weights was made.
    assert files(tmp_path) == before
    assert checkpoint.load(tmp_path).step == 6


def test_other_classes_in_validation(toy, tmp_path):
    run = toy.run()
    other = run.validation._replace(labels=("cat", "dog", "hen"))
    with pytest.raises(BadInput, match="classes"):
        loop.check(run._replace(validation=other))


def test_too_few_images(toy):
    with pytest.raises(BadInput, match="batch size 64"):
        _ = toy.run(batch_size=64).steps_per_epoch


def test_init_is_the_recipes(toy):
    run = toy.run(init="paper")
    optimize = optimizer.make_optimizer(run.recipe, 6)
    model = loop.make_model(run.net, run.recipe)
    params = step.first_state(model, optimize, 0).params
    # Section 3: weights of 10^-2, biases of 0; 1152 normal numbers: their deviation
    # is known to 2 %.
    assert np.std(params["layer2"]["kernel"]) == pytest.approx(0.01, rel=0.1)
    assert not np.asarray(params["layer2"]["bias"]).any()
