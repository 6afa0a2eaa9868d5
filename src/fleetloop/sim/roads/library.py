"""The towns at hand: generated ones by seed, real ones from files; each is made once and then kept."""

import contextlib
import gzip
import hashlib
import re
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from fleetloop.core.errors import MapError
from fleetloop.core.files import storage_errors, write_bytes
from fleetloop.core.second_process import second_process
from fleetloop.core.types import World
from fleetloop.sim.roads.convert import convert, map_format, read_map
from fleetloop.sim.roads.generate import TownKind, generate_network, parse_generated_key
from fleetloop.sim.roads.pack import FORMAT_VERSION, load_world, pack, save_world
from fleetloop.sim.roads.town import make_town

_FILE_KEY = re.compile(r"[A-Za-z0-9_.]+-[0-9a-f]{8}")
_WORTH_A_PROCESS = 6
"""Towns: a process needs as long to start as two or three take to make."""


class TownLibrary:
    """A folder of towns.

    Keys are such as "grid-7", "suburb-3" or "left_highway-1": kind (generate.TownKind) and seed of a generated
    town, with "left_" before them where traffic keeps left; or what `add_file` returned.
    """

    def __init__(self, folder: Path, making: Path | None = None) -> None:
        """Use a folder, which need not exist yet.

        Args:
            making: where towns are made before they are moved to `folder`, on the same disk; `folder` without it.
        """
        self.folder = folder
        self._making = making or folder

    def add_file(self, path: Path) -> str:
        """Take in a real map and return its key; the same content under the same name has the same key.

        Args:
            path: an OpenStreetMap extract (.osm, .osm.gz), an OpenDRIVE file (.xodr) or a SUMO network
                (.net.xml, .net.xml.gz).

        Raises:
            MapError: the file is missing, empty, truncated or foreign, or no car could drive in it.
            StorageError: the folder cannot be written.
        """
        known, stem = map_format(path)
        content = read_map(path)
        stem = re.sub(r"[^A-Za-z0-9_.]", "_", stem) or "map"
        key = f"{stem}-{hashlib.sha256(content).hexdigest()[:8]}"
        network_file = self._network_file(key)
        if network_file.exists() and load_world(self._world_file(key)) is not None:
            return key
        with self._scratch() as scratch:
            network = Path(scratch) / f"{key}.net.xml"
            convert(content, known, network, str(path))
            world = make_town(network, key, str(path))
            packed = Path(scratch) / network_file.name
            write_bytes(packed, gzip.compress(network.read_bytes(), mtime=0))
            self._put(packed, network_file)
            self._keep(key, world, Path(scratch))
        return key

    def keys_of(self, towns: Sequence[str]) -> list[str]:
        """Keys of towns that a person names: by key, or by the path of a map file, which is taken in.

        Raises:
            MapError, StorageError: as for `add_file`; a key that names no town is refused when its World is made.
        """
        return [self.add_file(Path(town)) if "." in town or Path(town).is_file() else town for town in towns]

    def world(self, keys: Sequence[str], progress: Callable[[float], None] | None = None) -> World:
        """The World of these towns; a town's index is its position in `keys`.

        Args:
            progress: called with the share made or loaded, 0 to 1.

        Raises:
            MapError: a key names no town, or a town cannot be made.
            StorageError: the folder cannot be written.
        """
        if not keys:
            raise MapError("towns: the list is empty; name at least one, such as grid-1")
        towns = list(dict.fromkeys(keys))
        made: dict[str, World] = {}
        with self._helped(towns):
            for key in towns:
                made[key] = self._town(key)
                if progress is not None:
                    progress(len(made) / len(towns))
        return pack([made[key] for key in keys])

    @contextlib.contextmanager
    def _helped(self, keys: Sequence[str]) -> Iterator[None]:
        """A second process makes towns from the end of `keys` while this one begins at its front."""
        missing = [key for key in keys if not self._world_file(key).exists()]
        if len(missing) < _WORTH_A_PROCESS:
            yield
            return
        # What the other one is making when it is ended goes with the scratch folder.
        with self._scratch() as scratch:
            folders = [str(self.folder.resolve()), str(Path(scratch).resolve())]
            with second_process(__name__, [*folders, *missing]):
                yield

    def make_from_the_end(self, keys: Sequence[str]) -> None:
        """Make towns, the last one first, up to one that is there already.

        Raises:
            MapError, StorageError: as for `world`.
        """
        for key in reversed(keys):
            if self._world_file(key).exists():
                break
            self._town(key)

    def _town(self, key: str) -> World:
        generated = parse_generated_key(key)
        if generated is None and not _FILE_KEY.fullmatch(key):
            raise MapError(
                f"town {key}: unknown; use a kind ({', '.join(TownKind)}) and a number, such as suburb-1 or "
                "left_grid-1, or add a map file"
            )
        world = load_world(self._world_file(key))
        if world is not None:
            return world
        subject = f"town {key}"
        with self._scratch() as scratch:
            network = Path(scratch) / f"{key}.net.xml"
            if generated is not None:
                generate_network(generated, network)
            else:
                network.write_bytes(self._kept_network(key))
            world = make_town(network, key, subject)
            self._keep(key, world, Path(scratch))
        return world

    def _keep(self, key: str, world: World, scratch: Path) -> None:
        """Keep a town for later."""
        made = scratch / f"{key}.npz"
        save_world(made, world)
        self._put(made, self._world_file(key))

    @staticmethod
    def _put(made: Path, place: Path) -> None:
        """Move a file that is whole to its place: other processes may make the same, and write to none of ours."""
        with storage_errors(place):
            made.replace(place)

    def _kept_network(self, key: str) -> bytes:
        try:
            return gzip.decompress(self._network_file(key).read_bytes())
        except (OSError, EOFError, zlib.error) as error:
            raise MapError(f"town {key}: its map is not in {self.folder}; add the map file again") from error

    def _scratch(self) -> tempfile.TemporaryDirectory[str]:
        with storage_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            return tempfile.TemporaryDirectory(
                dir=self._making, prefix=".making-", ignore_cleanup_errors=True
            )

    def _network_file(self, key: str) -> Path:
        return self.folder / f"{key}.net.xml.gz"

    def _world_file(self, key: str) -> Path:
        return self.folder / f"{key}.v{FORMAT_VERSION}.npz"


if __name__ == "__main__":
    TownLibrary(Path(sys.argv[1]), Path(sys.argv[2])).make_from_the_end(sys.argv[3:])
