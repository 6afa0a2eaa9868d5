"""Towns of straight streets: netgenerate draws them, a second pass decides what rules each junction."""

import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np

from fleetloop.core.errors import MapError
from fleetloop.sim.roads.plain import JUNCTION_OPTIONS, WALK_OPTIONS, add_crossings, kmh
from fleetloop.sim.roads.programs import run_sumo_program
from fleetloop.sim.roads.regions import Region


class StreetPlan(StrEnum):
    """How netgenerate lays the streets out."""

    GRID = "grid"
    ORGANIC = "organic"
    SPIDER = "spider"
    BUSLANE = "buslane"
    CYCLELANE = "cyclelane"


LANE_WIDTH_M = 3.5

# What rules a junction without a signal, and how often.
_UNSIGNALLED_TYPES = ("priority", "priority_stop", "allway_stop", "right_before_left")
_UNSIGNALLED_SHARES = (0.55, 0.25, 0.10, 0.10)
# A town has no signals, some, or many.
_SIGNAL_SHARES = (0.0, 0.4, 0.8)
_MAX_ATTEMPTS = 20
# How far junctions are moved from the grid, as SUMO writes a normal distribution with bounds; metres. The
# netgenerate option --rand is not used: its roads are trees, nearly all of them dead ends.
_PERTURBATION = {
    StreetPlan.GRID: "normc(0,4,-8,8)",
    StreetPlan.ORGANIC: "normc(0,10,-16,16)",
    StreetPlan.BUSLANE: "normc(0,3,-6,6)",
    StreetPlan.CYCLELANE: "normc(0,4,-8,8)",
}
# Share of the streets left out: what remains are bends and T junctions.
_LEFT_OUT = {
    StreetPlan.GRID: 0.08,
    StreetPlan.ORGANIC: 0.25,
    StreetPlan.SPIDER: 0.12,
    StreetPlan.BUSLANE: 0.05,
    StreetPlan.CYCLELANE: 0.1,
}
_MIN_JUNCTIONS = 4


@dataclass(frozen=True)
class _KerbLane:
    """A lane of its own at the kerb of some rows and columns of a grid."""

    allow: str
    """SUMO's classes of those who may use it."""
    width_m: float
    share: float
    """Of the rows and columns, those that have one."""
    beside: int
    """Lanes for all beside it; 0: as many as the street has."""


_KERB_LANES = {
    StreetPlan.BUSLANE: _KerbLane("bus bicycle", LANE_WIDTH_M, 0.6, 2),
    # 1.85 m is what German guidelines (ERA 2010) ask of a cycle lane, its line included.
    StreetPlan.CYCLELANE: _KerbLane("bicycle", 1.85, 0.7, 0),
}

_Edges = dict[str, tuple[str, str]]


def generate_streets(
    plan: StreetPlan, random: np.random.Generator, region: Region, output: Path, subject: str
) -> None:
    """Write the SUMO network of a town about 300 to 450 m across to `output` (.net.xml).

    Raises:
        MapError: netgenerate or netconvert failed.
    """
    streets = output.with_name(output.name + ".streets.net.xml")
    patch = output.with_name(output.name + ".nod.xml")
    crossings = output.with_name(output.name + ".con.xml")
    side = ["--lefthand"] if region.left_hand else []
    try:
        for _ in range(_MAX_ATTEMPTS):
            run_sumo_program("netgenerate", [*_street_options(plan, random, region), *side], streets, subject)
            edges = _edges(streets)
            neighbours, removed = _choose_streets(edges, _LEFT_OUT[plan], random)
            junctions = sorted(name for name, others in neighbours.items() if len(others) >= 3)
            if len(junctions) >= _MIN_JUNCTIONS:
                break
        else:
            raise MapError(f"{subject}: no connected roads came out; choose another seed")
        types = _junction_types(junctions, random)
        _write_junction_types(types, patch)
        cycle_s = str(random.choice([40, 50, 60]))
        if plan in _KERB_LANES:
            _add_kerb_lanes(_KERB_LANES[plan], streets, edges, removed, random, side, subject)
        kept = {name: ends for name, ends in edges.items() if name not in set(removed)}
        _write_crossings(kept, types, neighbours, crossings, random)
        options = ["--sumo-net-file", str(streets), "--node-files", str(patch), "--tls.rebuild", "true"]
        if removed:
            options += ["--remove-edges.explicit", ",".join(removed)]
        options += ["--connection-files", str(crossings), "--tls.cycle.time", cycle_s]
        run_sumo_program("netconvert", [*options, *JUNCTION_OPTIONS, *WALK_OPTIONS, *side], output, subject)
    finally:
        for file in (streets, patch, crossings):
            file.unlink(missing_ok=True)


def _street_options(plan: StreetPlan, random: np.random.Generator, region: Region) -> list[str]:
    # The order of the draws is part of what a key means.
    seed, lanes = str(random.integers(1 << 30)), str(random.choice([1, 2, 2]))
    options = ["--seed", seed, "--default.lanewidth", str(LANE_WIDTH_M), *JUNCTION_OPTIONS]
    options += ["--default.speed", str(kmh(region.town_limit_kmh))]
    if plan is StreetPlan.BUSLANE:
        options += ["--default.lanenumber", "2"]
    else:
        options += ["--default.lanenumber", lanes, "--random-lanenumber", "true"]
    if plan is not StreetPlan.SPIDER:
        columns, rows = random.integers(4, 6), random.integers(4, 6)
        options += ["--grid", "--grid.x-number", str(columns), "--grid.y-number", str(rows)]
        options += ["--grid.x-length", f"{random.uniform(80, 105):.1f}"]
        options += ["--grid.y-length", f"{random.uniform(80, 105):.1f}"]
        options += ["--perturb-x", _PERTURBATION[plan], "--perturb-y", _PERTURBATION[plan]]
    else:
        # Arm and circle meet at 90 degrees plus half the angle between arms: many arms, few sharp turns.
        arms = str(random.integers(7, 10))
        options += ["--spider", "--spider.omit-center", "true", "--spider.arm-number", arms]
        options += ["--spider.circle-number", "2", "--spider.space-radius", f"{random.uniform(85, 105):.1f}"]
    return options


def _edges(streets: Path) -> _Edges:
    """Ends of every edge, by name."""
    return {
        edge.attrib["id"]: (edge.attrib["from"], edge.attrib["to"])
        for edge in ElementTree.parse(streets).getroot().iter("edge")
        if edge.get("function") is None
    }


def _choose_streets(
    edges: _Edges, left_out: float, random: np.random.Generator
) -> tuple[dict[str, set[str]], list[str]]:
    """Leave out a share of the streets, and then every dead end and whatever is cut off.

    Returns the neighbours of every junction that is left, and the edges to remove, by name.
    """
    pairs = sorted({(min(ends), max(ends)) for ends in edges.values()})
    neighbours = _largest_loops([pair for pair in pairs if random.random() >= left_out])
    removed = sorted(name for name, (start, end) in edges.items() if end not in neighbours.get(start, ()))
    return neighbours, removed


def _largest_loops(streets: list[tuple[str, str]]) -> dict[str, set[str]]:
    """Neighbours of each node in the largest connected part, after all dead ends were taken away."""
    neighbours: dict[str, set[str]] = {}
    for start, end in streets:
        neighbours.setdefault(start, set()).add(end)
        neighbours.setdefault(end, set()).add(start)
    ends = [name for name, others in neighbours.items() if len(others) < 2]
    while ends:
        name = ends.pop()
        for other in neighbours.pop(name, set()):
            neighbours[other].discard(name)
            if len(neighbours[other]) < 2:
                ends.append(other)
    largest: set[str] = set()
    seen: set[str] = set()
    for name in sorted(neighbours):
        if name not in seen:
            part, front = {name}, [name]
            while front:
                new = neighbours[front.pop()] - part
                part |= new
                front += sorted(new)
            seen |= part
            largest = max(largest, part, key=len)
    return {name: neighbours[name] for name in largest}


def _junction_types(junctions: list[str], random: np.random.Generator) -> dict[str, str]:
    signal_share = float(random.choice(_SIGNAL_SHARES))
    types = {}
    for name in junctions:
        signalled = random.random() < signal_share
        unsignalled = str(random.choice(_UNSIGNALLED_TYPES, p=_UNSIGNALLED_SHARES))
        types[name] = "traffic_light" if signalled else unsignalled
    return types


def _write_junction_types(types: dict[str, str], patch: Path) -> None:
    """A node file that gives every junction its type."""
    nodes = ElementTree.Element("nodes")
    for name, kind in types.items():
        ElementTree.SubElement(nodes, "node", id=name, type=kind)
    ElementTree.ElementTree(nodes).write(patch, encoding="utf-8")


def _write_crossings(
    edges: _Edges,
    types: dict[str, str],
    neighbours: dict[str, set[str]],
    output: Path,
    random: np.random.Generator,
) -> None:
    """A connection file with the crossings of all junctions."""
    root = ElementTree.Element("connections")
    name_of = {ends: name for name, ends in edges.items()}
    for junction, kind in types.items():
        for other in sorted(neighbours[junction]):
            street = [name_of[ends] for ends in ((junction, other), (other, junction)) if ends in name_of]
            add_crossings(root, junction, street, kind, random)
    ElementTree.ElementTree(root).write(output, encoding="utf-8")


def _add_kerb_lanes(
    kind: _KerbLane,
    streets: Path,
    edges: _Edges,
    removed: list[str],
    random: np.random.Generator,
    side: list[str],
    subject: str,
) -> None:
    """Give some rows and columns of the grid `streets` a lane at the kerb, for few, beside those for all."""
    lines = sorted({line for start, _ in edges.values() for line in (start[0], start[1:])})
    chosen = {line for line in lines if random.random() < kind.share} or {lines[0]}
    wide = {
        name
        for name, (start, end) in edges.items()
        if (start[0] == end[0] and start[0] in chosen) or (start[1:] == end[1:] and start[1:] in chosen)
    }
    prefix = streets.with_name(streets.name + ".plain")
    parts = {part: Path(f"{prefix}.{part}.xml") for part in ("nod", "edg", "con", "tll", "typ")}
    try:
        run_sumo_program(
            "netconvert",
            ["--sumo-net-file", str(streets), "--plain-output-prefix", str(prefix)],
            streets,
            subject,
        )
        tree = ElementTree.parse(parts["edg"])
        for edge in tree.getroot().iter("edge"):
            for lane in edge.findall("lane"):
                edge.remove(lane)
            if edge.attrib["id"] in wide:
                edge.set("numLanes", str((kind.beside or int(edge.attrib["numLanes"])) + 1))
                width = str(kind.width_m)
                ElementTree.SubElement(edge, "lane", index="0", allow=kind.allow, width=width)
        tree.write(parts["edg"], encoding="utf-8")
        options = [
            "--node-files",
            str(parts["nod"]),
            "--edge-files",
            str(parts["edg"]),
            *side,
            *JUNCTION_OPTIONS,
        ]
        if removed:
            # Without them from the start: connections are made for the streets that there are.
            options += ["--remove-edges.explicit", ",".join(removed)]
        run_sumo_program("netconvert", options, streets, subject)
        removed.clear()
    finally:
        for file in parts.values():
            file.unlink(missing_ok=True)
