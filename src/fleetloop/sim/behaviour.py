"""Numbers of how people drive, with their sources; the demonstrator's are those of a careful driver."""

import numpy as np

from fleetloop.core.kernels import device

# Intelligent Driver Model, Treiber, Hennecke, Helbing, Phys. Rev. E 62 (2000): a, b, T, s0 of their city traffic,
# with T spread over what is observed between drivers.
MAXIMUM_ACCELERATION_MPS2 = 1.6
COMFORTABLE_DECELERATION_MPS2 = 2.2
TIME_HEADWAY_S = (1.1, 1.7)
STANDSTILL_GAP_M = 2.2
DESIRED_SPEED_FACTOR = (0.75, 1.0)

EMERGENCY_DECELERATION_MPS2 = 7.0
"""What dry asphalt gives with a margin (AASHTO Green Book uses 3.4 for comfort; tests of cars reach 9 to 10)."""

LATERAL_ACCELERATION_MPS2 = 2.0
"""In bends: the upper end of what car passengers find comfortable (ISO 11270 allows 3)."""

BEND_DECELERATION_MPS2 = 1.4
"""Braking for a bend ahead."""

YELLOW_DECELERATION_MPS2 = 3.0
"""Stop at yellow when this suffices (ITE's timing of yellow assumes 3.05)."""

LINE_DECELERATION_MPS2 = 4.0
"""Give way at the line when this suffices; later, in the junction, before the others' way."""

CREEP_SPEED_MPS = 2.5
"""Nosing forward below this speed is part of waiting: one's turn is not lost."""

EXPECTED_DECELERATION_MPS2 = 3.5
"""Who would have to brake harder than this to give way is not expected to."""

GAP_MARGIN_S = 1.3
"""Time kept clear before and after a vehicle that has right of way."""

SHORTEST_GAP_MARGIN_S = 0.6
IMPATIENT_S = 40.0
"""Who has waited long takes shorter gaps: down to the shortest margin after this time."""

DEMONSTRATED_GAP_MARGIN_S, DEMONSTRATED_ROOM_M = 0.7, 1.0
"""The demonstrator keeps so much more clear than others, in junctions and to who is ahead: whoever learns from it will
be off by some."""

LET_IN_AFTER_S, LETS_IN_S, LETS_IN_BELOW_MPS = 15.0, 12.0, 7.0
"""Who has stood this long at its line is let in, by those who drive slower than this, for so many seconds."""

LOOKAHEAD_M = 60.0
"""How far ahead leaders, bends and junctions count, up to BRISK_MPS; `look_ahead_m` says how far beyond."""

BRISK_MPS = 14.0
"""Up to this speed, that of towns, fixed distances suffice; beyond they grow with speed."""

STOP_MARGIN_M = 1.0
"""Front bumper to stop line when standing."""

ENTRY_M = 2.0
"""A front bumper this far past the line is in the junction; a car that creeps over the line is not."""

PATIENCE_S = 45.0
"""Another road user that stood this long out of the learner's way is moved elsewhere, so that no town gridlocks."""

BUBBLE_RADIUS_M = 220.0
"""Other road users live within this distance of the learner."""

TRUCK_SPEED_MPS, BUS_SPEED_MPS = np.float32(25.0), np.float32(27.8)
"""What the speed limiters of lorries and of buses allow: 90 and 100 km/h (Council Directive 92/6/EEC)."""

CAR_SPEED_MPS = np.float32(36.2)
"""No limit is higher (roads.network.MAX_SPEED_LIMIT_MPS)."""

WALKING_SPEED_MPS = 1.5
"""Pedestrians at crossings: 1.3 to 1.5 m/s on average (Fitzpatrick, Brewer, Turner, TRR 1982, 2006)."""

CYCLING_SPEED_MPS = 5.5

# MOBIL, Kesting, Treiber, Helbing, TRR 1999 (2007): politeness, threshold, the follower's hardest acceptable braking.
POLITENESS = 0.3
CHANGE_THRESHOLD_MPS2 = 0.25
SAFE_DECELERATION_MPS2 = 2.5
CHANGE_EVERY_STEPS = 10
"""People think of changing lanes about once a second."""

CHANGE_ROOM_M, CHANGE_ROOM_S = 12.0, 5.0
"""A change must be over this far before the lane ends, and takes this long."""
HURRIED_CHANGE_S = 4.0
"""The same where one's own lane ends and the next does not."""

CHANGING_MPS = 1.6
"""To the side while changing lanes: 3.5 m in the 4.6 s that Toledo and Zohar (TRR 1999, 2007) found on average, twice
that in the middle of the change."""

DWELL_S = (10.0, 30.0)
"""Buses at their stops: about 15 s at quiet stops, 30 s at busy ones (Transit Capacity and Quality of Service Manual,
TCRP Report 165, 2013)."""

PARKED_SHARE = 0.4
"""Of cars that appear on a lane beside parking bays, those that still stand in a bay."""
PULLING_OUT_TRIGGER_M = (30.0, 60.0)
"""Who is parked makes ready once the learner is this near: else nobody would see it."""
BAY_MIDDLE_M = 1.1
"""From the lane's edge: half the depth of a bay (roads.parking.BAY_DEPTH_M)."""
INDICATING_S = 2.0
"""Before pulling out."""

EMERGENCY_SHARE = 0.004
"""Of road users: rare, and more than on real roads."""
WARY_MPS = 6.0
"""An emergency vehicle crosses junctions where it has no right of way at this speed."""
MAKING_WAY_M = 60.0
"""Who has an emergency vehicle this close behind changes lanes if there is one."""

SETTLED_M = 45.0
"""Nor does anybody change lanes nearer to the lane's end: it takes 41 m to drift from one middle to the next."""

CORRIDOR_M = 1.7
"""Who is off the lanes matters within this distance to either side of a vehicle's middle: half a car and a margin."""


@device
def look_ahead_m(speed):
    """How far ahead things count at a speed: what stops a car in comfort, and some metres."""
    return max(LOOKAHEAD_M, speed * speed / (2.0 * COMFORTABLE_DECELERATION_MPS2) + 15.0)


@device
def beyond_brisk(speed):
    """By how much, m/s, a speed is above that of towns."""
    return max(speed - BRISK_MPS, 0.0)
