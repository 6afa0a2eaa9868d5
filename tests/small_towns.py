"""Towns of a few streets, written as plain XML and made by netconvert: one for every case of the scene."""

import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, field
from pathlib import Path

from fleetloop.core.types import World
from fleetloop.sim.roads.programs import run_sumo_program
from fleetloop.sim.roads.town import make_town


@dataclass(frozen=True)
class Street:
    """An edge: node names, lanes, km/h, and what each lane is for, outermost first ("" is everybody)."""

    start: str
    end: str
    kmh: float = 50.0
    lanes: tuple[str, ...] = ("",)
    attributes: dict[str, str] = field(default_factory=dict)


def both_ways(start: str, end: str, kmh: float = 50.0, lanes: tuple[str, ...] = ("",)) -> list[Street]:
    """A street and the one back."""
    return [Street(start, end, kmh, lanes), Street(end, start, kmh, lanes)]


def small_network(
    folder: Path,
    nodes: dict[str, tuple[float, float, str]],
    streets: list[Street],
    *options: str,
    ring: tuple[str, ...] = (),
) -> Path:
    """The SUMO network of `nodes` (x, y, type) and `streets`; the nodes of `ring` are a roundabout, in order."""
    node_root, edge_root = ElementTree.Element("nodes"), ElementTree.Element("edges")
    for name, (x, y, kind) in nodes.items():
        ElementTree.SubElement(node_root, "node", id=name, x=str(x), y=str(y), type=kind)
    for street in streets:
        edge = ElementTree.SubElement(edge_root, "edge", id=f"{street.start}{street.end}")
        edge.attrib.update({"from": street.start, "to": street.end, "numLanes": str(len(street.lanes))})
        edge.attrib.update({"speed": f"{street.kmh / 3.6:.2f}", **street.attributes})
        for index, allowed in enumerate(street.lanes):
            if allowed:
                ElementTree.SubElement(edge, "lane", index=str(index), allow=allowed)
    if ring:
        edges = " ".join(start + end for start, end in zip(ring, (*ring[1:], ring[0]), strict=True))
        ElementTree.SubElement(edge_root, "roundabout", nodes=" ".join(ring), edges=edges)
    node_file, edge_file, network = (folder / name for name in ("n.nod.xml", "e.edg.xml", "small.net.xml"))
    ElementTree.ElementTree(node_root).write(node_file)
    ElementTree.ElementTree(edge_root).write(edge_file)
    files = ["--node-files", str(node_file), "--edge-files", str(edge_file)]
    shape = ["--default.lanewidth", "3.5", "--junctions.corner-detail", "8"]
    if "--default.junctions.radius" not in options:
        shape += ["--default.junctions.radius", "9"]
    run_sumo_program("netconvert", [*files, *shape, *options], network, "small town")
    return network


def small_town(
    folder: Path,
    nodes: dict[str, tuple[float, float, str]],
    streets: list[Street],
    *options: str,
    ring: tuple[str, ...] = (),
) -> World:
    """The World of `small_network`."""
    return make_town(small_network(folder, nodes, streets, *options, ring=ring), "small", "small town")


CROSSROADS = {
    "m": (0.0, 0.0, "priority"),
    "e": (180.0, 0.0, "priority"),
    "n": (0.0, 180.0, "priority"),
    "w": (-180.0, 0.0, "priority"),
    "s": (0.0, -180.0, "priority"),
}
"""A crossing of two streets of 180 m arms."""


def crossroads(
    folder: Path, kind: str = "priority", kmh: float = 50.0, lanes: tuple[str, ...] = ("",), *options: str
) -> World:
    """CROSSROADS whose streets all have `lanes` in each direction."""
    nodes = CROSSROADS | {"m": (0.0, 0.0, kind)}
    streets = [street for end in "enws" for street in both_ways("m", end, kmh, lanes)]
    return small_town(folder, nodes, streets, *options)
