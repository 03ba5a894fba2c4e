"""Experiments on ONNX files and photographs, and what users get wrong about them."""

import numpy as np
import onnx
import pytest
from PIL import Image

from tests.experiments.commands import assert_one_line, assert_png, command, numbers_in
from tests.pretrained import graphs
from zf_jax.figures import feature_pages
from zf_jax.training import checkpoint

RNG = np.random.default_rng(5)
CLASSES = [f"kind {i}" for i in range(10)]


def trunk(shape):
    chain = graphs.Chain(shape)
    for name, maps, given, size in (("conv1", 6, 3, 5), ("conv2", 8, 6, 3)):
        if name == "conv2":
            chain.add("MaxPool", kernel_shape=[2, 2], strides=[2, 2])
        kernel = (f"{name}.weight", chain.weights(maps, given, size, size))
        pads = [size // 2] * 4
        chain.add("Conv", kernel, chain.weights(maps), pads=pads).add("Relu")
    return chain


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """A folder: trunk.onnx, dense.onnx of 32 x 32, names.txt, and photographs in two.

    Sizes differ, one file is broken.
    """
    folder = tmp_path_factory.mktemp("here")
    onnx.save(trunk(("n", 3, "h", "w")).model(), folder / "trunk.onnx")
    dense = trunk(("n", 3, 32, 32)).add("Flatten")
    weights = ("fc.weight", dense.weights(10, 16 * 16 * 8))
    dense.add("Gemm", weights, dense.weights(10), transB=1).add("Softmax")
    onnx.save(dense.model(), folder / "dense.onnx")
    (folder / "names.txt").write_text("\n".join(CLASSES) + "\n")
    for name, size in (
        ("holiday/beach.png", (40, 50)),
        ("holiday/tall/tower.png", (60, 36)),
        ("holiday/square.png", (32, 32)),
        ("more/beach.png", (48, 48)),
    ):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(RNG.integers(0, 256, (*size, 3), np.uint8)).save(path)
    (folder / "holiday" / "broken.jpg").write_text("no image")
    return folder


def features(here, out, *more, net="trunk", images="holiday"):
    return command(
        "experiments.features",
        f"--onnx={here / net}.onnx",
        "--preset=unit",
        *([f"--images={here / images}"] if images else []),
        "--maps=2",
        "--k=2",
        f"--out={out}",
        *more,
    )


def occlusion(here, out, *more, net="trunk", images="holiday/square.png"):
    return command(
        "experiments.occlusion",
        f"--onnx={here / net}.onnx",
        "--preset=unit",
        *([f"--images={here / images}"] if images else []),
        "--side=10",
        "--stride=10",
        f"--out={out}",
        *more,
    )


def names(ran):
    return [path.name for path in ran.written]


def pictures(ran):
    return [name for name in names(ran) if name.endswith(".png")]


def test_features_of_a_trunk(here, tmp_path):
    ran = features(here, tmp_path, "--size=40")
    assert ran.code == 0, ran.err
    assert pictures(ran) == ["filters.png", "conv1.png", "conv2.png", "contact.png"]
    for path in ran.written:
        if path.suffix == ".png":
            assert_png(path)
    # The broken file is named, and counted at the end.
    assert "skipped image" in ran.err
    assert "broken.jpg" in ran.err
    assert "1 of 4 files could not be read" in ran.out


@pytest.mark.parametrize(
    ("images", "count"),
    [("holiday/*.png", 2), ("holiday/**", 3), ("holiday/beach.png", 1)],
)
def test_features_of_patterns_and_files(here, tmp_path, monkeypatch, images, count):
    titles = []
    monkeypatch.setattr(
        feature_pages,
        "draw",
        lambda *_, title, path, **__: titles.append(title) or path,
    )
    ran = features(here, tmp_path, "--size=32", "--layers=conv1", images=images)
    assert ran.code == 0, ran.err
    assert titles == [
        "trunk, conv1: projections (deconvnet) and patches of the "
        f"{min(count, 2)} strongest of {count} photograph{'s' * (count > 1)}"
    ]


def test_last_cuts_the_net(here, tmp_path):
    ran = features(here, tmp_path, "--size=32", "--last=conv1", net="dense")
    assert ran.code == 0, ran.err
    assert pictures(ran) == ["filters.png", "conv1.png", "contact.png"]


@pytest.mark.parametrize("named", [True, False])
def test_features_of_classes(here, tmp_path, monkeypatch, named):
    captions = {}

    def kept(patches, projections, caption, *, path, **_):
        captions[path.stem] = [each.split(",")[0] for each in caption]
        return path

    monkeypatch.setattr(feature_pages, "draw", kept)
    labels = (f"--labels={here / 'names.txt'}",) if named else ()
    ran = features(here, tmp_path, *labels, net="dense")
    assert ran.code == 0, ran.err
    assert list(captions) == ["conv1", "conv2", "fc"]
    assert all(each.startswith("map ") for each in captions["conv1"])
    word = "kind" if named else "class"
    assert captions["fc"] == [f"{word} 0", f"{word} 1"]


@pytest.mark.parametrize("net", ["trunk", "dense"])
def test_strict_stops(here, tmp_path, net):
    for run in (features, occlusion):
        ran = run(here, tmp_path, "--strict", net=net, images="holiday")
        assert_one_line(ran, "broken.jpg: not an image that can be read")
    assert list(tmp_path.iterdir()) == []


def test_occlusion_of_a_trunk(here, tmp_path):
    ran = occlusion(here, tmp_path, "--size=32", "--others=2", images="holiday")
    assert ran.code == 0, ran.err
    assert names(ran) == [
        f"{name}.{kind}"
        for name in ("beach", "square", "tower")
        for kind in ("png", "npz")
    ]
    assert "trunk has no classes: no panels (d) and (e)" in ran.out
    assert "1 of 4 files could not be read" in ran.out
    read = numbers_in(tmp_path / "beach.npz")
    # By hand: 40x50 becomes 32x40; ceil((32 - 10) / 10) + 1 = 4, ceil(30 / 10) + 1 = 4.
    assert read["activity"].shape == (4, 4, 8)
    # 60x36 becomes 53x32: ceil(43 / 10) + 1 = 6 rows.
    assert numbers_in(tmp_path / "tower.npz")["activity"].shape == (6, 4, 8)
    assert {"probability", "top", "label"}.isdisjoint(read)


def test_occlusion_of_files_of_one_name(here, tmp_path):
    both = "--images=" + ",".join(
        str(here / f / "beach.png") for f in ("holiday", "more")
    )
    ran = occlusion(here, tmp_path, both, "--size=32", "--others=0", images=None)
    assert ran.code == 0, ran.err
    assert names(ran)[::2] == ["beach.png", "beach-2.png"]


def test_occlusion_of_classes(here, tmp_path):
    labels = f"--labels={here / 'names.txt'}"
    ran = occlusion(
        here, tmp_path, labels, "--classes=kind 3", "--others=0", net="dense"
    )
    assert ran.code == 0, ran.err
    assert "no classes" not in ran.out
    read = numbers_in(tmp_path / "square.npz")
    assert read["label"] == 3
    assert read["probability"].shape == (4, 4, 10)
    np.testing.assert_allclose(read["probability"].sum(-1), 1, rtol=1e-5)


# What each takes, by hand: of RGB pixels in 0..255.
PRESETS = {
    "caffe": lambda rgb: rgb[..., ::-1] - [103.939, 116.779, 123.68],
    "torch": lambda rgb: (rgb / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225],
    "unit": lambda rgb: rgb / 255,
}


@pytest.mark.parametrize("preset", PRESETS)
def test_presets(here, tmp_path, preset):
    ran = occlusion(here, tmp_path, f"--preset={preset}", "--size=32", "--others=0")
    assert ran.code == 0, ran.err
    pixels = np.asarray(Image.open(here / "holiday" / "square.png"), np.float64)
    given = PRESETS[preset](pixels)[None].transpose(0, 3, 1, 2).astype(np.float32)
    model = onnx.load(here / "trunk.onnx")
    want = graphs.onnxruntime_of(model, given)[0].sum(axis=(1, 2))
    got = numbers_in(tmp_path / "square.npz")["clean_activity"]
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4 * want.max())


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    """A folder of photographs as a data set: two kinds, told by their colour."""
    folder = tmp_path_factory.mktemp("photographs") / "zoo"
    for number, kind in enumerate(("cat", "dog")):
        (folder / kind).mkdir(parents=True)
        for index in range(16):
            pixels = RNG.integers(0, 150, (40, 36, 3), np.uint8)
            pixels[..., number] += 100
            Image.fromarray(pixels).save(folder / kind / f"{index}.png")
    return folder


def test_a_folder_is_a_data_set(here, zoo, tmp_path):
    data = (f"--dataset=folder:{zoo}", f"--data_dir={tmp_path / 'data'}")
    split = "--split=train"
    ran = command("experiments.contact", *data, split, "--each=2", f"--out={tmp_path}")
    assert ran.code == 0, ran.err
    ran = features(here, tmp_path / "f", *data, split, net="dense", images=None)
    assert ran.code == 0, ran.err
    assert {"conv1.png", "conv2.png", "fc.png"} <= set(names(ran))
    ran = occlusion(
        here, tmp_path / "o", *data, split, "--indices=1", "--size=32", images=None
    )
    assert ran.code == 0, ran.err
    picture, _ = ran.written
    assert_png(picture)
    assert picture.stem in ("cat-1", "dog-1")


def test_a_net_learns_from_a_folder(zoo, tmp_path):
    # Settings of test_commands.py, whose compiled step does for this, too.
    ran = command(
        "launch.train",
        "--spec=small",
        f"--dataset=folder:{zoo}",
        f"--data_dir={tmp_path / 'data'}",
        f"--workdir={tmp_path / 'run'}",
        "--batch_size=16",
        "--learning_rate=0.02",
        "--epochs=1",
        "--init=he",
    )
    assert ran.code == 0, ran.err
    assert checkpoint.load(tmp_path / "run").metadata.labels == ("cat", "dog")


@pytest.mark.parametrize(
    ("net", "given", "culprit"),
    [
        ("trunk", "--checkpoint=x", "--checkpoint=DIR or --onnx=FILE"),
        ("trunk", "--last=conv9", "conv1, conv2"),
        ("trunk", "--onnx=nowhere.onnx", "nowhere.onnx"),
        ("trunk", f"--onnx={__file__}", "test_commands_onnx.py"),
        ("trunk", "--images=nowhere", "'nowhere': no such file"),
        ("trunk", "--layers=conv9", "'conv9'"),
        ("dense", "--size=20", "--size=20: dense takes 32x32"),
        ("dense", "--labels=nowhere.txt", "nowhere.txt: No such file"),
        ("dense", "--labels={here}/few.txt", "2 names, the net has 10"),
        ("dense", "--labels={here}/holiday/square.png", "square.png: not a text file"),
        ("dense", "--labels={here}", "Is a directory"),
    ],
)
def test_features_refuse(here, tmp_path, net, given, culprit):
    (here / "few.txt").write_text("cat\ndog\n")
    ran = features(
        here,
        tmp_path / "out",
        given.format(here=here),
        net=net,
        images="holiday/square.png",
    )
    assert_one_line(ran, culprit)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("given", "culprit"),
    [
        ([], "--preset: say which"),
        (["--preset=unit"], "--images or --dataset"),
        (["--preset=unit", "--dataset=folder:nowhere"], "nowhere: No such file"),
    ],
)
@pytest.mark.parametrize("module", ["features", "occlusion"])
def test_both_refuse(here, tmp_path, module, given, culprit):
    more = ["--indices=0"] if module == "occlusion" else []
    ran = command(
        f"experiments.{module}",
        f"--onnx={here / 'trunk.onnx'}",
        f"--out={tmp_path / 'out'}",
        f"--data_dir={tmp_path}",
        *given,
        *more,
    )
    assert_one_line(ran, culprit)


def test_a_square_larger_than_a_photograph(here, tmp_path):
    ran = occlusion(here, tmp_path / "out", "--side=60", "--size=32", "--others=0")
    assert ran.code == 2
    assert "side (60, 60)" in ran.err
    assert "Traceback" not in ran.err
