"""What the coach cannot tell either: the noise on what it sees is that of pictures, and consistent."""

import numpy as np
import torch

from fleetloop.sim.privileged_view import LINE_FIELD, PRIVILEGED_FIELDS, PRIVILEGED_OTHER, PRIVILEGED_OWN
from fleetloop.sim.state_view import (
    HEADING_FIELDS,
    LEAD_FIELDS,
    NEAR_SCALE_M,
    OFFSET_FIELD,
    OFFSET_SCALE_M,
    OTHERS,
    OWN_FIELDS,
    PREVIEW_FIELDS,
    PREVIEW_M,
    SPEED_SCALE_MPS,
)
from fleetloop.train.blur import Blur, blurred

COUNT = 20_000
SHARP = Blur(offset_m=0.0, heading_rad=0.0, range_share=0.0, bearing_rad=0.0, speed_mps=0.0)
PATH = slice(OWN_FIELDS, OWN_FIELDS + len(PREVIEW_M) * PREVIEW_FIELDS)


def rows() -> torch.Tensor:
    """In the middle of a straight lane, one car 30 m ahead and 4 m to the left, a stop line, nobody else."""
    row = torch.zeros(PRIVILEGED_FIELDS)
    row[HEADING_FIELDS[1]] = 1.0
    row[LEAD_FIELDS[0]], row[LEAD_FIELDS[1]] = 0.5, 0.4
    row[PATH.start : PATH.stop : PREVIEW_FIELDS] = torch.tensor(PREVIEW_M) / NEAR_SCALE_M
    row[LINE_FIELD] = 0.5
    row[PRIVILEGED_OWN : PRIVILEGED_OWN + 7] = torch.tensor(
        [1.0, 30.0 / NEAR_SCALE_M, 4.0 / NEAR_SCALE_M, 1.0, 0.0, 0.2, 0.0]
    )
    return row.repeat(COUNT, 1)


def points(own: torch.Tensor) -> np.ndarray:
    """Of the path ahead, m."""
    return own[:, PATH].reshape(-1, len(PREVIEW_M), PREVIEW_FIELDS)[:, :, :2].numpy() * NEAR_SCALE_M


def test_without_noise_rows_stay_as_they_are():
    assert torch.equal(blurred(rows(), SHARP), rows())


def test_the_rows_given_are_left_alone_and_chance_is_torchs():
    given = rows()
    torch.manual_seed(1)
    first = blurred(given, Blur())
    torch.manual_seed(1)
    assert torch.equal(first, blurred(given, Blur())) and torch.equal(given, rows())
    assert not torch.equal(first, blurred(given, Blur()))


def test_who_stands_further_left_has_the_path_further_right():
    own = blurred(rows(), Blur(heading_rad=0.0))
    offset_m = own[:, OFFSET_FIELD].numpy() * OFFSET_SCALE_M
    assert abs(offset_m.std() - 0.1) < 0.005 and abs(offset_m.mean()) < 0.005
    np.testing.assert_allclose(
        points(own)[:, :, 1], np.repeat(-offset_m[:, None], len(PREVIEW_M), 1), atol=1e-5
    )


def test_who_is_turned_to_the_left_has_the_path_to_the_right():
    own = blurred(rows(), Blur(offset_m=0.0))
    turned_rad = own[:, HEADING_FIELDS[0]].numpy()
    assert abs(turned_rad.std() - 0.02) < 0.001
    np.testing.assert_allclose(points(own)[:, :, 1], -turned_rad[:, None] * np.array(PREVIEW_M), atol=1e-4)


def test_far_away_distances_are_less_sure_and_speeds_are_not():
    blurry = blurred(rows(), Blur())
    other = blurry[:, PRIVILEGED_OWN : PRIVILEGED_OWN + PRIVILEGED_OTHER].numpy()
    distance_m = np.hypot(other[:, 1], other[:, 2]) * NEAR_SCALE_M
    assert abs(distance_m.std() - 0.08 * np.hypot(30.0, 4.0)) < 0.1
    bearing_rad = np.arctan2(other[:, 2], other[:, 1])
    assert abs(bearing_rad.std() - 0.01) < 0.001
    assert abs(other[:, 5].std() * SPEED_SCALE_MPS - 0.7) < 0.03
    assert abs(blurry[:, LEAD_FIELDS[0]].std() / 0.5 - 0.08) < 0.005
    assert abs(blurry[:, LINE_FIELD].std() / 0.5 - 0.08) < 0.005


def test_nobody_stays_nobody():
    blurry = blurred(rows(), Blur())
    nobody = blurry[:, PRIVILEGED_OWN + PRIVILEGED_OTHER : PRIVILEGED_OWN + OTHERS * PRIVILEGED_OTHER]
    assert not nobody.any()
    alone = rows()
    alone[:, LEAD_FIELDS[0]], alone[:, LEAD_FIELDS[1]] = 1.0, 0.0
    assert (blurred(alone, Blur())[:, LEAD_FIELDS[0]] == 1.0).all()
