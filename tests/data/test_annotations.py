"""Boxes and silhouettes, beside what becomes of the pixels they are of."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from zf_jax.data import annotations, crops
from zf_jax.errors import BadInput


@settings(max_examples=150, deadline=None)
@given(
    shape=st.tuples(st.integers(16, 60), st.integers(16, 60)),
    crop=st.tuples(st.integers(8, 16), st.integers(8, 16)),
    corner=st.tuples(st.floats(0, 0.8), st.floats(0, 0.8)),
    side=st.tuples(st.integers(1, 20), st.integers(1, 20)),
)
def test_a_box_is_where_its_pixels_come_out(shape, crop, corner, side):
    # No resizing: the smaller side is as it is.
    top, left = (int(c * n) for c, n in zip(corner, shape, strict=True))
    bottom, right = min(top + side[0], shape[0]), min(left + side[1], shape[1])
    image = np.zeros((*shape, 3), np.uint8)
    image[top:bottom, left:right] = 255
    relative = np.float32([top, left, bottom, right]) / np.float32([*shape, *shape])
    found = annotations.box(relative, shape, size=crop, resize=min(shape))
    want = crops.centre(image, crop)[..., 0] == 255
    drawn = np.zeros(crop, bool)
    if (found[2:] > found[:2]).all():
        drawn[found[0] : found[2], found[1] : found[3]] = True
    np.testing.assert_array_equal(drawn, want)


@pytest.mark.parametrize("shape", [(100, 60), (60, 100), (64, 64)])
def test_resized_and_cropped(shape):
    # By hand: the middle quarter of the image is the middle quarter of what it is
    # resized to, less what the crop takes off, and every pixel that it touches: of the
    # 53 rows or columns of the longer side, 13.25 to 39.75.
    found = annotations.box((0.25, 0.25, 0.75, 0.75), shape, size=(30, 30), resize=32)
    rows, columns = (max(32, round(n * 32 / min(shape))) for n in shape)
    first = (rows - 30) // 2, (columns - 30) // 2
    low = np.floor([rows / 4 - first[0], columns / 4 - first[1]])
    high = np.ceil([rows * 3 / 4 - first[0], columns * 3 / 4 - first[1]])
    np.testing.assert_array_equal(found, np.clip([*low, *high], 0, 30))
    # And beside the pixels.
    image = np.zeros((*shape, 3), np.uint8)
    quarter = tuple(slice(n // 4, n * 3 // 4) for n in shape)
    image[quarter] = 255
    cut = crops.centre(crops.resize(image, 32), (30, 30))[..., 0] > 127
    inside = np.argwhere(cut)
    assert np.abs(inside.min(axis=0) - found[:2]).max() <= 1
    assert np.abs(inside.max(axis=0) + 1 - found[2:]).max() <= 1


def example():
    mask = np.zeros((40, 60), np.uint8)
    mask[10:30, 20:50] = 255
    file = io.BytesIO()
    Image.fromarray(mask).save(file, "PNG")
    return {
        "image": np.zeros((40, 60, 3), np.uint8),
        "label": 0,
        "mask": file.getvalue(),
        "parts": {"nose": [0.25, 1 / 3, 0.75, 5 / 6], "ear": [0, 0, 0.1, 0.1]},
    }


def test_parts_and_silhouette_of_an_example():
    cut = {"size": (40, 40), "resize": 40}
    seen = annotations.silhouette(example(), **cut)
    want = np.zeros((40, 40), bool)
    want[10:30, 10:40] = True
    np.testing.assert_array_equal(seen, want)
    boxes = annotations.part_boxes(example(), ["nose", "ear"], **cut)
    np.testing.assert_array_equal(boxes[0], [10, 10, 30, 40])
    # The crop has cut the ear off.
    assert boxes[1, 3] <= boxes[1, 1]
    decoded = example() | {
        "mask": np.asarray(Image.open(io.BytesIO(example()["mask"])))
    }
    np.testing.assert_array_equal(annotations.silhouette(decoded, **cut), seen)


def test_pixels_that_boxes_cover():
    found = annotations.covered([(0, 0, 2, 1), (1, 0, 3, 2), (2, 2, 2, 2)], (3, 3))
    assert found.astype(int).tolist() == [[1, 0, 0], [1, 1, 0], [1, 1, 0]]


def test_what_a_data_set_lacks():
    cut = {"size": (40, 40), "resize": 40}
    bare = {"image": np.zeros((40, 60, 3), np.uint8), "label": 0}
    with pytest.raises(BadInput, match=r"mask: the data set has none, but image"):
        annotations.silhouette(bare, **cut)
    with pytest.raises(BadInput, match=r"parts: the data set has no boxes .* label"):
        annotations.part_boxes(bare, ["nose"], **cut)
    with pytest.raises(BadInput, match=r"part 'tail': the data set has nose, ear"):
        annotations.part_boxes(example(), ["nose", "tail"], **cut)


HEAD = "image,part,top,left,bottom,right\n"


def test_boxes_of_a_file(tmp_path):
    path = tmp_path / "boxes.csv"
    path.write_text(
        HEAD + "a.jpg,nose,1,2,3,4.5\na.jpg,ear,0,0,9,9\nb.jpg,nose,5,6,7,8"
    )
    found = annotations.read_boxes(path)
    assert found == {
        "a.jpg": {"nose": (1, 2, 3, 4.5), "ear": (0, 0, 9, 9)},
        "b.jpg": {"nose": (5, 6, 7, 8)},
    }


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "its first line has to be image,part,top"),
        ("image,part,top,left\na,b,1,2", "its first line has to be image,part,top"),
        (HEAD, "holds no boxes"),
        (HEAD + "a,b,1,2,3", "line 2: no box"),
        (HEAD + "a,b,1,2,3,4,5", "line 2: no box"),
        (HEAD + "a,b,1,2,3,4\na,b,1,2,x,4", "line 3: no box"),
        (HEAD + "a,b,1,2,1,4", "line 2: no box"),
        (HEAD + "a,b,1,5,2,4", "line 2: no box"),
        (HEAD + "a,b,-1,2,3,4", "line 2: no box"),
        (HEAD + "a,b,1,2,nan,4", "line 2: no box"),
        (HEAD + "a,b,1,2,3,inf", "line 2: no box"),
    ],
)
def test_malformed_files(tmp_path, text, reason):
    path = tmp_path / "boxes.csv"
    path.write_text(text)
    with pytest.raises(BadInput, match=reason) as caught:
        annotations.read_boxes(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_of_no_text(tmp_path):
    path = tmp_path / "boxes.csv"
    path.write_bytes(b"\xff\xfe\x00\xd8")
    with pytest.raises(BadInput, match="not a text file"):
        annotations.read_boxes(path)
