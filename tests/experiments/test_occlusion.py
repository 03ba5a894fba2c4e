"""`experiments.occlusion` on the data set's images and on files."""

import jax
import numpy as np
import pytest
from PIL import Image

from experiments.occlusion.__main__ import choose_layer
from tests.experiments.commands import (
    SMALL,
    assert_one_line,
    assert_png,
    command,
    numbers_in,
    untrained,
)
from zf_jax import convnet, xla
from zf_jax.data import crops, image_files
from zf_jax.errors import BadInput
from zf_jax.training import checkpoint


def test_images_of_the_data_set(run, creatures_dir, tmp_path):
    ran = command(
        "experiments.occlusion",
        f"--checkpoint={run}",
        f"--data_dir={creatures_dir}",
        f"--out={tmp_path}",
        "--split=validation[:20]",
        "--indices=0,7",
        "--side=10",
        "--stride=5",
        "--neighbour_images=3",
        "--explain",
    )
    assert [path.suffix for path in ran.written] == [".png", ".npz"] * 2
    assert "layer1" in ran.out or "conv" in ran.out
    for picture, numbers in zip(ran.written[::2], ran.written[1::2], strict=True):
        assert_png(picture)
        assert picture.stem == numbers.stem
        found = numbers_in(numbers)
        # By hand: ceil((32 - 10) / 5) + 1 = 6 positions each way.
        assert found["probability"].shape == (6, 6, 10)
        assert found["top"].shape == (6, 6)
        assert found["activity"].shape == (6, 6, 8)
        np.testing.assert_allclose(found["probability"].sum(-1), 1, rtol=1e-5)
        np.testing.assert_array_equal(found["probability"].argmax(-1), found["top"])


def test_a_file_by_hand(run, tmp_path):
    # A grey image of another size, and the numbers anew, position by position.
    pixels = np.random.default_rng(0).integers(0, 256, (50, 44), np.uint8)
    path = tmp_path / "my cat.png"
    Image.fromarray(pixels).save(path)
    ran = command(
        "experiments.occlusion",
        f"--checkpoint={run}",
        f"--images={path}",
        "--classes=cat",
        "--side=16",
        "--stride=7",
        "--fill=128",
        "--neighbour_images=0",
        "--batch_size=5",
        f"--out={tmp_path / 'out'}",
    )
    assert [each.name for each in ran.written] == ["my cat.png", "my cat.npz"]
    found = numbers_in(ran.written[1])
    restored = checkpoint.load(run)
    assert restored.metadata.labels[found["label"]] == "cat"

    @xla.jit
    def probabilities(images):
        logits, _ = convnet.ConvNet(SMALL).apply({"params": restored.params}, images)
        return jax.nn.softmax(logits)

    image = crops.resize(image_files.read(path), restored.metadata.resize)
    image = convnet.prepare(crops.centre(image, (32, 32)), SMALL.input)
    grey = convnet.prepare(np.full(3, 128.0), SMALL.input)
    # By hand: ceil((32 - 16) / 7) + 1 = 4 positions each way.
    covered = np.tile(image, (4, 4, 1, 1, 1))
    for row in range(4):
        for column in range(4):
            square = covered[row, column, 7 * row :, 7 * column :]
            square[:16, :16] = grey
    want = probabilities(covered.reshape(16, 32, 32, 3)).reshape(4, 4, 10)
    # The same float32 arithmetic in another order.
    np.testing.assert_allclose(found["probability"], want, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(
        found["clean_probability"], probabilities(image[None])[0], rtol=1e-4, atol=1e-6
    )


def test_refuses_layers_without_maps():
    small = untrained(SMALL)
    assert choose_layer(None, small) == "layer5"
    assert choose_layer("layer1", small) == "layer1"
    with pytest.raises(BadInput, match="--layer=layer6: is dense"):
        choose_layer("layer6", small)
    with pytest.raises(BadInput, match="--layer=layer9: small has layer1"):
        choose_layer("layer9", small)


def test_refuses_a_square_larger_than_the_image_in_one_line(run, tmp_path):
    given = (f"--checkpoint={run}", "--indices=0", "--side=33")
    ran = command(
        "experiments.occlusion", *given, f"--out={tmp_path / 'out'}", fails=True
    )
    assert_one_line(ran, "33")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("former", "flag"),
    [
        ("others", "neighbour_images"),
        ("chunk", "batch_size"),
        ("last", "upto"),
    ],
)
def test_former_flags_name_the_new_ones(former, flag):
    ran = command("experiments.occlusion", f"--{former}=3", fails=True)
    assert_one_line(ran, f"--{former}: this flag is now --{flag}")
