"""`experiments.table3` from end to end: variants and seeds, gone on with, refused."""

import json
import os
import signal

import numpy as np
import pytest

from experiments.table3 import result as measured
from experiments.table3 import rows as table_rows
from tests.experiments.commands import SMALL, assert_one_line, command
from zf_jax import geometry, spec
from zf_jax.data import sources
from zf_jax.errors import BadInput
from zf_jax.training import checkpoint, loop, recipe, step

SETTING = ("--batch_size=16", "--learning_rate=0.02", "--init=he", "--epochs=1")
# Not only small: a variant of TINY by its own name, the smallest of all.
BOTH = "small,tiny-without3467"


def sweep(data, out, *more, variants="small", **how):
    return command(
        "experiments.table3",
        "--dataset=creatures/64",
        f"--data_dir={data}",
        f"--out={out}",
        f"--variants={variants}",
        "--seeds=2",
        *SETTING,
        *more,
        **how,
    )


@pytest.fixture(scope="module")
def swept(tmp_path_factory, creatures_dir):
    out = tmp_path_factory.mktemp("sweep")
    return out, sweep(creatures_dir, out)


def results(out):
    return {
        str(path.parent.relative_to(out)): json.loads(path.read_text())
        for path in out.rglob("result.json")
    }


def test_table(swept):
    out, ran = swept
    assert [path.name for path in ran.written] == ["table3.json"]
    (row,) = json.loads((out / "table3.json").read_text())["rows"]
    assert row["variant"] == "small"
    assert row["parameters"] == sum(geometry.parameters(SMALL).values())
    assert "paper" not in row
    found = results(out)
    both = [found[f"small/seed-{seed}"] for seed in (0, 1)]
    assert [each["run"]["seed"] for each in both] == [0, 1]
    assert row["seconds"] == pytest.approx(sum(e["seconds"] for e in both) / 2)
    for name in ("train_top1", "top1", "top5"):
        one, other = (each[name] for each in both)
        assert row[name]["runs"] == [one, other]
        # By hand: of two numbers.
        assert row[name]["mean"] == pytest.approx((one + other) / 2)
        deviation = abs(one - other) / np.sqrt(2)
        assert row[name]["deviation"] == pytest.approx(deviation)
        assert 0 <= row[name]["mean"] <= 100
    # A round after the other: the first has no deviation.
    first, second = ran.out.split("2 of 2 seeds")
    assert "1 of 2 seeds" in first
    assert " ± " not in first
    assert second.count(" ± ") == 3


def test_errors_are_those_of_the_checkpoint(swept, creatures_dir):
    # Anew, without the script: over both splits, centre crops.
    out, _ = swept
    restored = checkpoint.load(out / "small" / "seed-1")
    assert restored.step == 6
    how = recipe.Recipe(**restored.metadata.recipe)
    train, validation = (
        sources.open_split("creatures/64", split, data_dir=creatures_dir)
        for split in ("train", "validation")
    )
    eval_step = step.make_eval_step(loop.make_model(SMALL, how))
    found = results(out)["small/seed-1"]
    for source, errors in (
        (train, {"train_top1": "top1"}),
        (validation, {"top1": "top1", "top5": "top5"}),
    ):
        run = loop.Run(SMALL, how, train, source)
        means = loop.evaluate(run, eval_step, restored.params)
        for error, mean in errors.items():
            assert found[error] == pytest.approx(100 * (1 - means[mean]), abs=1e-4)


def test_what_ended_is_read(swept, creatures_dir, monkeypatch):
    out, ran = swept
    monkeypatch.setattr(loop, "train_epochs", None)
    monkeypatch.setattr(loop, "evaluate", None)
    again = sweep(creatures_dir, out)
    assert again.out == ran.out


@pytest.mark.slow
def test_ctrl_c_saves_and_the_rest_goes_on(creatures_dir, tmp_path, monkeypatch):
    undisturbed, out = tmp_path / "undisturbed", tmp_path / "out"
    sweep(creatures_dir, undisturbed, variants=BOTH)
    # Asked to end within the third run's only epoch: by hand after its second step.
    epochs, runs = loop.train_epochs, []

    def interrupted(run, store, state, *, on_step, **more):
        runs.append(run.net.name)

        def ask(done, loss):
            on_step(done, loss)
            if len(runs) == 3 and done == 2:
                os.kill(os.getpid(), signal.SIGINT)

        return epochs(run, store, state, on_step=ask, **more)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "train_epochs", interrupted)
        ran = sweep(creatures_dir, out, variants=BOTH, fails=True)
    assert ran.code == 130
    assert "the same command goes on from here" in ran.out
    assert checkpoint.load(out / "small" / "seed-1").step == 2
    assert not (out / "tiny-without3467" / "seed-1").exists()
    rows = json.loads((out / "table3.json").read_text())["rows"]
    # 65,930: by hand, in tests/test_spec.py.
    assert rows[1]["parameters"] == 65_930
    assert [len(row["top1"]["runs"]) for row in rows] == [1, 1]
    sweep(creatures_dir, out, variants=BOTH)
    # To where an undisturbed sweep comes, to the digit: batches and bits are its own.
    want, found = results(undisturbed), results(out)
    assert set(found) == set(want)
    for name, result in found.items():
        for error in table_rows.ERRORS:
            assert result[error] == pytest.approx(want[name][error], abs=1e-4)


def test_other_settings_take_another_folder(swept):
    workdir = swept[0] / "small" / "seed-0"
    before = (workdir / "result.json").read_text()
    now = run_of("tiny", dataset="creatures/64")
    with pytest.raises(BadInput, match="epochs 1, not 70; take another --out"):
        measured.measure(now, workdir, save_minutes=30.0)
    assert (workdir / "result.json").read_text() == before


@pytest.mark.parametrize("text", ["{", "[]", "{}"])
def test_a_damaged_result(tmp_path, text):
    path = tmp_path / "result.json"
    path.write_text(text)
    with pytest.raises(BadInput, match=r"result\.json: damaged; remove it"):
        measured.measure(run_of("tiny"), tmp_path, save_minutes=30.0)
    assert path.read_text() == text


@pytest.mark.parametrize(
    ("given", "culprit"),
    [
        ("--variants=small,resnet", "'resnet': there are tiny"),
        ("--variants=small,small", "--variants=small,small: several are the same"),
    ],
)
def test_refuses(creatures_dir, tmp_path, given, culprit):
    out = tmp_path / "out"
    assert_one_line(sweep(creatures_dir, out, given, fails=True), culprit)
    assert not out.exists()


def run_of(name, dataset="imagenet2012", split="validation"):
    train, validation = (sources.Source(dataset, s, [], ()) for s in ("train", split))
    return loop.Run(spec.by_name(name), recipe.PAPER, train, validation)


def result(top1):
    return {"train_top1": 0.0, "top1": top1, "top5": 1.0, "seconds": 2.0}


def test_rows_by_hand():
    # The sample's deviation of 1, 2 and 6: sqrt((4 + 1 + 9) / 2).
    row = table_rows.row(run_of("zfnet"), [result(n) for n in (1.0, 2.0, 6.0)])
    assert row["top1"]["mean"] == pytest.approx(3)
    assert row["top1"]["deviation"] == pytest.approx(np.sqrt(7))
    assert row["parameters"] == sum(geometry.parameters(spec.ZFNET).values())


def test_the_papers_numbers_stand_beside_imagenet_alone():
    # Table 3's first and last row.
    for name, numbers in (
        ("alexnet-dense", (35.1, 40.5, 18.1)),
        ("zfnet-wide-8192", (10.0, 38.3, 16.9)),
    ):
        assert table_rows.row(run_of(name), [result(1.0)])["paper"] == numbers
    rows = [table_rows.row(run_of(net.name), [result(1.0)]) for net in spec.TABLE3]
    assert all(row["paper"] for row in rows)
    head, *lines = table_rows.text(rows).splitlines()
    assert head.endswith("the paper's")
    assert lines[0].endswith("35.1  40.5  18.1")
    for other in (
        ("imagenet2012_subset",),
        ("imagenette/320px-v2",),
        ("creatures/64",),
        ("imagenet2012", "train[:50000]"),
    ):
        row = table_rows.row(run_of("zfnet", *other), [result(1.0)])
        assert "paper" not in row
        assert "paper" not in table_rows.text([row])
