"""From a network and its Report to a Bundle artifact: no release without a passing Report."""

from collections.abc import Mapping
from pathlib import Path

from fleetloop.artifacts.bundle import Bundle, Contract, pack_bundle
from fleetloop.artifacts.lineage import Artifact, ArtifactKind, write_artifact
from fleetloop.artifacts.report import Report
from fleetloop.artifacts.report_file import read_report
from fleetloop.core.errors import BundleError, GateError
from fleetloop.core.files import write_bytes


def build_bundle(
    path: Path,
    network_path: Path,
    contract: Contract,
    report_path: Path,
    parents: tuple[str, ...],
    config: Mapping[str, object],
    seed: int,
) -> Artifact:
    """Pack an ONNX network into a Bundle file with its lineage record beside it.

    Args:
        parents: ids of the Checkpoint and of the Report.
        config, seed: what made it, for the lineage record.

    Raises:
        GateError: the Report has no passing verdict.
        ReportError: the Report cannot be read.
        BundleError: the network is missing, empty or too large.
    """
    report = read_report(report_path)
    require_passed(report, str(report_path))
    try:
        network = network_path.read_bytes()
    except OSError as error:
        raise BundleError(
            f"{network_path}: cannot be read ({error.strerror}); export the network again"
        ) from error
    write_bytes(path, pack_bundle(Bundle(network, contract, report)))
    figures = {"release": contract.release, **report.figures()}
    return write_artifact(path, ArtifactKind.BUNDLE, parents, config, seed, figures)


def require_passed(report: Report, name: str) -> None:
    """Refuse a Report that did not pass the gate; `name` is what the error calls it.

    Raises:
        GateError: there is no verdict, or it is a failure.
    """
    if report.verdict is None:
        raise GateError(
            f"{name}: there is no release without a passing Report, and the gate has not judged this one; "
            "evaluate the network with --out"
        )
    if not report.verdict.passed:
        raise GateError(
            f"{name}: there is no release without a passing Report; {' '.join(report.verdict.reasons)}"
        )
