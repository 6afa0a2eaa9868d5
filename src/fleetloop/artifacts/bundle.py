"""The Bundle: one file with all a vehicle runs: network, input contract, and the Report that let it pass.

It is an uncompressed ZIP with exactly three members, so that any tool can look inside; the same parts give
the same bytes. Whether it may be trusted is not decided here, but by the signature of the repository.
"""

import io
import math
import zipfile
from dataclasses import asdict, dataclass
from typing import Any

import orjson

from fleetloop.artifacts.episode import rig_from_json, rig_to_json
from fleetloop.artifacts.report import Report
from fleetloop.artifacts.report_file import MAXIMUM_REPORT_BYTES, report_from_json, report_to_json
from fleetloop.core.errors import BundleError, ReportError
from fleetloop.core.types import CameraRig

BUNDLE_TARGET = "driver.bundle"
"""The one target of a repository: what a vehicle should run now."""

CONTRACT_VERSION = 1
MEMBER_LIMITS = {"network.onnx": 512 * 2**20, "contract.json": 2**20, "report.json": MAXIMUM_REPORT_BYTES}
"""The members of a bundle in their order, and the most bytes of each."""

MAXIMUM_BUNDLE_BYTES = sum(MEMBER_LIMITS.values()) + 2**16

# Sizes of the records of a ZIP file (PKWARE APPNOTE 4.3.7, 4.3.12, 4.3.16), without their names.
_LOCAL_HEADER_BYTES, _DIRECTORY_ENTRY_BYTES, _END_BYTES = 30, 46, 22
_EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class TensorSpec:
    """An input or output of the network."""

    name: str
    dtype: str
    """As NumPy names it."""
    shape: tuple[int | str, ...]
    """A text stands for a dimension that may vary, such as the batch."""


@dataclass(frozen=True)
class Contract:
    """What the network expects of the vehicle, and the number of the release it is part of."""

    release: int
    """Counts up from 1; a vehicle never goes back to a lower one."""
    step_s: float
    memory_delay_steps: int
    """How many steps old the memory is that the network is given."""
    rig: CameraRig
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


@dataclass(frozen=True)
class Bundle:
    """A bundle in memory."""

    network: bytes
    """ONNX."""
    contract: Contract
    report: Report


def pack_bundle(bundle: Bundle) -> bytes:
    """The bundle as one file; the same bundle gives the same bytes.

    Raises:
        BundleError: a part is empty or larger than a vehicle accepts.
    """
    parts = {
        "network.onnx": bundle.network,
        "contract.json": _contract_to_json(bundle.contract),
        "report.json": report_to_json(bundle.report),
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, limit in MEMBER_LIMITS.items():
            if not 0 < len(parts[name]) <= limit:
                raise BundleError(f"{name}: has {len(parts[name])} bytes, a bundle takes 1 to {limit}")
            member = zipfile.ZipInfo(name, _EPOCH)
            member.create_system = 3
            member.external_attr = 0o644 << 16
            archive.writestr(member, parts[name])
    return buffer.getvalue()


def unpack_bundle(content: bytes, name: str) -> Bundle:
    """The inverse of `pack_bundle`; nothing is extracted to a path. `name` is what errors call it.

    Raises:
        BundleError: it is truncated, too large, or holds anything but the three members.
    """
    if len(content) > MAXIMUM_BUNDLE_BYTES:
        raise BundleError(f"{name}: is larger than {MAXIMUM_BUNDLE_BYTES} bytes, so it is not a bundle")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            _check_members(archive, len(content), name)
            parts = {member: archive.read(member) for member in MEMBER_LIMITS}
    except (zipfile.BadZipFile, NotImplementedError, EOFError, ValueError, RuntimeError) as error:
        raise BundleError(f"{name}: is not a complete bundle; release it again") from error
    try:
        report = report_from_json(parts["report.json"], f"{name}: report.json")
    except ReportError as error:
        raise BundleError(str(error)) from error
    return Bundle(parts["network.onnx"], _contract_from_json(parts["contract.json"], name), report)


def _check_members(archive: zipfile.ZipFile, length: int, name: str) -> None:
    members = archive.infolist()
    if [member.filename for member in members] != list(MEMBER_LIMITS):
        raise BundleError(
            f"{name}: must hold exactly {', '.join(MEMBER_LIMITS)}; it was not made by fleetloop release"
        )
    for member in members:
        if member.compress_type != zipfile.ZIP_STORED or member.file_size != member.compress_size:
            raise BundleError(
                f"{name}: {member.filename} is compressed; it was not made by fleetloop release"
            )
        if not 0 < member.file_size <= MEMBER_LIMITS[member.filename]:
            raise BundleError(f"{name}: {member.filename} is empty or too large; release it again")
    # No room is left for anything between or behind the members.
    expected = _END_BYTES + sum(
        _LOCAL_HEADER_BYTES + _DIRECTORY_ENTRY_BYTES + 2 * len(member.filename) + member.file_size
        for member in members
    )
    if length != expected:
        raise BundleError(f"{name}: has {length} bytes where its members take {expected}; release it again")


def _contract_to_json(contract: Contract) -> bytes:
    content = {"contract_version": CONTRACT_VERSION} | asdict(contract) | {"rig": rig_to_json(contract.rig)}
    return orjson.dumps(
        content, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE
    )


def _contract_from_json(content: bytes, name: str) -> Contract:
    try:
        document = orjson.loads(content)
        if document["contract_version"] != CONTRACT_VERSION:
            raise BundleError(
                f"{name}: contract.json has version {document['contract_version']}, "
                f"this vehicle reads {CONTRACT_VERSION}; update its software"
            )
        contract = Contract(
            release=_number(document, "release", int),
            step_s=_number(document, "step_s", float),
            memory_delay_steps=_number(document, "memory_delay_steps", int),
            rig=rig_from_json(document["rig"]),
            inputs=tuple(map(_tensor, document["inputs"])),
            outputs=tuple(map(_tensor, document["outputs"])),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise BundleError(
            f"{name}: contract.json is not an input contract ({error}); release it again"
        ) from error
    if contract.release < 1 or contract.step_s <= 0.0 or contract.memory_delay_steps < 0:
        raise BundleError(
            f"{name}: contract.json has a release, step or memory delay out of range; release it again"
        )
    return contract


def _number(document: dict[str, Any], key: str, kind: type[int] | type[float]) -> Any:
    value = document[key]
    if isinstance(value, bool) or not isinstance(value, (int, kind)) or not math.isfinite(value):
        raise ValueError(f"{key} must be {kind.__name__}")
    return value


def _text(document: dict[str, Any], key: str) -> str:
    if not isinstance(document[key], str):
        raise ValueError(f"{key} must be a text")
    return document[key]


def _tensor(document: dict[str, Any]) -> TensorSpec:
    shape = document["shape"]
    if not isinstance(shape, list) or any(
        isinstance(size, bool) or not isinstance(size, (int, str)) for size in shape
    ):
        raise ValueError("shape must be a list of numbers and texts")
    return TensorSpec(_text(document, "name"), _text(document, "dtype"), tuple(shape))
