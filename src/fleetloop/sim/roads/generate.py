"""Endless towns by seed: netgenerate draws the streets, a second pass decides what rules each junction."""

import re
import xml.etree.ElementTree as ElementTree
from enum import StrEnum
from pathlib import Path

import numpy as np

from fleetloop.core.errors import MapError
from fleetloop.core.random import Stream, generator
from fleetloop.sim.roads.programs import run_sumo_program


class TownKind(StrEnum):
    """The street plans that can be generated."""

    GRID = "grid"
    ORGANIC = "organic"
    SPIDER = "spider"


GENERATED_KEY = re.compile(r"(grid|organic|spider)-(\d{1,9})")

JUNCTION_RADIUS_M = 9.0
LANE_WIDTH_M = 3.5
SPEED_LIMIT_MPS = 13.89

# What rules a junction without a signal, and how often.
_UNSIGNALLED_TYPES = ("priority", "priority_stop", "allway_stop", "right_before_left")
_UNSIGNALLED_SHARES = (0.55, 0.25, 0.10, 0.10)
# A town has no signals, some, or many.
_SIGNAL_SHARES = (0.0, 0.4, 0.8)
_MAX_ATTEMPTS = 20
# How far junctions are moved from the grid, as SUMO writes a normal distribution with bounds; metres. The
# netgenerate option --rand is not used: its roads are trees, nearly all of them dead ends.
_PERTURBATION = {TownKind.GRID: "normc(0,4,-8,8)", TownKind.ORGANIC: "normc(0,10,-16,16)"}
# Share of the streets left out: what remains are bends and T junctions.
_LEFT_OUT = {TownKind.GRID: 0.08, TownKind.ORGANIC: 0.25, TownKind.SPIDER: 0.12}
_MIN_JUNCTIONS = 4


def parse_generated_key(key: str) -> tuple[TownKind, int] | None:
    """Kind and seed of a key such as "grid-7"; None if the key does not name a generated town."""
    match = GENERATED_KEY.fullmatch(key)
    return (TownKind(match.group(1)), int(match.group(2))) if match else None


def generate_network(kind: TownKind, seed: int, output: Path) -> None:
    """Write the SUMO network of the town `kind`-`seed`, about 300 to 450 m across, to `output` (.net.xml).

    Raises:
        MapError: netgenerate or netconvert failed.
    """
    random = generator(seed, Stream.TOWN, list(TownKind).index(kind))
    subject = f"town {kind.value}-{seed}"
    streets = output.with_name(output.name + ".streets.net.xml")
    patch = output.with_name(output.name + ".nod.xml")
    try:
        for _ in range(_MAX_ATTEMPTS):
            run_sumo_program("netgenerate", _street_options(kind, random), streets, subject)
            junctions, removed = _choose_streets(streets, _LEFT_OUT[kind], random)
            if len(junctions) >= _MIN_JUNCTIONS:
                break
        else:
            raise MapError(f"{subject}: no connected roads came out; choose another seed")
        _write_junction_types(junctions, patch, random)
        options = ["--sumo-net-file", str(streets), "--node-files", str(patch), "--tls.rebuild", "true"]
        if removed:
            options += ["--remove-edges.explicit", ",".join(removed)]
        options += ["--tls.cycle.time", str(random.choice([40, 50, 60])), *_junction_options()]
        run_sumo_program("netconvert", options, output, subject)
    finally:
        streets.unlink(missing_ok=True)
        patch.unlink(missing_ok=True)


def _junction_options() -> list[str]:
    return [
        *("--default.junctions.radius", str(JUNCTION_RADIUS_M)),
        *("--junctions.corner-detail", "8"),
        *("--junctions.internal-link-detail", "8"),
    ]


def _street_options(kind: TownKind, random: np.random.Generator) -> list[str]:
    options = [
        *("--seed", str(random.integers(1 << 30)), "--default.lanewidth", str(LANE_WIDTH_M)),
        *("--default.speed", str(SPEED_LIMIT_MPS)),
        *("--default.lanenumber", str(random.choice([1, 2, 2])), "--random-lanenumber", "true"),
        *_junction_options(),
    ]
    if kind is not TownKind.SPIDER:
        columns, rows = random.integers(4, 6), random.integers(4, 6)
        options += ["--grid", "--grid.x-number", str(columns), "--grid.y-number", str(rows)]
        options += ["--grid.x-length", f"{random.uniform(80, 105):.1f}"]
        options += ["--grid.y-length", f"{random.uniform(80, 105):.1f}"]
        options += ["--perturb-x", _PERTURBATION[kind], "--perturb-y", _PERTURBATION[kind]]
    else:
        # Arm and circle meet at 90 degrees plus half the angle between arms: many arms, few sharp turns.
        options += [
            "--spider",
            "--spider.omit-center",
            "true",
            "--spider.arm-number",
            str(random.integers(7, 10)),
        ]
        options += ["--spider.circle-number", "2", "--spider.space-radius", f"{random.uniform(85, 105):.1f}"]
    return options


def _choose_streets(
    streets: Path, left_out: float, random: np.random.Generator
) -> tuple[list[str], list[str]]:
    """Leave out a share of the streets, and then every dead end and whatever is cut off.

    Returns the junctions of three streets or more, and the edges to remove, by name.
    """
    edges: dict[str, tuple[str, str]] = {}
    for edge in ElementTree.parse(streets).getroot().iter("edge"):
        if edge.get("function") is None:
            edges[edge.attrib["id"]] = (edge.attrib["from"], edge.attrib["to"])
    pairs = sorted({(min(ends), max(ends)) for ends in edges.values()})
    neighbours = _largest_loops([pair for pair in pairs if random.random() >= left_out])
    removed = sorted(name for name, (start, end) in edges.items() if end not in neighbours.get(start, ()))
    return sorted(name for name, others in neighbours.items() if len(others) >= 3), removed


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


def _write_junction_types(junctions: list[str], patch: Path, random: np.random.Generator) -> None:
    """A node file that gives every junction its type."""
    signal_share = float(random.choice(_SIGNAL_SHARES))
    nodes = ElementTree.Element("nodes")
    for name in junctions:
        signalled = random.random() < signal_share
        unsignalled = str(random.choice(_UNSIGNALLED_TYPES, p=_UNSIGNALLED_SHARES))
        ElementTree.SubElement(nodes, "node", id=name, type="traffic_light" if signalled else unsignalled)
    ElementTree.ElementTree(nodes).write(patch, encoding="utf-8")
