"""What the tests of projections share."""

import pytest

from tests.probes import toy_nets
from tests.probes.toy_nets import net_maps, pictures
from zf_jax.probes import topk


@pytest.fixture(scope="module")
def params():
    return toy_nets.net_parameters()


@pytest.fixture(scope="module")
def trunk():
    return toy_nets.trunk()


@pytest.fixture(scope="module")
def found():
    images = pictures(7, seed=1)
    return images, topk.scan(net_maps, [images], k=3)
