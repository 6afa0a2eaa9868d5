"""OpenDRIVE of places that keep left: netconvert reads every road as if traffic kept right."""

import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path

from fleetloop.sim.roads.programs import run_sumo_program


def convert_left_hand(options: Sequence[str], output: Path, subject: str) -> None:
    """Write the SUMO network of a map that keeps left to `output` (.net.xml).

    netconvert lays the lanes where they are and lets traffic run on them the wrong way. So its edges and connections
    are written out, turned round, and made into a network that keeps left: the lanes stay where they were. Signal
    programs are made anew, for those of the file are for ways that are not there any more.

    Args:
        options: of netconvert, with the file to read.
        subject: names the map in errors.

    Raises:
        MapError: netconvert cannot use the map.
        StorageError: the disk is full.
    """
    prefix = output.with_name(output.name + ".plain")
    parts = {kind: Path(f"{prefix}.{kind}.xml") for kind in ("nod", "edg", "con", "typ", "tll")}
    try:
        run_sumo_program("netconvert", [*options, "--plain-output-prefix", str(prefix)], output, subject)
        for kind in ("edg", "con"):
            turn_round(parts[kind])
        files = [
            *("--node-files", str(parts["nod"])),
            *("--edge-files", str(parts["edg"])),
            *("--connection-files", str(parts["con"])),
            *("--type-files", str(parts["typ"])),
        ]
        # The type of an edge is the list of its lanes' types, which are defined.
        files += ["--ignore-errors.edge-type", "--lefthand", "--junctions.corner-detail", "8"]
        run_sumo_program("netconvert", files, output, subject)
    finally:
        for part in [*parts.values(), Path(f"{prefix}.netccfg")]:
            part.unlink(missing_ok=True)


def turn_round(path: Path) -> None:
    """Swap the ends of every edge or connection in a file of SUMO's plain XML, in place."""
    tree = ElementTree.parse(path)
    for element in tree.iter():
        for one, other in (("from", "to"), ("fromLane", "toLane")):
            if one in element.attrib and other in element.attrib:
                element.attrib[one], element.attrib[other] = element.attrib[other], element.attrib[one]
        if "shape" in element.attrib:
            element.attrib["shape"] = " ".join(reversed(element.attrib["shape"].split()))
    tree.write(path)
