"""What `explain` predicts: windows and ratios by hand, and nothing run for it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.transforms.third_party_nets import conv
from zf_jax import convnet, spec
from zf_jax.probes import occlusion
from zf_jax.transforms import costs

IMAGE = jax.ShapeDtypeStruct((224, 224, 3), jnp.float32)


@pytest.fixture(scope="module")
def zfnet():
    """What a sweep of the paper's net recomputes, at side 32 and stride 8."""
    model = convnet.ConvNet(spec.ZFNET)
    variables = jax.eval_shape(
        model.init, jax.random.key(0), jnp.zeros((1, *IMAGE.shape))
    )
    # Their values do not matter: one number, seen as if there were many.
    variables = jax.tree.map(
        lambda leaf: np.broadcast_to(np.float32(1), leaf.shape), variables
    )
    return occlusion.explain(
        lambda images: model.apply(variables, images)[0], IMAGE, side=32, stride=8
    )


def filters(found):
    return [row for row in found.rows if row.name == "conv_general_dilated"]


def test_windows_of_zfnet(zfnet):
    # By hand, for an occluder over the pixels 8k to 8k + 31, far from the border:
    #   conv1  7 x 7, stride 2         4k-3 .. 4k+15    19
    #   pool1  3 x 3, stride 2         2k-2 .. 2k+7     10
    #   conv2  5 x 5, stride 2          k-3 .. k+3       7
    #   pool2  3 x 3, stride 2                           4 for even k, 5 for odd
    #   conv3, conv4, conv5  3 x 3     2 more each       7, 9, 11 for odd k
    # (paper.md 6.7 has the widths at the centre, where k is 12: 6, 8 and 10.)
    windows = [row.window for row in filters(zfnet)]
    assert windows == [(n, n) for n in (19, 7, 7, 9, 11)]


def test_shares_and_work_of_zfnet(zfnet):
    shapes = [row.shape[1:] for row in filters(zfnet)]
    # Table 1 of the paper: 110, 26, 13, 13, 13 a side.
    assert shapes == [
        (110, 110, 96),
        (26, 26, 256),
        (13, 13, 384),
        (13, 13, 384),
        (13, 13, 256),
    ]
    # Multiply-adds of a value by hand: 7 * 7 * 3, 5 * 5 * 96 and so on; what touches
    # values comes on top, less than a tenth of it.
    for row, terms in zip(filters(zfnet), (147, 2400, 2304, 3456, 3456), strict=True):
        values = np.prod(row.shape)
        assert values * terms <= row.work < 1.1 * values * terms
        share = np.prod(row.window) / np.prod(row.shape[1:3])
        assert row.share == pytest.approx(share)
    # The dense layers are whole.
    dense = [row for row in zfnet.rows if row.name == "dot_general"]
    assert [(row.shape, row.window, row.share) for row in dense] == [
        ((1, n), (), 1.0) for n in (4096, 4096, 1000)
    ]


def test_zfnet_is_swept_faster(zfnet):
    # 25 positions a side. paper.md 6.7: 4.57 times fewer multiply-adds with tightest
    # windows, 3.24 with Krypton's; what touches values takes from the first.
    assert zfnet.positions == 625
    assert 3.24 <= zfnet.speed_up <= 4.57
    for row in zfnet.rows:
        assert np.isfinite([row.share, row.work, row.position_work]).all()
        assert 0 <= row.share <= 1
        assert row.work > 0
    work, done = (sum(row[i] for row in zfnet.rows) for i in (4, 5))
    assert zfnet.speed_up == pytest.approx(work / done)


def test_it_prints_as_a_table(zfnet):
    title, *lines, small, last = str(zfnet).split("\n")
    assert title.split() == [
        "operation",
        "result",
        "window",
        "share",
        "work",
        "a",
        "position",
    ]
    # One width, so that columns stand below each other, and no wider than a terminal.
    assert {len(line) for line in (title, *lines, small)} == {len(title)}
    assert len(title) <= 80
    first = next(line.split() for line in lines if line.startswith("conv"))
    assert first[:3] == ["conv_general_dilated", "110x110x96", "19x19"]
    assert first[3].endswith("%")
    assert sum("whole" in line for line in lines) == 2
    assert small.split()[1:3] == ["smaller", "ones"]
    assert len(lines) + int(small.split()[0]) == len(zfnet.rows)
    assert last.startswith("625 positions: ")
    assert f"{zfnet.speed_up:.2f} times less to compute" in last


def test_a_ratio_by_hand():
    # 3 x 3 filters on 12 x 12 pixels give 10 x 10 values of 27 multiply-adds each. A
    # side of 4 changes 6 x 6 of them at the most, and all windows are as large.
    kernel = jnp.ones((3, 3, 3, 4))
    image = jax.ShapeDtypeStruct((12, 12, 3), jnp.float32)
    found = occlusion.explain(
        lambda images: conv(images, kernel, padding="VALID"), image, side=4, stride=4
    )
    (row,) = found.rows
    assert (row.shape, row.window, row.share) == ((1, 10, 10, 4), (6, 6), 0.36)
    # A value is touched once; in a window once more, as it is set into the map.
    touch = costs._MEMORY_ACCESS_COST
    assert row.work == 400 * (27 + touch)
    assert row.position_work == pytest.approx(144 * (27 + 2 * touch))
    assert found.speed_up == pytest.approx((27 + touch) / 0.36 / (27 + 2 * touch))
    assert found.positions == 9


def test_what_does_not_change_is_not_computed():
    # The second result does not come from the image.
    kernel = jnp.ones((1, 1, 3, 16))

    def read(images):
        constant = jnp.ones((1, 5, 5, 3))
        return (images @ kernel[0, 0]).sum((1, 2)), (constant @ kernel[0, 0])[:, 0, 0]

    image = jax.ShapeDtypeStruct((8, 8, 3), jnp.float32)
    found = occlusion.explain(read, image, side=4, stride=4)
    products = [row for row in found.rows if row.name == "dot_general"]
    # In the order of the program: 8 x 8 values of the image, 5 x 5 of the constant.
    assert [row.share for row in products] == [0.25, 0.0]
    assert products[1].position_work == 0


@pytest.mark.parametrize(
    "read",
    [
        lambda images: images,
        lambda images: jnp.ones((len(images), 2)),
        lambda images: images.sum(axis=(1, 2, 3)),
    ],
    ids=["the image", "a constant", "a sum"],
)
def test_reads_with_next_to_nothing_to_do(read):
    found = occlusion.explain(read, IMAGE)
    assert np.isfinite(found.speed_up)
    assert str(found).endswith("times less to compute than from the pixels up")


def test_nothing_is_run(compilations):
    kernel = jnp.ones((3, 3, 3, 4))
    calls = []

    def read(images):
        calls.append(isinstance(images, jax.core.Tracer))
        return conv(images, kernel)

    with compilations() as found:
        str(occlusion.explain(read, IMAGE, side=(30, 20), stride=(9, 7)))
    assert not found
    assert all(calls)


def test_only_shape_and_dtype_matter():
    kernel = jnp.ones((3, 3, 3, 4))

    def read(images):
        return conv(images, kernel)

    wanted = str(occlusion.explain(read, IMAGE))
    # NumPy's float64 is what `sweep` makes float32.
    for image in (
        jnp.zeros(IMAGE.shape),
        np.zeros(IMAGE.shape),
        np.zeros((2, 224, 224, 3)),
    ):
        assert str(occlusion.explain(read, image)) == wanted
