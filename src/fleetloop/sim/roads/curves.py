"""Centre lines a car can follow: smoothing, even resampling, curves that join lanes without a kink."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from scipy.ndimage import gaussian_filter1d

from fleetloop.core.geometry import wrap_angle
from fleetloop.core.types import WHEELBASE_M
from fleetloop.sim.behaviour import BEND_DECELERATION_MPS2, LATERAL_ACCELERATION_MPS2

DENSE_SPACING_M = 0.25
POINT_SPACING_M = 1.0
TARGET_CURVATURE_1PM = 0.16
"""Roads are smoothed until they bend less than this; a car turns at up to 0.2."""

_JOG_RAD = 0.5
_SMOOTHING_M = (0.75, 1.5, 2.5, 4.0, 6.0, 8.0)
_BEZIER_SAMPLES = np.linspace(0.0, 1.0, 25)
_CONTROL_SHARES = np.array([0.2, 0.28, 0.36, 0.44, 0.52, 0.6, 0.7, 0.85])


@dataclass(frozen=True)
class CentreLine:
    """A line sampled at even spacing."""

    points: Float64[np.ndarray, "N 2"]
    headings: Float64[np.ndarray, " N"]
    curvatures: Float64[np.ndarray, " N"]
    spacing_m: float

    @property
    def length_m(self) -> float:
        return self.spacing_m * (len(self.points) - 1)


def arc_lengths(points: Float64[np.ndarray, "N 2"]) -> Float64[np.ndarray, " N"]:
    """Metres from the first point to each point along the polyline."""
    steps = np.hypot(*np.diff(points, axis=0).T)
    return np.concatenate([[0.0], np.cumsum(steps)])


def resample(points: Float64[np.ndarray, "N 2"], spacing_m: float) -> Float64[np.ndarray, "M 2"]:
    """Points about `spacing_m` apart, evenly spaced along the polyline, ends kept; at least two."""
    along = arc_lengths(points)
    count = max(2, round(along[-1] / spacing_m) + 1)
    wanted = np.linspace(0.0, along[-1], count)
    return np.stack([np.interp(wanted, along, points[:, 0]), np.interp(wanted, along, points[:, 1])], axis=1)


def tangents(points: Float64[np.ndarray, "N 2"]) -> Float64[np.ndarray, " N"]:
    """Heading at each point, unwrapped (no jumps of 2 pi)."""
    delta = np.gradient(points, axis=0) if len(points) > 2 else np.repeat(points[1:] - points[:1], 2, axis=0)
    return np.unwrap(np.arctan2(delta[:, 1], delta[:, 0]))


def peak_curvature(points: Float64[np.ndarray, "N 2"]) -> float:
    """Largest absolute curvature of a densely sampled line, over windows of about a metre."""
    along, headings = arc_lengths(points), tangents(points)
    window = min(4, len(points) - 1)
    turned = np.abs(headings[window:] - headings[:-window])
    return float(np.max(turned / np.maximum(along[window:] - along[:-window], 1e-3)))


def smooth(
    shape: Float64[np.ndarray, "N 2"], limit_1pm: float = TARGET_CURVATURE_1PM
) -> Float64[np.ndarray, "M 2"]:
    """Round the vertices of a polyline until it bends less than `limit_1pm`, or by 8 m; both ends stay where they are.

    Returns points about DENSE_SPACING_M apart.
    """
    keep = np.concatenate([[True], np.hypot(*np.diff(shape, axis=0).T) > 1e-6])
    shape = shape[keep]
    if len(shape) < 2:
        shape = np.array([shape[0], shape[0] + [0.1, 0.0]])
    dense = resample(shape, DENSE_SPACING_M)
    if len(shape) == 2:
        return dense
    smoothed = dense
    for scale_m in _SMOOTHING_M:
        smoothed = _gaussian(dense, scale_m / DENSE_SPACING_M)
        if peak_curvature(smoothed) <= limit_1pm:
            break
    return smoothed


def _gaussian(points: Float64[np.ndarray, "N 2"], scale: float) -> Float64[np.ndarray, "N 2"]:
    """Gaussian smoothing that keeps both ends: beyond them the line goes on as its point reflection."""
    scale = min(scale, (len(points) - 1) / 4.0)
    pad = min(len(points) - 1, int(4.0 * scale) + 1)
    before = 2.0 * points[0] - points[pad:0:-1]
    after = 2.0 * points[-1] - points[-2 : -pad - 2 : -1]
    padded = np.concatenate([before, points, after])
    return gaussian_filter1d(padded, scale, axis=0, mode="nearest")[pad:-pad]


def centre_line(
    dense: Float64[np.ndarray, "N 2"],
    start_heading: float | None = None,
    end_heading: float | None = None,
    spacing_m: float = POINT_SPACING_M,
) -> CentreLine:
    """Sample a dense line about every `spacing_m`; the headings at its ends can be given when they are known."""
    headings_dense, along = tangents(dense), arc_lengths(dense)
    points = resample(dense, spacing_m)
    headings = np.interp(np.linspace(0.0, along[-1], len(points)), along, headings_dense)
    if start_heading is not None:
        headings[0] += wrap_angle(np.array(start_heading) - headings[0])
    if end_heading is not None:
        headings[-1] += wrap_angle(np.array(end_heading) - headings[-1])
    spacing = float(along[-1]) / (len(points) - 1)
    curvatures = np.gradient(headings, spacing) if len(points) > 2 else np.zeros(len(points))
    padded = np.pad(curvatures, 1, mode="edge")
    curvatures = 0.25 * padded[:-2] + 0.5 * padded[1:-1] + 0.25 * padded[2:]
    if along[-1] < WHEELBASE_M and np.ptp(headings) < _JOG_RAD:
        # A car averages over its wheelbase what happens within less.
        curvatures = np.full(len(points), (headings[-1] - headings[0]) / WHEELBASE_M)
    return CentreLine(points, wrap_angle(headings), curvatures, spacing)


def _controls(
    start: Float64[np.ndarray, "*N 3"], end: Float64[np.ndarray, "*N 3"], shares: Float64[np.ndarray, "*N 2"]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The four control points of cubic Bezier curves between poses; shares are of their distance."""
    chord = np.hypot(end[..., 0] - start[..., 0], end[..., 1] - start[..., 1])[..., None]
    first, last = start[..., :2], end[..., :2]
    leave = np.stack([np.cos(start[..., 2]), np.sin(start[..., 2])], axis=-1)
    arrive = np.stack([np.cos(end[..., 2]), np.sin(end[..., 2])], axis=-1)
    return first, first + shares[..., :1] * chord * leave, last - shares[..., 1:] * chord * arrive, last


def fit_joining_curves(
    start: Float64[np.ndarray, "N 3"], end: Float64[np.ndarray, "N 3"]
) -> tuple[Float64[np.ndarray, "N 2"], Float64[np.ndarray, " N"]]:
    """Control lengths (as shares of the distance) of the cubic Bezier curves with the least peak curvature.

    Returns the shares and the peak curvatures in 1/m.
    """
    first, second = np.meshgrid(_CONTROL_SHARES, _CONTROL_SHARES, indexing="ij")
    grid = np.stack([first.ravel(), second.ravel()], axis=1)
    best_shares, best_peak = np.zeros((len(start), 2)), np.full(len(start), np.inf)
    time = _BEZIER_SAMPLES[None, :, None]
    for shares in grid:
        a, b, c, d = _controls(start, end, np.broadcast_to(shares, (len(start), 2)))
        a, b, c, d = a[:, None], b[:, None], c[:, None], d[:, None]
        velocity = 3 * ((1 - time) ** 2 * (b - a) + 2 * (1 - time) * time * (c - b) + time**2 * (d - c))
        acceleration = 6 * ((1 - time) * (c - 2 * b + a) + time * (d - 2 * c + b))
        cross = velocity[..., 0] * acceleration[..., 1] - velocity[..., 1] * acceleration[..., 0]
        speed = np.maximum(np.hypot(velocity[..., 0], velocity[..., 1]), 1e-3)
        peak = np.max(np.abs(cross) / speed**3, axis=1)
        better = peak < best_peak - 1e-6
        best_shares[better], best_peak[better] = shares, peak[better]
    return best_shares, best_peak


def joining_curve(
    start: Float64[np.ndarray, " 3"], end: Float64[np.ndarray, " 3"], shares: Float64[np.ndarray, " 2"]
) -> Float64[np.ndarray, "M 2"]:
    """The Bezier curve that `fit_joining_curves` chose, as points about DENSE_SPACING_M apart."""
    a, b, c, d = _controls(start, end, shares)
    chord = float(np.hypot(*(d - a)))
    time = np.linspace(0.0, 1.0, max(3, int(1.5 * chord / DENSE_SPACING_M)))[:, None]
    points = (1 - time) ** 3 * a + 3 * (1 - time) ** 2 * time * b + 3 * (1 - time) * time**2 * c + time**3 * d
    return resample(points, DENSE_SPACING_M)


def bend_speeds(curvatures: Float64[np.ndarray, " N"], spacing_m: float) -> Float64[np.ndarray, " N"]:
    """At each point the highest speed, m/s, from which every bend up to the line's end is met in comfort.

    Comfort is LATERAL_ACCELERATION_MPS2 in the bend and BEND_DECELERATION_MPS2 before it: v^2 = a / |curvature|,
    and, going backwards, v^2 may grow by 2 b for each metre.
    """
    square = LATERAL_ACCELERATION_MPS2 / np.maximum(np.abs(curvatures), 1e-3)
    grown = 2.0 * BEND_DECELERATION_MPS2 * spacing_m * np.arange(len(square))
    return np.sqrt(np.minimum.accumulate((square + grown)[::-1])[::-1] - grown)
