"""Experiments on ONNX files and image files, and what users get wrong about them."""

import numpy as np
import onnx
import pytest
from PIL import Image

from tests.experiments.commands import assert_one_line, assert_png, command, numbers_in
from tests.pretrained import graphs
from zf_jax.data import sources
from zf_jax.figures import feature_pages, saliency_comparison

RNG = np.random.default_rng(5)
CLASSES = [f"animal {i}" for i in range(10)]


def trunk(shape, channels=3):
    chain = graphs.Chain(shape)
    for name, maps, given, size in (("conv1", 6, channels, 5), ("conv2", 8, 6, 3)):
        if name == "conv2":
            chain.add("MaxPool", kernel_shape=[2, 2], strides=[2, 2])
        kernel = (f"{name}.weight", chain.weights(maps, given, size, size))
        pads = [size // 2] * 4
        chain.add("Conv", kernel, chain.weights(maps), pads=pads).add("Relu")
    return chain


def dense(shape, units, channels=3):
    """Of images of 32 x 32; the file may leave that open."""
    chain = trunk(shape, channels).add("Flatten")
    weights = ("fc.weight", chain.weights(units, 16 * 16 * 8))
    return chain.add("Gemm", weights, chain.weights(units), transB=1)


def logits_of(chain):
    chain.add("GlobalAveragePool").add("Flatten")
    return chain.add("Gemm", chain.weights(10, 6), chain.weights(10), transB=1)


def residual():
    """A block that adds what it was given, of 32 x 32; its maps are made4_0."""
    chain = graphs.Chain(("n", 3, 32, 32))
    chain.conv(6, 3, (5, 5), pads=[2] * 4).add("Relu")
    stem = chain.tensor
    return chain.conv(6, 6, (3, 3), pads=[1] * 4).add("Add", stem).add("Relu")


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """A folder with ONNX files, names.txt, and images of several sizes in two folders.

    trunk.onnx takes any size, the others 32 x 32, which open.onnx does not say;
    single.onnx has one logit, sigmoid.onnx independent classes. One image file is
    broken.
    """
    folder = tmp_path_factory.mktemp("here")
    for name, chain in (
        ("trunk", trunk(("n", 3, "h", "w"))),
        ("dense", dense(("n", 3, 32, 32), 10).add("Softmax")),
        ("single", dense(("n", 3, 32, 32), 1)),
        ("sigmoid", dense(("n", 3, 32, 32), 10).add("Sigmoid")),
        ("open", dense(("n", 3, "h", "w"), 10)),
        ("grey", dense(("n", 1, 32, 32), 10, channels=1)),
        ("maps", residual()),
        ("residual", logits_of(residual())),
        ("four", trunk(("n", 4, 32, 32), channels=4)),
    ):
        onnx.save(chain.model(), folder / f"{name}.onnx")
    (folder / "names.txt").write_text("\n".join(CLASSES) + "\n", "utf-8-sig")
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


def features(here, out, *more, net="trunk", images="holiday", **how):
    return command(
        "experiments.features",
        f"--onnx={here / net}.onnx",
        "--preset=unit",
        *([f"--images={here / images}"] if images else []),
        "--maps=2",
        "--k=2",
        f"--out={out}",
        *more,
        **how,
    )


def occlusion(here, out, *more, net="trunk", images="holiday/square.png", **how):
    return command(
        "experiments.occlusion",
        f"--onnx={here / net}.onnx",
        "--preset=unit",
        *([f"--images={here / images}"] if images else []),
        "--side=10",
        "--stride=10",
        f"--out={out}",
        *more,
        **how,
    )


def names(ran):
    return [path.name for path in ran.written]


def pictures(ran):
    return [name for name in names(ran) if name.endswith(".png")]


def test_features_of_a_trunk(here, tmp_path):
    ran = features(here, tmp_path, "--size=40", "--upto=conv2")
    assert pictures(ran) == ["filters.png", "conv1.png", "conv2.png", "contact.png"]
    for path in ran.written:
        if path.suffix == ".png":
            assert_png(path)
    # The broken file is named, and counted at the end.
    assert "skipped image" in ran.err
    assert "broken.jpg" in ran.err
    assert "1 of 4 files could not be read" in ran.out


def test_features_of_a_residual_graph(here, tmp_path):
    given = ("--maps=2,", "--layers=made4_0")
    ran = features(here, tmp_path, *given, net="residual", images="holiday/square.png")
    assert pictures(ran) == ["made4_0.png", "contact.png"]
    pixels = np.asarray(Image.open(here / "holiday" / "square.png"), np.float32) / 255
    maps = onnx.load(here / "maps.onnx")
    maps = graphs.onnxruntime_of(maps, pixels[None].transpose(0, 3, 1, 2))[0, 2]
    arrays = numbers_in(tmp_path / "made4_0.npz")
    assert arrays["values"][0, 0] == pytest.approx(maps.max(), rel=1e-4)
    position = np.unravel_index(maps.argmax(), maps.shape)
    np.testing.assert_array_equal(arrays["positions"][0, 0], position)
    assert arrays["projections"].any()
    # By hand: 5 x 5 pixels, and one more on each side.
    assert arrays["patches"].shape[2:] == (7, 7, 3)


def test_occlusion_up_to_a_value_of_the_graph(here, tmp_path):
    given = ("--upto=made1_0", "--neighbour_images=0")
    ran = occlusion(here, tmp_path, *given, net="residual")
    assert "residual has no classes" in ran.out
    assert numbers_in(tmp_path / "square.npz")["activity"].shape == (4, 4, 6)


def test_features_of_classes(here, tmp_path, monkeypatch):
    captions = {}

    def kept(patches, projections, caption, *, path, **_):
        captions[path.stem] = [each.split(",")[0] for each in caption]
        return path

    monkeypatch.setattr(feature_pages, "draw", kept)
    given = (f"--labels={here / 'names.txt'}", "--layers=conv1,fc")
    features(here, tmp_path, *given, net="dense", images="more")
    assert list(captions) == ["conv1", "fc"]
    assert all(each.startswith("map ") for each in captions["conv1"])
    assert captions["fc"] == ["animal 0", "animal 1"]


def test_strict_stops(here, tmp_path):
    ran = features(
        here, tmp_path, "--strict", net="dense", images="holiday", fails=True
    )
    assert_one_line(ran, "broken.jpg: not an image that can be read")
    assert list(tmp_path.iterdir()) == []


def test_occlusion_of_a_trunk(here, tmp_path):
    given = ("--size=32", "--neighbour_images=2")
    ran = occlusion(here, tmp_path, *given, images="holiday/b*")
    assert names(ran) == ["beach.png", "beach.npz"]
    assert "trunk has no classes: no panels (d) and (e)" in ran.out
    assert "1 of 2 files could not be read" in ran.out
    read = numbers_in(tmp_path / "beach.npz")
    # By hand: 40x50 becomes 32x40; ceil((32 - 10) / 10) + 1 = 4, ceil(30 / 10) + 1 = 4.
    assert read["activity"].shape == (4, 4, 8)
    assert {"probability", "top", "label"}.isdisjoint(read)


def test_occlusion_of_classes(here, tmp_path):
    given = (f"--labels={here / 'names.txt'}", "--classes=animal 0")
    ran = occlusion(here, tmp_path, *given, "--neighbour_images=0", net="dense")
    assert "no classes" not in ran.out
    read = numbers_in(tmp_path / "square.npz")
    assert read["label"] == 0
    assert read["probability"].shape == (4, 4, 10)
    np.testing.assert_allclose(read["probability"].sum(-1), 1, rtol=1e-5)


def test_occlusion_of_a_single_logit(here, tmp_path):
    occlusion(here, tmp_path, "--neighbour_images=0", net="single")
    read = numbers_in(tmp_path / "square.npz")
    # Softmax over one logit would be 1; the sigmoid by onnxruntime's logit.
    pixels = np.asarray(Image.open(here / "holiday" / "square.png"), np.float32) / 255
    model = onnx.load(here / "single.onnx")
    logit = graphs.onnxruntime_of(model, pixels[None].transpose(0, 3, 1, 2))[0]
    want = 1 / (1 + np.exp(-logit))
    np.testing.assert_allclose(read["clean_probability"], want, rtol=1e-4)
    np.testing.assert_array_equal(read["top"], read["probability"][..., 0] > 0.5)
    assert read["label"] == 0


def test_probabilities_of_independent_classes(
    here, creatures_dir, tmp_path, monkeypatch
):
    given = f"--onnx={here / 'sigmoid.onnx'}", "--preset=unit", f"--out={tmp_path}"
    images = f"--images={here / 'holiday' / 'square.png'}", "--background_images=0"
    command("experiments.invariance", *given, *images, "--steps=4")
    found = numbers_in(tmp_path / "invariance.npz")
    pixels = np.asarray(Image.open(here / "holiday" / "square.png"), np.float32) / 255
    want = sigmoids(here, pixels[None])[0, found["labels"][0]]
    # The middle of the translations moves nothing.
    assert found["translation"][2] == 0
    assert found["probability"][0, 2] == pytest.approx(want, rel=1e-4)

    curves = {}
    monkeypatch.setattr(
        saliency_comparison,
        "draw",
        lambda _, found, *, path, **__: curves.update(found) or path,
    )
    data = "--dataset=creatures/64", f"--data_dir={creatures_dir}", "--size=64"
    few = "--count=2", "--steps=2", "--side=16", "--stride=16"
    command("experiments.scores", *given, *data, *few)
    source = sources.open_split("creatures/64", "validation", data_dir=creatures_dir)
    # The middle of the image, of which nothing is deleted yet.
    pixels = [source.examples[i]["image"][16:48, 16:48] for i in (0, 1)]
    want = sigmoids(here, np.float32(pixels) / 255).max(axis=1).mean()
    assert curves["deletion"]["occlusion"][0] == pytest.approx(want, rel=1e-4)


def sigmoids(here, pixels):
    model = onnx.load(here / "sigmoid.onnx")
    return graphs.onnxruntime_of(model, pixels.transpose(0, 3, 1, 2))


def test_size_tells_what_the_file_leaves_open(here, tmp_path):
    given = ("--size=32", "--neighbour_images=0")
    occlusion(here, tmp_path, *given, net="open")
    assert numbers_in(tmp_path / "square.npz")["probability"].shape == (4, 4, 10)


def test_grey_nets(here, tmp_path):
    layers = "--layers=conv1,fc"
    ran = features(here, tmp_path, layers, net="grey", images="holiday/square.png")
    assert pictures(ran) == ["filters.png", "conv1.png", "fc.png", "contact.png"]
    # As Pillow's mode L, in 0..1; the strongest patch of a dense layer is the image.
    grey = np.asarray(Image.open(here / "holiday" / "square.png").convert("L"))
    patch = numbers_in(tmp_path / "fc.npz")["patches"][0, 0, ..., 0]
    np.testing.assert_allclose(patch * 255, grey, atol=1.01)


def test_refuses_images_of_four_channels(here, tmp_path):
    ran = features(here, tmp_path, net="four", images="holiday/square.png", fails=True)
    assert_one_line(ran, "four.onnx: takes images of 4 channels")


# What each takes, by hand: of RGB pixels in 0..255.
PRESETS = {
    "--preset=caffe": lambda rgb: rgb[..., ::-1] - [103.939, 116.779, 123.68],
    "--preset=torch": lambda rgb: (
        (rgb / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    ),
    "--preset=unit": lambda rgb: rgb / 255,
    "--mean=100,": lambda rgb: rgb / 255 - 100 / 255,
}


@pytest.mark.parametrize("preset", PRESETS)
def test_presets(here, tmp_path, preset):
    given = (preset, "--size=32", "--neighbour_images=0")
    occlusion(here, tmp_path, *given)
    pixels = np.asarray(Image.open(here / "holiday" / "square.png"), np.float64)
    given = PRESETS[preset](pixels)[None].transpose(0, 3, 1, 2).astype(np.float32)
    model = onnx.load(here / "trunk.onnx")
    want = graphs.onnxruntime_of(model, given)[0].sum(axis=(1, 2))
    got = numbers_in(tmp_path / "square.npz")["clean_activity"]
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4 * want.max())


def test_a_folder_is_a_data_set(here, tmp_path):
    # Two classes, told by their colour.
    folder = tmp_path / "zoo"
    for number, name in enumerate(("cat", "dog")):
        (folder / name).mkdir(parents=True)
        for index in range(4):
            pixels = RNG.integers(0, 150, (40, 36, 3), np.uint8)
            pixels[..., number] += 100
            Image.fromarray(pixels).save(folder / name / f"{index}.png")
    data = (f"--dataset=folder:{folder}", f"--data_dir={tmp_path / 'data'}")
    given = ("--split=train", "--indices=1", "--neighbour_images=1")
    ran = occlusion(here, tmp_path / "o", *data, *given, net="dense", images=None)
    picture, _ = ran.written
    assert_png(picture)
    assert picture.stem in ("cat-1", "dog-1")


def test_refuses_files_without_what_they_take(here, tmp_path):
    ran = command(
        "experiments.features",
        f"--onnx={here / 'trunk.onnx'}",
        f"--out={tmp_path / 'out'}",
        "--preset=unit",
        fails=True,
    )
    assert_one_line(ran, "--images or --dataset")
