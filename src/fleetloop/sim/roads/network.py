"""Reads a SUMO network (.net.xml): edges, connections, junctions with right of way, signal programs."""

import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float64

from fleetloop.core.errors import MapError
from fleetloop.core.types import LaneUse

SUMO_LANE_WIDTH_M = 3.2
"""Of a lane without a width, as SUMO defines it."""

MAX_SPEED_LIMIT_MPS = 36.2
"""130 km/h: networks give unlimited roads absurd values."""


_CLASSES = (
    (LaneUse.MOTOR, "passenger"),
    (LaneUse.BUS, "bus"),
    (LaneUse.BICYCLE, "bicycle"),
    (LaneUse.PEDESTRIAN, "pedestrian"),
)
"""Our classes of road users and SUMO's."""


@dataclass(frozen=True)
class NetLane:
    """A lane as the file has it."""

    edge: str
    index: int
    """0 is the outermost (the right one where traffic keeps right)."""
    speed_mps: float
    width_m: float
    shape: Float64[np.ndarray, "N 2"]
    heights_m: Float64[np.ndarray, " N"]
    """Of the points of `shape`; 0 where the file has none."""
    users: LaneUse
    """Everybody who may use it; people on foot only where nothing with a motor may go."""


@dataclass(frozen=True)
class NetEdge:
    """A one-way carriageway between two junctions."""

    name: str
    from_junction: str
    to_junction: str
    lanes: tuple[NetLane, ...]


@dataclass(frozen=True)
class NetConnection:
    """A permitted way from a lane of one edge to a lane of the next."""

    from_edge: str
    from_lane: int
    to_edge: str
    to_lane: int
    via: tuple[str, ...]
    """Names of the internal lanes it runs on, in order."""
    signal: tuple[str, int] | None
    """Traffic light and link index."""
    state: str
    """SUMO's link state: M and m major and minor, s stop, w all-way stop, = right before left, ..."""
    users: LaneUse


@dataclass(frozen=True)
class NetCrossing:
    """Where people on foot cross roads at a junction."""

    name: str
    """Of its lane."""
    junction: str
    edges: tuple[str, ...]
    """The roads that it crosses."""
    width_m: float
    shape: Float64[np.ndarray, "N 2"]
    heights_m: Float64[np.ndarray, " N"]
    """Of the points of `shape`; 0 where the file has none."""
    link: int
    """Index into the junction's right of way, or -1."""
    signal: tuple[str, int] | None
    people_wait: bool
    """Whether those on foot give way to traffic that goes straight on (an unmarked crossing)."""


@dataclass(frozen=True)
class NetWalkingArea:
    """Where sidewalks and crossings of a corner meet: names of the lanes that do."""

    name: str
    shape: Float64[np.ndarray, "N 2"]
    arriving: tuple[str, ...]
    """Lanes of edges that end here."""
    leaving: tuple[str, ...]
    """Lanes of edges that begin here."""
    crossings: tuple[str, ...]


@dataclass(frozen=True)
class NetJunction:
    """Where edges meet."""

    name: str
    kind: str
    shape: Float64[np.ndarray, "N 2"]
    link_of_internal_lane: Mapping[str, int]
    response: Bool[np.ndarray, "links links"]
    """[i, j]: link i must give way to link j."""


@dataclass(frozen=True)
class NetProgram:
    """A fixed signal program."""

    offset_s: float
    durations_s: tuple[float, ...]
    states: tuple[str, ...]


@dataclass
class Network:
    """What of a .net.xml matters here; coordinates in metres, x east, y north."""

    edges: dict[str, NetEdge] = field(default_factory=dict)
    internal_lanes: dict[str, NetLane] = field(default_factory=dict)
    junctions: dict[str, NetJunction] = field(default_factory=dict)
    connections: list[NetConnection] = field(default_factory=list)
    programs: dict[str, NetProgram] = field(default_factory=dict)
    crossings: dict[str, NetCrossing] = field(default_factory=dict)
    walking_areas: list[NetWalkingArea] = field(default_factory=list)
    roundabout_edges: frozenset[str] = frozenset()
    left_hand: bool = False


def read_network(path: Path, subject: str) -> Network:
    """Parse `path`; `subject` names the town or file in errors.

    Raises:
        MapError: the file is not a SUMO network, or lacks something every network has.
    """
    try:
        root = ElementTree.parse(path).getroot()
        if root.tag != "net":
            raise MapError(
                f"{subject}: is not a SUMO network (its root is <{root.tag}>); give a .net.xml file"
            )
        return _interpret(root)
    except (ElementTree.ParseError, KeyError, ValueError, IndexError) as error:
        raise MapError(f"{subject}: the SUMO network is broken ({error!r:.120}); make it again") from error


def _interpret(root: ElementTree.Element) -> Network:
    network = Network(left_hand=root.get("lefthand") in ("1", "true"))
    for element in root.iter("edge"):
        function = element.get("function", "normal")
        lanes = tuple(_lane(lane, element.attrib["id"]) for lane in element.iter("lane"))
        if function == "internal":
            names = (lane.attrib["id"] for lane in element.iter("lane"))
            network.internal_lanes.update(zip(names, lanes, strict=True))
        elif function in ("normal", "connector"):
            edge = element.attrib
            network.edges[edge["id"]] = NetEdge(edge["id"], edge["from"], edge["to"], lanes)
    for element in root.iter("junction"):
        if element.get("type") != "internal":
            network.junctions[element.attrib["id"]] = _junction(element)
    for element in root.iter("tlLogic"):
        network.programs.setdefault(element.attrib["id"], _program(element))
    network.connections = _connections(root, network)
    network.crossings = _crossings(root, network)
    network.walking_areas = _walking_areas(root, network)
    network.roundabout_edges = frozenset(
        name for element in root.iter("roundabout") for name in element.get("edges", "").split()
    )
    _move_to_origin(network)
    return network


def _move_to_origin(network: Network) -> None:
    """Shift everything so that edges start near (0, 0): single precision is coarse far from it."""
    shapes = [lane.shape for edge in network.edges.values() for lane in edge.lanes]
    if not shapes:
        return
    corner = np.floor(np.min([shape.min(axis=0) for shape in shapes], axis=0))
    shapes += [lane.shape for lane in network.internal_lanes.values()]
    shapes += [junction.shape for junction in network.junctions.values()]
    shapes += [crossing.shape for crossing in network.crossings.values()]
    shapes += [area.shape for area in network.walking_areas]
    for shape in shapes:
        shape -= corner


def _permits(attributes: Mapping[str, str], vehicle_class: str) -> bool:
    allowed, disallowed = attributes.get("allow"), attributes.get("disallow")
    if allowed is not None:
        return allowed == "all" or vehicle_class in allowed.split()
    if disallowed is not None:
        return disallowed != "all" and vehicle_class not in disallowed.split()
    return True


def _permitted(attributes: Mapping[str, str]) -> LaneUse:
    """All of our classes that `allow` and `disallow` let pass."""
    users = LaneUse(0)
    for use, vehicle_class in _CLASSES:
        if _permits(attributes, vehicle_class):
            users |= use
    return users


def _users(attributes: Mapping[str, str]) -> LaneUse:
    """Whose lane it is; SUMO lets people on foot onto every road that does not forbid it."""
    users = _permitted(attributes)
    if users & (LaneUse.MOTOR | LaneUse.BUS):
        return users & ~LaneUse.PEDESTRIAN
    # A path that people share with cyclists is theirs.
    return LaneUse.PEDESTRIAN if users & LaneUse.PEDESTRIAN else users


def _shape(text: str) -> Float64[np.ndarray, "N 2"]:
    return np.array([[float(value) for value in point.split(",")[:2]] for point in text.split()]).reshape(
        -1, 2
    )


def _heights(text: str) -> Float64[np.ndarray, " N"]:
    coordinates = [point.split(",") for point in text.split()]
    return np.array([float(point[2]) if len(point) > 2 else 0.0 for point in coordinates])


def _lane(element: ElementTree.Element, edge: str) -> NetLane:
    lane = element.attrib
    shape = _shape(lane["shape"])
    if len(shape) < 2 or not np.all(np.isfinite(shape)):
        raise ValueError(f"lane {lane['id']} has no usable shape")
    return NetLane(
        edge=edge,
        index=int(lane["index"]),
        speed_mps=min(float(lane["speed"]), MAX_SPEED_LIMIT_MPS),
        width_m=float(lane.get("width", SUMO_LANE_WIDTH_M)),
        shape=shape,
        heights_m=_heights(lane["shape"]),
        users=_users(lane),
    )


def _junction(element: ElementTree.Element) -> NetJunction:
    requests = {
        int(request.attrib["index"]): request.attrib["response"] for request in element.iter("request")
    }
    response = np.zeros((len(requests), len(requests)), bool)
    for index, bits in requests.items():
        # The rightmost character is link 0.
        response[index] = [bit == "1" for bit in reversed(bits)]
    internal = element.get("intLanes", "").split()
    return NetJunction(
        name=element.attrib["id"],
        kind=element.get("type", ""),
        shape=_shape(element.get("shape", "")),
        link_of_internal_lane={name: index for index, name in enumerate(internal)},
        response=response,
    )


def _program(element: ElementTree.Element) -> NetProgram:
    phases = [phase.attrib for phase in element.iter("phase")]
    return NetProgram(
        offset_s=float(element.get("offset", "0")),
        durations_s=tuple(float(phase["duration"]) for phase in phases),
        states=tuple(phase["state"] for phase in phases),
    )


def _connections(root: ElementTree.Element, network: Network) -> list[NetConnection]:
    following: dict[str, str] = {}
    outer: list[Mapping[str, str]] = []
    for element in root.iter("connection"):
        connection = element.attrib
        if connection["from"].startswith(":"):
            # An internal junction splits the way: the second half is the via of the first.
            if "via" in connection:
                following[f"{connection['from']}_{connection['fromLane']}"] = connection["via"]
        elif connection["from"] in network.edges and connection["to"] in network.edges:
            outer.append(connection)
    result = []
    for connection in outer:
        users = _permitted(connection)
        if not users:
            continue
        via: list[str] = []
        name = connection.get("via")
        while name is not None and name in network.internal_lanes and name not in via:
            via.append(name)
            name = following.get(name)
        light = connection.get("tl")
        result.append(
            NetConnection(
                from_edge=connection["from"],
                from_lane=int(connection["fromLane"]),
                to_edge=connection["to"],
                to_lane=int(connection["toLane"]),
                via=tuple(via),
                signal=(light, int(connection["linkIndex"])) if light in network.programs else None,
                state=connection.get("state", "M"),
                users=users,
            )
        )
    return result


def _crossings(root: ElementTree.Element, network: Network) -> dict[str, NetCrossing]:
    """Crossings by the name of their lane."""
    entries = {
        f"{element.attrib['to']}_{element.attrib.get('toLane', '0')}": element
        for element in root.iter("connection")
        if element.attrib["to"].startswith(":") and element.attrib["from"].startswith(":")
    }
    result = {}
    for element in root.iter("edge"):
        lane = element.find("lane")
        if element.get("function") != "crossing" or lane is None:
            continue
        name, junction = lane.attrib["id"], element.attrib["id"][1:].rsplit("_c", 1)[0]
        if junction not in network.junctions:
            continue
        entry = entries.get(name)
        light = entry.get("tl") if entry is not None else None
        link = network.junctions[junction].link_of_internal_lane.get(name, -1)
        result[name] = NetCrossing(
            name=name,
            junction=junction,
            edges=tuple(element.get("crossingEdges", "").split()),
            width_m=float(lane.get("width", SUMO_LANE_WIDTH_M)),
            shape=_lane(lane, element.attrib["id"]).shape,
            heights_m=_heights(lane.attrib["shape"]),
            link=link if link < len(network.junctions[junction].response) else -1,
            signal=(light, int(entry.attrib["linkIndex"]))
            if entry is not None and light in network.programs
            else None,
            people_wait=entry is not None and light is None and entry.get("state", "M") == "m",
        )
    return result


def _walking_areas(root: ElementTree.Element, network: Network) -> list[NetWalkingArea]:
    """Walking areas with what meets there; sidewalks joined without one meet in an area of their own."""
    meeting: dict[str, tuple[list[str], list[str], list[str]]] = {}
    for element in root.iter("connection"):
        start = f"{element.attrib['from']}_{element.attrib['fromLane']}"
        end = f"{element.attrib['to']}_{element.attrib['toLane']}"
        for area, other, column in ((end, start, 0), (start, end, 1)):
            if other in network.crossings:
                column = 2
            elif other.startswith(":"):
                continue
            if other not in meeting.setdefault(area, ([], [], []))[column]:
                meeting[area][column].append(other)
    result = []
    for element in root.iter("edge"):
        lane = element.find("lane")
        if element.get("function") == "walkingarea" and lane is not None:
            name = lane.attrib["id"]
            arriving, leaving, crossings = meeting.get(name, ([], [], []))
            shape = _shape(lane.attrib["shape"])
            result.append(NetWalkingArea(name, shape, tuple(arriving), tuple(leaving), tuple(crossings)))
    users = {
        f"{lane.edge}_{lane.index}": lane.users for edge in network.edges.values() for lane in edge.lanes
    }
    for connection in network.connections:
        start = f"{connection.from_edge}_{connection.from_lane}"
        end = f"{connection.to_edge}_{connection.to_lane}"
        if users.get(start) == users.get(end) == LaneUse.PEDESTRIAN:
            result.append(NetWalkingArea(f"{start}>{end}", np.zeros((0, 2)), (start,), (end,), ()))
    return result
