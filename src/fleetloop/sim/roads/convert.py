"""Real maps: OpenStreetMap, OpenDRIVE and SUMO files, checked and turned into a SUMO network."""

import gzip
import xml.etree.ElementTree as ElementTree
import zlib
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import cast

from fleetloop.core.errors import MapError
from fleetloop.core.files import storage_errors
from fleetloop.sim.roads.left_hand import convert_left_hand
from fleetloop.sim.roads.programs import run_sumo_program, sumo_data

LAYER_M = 6.0
"""Height of a layer of OpenStreetMap: a bridge with its clearance."""

MAX_MAP_BYTES = 2 << 30
"""A map that unpacks to more is refused."""


class MapFormat(StrEnum):
    """Formats that netconvert reads, by the end of the file's name."""

    OPENSTREETMAP = ".osm"
    OPENDRIVE = ".xodr"
    SUMO = ".net.xml"


_STREET_TYPES = ("osmNetconvert.typ.xml", "osmNetconvertUrbanDe.typ.xml")
_ROOTS = {MapFormat.OPENSTREETMAP: "osm", MapFormat.OPENDRIVE: "OpenDRIVE", MapFormat.SUMO: "net"}


def map_format(path: Path) -> tuple[MapFormat, str]:
    """Format of `path` and its name without the ending.

    Raises:
        MapError: the ending is not one that can be read.
    """
    name = path.name.removesuffix(".gz")
    for known in MapFormat:
        if name.endswith(known.value) and (path.name == name or known is not MapFormat.OPENDRIVE):
            return known, name.removesuffix(known.value)
    raise MapError(
        f"{path}: cannot tell what map this is; give a file that ends in "
        ".osm, .osm.gz, .xodr, .net.xml or .net.xml.gz"
    )


def read_map(path: Path) -> bytes:
    """The unpacked content of a map.

    Raises:
        MapError: the file is missing, empty, truncated, not readable, or too large.
    """
    try:
        if path.is_dir():
            raise MapError(f"{path}: is a folder; give the map file in it")
        if path.stat().st_size == 0:
            raise MapError(f"{path}: is empty; download or export the map again")
        with gzip.open(path) if path.name.endswith(".gz") else path.open("rb") as file:
            content = file.read(MAX_MAP_BYTES + 1)
    except FileNotFoundError as error:
        raise MapError(f"{path}: does not exist; check the path") from error
    except EOFError as error:
        raise MapError(f"{path}: is truncated; download the map again") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise MapError(f"{path}: is not a whole gzip file; download the map again") from error
    except OSError as error:
        raise MapError(f"{path}: cannot be read ({error.strerror}); check its permissions") from error
    if not content.strip():
        raise MapError(f"{path}: is empty; download or export the map again")
    if len(content) > MAX_MAP_BYTES:
        raise MapError(f"{path}: unpacks to more than {MAX_MAP_BYTES >> 30} GiB; cut out a smaller part")
    return content


def convert(content: bytes, known: MapFormat, output: Path, subject: str) -> None:
    """Write the SUMO network of a map's content to `output` (.net.xml).

    A SUMO network that has lanes within its junctions is taken as it is.

    Raises:
        MapError: the content is not of that format, or netconvert cannot use it.
    """
    has_internal_lanes, left_hand = _check(content, known, subject)
    source = output.with_name(output.name + ".source" + known.value)
    with storage_errors(output):
        if known is MapFormat.SUMO and has_internal_lanes:
            output.write_bytes(content)
            return
        try:
            source.write_bytes(content)
            if left_hand:
                convert_left_hand(_options(known, source), output, subject)
            else:
                run_sumo_program("netconvert", _options(known, source), output, subject)
        finally:
            source.unlink(missing_ok=True)


def _check(content: bytes, known: MapFormat, subject: str) -> tuple[bool, bool]:
    """Refuse what is not whole or not what it claims to be.

    Returns whether a SUMO network has internal lanes, and whether the roads of OpenDRIVE keep left.
    """
    parser = ElementTree.XMLPullParser(events=("start", "end"))
    has_internal_lanes, left_hand, started = False, False, False
    try:
        for start in range(0, len(content), 1 << 20):
            parser.feed(content[start : start + (1 << 20)])
            for event, element in cast(Iterable[tuple[str, ElementTree.Element]], parser.read_events()):
                if event == "end":
                    element.clear()
                    continue
                if not started and element.tag != _ROOTS[known]:
                    raise MapError(
                        f"{subject}: is not {known.name.title()} (its root is <{element.tag}>, "
                        f"not <{_ROOTS[known]}>); give it its proper ending"
                    )
                started = True
                if element.tag == "edge" and element.get("function") == "internal":
                    has_internal_lanes = True
                # netconvert does not read the rule of a road.
                left_hand |= element.tag == "road" and element.get("rule") == "LHT"
                if element.tag == "tag" and element.get("v") == "lanelet":
                    raise MapError(
                        f"{subject}: is a Lanelet2 map, which netconvert does not read; "
                        "give the OpenStreetMap, OpenDRIVE or SUMO version of it"
                    )
        parser.close()
    except ElementTree.ParseError as error:
        reason = "is truncated" if started else "is not XML"
        raise MapError(f"{subject}: {reason} ({error}); download or export the map again") from error
    return has_internal_lanes, left_hand


def _options(known: MapFormat, source: Path) -> list[str]:
    cars = ["--keep-edges.by-vclass", "passenger"]
    if known is MapFormat.OPENSTREETMAP:
        return [
            *("--osm-files", str(source), *cars),
            # Streets without a posted limit have that of a town, not the 100 km/h of SUMO's own defaults.
            *("--type-files", ",".join(str(sumo_data(f"typemap/{name}")) for name in _STREET_TYPES)),
            # Bridges and tunnels: who crosses on another level must not be in the way.
            *("--osm.layer-elevation", str(LAYER_M)),
            *("--geometry.remove", "--ramps.guess", "--roundabouts.guess"),
            *("--junctions.join", "--tls.join", "--tls.guess-signals", "--tls.discard-simple"),
            *("--default.junctions.radius", "7", "--junctions.corner-detail", "8"),
            # Few extracts have sidewalks as such: streets with town limits get them, junctions get crossings.
            *("--sidewalks.guess", "--crossings.guess", "--walkingareas"),
            *("--tls.crossing-clearance.time", "9"),
        ]
    if known is MapFormat.OPENDRIVE:
        return ["--opendrive-files", str(source), *cars, "--junctions.corner-detail", "8"]
    return ["--sumo-net-file", str(source), "--junctions.corner-detail", "8"]
