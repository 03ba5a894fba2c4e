"""The maps that `experiments.scores` compares, what they should show, their scores."""

import numpy as np

from experiments.common.model import LoadedModel
from zf_jax.data import annotations
from zf_jax.probes import saliency, saliency_metrics

# Images whose maps are computed together.
GROUP = 10
_RULES = ("deconvnet", "guided", "gradient")
# Maps that look at the image.
LOOKED = ("occlusion", *_RULES)


def regions(data, indices: np.ndarray) -> dict[str, np.ndarray]:
    """Where the animal is, and where any of its parts, [N, H, W] bool.

    A kind is told by the shapes of its parts (`data/drawing/heads.py`), all of them.

    Args:
      data: an `images.Dataset`.
      indices: [N] int, which of its images.

    Raises:
      BadInput: the data set has no parts or no masks.
    """
    examples, cut = [data.example(index) for index in indices], data.cut
    boxes = [
        annotations.part_boxes(each, list(each.get("parts", ())), **cut)
        for each in examples
    ]
    return {
        "silhouette": np.stack(
            [annotations.silhouette(each, **cut) for each in examples]
        ),
        "parts": np.stack([annotations.covered(each, cut["size"]) for each in boxes]),
    }


def maps(
    known: LoadedModel, read, pixels, labels, rng, *, side: int, stride: int
) -> dict[str, np.ndarray]:
    """[N, H, W] by name; arguments as in `saliency`."""
    found = {
        "occlusion": saliency.occluded(read, pixels, labels, side=side, stride=stride)
    }
    for rule in _RULES:
        found[rule] = saliency.projected(
            known.net, known.params, pixels, labels, rule=rule
        )
    size = len(pixels), pixels.shape[1:3]
    found |= {"centre": saliency.centre(*size), "random": saliency.noise(*size, rng)}
    return {name: np.asarray(each) for name, each in found.items()}


def scores_of(
    read, pixels, labels, maps, regions, *, tolerance: float, step: int, batch_size: int
) -> dict[str, np.ndarray]:
    """Every score of maps [N, H, W] as [N], and the curves, [N, T + 1]."""
    found = {}
    for name, region in regions.items():
        hits = saliency_metrics.pointing_game(maps, region, tolerance=tolerance)
        found[f"points at {name}"] = hits
    for name, region in regions.items():
        found[f"energy in {name}"] = saliency_metrics.energy_inside(maps, region)
    for kind in (saliency_metrics.deletion, saliency_metrics.insertion):
        curves = kind(read, pixels, maps, labels, step=step, batch_size=batch_size)
        found[kind.__name__] = saliency_metrics.auc(curves)
        found[f"{kind.__name__} curve"] = np.asarray(curves)
    return found


def summary(scored: dict[str, np.ndarray]) -> dict[str, tuple[float, float]]:
    """Mean and standard error of each score."""
    return {
        name: (float(each.mean()), float(each.std(ddof=1) / len(each) ** 0.5))
        for name, each in scored.items()
        if each.ndim == 1
    }
