"""Which images, layers and channels are taken, and which are refused."""

import numpy as np
import pytest
from PIL import Image

from experiments.common import dataset, image_choice, model, unit_choice
from experiments.common.dataset import DataConfig
from experiments.common.image_choice import ImageConfig
from experiments.common.unit_choice import UnitConfig
from zf_jax import cli
from zf_jax.errors import BadInput


@pytest.fixture
def loaded(run):
    return model.from_run(run)


@pytest.fixture
def data(creatures_dir, loaded):
    return dataset.Dataset(DataConfig(data_dir=creatures_dir), loaded)


@pytest.mark.parametrize(
    ("config", "culprit"),
    [
        (UnitConfig(layers=("layer9",)), "--layers=layer9: small has layer1"),
        (UnitConfig(layers=()), "--layers: give some"),
        (UnitConfig(maps=("0", "99")), "--maps=99"),
        (UnitConfig(maps=("99", "")), "--maps=99"),
        (UnitConfig(maps=("-1", "0")), "--maps=-1,0"),
        (UnitConfig(maps=("many",)), "--maps=many"),
        (UnitConfig(maps=("all", "3")), "--maps=all,3"),
        (UnitConfig(maps=("0",)), "--maps=0"),
        (UnitConfig(maps=("", "")), "--maps=,"),
    ],
)
def test_refuses_units(loaded, config, culprit):
    with pytest.raises(BadInput, match=culprit):
        unit_choice.layers(config, loaded)


def test_a_comma_tells_which_map_from_how_many():
    assert cli.config(UnitConfig, ["--maps=17,"]).maps == ("17", "")
    assert cli.config(UnitConfig, ["--maps=17"]).maps == ("17",)


def test_channels(loaded):
    strongest = np.array([4.0, 0.1, 2.0, 0.0, 3.0, 1.0])

    def chosen(*maps, layer="layer1", **more):
        config = UnitConfig(maps=maps, **more)
        return unit_choice.channels(config, loaded, layer, strongest).tolist()

    assert chosen("5", "") == [5]
    assert chosen("5", "0") == [5, 0]
    assert chosen("all") == [0, 1, 2, 3, 4, 5]
    assert chosen("all", order="strength") == [0, 4, 2, 5, 1, 3]
    # Above a twentieth of the strongest, 0.2: all four, or some of them.
    assert chosen("9") == [0, 2, 4, 5]
    assert set(chosen("2")) < {0, 2, 4, 5}
    assert chosen("2") == chosen("2")
    assert chosen("2", order="strength") == [0, 4]
    # Classes stand in their order.
    assert chosen("2", layer="layer8") == [0, 1]


@pytest.mark.parametrize(
    ("config", "culprit"),
    [
        (ImageConfig(), "--images: give image files"),
        (ImageConfig((50,)), "--indices=50: .* has 0 to 49"),
        (ImageConfig((-1,)), "--indices=-1"),
        (ImageConfig((0, 0)), "--indices=0,0: several are the same"),
        (ImageConfig((0,), ("cat",)), "--classes: those of --images"),
    ],
)
def test_refuses_images_of_the_data_set(loaded, data, config, culprit):
    with pytest.raises(BadInput, match=culprit):
        image_choice.choose(config, loaded, None, data)


def test_the_first_of_classes(loaded, data):
    chosen = image_choice.choose(ImageConfig(), loaded, None, data, default_classes=3)
    assert len({one.label for one in chosen}) == 3
    for one in chosen:
        assert one.name == f"{data.labels[one.label]}-{one.index}"
        np.testing.assert_array_equal(one.image, data[one.index])


def test_images_of_one_name(loaded, tmp_path):
    files = [tmp_path / name for name in ("a/cat.png", "a/cat-2.png", "b/cat.png")]
    for path in files:
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(path)
    config = DataConfig(images=tuple(map(str, files)))
    images = dataset.ImageFiles(config, loaded)
    chosen = image_choice.choose(ImageConfig(), loaded, images, None, taken=["cat-2"])
    assert [one.name for one in chosen] == ["cat", "cat-2-2", "cat-3"]
    assert [one.label for one in chosen] == [None] * 3
    with pytest.raises(BadInput, match="--classes: 2 for 3 --images"):
        image_choice.choose(ImageConfig(classes=("1", "2")), loaded, images, None)


@pytest.mark.parametrize(
    ("images", "culprit"),
    [
        ("nowhere.jpg", "'nowhere.jpg': no such file"),
        (__file__, "not an image"),
        ("no*where.jpg", "no image matches"),
    ],
)
def test_refuses_image_files(loaded, images, culprit):
    with pytest.raises(BadInput, match=culprit):
        dataset.ImageFiles(DataConfig(images=(images,)), loaded)


def test_a_file_name_with_a_comma_has_a_remedy(loaded):
    with pytest.raises(BadInput, match="stands in double quotes"):
        dataset.ImageFiles(DataConfig(images=("a", "b.jpg")), loaded)


@pytest.mark.parametrize(
    ("config", "culprit"),
    [
        ({"dataset": "nowhere/1"}, "'nowhere/1'"),
        ({"split": "test"}, "'test'"),
    ],
)
def test_refuses_data_sets(loaded, creatures_dir, config, culprit):
    with pytest.raises(BadInput, match=culprit):
        dataset.Dataset(DataConfig(data_dir=creatures_dir, **config), loaded)
