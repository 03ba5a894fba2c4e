"""`experiments.errors` from end to end: one net, ensembles, and what it refuses."""

import json

import jax
import numpy as np
import pytest

from experiments.common import dataset, model, paper
from experiments.errors import ensemble
from tests.experiments.commands import SMALL, assert_one_line, command, train
from zf_jax import convnet, spec
from zf_jax.data import crops, sources
from zf_jax.errors import BadInput
from zf_jax.training import checkpoint


@pytest.fixture(scope="module")
def runs(tmp_path_factory, creatures_dir):
    """Two runs that differ in their seed; images of 40 pixels leave room for crops."""
    folder = tmp_path_factory.mktemp("runs")
    for seed in (0, 1):
        more = "--epochs=1", "--resize=40", f"--seed={seed}"
        train(creatures_dir, folder / str(seed), *more)
    return folder


def errors(data, *more, **how):
    return command(
        "experiments.errors",
        f"--data_dir={data}",
        "--batch_size=18",
        *more,
        **how,
    )


def rows(path):
    found = json.loads((path / "errors.json").read_text())
    assert (found["data"], found["images"]) == ("creatures/64, validation", 50)
    return found["errors"]


def by_hand(run, data, views):
    """Top-1 error in percent, by views of each image: [V, 32, 32, 3]."""
    metadata, params, _ = checkpoint.load(run)
    source = sources.open_split("creatures/64", "validation", data_dir=data)
    wrong, model = 0, convnet.ConvNet(metadata.net)
    apply = jax.jit(lambda images: model.apply({"params": params}, images)[0])
    for example in source.examples:
        cut = views(crops.resize(example["image"], 40))
        logits = np.asarray(apply(convnet.prepare(cut, metadata.net.input)))
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        mean = (odds / odds.sum(axis=1, keepdims=True)).mean(axis=0)
        wrong += mean.argmax() != example["label"]
    return 100 * wrong / len(source.examples)


def test_one_net(runs, creatures_dir, tmp_path):
    ran = errors(creatures_dir, f"--checkpoint={runs / '0'}", f"--out={tmp_path}")
    assert [path.name for path in ran.written] == ["errors.json"]
    (row,) = rows(tmp_path)
    assert "paper" not in row
    given = runs / "0", creatures_dir
    assert row["one crop"][0] == by_hand(*given, lambda x: x[4:36, 4:36][None])
    assert row["ten crops"][0] == by_hand(*given, lambda x: crops.ten(x, (32, 32)))
    assert f"{row['ten crops'][0]:.2f}" in ran.out
    assert "two crops" not in ran.out


def test_a_net_averaged_with_itself(runs, creatures_dir, tmp_path, monkeypatch):
    both = f"--checkpoints={runs / '0'},{runs / '0'},{runs / '1'}"
    errors(creatures_dir, both, f"--out={tmp_path}")
    one, same, other, average = rows(tmp_path)
    assert one == same
    assert one != other
    assert average["net"] == "average of 3"
    # As if the paper had averaged two of these nets.
    known = {("small", "small"): (36.7, 15.3)}
    monkeypatch.setattr(paper, "ensemble_errors", lambda *given: known.get(given[-1]))
    twice = errors(
        creatures_dir, f"--checkpoints={runs / '0'},{runs / '0'}", f"--out={tmp_path}"
    )
    one, _, average = rows(tmp_path)
    assert average.pop("paper") == [36.7, 15.3]
    assert "36.70   15.30" in twice.out
    assert {**one, "net": ""} == {**average, "net": ""}


def test_the_papers_numbers_are_of_imagenets_validation():
    # Table 2.
    validation, five = ("imagenet2012:5.1.0", "validation"), ("zfnet",) * 5
    assert paper.ensemble_errors(*validation, five[:1]) == (38.4, 16.5)
    assert paper.ensemble_errors(*validation, five) == (36.7, 15.3)
    assert paper.ensemble_errors("imagenet2012:5.1.0", "train", five) is None
    assert paper.ensemble_errors("creatures/64", "validation", five) is None


@pytest.mark.slow
def test_two_specs_averaged(runs, creatures_dir, tmp_path, monkeypatch):
    layers = (SMALL.layers[0], *SMALL.layers[2:])
    monkeypatch.setitem(spec.NETS, "flat", spec.Spec("flat", SMALL.input, layers))
    more = "--epochs=1", "--resize=40"
    flat = train(creatures_dir, tmp_path / "flat", *more, net="flat")
    both = f"--checkpoints={runs / '0'},{flat}"
    errors(creatures_dir, both, f"--out={tmp_path}")
    average = rows(tmp_path)[-1]
    assert average["net"] == "average of 2"
    # Anew: the mean of both nets' probabilities, of the centre crop.
    source = sources.open_split("creatures/64", "validation", data_dir=creatures_dir)
    cut = [
        crops.resize(example["image"], 40)[4:36, 4:36] for example in source.examples
    ]
    mean = 0
    for folder in (runs / "0", flat):
        metadata, params, _ = checkpoint.load(folder)
        given = {"params": params}, convnet.prepare(np.stack(cut), metadata.net.input)
        mean += np.asarray(
            jax.nn.softmax(convnet.ConvNet(metadata.net).apply(*given)[0])
        )
    labels = np.array([example["label"] for example in source.examples])
    assert average["one crop"][0] == 100 * (mean.argmax(axis=1) != labels).mean()


def test_no_room_for_ten_crops_is_said(runs, creatures_dir, tmp_path):
    given = f"--checkpoint={runs / '0'}", "--size=32", f"--out={tmp_path}"
    ran = errors(creatures_dir, *given, "--split=validation[:20]")
    assert "has two crops" in ran.out
    assert "--size=37" in ran.out
    assert json.loads((tmp_path / "errors.json").read_text())["images"] == 20


def test_classes_that_differ_are_refused(runs, creatures_dir, tmp_path, monkeypatch):
    load = checkpoint.load

    def other(run, step=None):
        restored = load(run, step)
        labels = tuple("abcdefghij")
        if str(run).endswith("1"):
            restored = restored._replace(
                metadata=restored.metadata._replace(labels=labels)
            )
        return restored

    monkeypatch.setattr(checkpoint, "load", other)
    with pytest.raises(BadInput, match=r"not those of .*class 0 is a, not bear"):
        load_ensemble(creatures_dir, checkpoints=(str(runs / "0"), str(runs / "1")))
    # The images' classes are not the net's.
    with pytest.raises(BadInput, match=r"--dataset: .*class 0 is bear, not a"):
        load_ensemble(creatures_dir, checkpoint=runs / "1")


def load_ensemble(data_dir, checkpoints=(), **settings):
    config = ensemble.EnsembleConfig(model.ModelConfig(**settings), checkpoints)
    return ensemble.load(config, dataset.DataConfig(data_dir=data_dir))


@pytest.mark.parametrize(
    ("settings", "culprit"),
    [
        ({"checkpoint": "0", "upto": "layer5"}, "without classes"),
        ({"checkpoint": "0", "checkpoints": ("1",)}, "leave out --checkpoint"),
        ({"onnx": "net.onnx", "checkpoints": ("0",)}, "leave out --onnx"),
        ({"step": 6, "checkpoints": ("0", "1")}, "leave out --step"),
    ],
)
def test_refuses(runs, creatures_dir, monkeypatch, settings, culprit):
    monkeypatch.chdir(runs)
    with pytest.raises(BadInput, match=culprit):
        load_ensemble(creatures_dir, **settings)


def test_a_mistake_writes_nothing(runs, creatures_dir, tmp_path):
    both = f"--checkpoints={runs / '0'},{runs / 'none'}"
    ran = errors(creatures_dir, both, f"--out={tmp_path / 'new'}", fails=True)
    assert_one_line(ran, "none")
    assert not (tmp_path / "new").exists()
