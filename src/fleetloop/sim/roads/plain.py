"""Networks drawn by hand: nodes and edges as SUMO's plain XML, which netconvert makes into roads."""

import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from fleetloop.sim.roads.programs import run_sumo_program
from fleetloop.sim.roads.regions import Region

JUNCTION_RADIUS_M = 9.0
_CORNER_OPTIONS = ("--junctions.corner-detail", "8", "--junctions.internal-link-detail", "8")
JUNCTION_OPTIONS = ("--default.junctions.radius", str(JUNCTION_RADIUS_M), *_CORNER_OPTIONS)
WALK_OPTIONS = (
    *("--sidewalks.guess", "--walkingareas", "--default.sidewalk-width", "2.2"),
    # People who step out at the last moment of green must be across before the others get theirs.
    *("--tls.crossing-clearance.time", "9", "--tls.crossing-min.time", "4"),
)
# How many of the mouths of a junction have a zebra crossing, by what rules the junction.
_ZEBRA_SHARES = {"traffic_light": 1.0, "allway_stop": 0.8, "right_before_left": 0.4, "roundabout": 0.8}
_ZEBRA_SHARE = 0.5


def kmh(speed: float) -> float:
    """Metres a second of a speed in kilometres an hour, to the centimetre, as SUMO writes them."""
    return round(speed / 3.6, 2)


def add_crossings(
    connections: ElementTree.Element,
    junction: str,
    street: Sequence[str],
    kind: str,
    random: np.random.Generator,
) -> None:
    """Perhaps a crossing over the edges `street` at their common end, for a connection file.

    Without signals it is a zebra crossing, at which everybody lets people cross.
    """
    if random.random() < _ZEBRA_SHARES.get(kind, _ZEBRA_SHARE):
        attributes = {"node": junction, "edges": " ".join(street)}
        if kind != "traffic_light":
            attributes["priority"] = "true"
        ElementTree.SubElement(connections, "crossing", attributes)


@dataclass
class PlainNetwork:
    """Nodes, edges, explicit connections and crossings; x east, y north, metres."""

    nodes: dict[str, dict[str, str]] = field(default_factory=dict)
    edges: dict[str, ElementTree.Element] = field(default_factory=dict)
    connections: ElementTree.Element = field(default_factory=lambda: ElementTree.Element("connections"))
    roundabouts: list[tuple[list[str], list[str]]] = field(default_factory=list)
    """Nodes and edges of each."""
    options: list[str] = field(default_factory=list)
    """Further options for netconvert."""
    junction_radius_m: float = JUNCTION_RADIUS_M
    lane_width_m: float = 3.5
    walks: bool = True
    """Whether streets with limits from 21 to 50 km/h have sidewalks."""

    def add_node(self, name: str, x: float, y: float, kind: str = "priority", **more: str) -> str:
        """A junction of one of SUMO's types; returns its name."""
        self.nodes[name] = {"x": f"{x:.2f}", "y": f"{y:.2f}", "type": kind, **more}
        return name

    def add_edge(
        self,
        start: str,
        end: str,
        lanes: int,
        limit_kmh: float,
        shape: Float64[np.ndarray, "N 2"] | None = None,
        whole: bool = False,
        **more: str,
    ) -> str:
        """A one-way road; `shape` are points between its ends. Returns its name.

        With `whole`, `shape` is all of it, and its ends need not be where the nodes are.
        """
        name = more.pop("name", f"{start}_to_{end}")
        while name in self.edges:
            name += "_again"
        edge = ElementTree.Element("edge", {"id": name, "from": start, "to": end, "numLanes": str(lanes)})
        edge.attrib |= {"speed": str(kmh(limit_kmh)), **more}
        if shape is not None and len(shape):
            points = shape.tolist() if whole else [self.position(start), *shape.tolist(), self.position(end)]
            edge.set("shape", " ".join(f"{x:.2f},{y:.2f}" for x, y in points))
        self.edges[name] = edge
        return name

    def add_street(
        self,
        start: str,
        end: str,
        lanes: int,
        limit_kmh: float,
        shape: Float64[np.ndarray, "N 2"] | None = None,
        **more: str,
    ) -> tuple[str, str]:
        """A road for both directions, `lanes` for each; returns the names of the two edges."""
        back_shape = None if shape is None else shape[::-1]
        there = self.add_edge(start, end, lanes, limit_kmh, shape, False, **more)
        back = self.add_edge(end, start, lanes, limit_kmh, back_shape, False, **more)
        return there, back

    def add_connection(self, start: str, from_lane: int, end: str, to_lane: int) -> None:
        """Where an edge has any of these, it has no others."""
        attributes = {"from": start, "to": end, "fromLane": str(from_lane), "toLane": str(to_lane)}
        ElementTree.SubElement(self.connections, "connection", attributes)

    def position(self, node: str) -> tuple[float, float]:
        """x, y of a node."""
        return float(self.nodes[node]["x"]), float(self.nodes[node]["y"])

    def streets_at(self, node: str) -> list[list[str]]:
        """The edges at a node, those between the same two nodes together."""
        by_other: dict[str, list[str]] = {}
        for name, edge in self.edges.items():
            if node in (edge.attrib["from"], edge.attrib["to"]):
                other = edge.attrib["to"] if edge.attrib["from"] == node else edge.attrib["from"]
                by_other.setdefault(other, []).append(name)
        return [by_other[other] for other in sorted(by_other)]

    def write(self, output: Path, region: Region, subject: str) -> None:
        """Run netconvert; left-hand traffic mirrors the plan, so what was drawn for the right fits again.

        Raises:
            MapError: netconvert failed.
        """
        files = {part: output.with_name(f"{output.name}.{part}.xml") for part in ("nod", "edg", "con")}
        mirror = -1.0 if region.left_hand else 1.0
        try:
            nodes = ElementTree.Element("nodes")
            for name, attributes in self.nodes.items():
                y = f"{mirror * float(attributes['y']):.2f}"
                ElementTree.SubElement(nodes, "node", {**attributes, "id": name, "y": y})
            edges = ElementTree.Element("edges")
            for edge in self.edges.values():
                edges.append(_mirrored(edge, mirror))
            for ring_nodes, ring_edges in self.roundabouts:
                attributes = {"nodes": " ".join(ring_nodes), "edges": " ".join(ring_edges)}
                ElementTree.SubElement(edges, "roundabout", attributes)
            for part, root in (("nod", nodes), ("edg", edges), ("con", self.connections)):
                ElementTree.ElementTree(root).write(files[part], encoding="utf-8")
            options = ["--node-files", str(files["nod"]), "--edge-files", str(files["edg"])]
            options += ["--connection-files", str(files["con"]), *_CORNER_OPTIONS, *self.options]
            options += ["--default.junctions.radius", str(self.junction_radius_m)]
            options += ["--default.lanewidth", str(self.lane_width_m)]
            options += [*(WALK_OPTIONS if self.walks else ()), *(["--lefthand"] if region.left_hand else [])]
            run_sumo_program("netconvert", options, output, subject)
        finally:
            for file in files.values():
                file.unlink(missing_ok=True)


def _mirrored(edge: ElementTree.Element, mirror: float) -> ElementTree.Element:
    copy = ElementTree.Element("edge", dict(edge.attrib))
    copy.extend(edge)
    if "shape" in copy.attrib:
        points = [point.split(",") for point in copy.attrib["shape"].split()]
        copy.set("shape", " ".join(f"{x},{mirror * float(y):.2f}" for x, y in points))
    return copy
