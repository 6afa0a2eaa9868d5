"""From a passing Report to a bundle on a vehicle, and every way in which a vehicle must say no."""

import io
import json
import shutil
import stat
import threading
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tuf.api.metadata import Metadata, MetaFile  # pyright: ignore[reportPrivateImportUsage]

from fleetloop.artifacts.bundle import Bundle, Contract, TensorSpec, pack_bundle, unpack_bundle
from fleetloop.artifacts.lineage import ArtifactKind, read_artifact
from fleetloop.artifacts.report import (
    CriticalIntervention,
    DriveResult,
    Infraction,
    OtherIntervention,
    Report,
    Verdict,
)
from fleetloop.artifacts.report_file import write_report
from fleetloop.core.errors import BundleError, ConfigError, GateError, ReportError
from fleetloop.core.types import Camera, CameraRig
from fleetloop.release.bundle import build_bundle
from fleetloop.release.keys import load_or_create_keys
from fleetloop.release.publish import publish
from fleetloop.release.repository import Expiry
from fleetloop.vehicle.updater import Updater

# Far from the date of any test run, so that a check against the wall clock would show.
NOW = datetime(2040, 6, 1, 12, tzinfo=UTC)
NETWORK = bytes(range(256)) * 4
RIG = CameraRig(((Camera("front", (1.5, 0.0, 1.4), 0.0, -0.1, 1.2, 96, 64),),))
CONTRACT = Contract(
    release=1,
    step_s=0.1,
    memory_delay_steps=1,
    rig=RIG,
    inputs=(TensorSpec("images_0", "uint8", ("batch", 1, 64, 96, 3)),),
    outputs=(TensorSpec("curvature_1pm", "float32", ("batch",)),),
)


def make_report(passed: bool | None = True) -> Report:
    drive = DriveResult(
        km=100.0,
        progress_m=99_000.0,
        demonstrator_progress_m=100_000.0,
        critical_interventions=dict.fromkeys(CriticalIntervention, 1),
        other_interventions=dict.fromkeys(OtherIntervention, 0),
        infractions=dict.fromkeys(Infraction, 0),
        routes=50,
        routes_finished=49,
        successes=45,
        driving_score=90.0,
        subject="candidate",
        towns=("town",),
        seeds=(1, 2),
    )
    verdict = None if passed is None else Verdict(passed, ("A reason.",), 0.01, 0.5, 0.3, 0.8)
    return Report(drive, None, verdict, {})


def make_bundle(release: int = 1, network: bytes = NETWORK) -> Bundle:
    return Bundle(network, replace(CONTRACT, release=release), make_report())


@dataclass(frozen=True)
class Fleet:
    """A publisher, its repository, and a vehicle."""

    folder: Path

    @property
    def repository(self) -> Path:
        return self.folder / "repository"

    @property
    def metadata(self) -> Path:
        return self.repository / "metadata"

    @property
    def updater(self) -> Updater:
        return Updater(self.folder / "vehicle", (self.folder / "trusted_root.json").read_bytes())

    def publish(
        self, release: int, network: bytes = NETWORK, now: datetime = NOW, keys: str = "keys"
    ) -> Path:
        """Publish a release; returns the target file."""
        bundle_path = self.folder / f"release-{release}.bundle"
        bundle_path.write_bytes(pack_bundle(make_bundle(release, network)))
        published = publish(bundle_path, self.repository, self.folder / keys, now)
        root = self.folder / "trusted_root.json"
        if not root.exists():
            root.write_bytes(published.trusted_root)
        return published.target_path

    def sign_target(self, content: bytes, release: int) -> None:
        """Sign any bytes as the target, past the checks of `publish`."""
        from fleetloop.release.repository import Repository

        signers = load_or_create_keys(self.folder / "keys")
        Repository(self.repository, signers).publish(content, release, NOW)

    def assert_refused(self, match: str, now: datetime = NOW) -> None:
        """The update fails with one sentence, and the vehicle still has what it had."""
        before = self.updater.installed()
        with pytest.raises(BundleError, match=match) as caught:
            self.updater.update(self.repository, now)
        assert "\n" not in str(caught.value)
        kept = f"keeps release {before.release}" if before else "has no release yet"
        assert kept in str(caught.value)
        assert self.updater.installed() == before


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    """Release 1 is published and installed."""
    fleet = Fleet(tmp_path)
    fleet.publish(1)
    fleet.updater.update(fleet.repository, NOW)
    return fleet


def flip(path: Path, index: int, mask: int = 0xFF) -> None:
    content = bytearray(path.read_bytes())
    content[index] ^= mask
    path.write_bytes(content)


def test_a_release_reaches_the_vehicle_and_the_next_replaces_it(fleet: Fleet):
    first = fleet.updater.installed()
    assert first is not None and first.release == 1 and first.bundle == make_bundle(1)
    fleet.publish(2, network=b"better")
    second = fleet.updater.update(fleet.repository, NOW)
    assert second.release == 2 and second.bundle.network == b"better"
    assert fleet.updater.installed() == second
    assert [path.name for path in (fleet.folder / "vehicle" / "bundles").iterdir()] == [second.path.name]


def test_updating_again_changes_nothing(fleet: Fleet):
    before = fleet.updater.installed()
    assert fleet.updater.update(fleet.repository, NOW) == before
    assert fleet.updater.update(fleet.repository.as_uri(), NOW) == before


def test_publishing_the_same_bundle_again_renews_its_dates(fleet: Fleet):
    later = NOW + timedelta(days=300)
    fleet.assert_refused("expired", later)
    fleet.publish(1, now=later)
    assert fleet.updater.update(fleet.repository, later).release == 1


def test_an_expiring_root_is_renewed_and_followed(fleet: Fleet):
    later = NOW + timedelta(days=2 * 365)
    fleet.publish(2, now=later)
    assert (fleet.metadata / "2.root.json").exists()
    assert fleet.updater.update(fleet.repository, later).release == 2


def test_a_new_vehicle_has_nothing_installed(tmp_path: Path):
    assert Updater(tmp_path / "vehicle", b"").installed() is None


@pytest.fixture
def offered(fleet: Fleet) -> tuple[Fleet, Path]:
    """Release 1 is installed; release 2, whose target file is given, is published and not yet fetched."""
    return fleet, fleet.publish(2, network=b"better")


EXAMPLES = settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@EXAMPLES
@given(data=st.data())
def test_one_altered_byte_of_the_bundle_is_refused(offered: tuple[Fleet, Path], data: st.DataObject):
    fleet, target = offered
    good = target.read_bytes()
    try:
        flip(target, data.draw(st.integers(0, len(good) - 1)), data.draw(st.integers(1, 255)))
        fleet.assert_refused("not the one that was signed")
    finally:
        target.write_bytes(good)


@pytest.mark.parametrize("role", ["timestamp", "2.snapshot", "2.targets"])
@EXAMPLES
@given(data=st.data())
def test_one_altered_byte_of_the_metadata_is_refused(
    offered: tuple[Fleet, Path], role: str, data: st.DataObject
):
    fleet, _ = offered
    path = fleet.metadata / f"{role}.json"
    good = path.read_bytes()
    # The top bit makes it no UTF-8. Any other change of timestamp.json, which is not hashed, might leave its
    # meaning as it was: a hexadecimal digit of the signature in capitals.
    lowest = 0x80 if role == "timestamp" else 1
    try:
        flip(path, data.draw(st.integers(0, len(good) - 1)), data.draw(st.integers(lowest, 255)))
        fleet.assert_refused("the vehicle keeps")
    finally:
        path.write_bytes(good)


@EXAMPLES
@given(data=st.data())
def test_any_altered_byte_of_the_timestamp_gives_the_signed_release_or_none(
    offered: tuple[Fleet, Path], data: st.DataObject
):
    fleet, _ = offered
    path = fleet.metadata / "timestamp.json"
    good = path.read_bytes()
    try:
        flip(path, data.draw(st.integers(0, len(good) - 1)), data.draw(st.integers(1, 255)))
        installed = fleet.updater.update(fleet.repository, NOW)
        assert installed.bundle == make_bundle(2, b"better")
    except BundleError:
        installed = fleet.updater.installed()
        assert installed is not None and installed.bundle in (make_bundle(1), make_bundle(2, b"better"))
    finally:
        path.write_bytes(good)


def test_a_truncated_bundle_is_refused(offered: tuple[Fleet, Path]):
    fleet, target = offered
    target.write_bytes(target.read_bytes()[:-1])
    fleet.assert_refused("not the one that was signed")


def test_a_longer_bundle_is_refused(offered: tuple[Fleet, Path]):
    fleet, target = offered
    target.write_bytes(target.read_bytes() + bytes(10**6))
    fleet.assert_refused("not the one that was signed")


def test_a_missing_target_is_refused(offered: tuple[Fleet, Path]):
    fleet, target = offered
    target.unlink()
    fleet.assert_refused("is missing")


def test_after_a_refusal_the_good_release_is_still_taken(offered: tuple[Fleet, Path]):
    fleet, target = offered
    good = target.read_bytes()
    target.write_bytes(b"no bundle")
    fleet.assert_refused("not the one that was signed")
    target.write_bytes(good)
    assert fleet.updater.update(fleet.repository, NOW).release == 2


@pytest.mark.parametrize("days, role", [(7, "timestamp"), (400, "root")])
def test_expired_metadata_is_refused(fleet: Fleet, days: int, role: str):
    fleet.publish(2)
    fleet.assert_refused(f"{role}.json is expired", NOW + timedelta(days=days))


def test_a_moment_before_the_expiry_is_in_time(fleet: Fleet):
    in_time = NOW + timedelta(days=Expiry().timestamp_days, seconds=-1)
    assert fleet.updater.update(fleet.repository, in_time).release == 1


def test_a_rolled_back_repository_is_refused(fleet: Fleet):
    shutil.copytree(fleet.repository, fleet.folder / "old")
    fleet.publish(2)
    fleet.updater.update(fleet.repository, NOW)
    shutil.rmtree(fleet.repository)
    (fleet.folder / "old").rename(fleet.repository)
    fleet.assert_refused("older than what was seen before")


def test_a_rolled_back_repository_is_refused_even_if_the_vehicle_lost_its_metadata(fleet: Fleet):
    shutil.copytree(fleet.repository, fleet.folder / "old")
    fleet.publish(2)
    fleet.updater.update(fleet.repository, NOW)
    shutil.rmtree(fleet.folder / "vehicle" / "metadata")
    shutil.rmtree(fleet.repository)
    (fleet.folder / "old").rename(fleet.repository)
    fleet.assert_refused("release 1 is lower than the installed one")


def test_a_lower_release_number_is_refused_though_it_is_signed(fleet: Fleet):
    fleet.publish(5)
    fleet.updater.update(fleet.repository, NOW)
    fleet.sign_target(pack_bundle(make_bundle(4)), release=6)
    fleet.assert_refused("release 4 is lower")


def test_the_same_release_number_with_another_content_is_refused(fleet: Fleet):
    fleet.sign_target(pack_bundle(make_bundle(1, b"other")), release=1)
    fleet.assert_refused("release 1 differs")


def test_a_bundle_without_a_passing_report_is_refused_though_it_is_signed(fleet: Fleet):
    bundle = replace(make_bundle(2), report=make_report(passed=False))
    fleet.sign_target(pack_bundle(bundle), release=2)
    fleet.assert_refused("carries no passing Report")


def test_a_target_that_was_never_signed_is_refused(fleet: Fleet):
    """An attacker adds a file and points the metadata to it, without the keys."""
    content = pack_bundle(make_bundle(2, b"evil"))
    for name in ("1.targets", "1.snapshot", "timestamp"):
        path = fleet.metadata / f"{name}.json"
        document = json.loads(path.read_text())
        document["signed"]["version"] += 1
        path.write_text(json.dumps(document))
    (fleet.repository / "targets" / "driver.bundle").write_bytes(content)
    fleet.assert_refused("not signed with a key")


def test_a_repository_without_the_target_is_refused(fleet: Fleet):
    signers = load_or_create_keys(fleet.folder / "keys")

    def sign_next(role: str, change: Callable) -> None:
        name, next_name = ("timestamp", "timestamp") if role == "timestamp" else (f"1.{role}", f"2.{role}")
        metadata = Metadata.from_file(str(fleet.metadata / f"{name}.json"))
        metadata.signed.version = 2
        change(metadata.signed)
        metadata.sign(signers[role])
        metadata.to_file(str(fleet.metadata / f"{next_name}.json"))

    sign_next("targets", lambda targets: targets.targets.clear())
    sign_next("snapshot", lambda snapshot: snapshot.meta.update({"targets.json": MetaFile(2)}))
    sign_next("timestamp", lambda timestamp: setattr(timestamp, "snapshot_meta", MetaFile(2)))
    fleet.assert_refused(r"names no driver\.bundle")


def test_a_foreign_repository_is_refused(fleet: Fleet):
    shutil.rmtree(fleet.repository)
    fleet.publish(9, keys="keys of somebody else")
    fleet.assert_refused(r"not signed with a key|older than")


def test_a_foreign_trusted_root_is_refused(fleet: Fleet):
    with pytest.raises(BundleError, match="no release yet"):
        Updater(fleet.folder / "another", b"{}").update(fleet.repository, NOW)


def test_a_missing_repository_is_refused(fleet: Fleet):
    shutil.rmtree(fleet.repository)
    fleet.assert_refused("timestamp.json is missing")


def test_a_folder_of_foreign_files_is_refused(fleet: Fleet):
    (fleet.metadata / "timestamp.json").write_text("<html>404</html>")
    fleet.assert_refused("damaged")


def test_an_unreachable_server_is_refused(fleet: Fleet):
    with pytest.raises(BundleError, match=r"cannot be reached.*keeps release 1"):
        fleet.updater.update("http://127.0.0.1:9/repository", NOW)


class CutConnection(BaseHTTPRequestHandler):
    """Announces more bytes than it sends."""

    def do_GET(self) -> None:
        if self.path.endswith("root.json"):
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b"{")

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_a_connection_that_is_cut_is_refused(fleet: Fleet):
    with ThreadingHTTPServer(("127.0.0.1", 0), CutConnection) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        with pytest.raises(BundleError, match=r"cannot be reached.*keeps release 1"):
            fleet.updater.update(f"http://127.0.0.1:{server.server_port}", NOW)
        server.shutdown()


def test_a_server_works_like_a_folder(offered: tuple[Fleet, Path]):
    fleet, _ = offered
    handler = partial(QuietFiles, directory=str(fleet.repository))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        assert fleet.updater.update(f"http://127.0.0.1:{server.server_port}/", NOW).release == 2
        server.shutdown()


class QuietFiles(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


def test_a_link_out_of_the_repository_is_not_followed(offered: tuple[Fleet, Path]):
    fleet, target = offered
    outside = fleet.folder / "outside"
    target.rename(outside)
    target.symlink_to(outside)
    fleet.assert_refused("is missing")


def zip_of(*members: tuple[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name), content, compression)
    return buffer.getvalue()


def parts() -> list[tuple[str, bytes]]:
    with zipfile.ZipFile(io.BytesIO(pack_bundle(make_bundle(2)))) as archive:
        return [(name, archive.read(name)) for name in archive.namelist()]


MALFORMED: dict[str, Callable[[], bytes]] = {
    "path traversal": lambda: zip_of(*parts(), ("../../evil", b"x")),
    "path traversal instead of a member": lambda: zip_of(("../network.onnx", b"x"), *parts()[1:]),
    "an absolute path": lambda: zip_of(*parts()[:2], ("/etc/report.json", parts()[2][1])),
    "another member": lambda: zip_of(*parts(), ("more", b"x")),
    "a member twice": lambda: zip_of(*parts(), parts()[0]),
    "a member missing": lambda: zip_of(*parts()[:2]),
    "an empty network": lambda: zip_of(("network.onnx", b""), *parts()[1:]),
    "compressed": lambda: zip_of(*parts(), compression=zipfile.ZIP_DEFLATED),
    "something behind": lambda: pack_bundle(make_bundle(2)) + b"more",
    "something in front": lambda: b"more" + pack_bundle(make_bundle(2)),
    "truncated": lambda: pack_bundle(make_bundle(2))[:-30],
    "no archive": lambda: b"\x00" * 1000,
    "empty": lambda: b"",
    "contract is no contract": lambda: zip_of(parts()[0], ("contract.json", b"[]"), parts()[2]),
    "contract without a rig": lambda: zip_of(
        parts()[0], ("contract.json", parts()[1][1].replace(b"rig", b"gig")), parts()[2]
    ),
    "release 0": lambda: zip_of(
        parts()[0], ("contract.json", parts()[1][1].replace(b'"release": 2', b'"release": 0')), parts()[2]
    ),
    "report is no report": lambda: zip_of(*parts()[:2], ("report.json", b"{}")),
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_archive_is_refused_though_it_is_signed(fleet: Fleet, name: str):
    outside = {path for path in fleet.folder.iterdir()}
    fleet.sign_target(MALFORMED[name](), release=2)
    fleet.assert_refused("driver.bundle")
    assert {path for path in fleet.folder.iterdir()} == outside


@EXAMPLES
@given(st.binary(max_size=300))
def test_no_bytes_break_the_reader(content: bytes):
    with pytest.raises(BundleError):
        unpack_bundle(content, "file")


@EXAMPLES
@given(data=st.data())
def test_no_altered_byte_breaks_the_reader(data: st.DataObject):
    """The signature is checked first, but a reader must stand on its own."""
    content = bytearray(pack_bundle(make_bundle()))
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        unpack_bundle(bytes(content), "file")
    except BundleError as error:
        assert "file" in str(error)


def test_packing_is_deterministic_and_lossless():
    bundle = make_bundle(3)
    assert pack_bundle(bundle) == pack_bundle(make_bundle(3))
    assert unpack_bundle(pack_bundle(bundle), "file") == bundle


def test_an_installed_bundle_that_was_altered_is_not_loaded_and_is_mended_by_an_update(fleet: Fleet):
    installed = fleet.updater.installed()
    assert installed is not None
    flip(installed.path, 100)
    with pytest.raises(BundleError, match="altered after it was installed"):
        fleet.updater.installed()
    assert fleet.updater.update(fleet.repository, NOW) == installed


def test_a_broken_record_of_what_is_installed_is_refused(fleet: Fleet):
    record = fleet.folder / "vehicle" / "installed.json"
    for text in ("", "[]", '{"release": 1, "sha256": "../../etc/passwd"}'):
        record.write_text(text)
        with pytest.raises(BundleError, match=r"installed\.json"):
            fleet.updater.installed()


@pytest.mark.parametrize("passed", [False, None])
def test_no_release_without_a_passing_report(tmp_path: Path, passed: bool | None):
    (tmp_path / "network.onnx").write_bytes(NETWORK)
    write_report(tmp_path / "report.json", make_report(passed))
    with pytest.raises(GateError, match="no release without a passing Report"):
        build_bundle(
            tmp_path / "b", tmp_path / "network.onnx", CONTRACT, tmp_path / "report.json", (), {}, seed=0
        )
    bundle_path = tmp_path / "1.bundle"
    bundle_path.write_bytes(pack_bundle(replace(make_bundle(), report=make_report(passed))))
    with pytest.raises(GateError, match="no release without a passing Report"):
        publish(bundle_path, tmp_path / "repository", tmp_path / "keys", NOW)
    assert not (tmp_path / "b").exists() and not (tmp_path / "repository").exists()


def test_a_built_bundle_records_where_it_comes_from(tmp_path: Path):
    (tmp_path / "network.onnx").write_bytes(NETWORK)
    write_report(tmp_path / "report.json", make_report())
    path = tmp_path / "1.bundle"
    build_bundle(path, tmp_path / "network.onnx", CONTRACT, tmp_path / "report.json", ("a", "b"), {}, seed=7)
    artifact = read_artifact(path, ArtifactKind.BUNDLE)
    assert artifact.parents == ("a", "b") and artifact.figures["release"] == 1
    assert unpack_bundle(path.read_bytes(), "file") == make_bundle(1)
    with pytest.raises(BundleError, match="export the network again"):
        build_bundle(path, tmp_path / "no", CONTRACT, tmp_path / "report.json", (), {}, seed=7)
    with pytest.raises(ReportError):
        build_bundle(path, tmp_path / "network.onnx", CONTRACT, tmp_path / "no", (), {}, seed=7)


def test_the_private_keys_are_private(fleet: Fleet):
    keys = sorted((fleet.folder / "keys").iterdir())
    assert [key.stem for key in keys] == ["root", "snapshot", "targets", "timestamp"]
    assert all(stat.S_IMODE(key.stat().st_mode) == 0o600 for key in keys)
    published = b"".join(path.read_bytes() for path in fleet.repository.rglob("*") if path.is_file())
    assert b"PRIVATE KEY" not in published
    keys[0].chmod(0o644)
    with pytest.raises(BundleError, match="chmod 600"):
        fleet.publish(2)


def test_keys_are_never_put_into_the_repository(fleet: Fleet):
    with pytest.raises(ConfigError, match="outside"):
        publish(fleet.folder / "release-1.bundle", fleet.repository, fleet.repository / "keys", NOW)


@pytest.mark.parametrize("content", [b"", b"no key", None])
def test_a_broken_or_missing_key_is_one_sentence(fleet: Fleet, content: bytes | None):
    key = fleet.folder / "keys" / "snapshot.pem"
    if content is None:
        key.unlink()
    else:
        key.write_bytes(content)
    with pytest.raises(BundleError, match=r"snapshot\.pem.*restore it"):
        fleet.publish(2)


def test_other_keys_cannot_publish_to_a_repository(fleet: Fleet):
    with pytest.raises(BundleError, match="signed with another root key"):
        fleet.publish(2, keys="other keys")
    assert fleet.updater.update(fleet.repository, NOW).release == 1


@pytest.mark.parametrize("name", ["timestamp", "1.snapshot", "1.targets", "1.root"])
def test_nothing_is_published_onto_altered_metadata(fleet: Fleet, name: str):
    path = fleet.metadata / f"{name}.json"
    path.write_text(path.read_text().replace('"version":1', '"version":7'))
    with pytest.raises(BundleError, match="signature is wrong"):
        fleet.publish(2)


def test_a_release_number_is_published_once(fleet: Fleet):
    with pytest.raises(BundleError, match="release 1 is published already"):
        fleet.publish(1, network=b"other")
    fleet.publish(3)
    with pytest.raises(BundleError, match="release 3 is published already"):
        fleet.publish(2)


def test_readers_see_the_old_release_until_the_new_one_is_complete(fleet: Fleet, monkeypatch):
    """A publication is killed before each of its writes in turn; the next one goes through."""
    import fleetloop.release.repository as module

    real, old_target = module.write_bytes, fleet.updater.installed()
    for survived in range(4):
        writes = iter(range(survived))

        def dying(path: Path, content: bytes, writes=writes) -> None:
            if next(writes, None) is None:
                raise KeyboardInterrupt
            real(path, content)

        monkeypatch.setattr(module, "write_bytes", dying)
        with pytest.raises(KeyboardInterrupt):
            fleet.publish(2)
        assert fleet.updater.update(fleet.repository, NOW) == old_target
    monkeypatch.setattr(module, "write_bytes", real)
    fleet.publish(2)
    assert fleet.updater.update(fleet.repository, NOW).release == 2


def test_the_same_keys_and_dates_give_the_same_repository(fleet: Fleet):
    shutil.copytree(fleet.folder / "keys", fleet.folder / "copied", copy_function=shutil.copy2)
    again = Fleet(fleet.folder / "again")
    again.folder.mkdir()
    again.publish(1, keys="../copied")
    files = {path.relative_to(fleet.repository): path.read_bytes() for path in fleet.repository.rglob("*.*")}
    other = {path.relative_to(again.repository): path.read_bytes() for path in again.repository.rglob("*.*")}
    assert files == other
