"""The recipe: the paper's numbers, and values out of range refused in one line."""

import dataclasses

import pytest

from zf_jax import spec
from zf_jax.errors import BadInput
from zf_jax.training import recipe


def test_the_papers_recipe():
    # Section 3: batch of 128, rate 0.01, momentum 0.9, 70 epochs, filters' RMS 0.1,
    # weights 10^-2, lowered by hand when the validation error plateaus.
    paper = recipe.default(spec.ZFNET)
    assert paper == recipe.Recipe()
    assert (paper.batch_size, paper.learning_rate, paper.momentum) == (128, 0.01, 0.9)
    assert (paper.epochs, paper.filter_rms, paper.init) == (70, 0.1, "paper")
    assert (paper.schedule, paper.weight_decay) == ("plateau", 0.0)


def test_the_paper_resizes_to_256_and_crops_224():
    assert recipe.short_side(recipe.default(spec.ZFNET), spec.ZFNET) == 256


def test_tiny_has_its_own():
    tiny = recipe.default(spec.TINY)
    assert tiny != recipe.Recipe()
    assert recipe.short_side(tiny, spec.TINY) == 64
    # So have its variants: Table 3 compares nets that are trained alike.
    assert {recipe.default(net) for net in spec.TABLE3_TINY} == {tiny}
    assert {recipe.default(net) for net in spec.TABLE3} == {recipe.PAPER}


def test_short_side_is_in_proportion():
    net = dataclasses.replace(spec.ZFNET, input=spec.Input((28, 56)))
    # By hand: 56 * 256 / 224.
    assert recipe.short_side(recipe.Recipe(), net) == 64
    assert recipe.short_side(recipe.Recipe(resize=60), net) == 60


def test_short_side_below_the_crop():
    with pytest.raises(BadInput, match=r"resize 55: smaller than zfnet's .* 224"):
        recipe.short_side(recipe.Recipe(resize=55), spec.ZFNET)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("schedule", "linear"),
        ("init", "xavier"),
        ("dtype", "float16"),
        ("epochs", 0),
        ("epochs", -1),
        ("batch_size", 0),
        ("accumulate", 0),
        ("learning_rate", 0.0),
        ("learning_rate", -0.1),
        ("learning_rate", float("nan")),
        ("patience", 0),
        ("weight_decay", -1e-4),
        ("filter_rms", -0.1),
        ("resize", -1),
        ("seed", -1),
        ("momentum", 1.0),
        ("momentum", -0.1),
        ("factor", 0.0),
        ("factor", 1.0),
    ],
)
def test_refuses(field, value):
    with pytest.raises(BadInput, match=field) as error:
        recipe.Recipe(**{field: value})
    assert str(value) in str(error.value)
    assert "\n" not in str(error.value)
