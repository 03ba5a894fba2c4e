"""Noise that looks the same at every image size: 1/f fields and fur strands."""

import functools

import numpy as np

# Spectra hold this many cycles a side at most, so that every size of at least
# twice as many pixels shows the same field.
_CYCLES = 31

# Resolution of the strand texture: angle around the head by distance from its centre.
_STRANDS = (512, 128)


def fields(rng: np.random.Generator, size: int, exponents: tuple[float, ...]):
    """Random fields whose amplitude falls as 1 / frequency ** exponent.

    Natural images have such spectra with an exponent near 1. The draw does not depend
    on `size`: each size samples the same periodic fields at its own pixel centres.

    Args:
      rng: where the randomness comes from.
      size: side in pixels, at least 64.
      exponents: one for each field; 1 for natural images, larger is smoother.

    Returns:
      [fields, size, size] float32, each of mean 0 and standard deviation near 1.
    """
    rows, columns = 2 * _CYCLES + 1, _CYCLES + 1
    noise = rng.standard_normal((len(exponents), rows, columns, 2), np.float32)
    spectrum = np.zeros((len(exponents), size, size // 2 + 1), np.complex64)
    filled = noise.view(np.complex64)[..., 0] * _gain(size, exponents)
    spectrum[:, :columns, :columns] = filled[:, :columns]
    spectrum[:, -_CYCLES:, :columns] = filled[:, columns:]
    return np.fft.irfft2(spectrum, s=(size, size), norm="forward")


@functools.lru_cache
def _gain(size: int, exponents: tuple[float, ...]) -> np.ndarray:
    """[fields, rows, columns] complex64 amplitudes, shifted to the pixel centres."""
    across = np.arange(_CYCLES + 1)
    down = np.r_[across, -across[:0:-1]][:, None]
    frequency = np.hypot(down, across)
    # The zero frequency would only change the mean, which the caller sets.
    falls = -np.array(exponents)[:, None, None]
    amplitude = np.where(frequency > 0, np.maximum(frequency, 1) ** falls, 0)
    # irfft2 counts each column above 0 twice; each coefficient has variance 2.
    twice = np.where(across > 0, 2, 1)
    power = 2 * (amplitude**2 * twice).sum((1, 2), keepdims=True)
    shift = np.exp(1j * np.pi * (down + across) / size)
    return (amplitude * shift / np.sqrt(power)).astype(np.complex64)


@functools.lru_cache
def _strand_texture() -> np.ndarray:
    """[angles, radii] float32, fine around the head and long away from its centre."""
    angles, radii = _STRANDS
    rng = np.random.default_rng(20)
    spectrum = np.fft.rfft2(rng.standard_normal((angles, radii)))
    around = np.abs(np.fft.fftfreq(angles, 1 / angles))[:, None]
    outward = np.fft.rfftfreq(radii, 1 / radii)
    spectrum *= np.exp(-(((around - 22) / 22) ** 2) - (outward / 13) ** 2)
    texture = np.fft.irfft2(spectrum, s=_STRANDS)
    return (texture / texture.std()).astype(np.float32)


def strands(x: np.ndarray, y: np.ndarray, phase: float) -> np.ndarray:
    """Fur that grows outward from the origin.

    Args:
      x: [H, W] float32 coordinates to the right, in head radii.
      y: [H, W] float32 coordinates downward, likewise.
      phase: in [0, 1): which fur; turns the texture and shifts it along the hair.

    Returns:
      [H, W] float32 of standard deviation about 1, fading to 0 at the origin.
    """
    texture = _strand_texture()
    angles, radii = texture.shape
    distance = np.sqrt(x * x + y * y)
    # A swirl, so that the hair is combed rather than drawn with a ruler.
    angle = np.arctan2(y, x) + 0.35 * distance
    row = (angle * (angles / (2 * np.pi)) + phase * angles).astype(np.int32) % angles
    column = (distance * (radii / 4) + 7 * phase * radii).astype(np.int32) % radii
    return texture[row, column] * np.minimum(distance * 1.6, 1.0)
