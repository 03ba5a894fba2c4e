"""The explorer's files: what they say of nets and data that lack something."""

import dataclasses
import json
import re

import numpy as np
import pytest
from PIL import Image

from tests.figures import made_up_explorer
from zf_jax.errors import BadInput
from zf_jax.figures.explorer import content, page, sheets, single_file, tables, writer


def read(path):
    """What a data file adds, by its name."""
    name, said = re.fullmatch(
        r'explorer\.add\("([^"]*)",(.*)\);\n', path.read_text("ascii")
    ).groups()
    return name, json.loads(said)


def one_layer(name="conv", units=1):
    layer = content.LayerSummary(name, size=(), units=units)
    return content.Explorer("net", content.About("a command"), (layer,))


def bare(units=1, name="conv", **given):
    """A layer of which only the strongest examples are known."""
    examples = content.Examples(np.zeros((units, 1), int), np.ones((units, 1)))
    return content.LayerUnits(
        name, np.ones(units), np.zeros(units, bool), examples, **given
    )


def black(units=1, size=(1, 1)):
    pictures = np.zeros((units, 1, *size, 3), np.uint8)
    return content.Pictures(pictures, {"gradient": {"": pictures}})


def test_a_net_of_which_little_is_known(tmp_path):
    out = tmp_path / "new" / "it"
    with writer.replacing(one_layer(), out) as pages:
        pages.add_layer(bare(), [black()])
    name, index = read(out / "index.js")
    assert (name, index["classes"], index["images"]) == ("index", [], 0)
    assert index["layers"][0]["receptive_field"] is None
    _, layer = read(out / "layers" / "000.js")
    assert layer["columns"] == {"strength": [1], "dead": [0]}
    assert layer["rules"] == [["gradient", [""]]]
    _, units = read(out / "layers" / "000" / "0000.js")
    assert units == [{"examples": {"image": [0], "value": [1]}}]


def test_a_second_run_replaces_the_folder_whole_or_not_at_all(tmp_path):
    out = tmp_path / "it"
    made_up_explorer.write(out, layers=1, units=1, images=1)
    before = sorted(out.rglob("*"))

    def interrupted():
        yield black()
        raise KeyboardInterrupt

    with (
        pytest.raises(KeyboardInterrupt),
        writer.replacing(one_layer(units=2), out) as pages,
    ):
        pages.add_layer(bare(2), interrupted())
    assert sorted(out.rglob("*")) == before
    with writer.replacing(one_layer(), out) as pages:
        pages.add_layer(bare(), [black()])
    assert not (out / "images" / "0000.js").exists()
    assert list(tmp_path.iterdir()) == [out]


def test_a_folder_of_other_files_is_not_replaced(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with (
        pytest.raises(BadInput, match="is there and is no explorer"),
        writer.replacing(one_layer(), tmp_path),
    ):
        pass


@pytest.mark.parametrize("count", [1, 3])
def test_pictures_of_another_number_of_units_are_refused(tmp_path, count):
    with (
        pytest.raises(BadInput, match="has 2 units, but there are pictures of"),
        writer.replacing(one_layer(units=2), tmp_path / "it") as pages,
    ):
        pages.add_layer(bare(2), [black(count)])


def test_a_layer_without_pictures_is_refused(tmp_path):
    with (
        pytest.raises(BadInput, match="layers conv: were not added"),
        writer.replacing(one_layer(), tmp_path / "it"),
    ):
        pass


def test_small_pictures_are_kept_exactly_and_large_ones_shrunk(tmp_path):
    pictures = np.random.default_rng(0).integers(0, 256, (2, 3, 5, 7, 3), np.uint8)
    sheet = sheets.write(tmp_path / "it.webp", pictures)
    assert sheet == sheets.Sheet(3, pitch=(6, 8), size=(5, 7))
    read = np.asarray(Image.open(tmp_path / "it.webp"))
    # The second row's third.
    np.testing.assert_array_equal(read[6:11, 16:23], pictures[1, 2])
    large = np.full((1, 1, 300, 600, 3), 9, np.uint8)
    assert np.all(sheets.shrink(large) == 9)
    assert sheets.shrink(large).shape == (1, 1, 64, 128, 3)


def test_more_pictures_than_a_file_holds_are_refused(tmp_path):
    with pytest.raises(BadInput, match="200 pictures of 1 x 100 pixels in each of 1"):
        sheets.write(tmp_path / "it.webp", np.zeros((1, 200, 1, 100, 3), np.uint8))


def test_numbers_of_a_unit():
    assert tables.number(float("nan")) is None
    assert tables.number(1234.56) == 1235
    # The classes with the largest means, of those that have images.
    means = np.array([[np.nan, *range(12)]])
    said = tables.unit(bare(class_means=means), 0, {})
    assert said["classes"][0] == [12, 11]
    assert len(said["classes"]) == 10
    assert (
        tables.unit(bare(class_means=np.full((1, 2), np.nan)), 0, {})["classes"] == []
    )


def test_names_end_no_script_and_are_no_html():
    assert "<" not in page.data_script("index", ["</script><script>alert(1)"])
    about = content.About("<b>", (("<i>", "<u>"),))
    html = page.render(dataclasses.replace(one_layer(), title="<s>", about=about))
    assert not re.search("<[bsiu]>", html)


def test_single_file(tmp_path):
    made_up_explorer.write(tmp_path / "it", layers=1, units=2, images=1)
    explorer = one_layer()
    path = single_file.write(explorer, tmp_path / "it", tmp_path / "it.html")
    html = path.read_text("utf-8")
    # Nothing is loaded from beside it.
    assert not re.search(r'(src|href)="[^"#d]', html)
    assert html.count("data:image/webp;base64,") == 14
    assert html.count('explorer.add("') == 5
