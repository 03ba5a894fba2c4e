"""The saliency maps that `experiments.scores` compares, and their scores."""

import numpy as np

from experiments.common import dataset
from experiments.common.model import LoadedModel
from zf_jax import deconvnet
from zf_jax.data import annotations
from zf_jax.probes import saliency, saliency_metrics

# Images whose maps are computed together.
GROUP = 10
# The maps that depend on the image and the net.
COMPUTED = ("occlusion", *deconvnet.RULES)


def regions(data: dataset.Dataset, indices: np.ndarray) -> dict[str, np.ndarray]:
    """Where the animal is, and where any of its parts is, [N, H, W] bool.

    What tells the classes of `creatures` apart are the shapes of the parts, all of
    them (`zf_jax/creatures/heads.py`).

    Args:
      data: the data set.
      indices: [N] int, which of its images.

    Raises:
      BadInput: the data set has no parts or no masks.
    """
    examples, cut = [data.example(index) for index in indices], data.cut
    boxes = [
        annotations.part_boxes(example, list(example.get("parts", ())), **cut)
        for example in examples
    ]
    silhouettes = [annotations.silhouette(example, **cut) for example in examples]
    parts = [annotations.covered(own, cut["size"]) for own in boxes]
    return {"silhouette": np.stack(silhouettes), "parts": np.stack(parts)}


def compute(
    loaded: LoadedModel,
    model_fn,
    pixels: np.ndarray,
    labels: np.ndarray,
    rng: np.random.Generator,
    *,
    side: int,
    stride: int,
) -> dict[str, np.ndarray]:
    """The maps [N, H, W] by name; arguments as in `saliency`.

    Besides the maps of `COMPUTED` there are two that know nothing of the image: its
    centre, and noise.
    """
    occluder = {"side": side, "stride": stride}
    found = {"occlusion": saliency.occluded(model_fn, pixels, labels, **occluder)}
    for rule in deconvnet.RULES:
        found[rule] = saliency.projected(
            loaded.apply_logits,
            loaded.model.params,
            pixels,
            labels,
            rule=rule,
            nonlinear=loaded.nonlinear,
        )
    size = len(pixels), pixels.shape[1:3]
    found |= {"centre": saliency.centre(*size), "random": saliency.noise(*size, rng)}
    return {name: np.asarray(maps) for name, maps in found.items()}


def score(
    model_fn,
    pixels: np.ndarray,
    labels: np.ndarray,
    maps: np.ndarray,
    regions: dict[str, np.ndarray],
    *,
    tolerance: float,
    step: int,
    batch_size: int,
) -> dict[str, np.ndarray]:
    """Every score of maps [N, H, W] as [N], and the curves, [N, T + 1].

    Args:
      model_fn: images to probabilities of the classes, [N, L].
      pixels: the images, [N, H, W, C] float32, prepared.
      labels: [N] int, the class of each.
      maps: [N, H, W].
      regions: [N, H, W] bool, by name.
      tolerance: of the pointing game, in pixels.
      step: pixels that are deleted or inserted at a time.
      batch_size: images computed together.
    """
    found = {
        f"points at {name}": saliency_metrics.pointing_game(
            maps, region, tolerance=tolerance
        )
        for name, region in regions.items()
    }
    for name, region in regions.items():
        found[f"energy in {name}"] = saliency_metrics.energy_fraction(maps, region)
    how = {"step": step, "batch_size": batch_size}
    for metric in (saliency_metrics.deletion, saliency_metrics.insertion):
        curves = metric(model_fn, pixels, maps, labels, **how)
        found[metric.__name__] = saliency_metrics.auc(curves)
        found[f"{metric.__name__} curve"] = np.asarray(curves)
    return found


def summary(scores: dict[str, np.ndarray]) -> dict[str, tuple[float, float]]:
    """Mean and standard error of each score, curves left out."""
    return {
        name: (float(each.mean()), float(each.std(ddof=1) / len(each) ** 0.5))
        for name, each in scores.items()
        if each.ndim == 1
    }
