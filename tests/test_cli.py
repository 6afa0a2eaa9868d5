"""The command line: each verb alone over artifacts, and one clear sentence for whatever is wrong with them."""

import gzip
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import orjson
import pytest
import torch
from PIL import Image

from fleetloop import cli
from fleetloop.artifacts.bundle import unpack_bundle
from fleetloop.artifacts.checkpoint import read_checkpoint
from fleetloop.artifacts.dataset import dataset_versions
from fleetloop.artifacts.lineage import ArtifactKind, content_id, read_artifact, verify_artifact
from fleetloop.artifacts.report import DriveResult, NetworkFault, Verdict
from fleetloop.artifacts.report_file import read_report
from fleetloop.cli import main
from fleetloop.core.errors import BundleError, MapError
from fleetloop.evaluate.census import Place
from fleetloop.loop import Turns
from fleetloop.policy.compact_weights import rounded
from fleetloop.policy.quantize import is_int8
from fleetloop.presets import EVALUATION_SEED, PRESETS
from fleetloop.release.publish import publish
from fleetloop.releases import find
from fleetloop.sim.roads.generate import parse_generated_key
from fleetloop.stages import judging, training
from fleetloop.stages.releasing import utc_now
from fleetloop.stages.workspace import network_of
from fleetloop.vehicle.drive import read_summary
from tiny_loop import finished_workspace, ids_of, make_tiny, prepare


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    make_tiny(monkeypatch)


@pytest.fixture(scope="module")
def finished() -> Path:
    return finished_workspace()


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    """A finished workspace of one's own."""
    return Path(shutil.copytree(finished, tmp_path / "workspace"))


class Cli:
    """Runs verbs and looks at what they say."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys

    def run(self, *arguments: object) -> str:
        """What a verb that succeeds prints."""
        self.capsys.readouterr()
        main([str(argument) for argument in arguments])
        captured = self.capsys.readouterr()
        return captured.out

    def fail(self, *arguments: object) -> str:
        """The one sentence of a verb that is given something it cannot use."""
        self.capsys.readouterr()
        with pytest.raises(SystemExit) as exit:
            main([str(argument) for argument in arguments])
        error = self.capsys.readouterr().err
        assert exit.value.code == 2, error
        assert error.startswith("fleetloop: ") and error.count("\n") == 1, error
        assert "Traceback" not in error
        return error


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(capsys)


# Each verb alone


def test_the_verbs_are_the_loop_taken_apart(tmp_path: Path, command: Cli):
    """Drive, curate, train, evaluate, release; then the release drives, and its Episodes teach."""
    workspace = prepare(tmp_path / "workspace")
    where, preset = ("--workspace", workspace), ("--preset", "smoke")
    dataset, drives = tmp_path / "dataset", tmp_path / "drive"
    checkpoint, report = tmp_path / "checkpoint", tmp_path / "report"
    assert " episodes, " in command.run("drive", "--out", drives, *where, *preset)
    assert "version 1, " in command.run("curate", drives, "--dataset", dataset)
    output = command.run("train", "--out", checkpoint, "--dataset", dataset, *where, *preset)
    assert f"checkpoint in {checkpoint}" in output
    output = command.run("evaluate", checkpoint, "--out", report, *where, *preset)
    assert "KPCI " in output and "It was let pass." in output
    output = command.run("release", checkpoint, "--report", report, "--number", 1, *where)
    assert "release 1 published" in output
    output = command.run("drive", "--out", tmp_path / "drive-1", "--release", workspace, *where, *preset)
    bundle = tmp_path / "report-bundle" / "driver.bundle"
    assert read_summary(tmp_path / "drive-1").release == read_artifact(bundle, ArtifactKind.BUNDLE).id
    assert "version 2, " in command.run("curate", tmp_path / "drive-1", "--dataset", dataset)
    command.run(
        *("train", "--out", tmp_path / "checkpoint-1", "--dataset", dataset, "--initial", checkpoint),
        *("--samples", 32, "--version", 2, *where, *preset),
    )
    parents = read_artifact(tmp_path / "checkpoint-1").parents
    versions = dataset_versions(dataset)
    assert parents == (versions[1].artifact.id, read_artifact(checkpoint).id)
    assert read_artifact(checkpoint).parents == (versions[0].artifact.id,)
    next_report = tmp_path / "report-1"
    command.run(
        *("evaluate", tmp_path / "checkpoint-1", "--out", next_report, "--in-service", report),
        *(*where, *preset),
    )
    in_service = read_report(next_report / "report.json").in_service
    assert in_service is not None and in_service.subject == read_artifact(checkpoint).id
    for path in (drives / read_summary(drives).episodes[0], dataset, checkpoint, report, bundle):
        verify_artifact(path)
        assert read_artifact(path).id in command.run("show", path)


def test_a_census_of_an_evaluation(finished: Path, tmp_path: Path, command: Cli):
    checkpoint, census = finished / "turns/00/checkpoint", tmp_path / "census.json"
    where = ("evaluate", checkpoint, "--preset", "smoke", "--workspace", finished, "--census")
    assert "where the demonstrator would go" in command.run(*where, census)
    told = orjson.loads(census.read_bytes())
    places = told["seconds_by_place_and_speed_mps"]
    assert set(places) == set(Place) and "interventions" in told
    assert (
        sum(seconds for bands in places.values() for cell in bands.values() for seconds in cell.values())
        > 0.0
    )
    for path in (tmp_path / "census.txt", tmp_path / "nowhere" / "census.json"):
        assert "in a folder that exists" in command.fail(*where, path)


def test_evaluate_prints_one_line_of_json(finished: Path, tmp_path: Path, command: Cli):
    checkpoint, out = finished / "turns/00/checkpoint", tmp_path / "report"
    printed = command.run(
        *("evaluate", checkpoint, "--out", out, "--preset", "smoke", "--workspace", finished, "--json"),
        *("--in-service", finished / "turns/00/report", "--routes", 1),
    )
    figures = json.loads(printed)
    assert printed.count("\n") == 1 and figures["km"] > 0.0
    assert figures["network_faults"].keys() == set(NetworkFault)
    assert read_report(out / "report.json").candidate.routes == 1
    # The gate compares what was driven alike: not a dry day with a wet one.
    wet = ("evaluate", checkpoint, "--preset", "smoke", "--workspace", finished, "--rain", "--out")
    error = command.fail(*wet, tmp_path / "wet", "--in-service", out)
    assert f"{out}: was driven with rain False, not True" in error and not (tmp_path / "wet").exists()
    shutil.copytree(finished / "untrained", tmp_path / "wet-untrained")
    assert "was driven with rain False, not True" in command.fail(*wet, tmp_path / "wet")


def test_a_release_is_evaluated_by_name_or_path(
    copied: Path, tmp_path: Path, command: Cli, monkeypatch: pytest.MonkeyPatch
):
    """A Bundle, the one that ships, and the workspace that installs it: the same network, the same counts."""
    arguments = ("--preset", "smoke", "--workspace", copied, "--json", "--km", 0.02)
    bundle = copied / "turns/01/bundle"
    monkeypatch.setattr(find, "_SHIPPED", tmp_path)
    assert "is not part of this installation; give --release" in command.fail(
        "evaluate", "--release", "reference", *arguments
    )
    shutil.copytree(bundle, tmp_path / "reference")
    printed = [
        command.run("evaluate", "--release", name, *arguments)
        for name in (bundle, bundle / "driver.bundle", copied, copied / "repository", "reference")
    ]
    assert len(set(printed)) == 1 and printed[0].count("\n") == 1
    figures = json.loads(printed[0])
    assert figures["km"] >= 0.02 and sum(figures["events"].values()) >= figures["critical_interventions"]
    assert figures["towns"] == ["grid-1000"] and figures["kpci_low95"] <= figures["km"]
    assert "KPCI " in command.run("evaluate", copied / "turns/01/checkpoint", *arguments[:4], "--km", 0.02)
    flip(tmp_path / "reference/driver.bundle")
    assert "was changed after it was made" in command.fail("evaluate", "--release", "reference", *arguments)
    assert "give either --release or the path" in command.fail("evaluate", *arguments)
    assert "give either --release or the path" in command.fail(
        "evaluate", bundle, "--release", bundle, *arguments
    )


def test_a_network_in_integers_is_judged_and_the_same_is_released(copied: Path, tmp_path: Path, command: Cli):
    checkpoint, float32 = copied / "turns/01/checkpoint", copied / "turns/01/report"
    int8, where = tmp_path / "int8", ("--preset", "smoke", "--workspace", copied)
    in_service = ("--in-service", copied / "turns/00/report")
    judged = command.run("evaluate", checkpoint, "--int8", "--out", int8, *in_service, *where, "--json")
    settings = {path: read_report(path / "report.json").settings["int8"] for path in (int8, float32)}
    assert settings == {int8: True, float32: False}
    assert [is_int8((path / "network.onnx").read_bytes()) for path in (int8, float32)] == [True, False]
    release = ("release", checkpoint, "--number", 3, "--workspace", copied, "--report")
    assert "judges the network in 8-bit integers; release with --int8" in command.fail(*release, int8)
    assert "release 3 published" in command.run(*release, int8, "--int8")
    bundle = tmp_path / "int8-bundle/driver.bundle"
    assert unpack_bundle(bundle.read_bytes(), "").network == (int8 / "network.onnx").read_bytes()
    # The Bundle, and the workspace that installs it, drive like what was judged; a float32 Report will do as well.
    for name in (bundle, copied):
        assert command.run("evaluate", "--release", name, *where, "--json") == judged
    assert "is in 8-bit integers already" in command.fail("evaluate", bundle, "--int8", *where)
    assert "give the checkpoint instead" in command.fail("restore", bundle, "--out", tmp_path / "restored")
    again = ("release", checkpoint, "--number", 4, "--workspace", copied, "--report", float32, "--int8")
    assert "release 4 published" in command.run(*again)
    assert command.run("evaluate", "--release", copied, *where, "--json") == judged


def test_a_release_becomes_the_checkpoint_again_that_it_was_made_from(
    copied: Path, tmp_path: Path, command: Cli
):
    made_from, restored = copied / "turns/01/checkpoint", tmp_path / "restored"
    assert str(restored) in command.run("restore", copied, "--out", restored)
    (weights, config, _), (expected, made_with, _) = map(read_checkpoint, (restored, made_from))
    assert weights.keys() == expected.keys()
    # Bundles keep matrices in few bits.
    kept = rounded(network_of(made_from)[0]).state_dict()
    assert all(torch.equal(weights[name], kept[name]) for name in weights)
    assert (config["network"], config["rig"]) == (made_with["network"], made_with["rig"])
    where = ("--preset", "smoke", "--workspace", copied, "--json")
    assert command.run("evaluate", restored, *where) == command.run("evaluate", made_from, *where)
    assert "exists already" in command.fail("restore", copied, "--out", restored)
    joined = tmp_path / "joined"
    assert "checkpoint of 2 networks" in command.run("join", restored, made_from, "--out", joined)
    assert read_artifact(joined).parents == (read_artifact(restored).id, read_artifact(made_from).id)
    assert "give 2 or more" in command.fail("join", restored, "--out", tmp_path / "one")
    command.run("restore", "reference", "--out", tmp_path / "reference")
    assert read_artifact(tmp_path / "reference").parents == (find.find_driver("reference").id,)


def test_one_vehicle_is_watched_and_its_experts_are_mapped(copied: Path, tmp_path: Path, command: Cli):
    release, where = ("--release", copied), ("--workspace", copied, "--town", "grid-1000")
    film, experts = tmp_path / "drive.mp4", tmp_path / "experts.png"
    output = command.run("drive", *release, "--view-file", film, "--steps", 10, *where)
    assert str(film) in output and film.stat().st_size > 0
    output = command.run("experts", copied / "turns/01/checkpoint", "--out", experts, "--steps", 2, *where)
    assert "situations: " in output and Image.open(experts).width > 0
    assert json.loads(experts.with_suffix(".json").read_bytes())["grid"]["steps"] == 12
    for wrong in ((), ("--view", "--out", "x"), ("--view", "--view-file", "x.mp4")):
        assert "give one of --out (Episodes), --view and --view-file" in command.fail("drive", *wrong)
    assert "its ending names no format" in command.fail("drive", "--view-file", tmp_path / "x.avi")
    assert "let --out end in .png" in command.fail("experts", copied, "--out", tmp_path / "x")


def test_each_seed_is_evaluated_in_other_towns():
    preset = PRESETS["laptop"]
    towns = [key for seed in (0, 1, 2, 2**31 - 1) for key in preset.evaluation_keys(seed)]
    assert preset.evaluation_keys(0) == preset.evaluation_keys() and len(set(towns)) == len(towns)
    for key in towns:
        town = parse_generated_key(key)
        assert town is not None and town.seed >= EVALUATION_SEED
    practice = PRESETS["speedrun"]
    trained_on = {*preset.training_keys(), *practice.training_keys()}
    assert not trained_on & {*towns, *practice.unseen_keys(3), *practice.evaluation_keys(0)}
    assert {key.split("-")[0] for key in practice.training_keys()} > {key.split("-")[0] for key in towns}


def test_practise_makes_a_checkpoint(tmp_path: Path, command: Cli):
    out = tmp_path / "practised"
    arguments = (
        "practise",
        "--out",
        out,
        "--preset",
        "smoke",
        "--workspace",
        prepare(tmp_path / "workspace"),
    )
    assert f"checkpoint in {out}" in command.run(*arguments, "--samples", 48)
    verify_artifact(out)
    assert read_artifact(out).figures["samples_seen"] == 48
    assert f"{out}" in command.fail(*arguments)
    shutil.rmtree(out)
    command.run(*arguments, "--samples", 48, "--towns", 2, "--learning-rate", 2e-4)
    config = orjson.loads((out / "config.json").read_bytes())
    assert config["imitate"]["learning_rate"] == 2e-4 and config["towns"] == ["grid-0", "grid-1"]
    shutil.rmtree(out)
    command.run(*arguments, "--samples", 48, "--town", "grid-1", "grid-0")
    assert orjson.loads((out / "config.json").read_bytes())["towns"] == ["grid-1", "grid-0"]
    shutil.rmtree(out)
    assert "--towns is for generated towns" in command.fail(*arguments, "--towns", 1, "--town", "grid-0")
    assert "towns: 0 is less than 1" in command.fail(*arguments, "--towns", 0)


def test_reinforce_makes_a_checkpoint_of_a_checkpoint(finished: Path, tmp_path: Path, command: Cli):
    checkpoint, out = finished / "turns/00/checkpoint", tmp_path / "reinforced"
    arguments = ("reinforce", checkpoint, "--out", out, "--preset", "smoke", "--workspace", finished)
    assert "critical interventions in" in command.run(
        *arguments, "--samples", 32, "--critical-penalty-m", 500
    )
    verify_artifact(out)
    assert read_artifact(out).parents == (read_artifact(checkpoint).id,)
    assert read_artifact(out).figures["samples_seen"] == 32
    assert f"{out}" in command.fail(*arguments)


@pytest.mark.parametrize(
    ("path", "what"),
    [
        ("turns/00/checkpoint", "Checkpoint, a trained network"),
        ("turns/00/report", "Report, closed-loop results"),
        ("turns/00/bundle/driver.bundle", "Bundle, what a vehicle runs"),
        ("dataset", "Dataset, versions of the curated samples"),
    ],
)
def test_show_tells_what_an_artifact_is(finished: Path, command: Cli, path: str, what: str):
    shown = command.run("show", finished / path)
    artifact = read_artifact(finished / path)
    assert what in shown and artifact.id in shown
    assert artifact.parents[0][:12] in shown
    assert all(name in shown for name in artifact.figures)


def test_show_tells_of_an_episode(finished: Path, command: Cli):
    path = next((finished / "turns/01/drive").glob("*.mcap"))
    shown = command.run("show", path)
    assert "Episode, a recorded drive segment" in shown and "simulated-00" in shown
    assert read_artifact(finished / "turns/00/bundle/driver.bundle").id[:12] in shown


def test_preview_draws_a_town_and_what_its_cameras_see(finished: Path, tmp_path: Path, command: Cli):
    out = tmp_path / "preview.png"
    command.run("world", "preview", "--key", "grid-0", "--workspace", finished, "--out", out)
    picture = np.asarray(Image.open(out))
    assert picture.ndim == 3 and picture.shape[1] > 1000
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 100


def test_ingest_in_a_folder_passes_over_what_is_broken(finished: Path, tmp_path: Path, command: Cli):
    drives = Path(shutil.copytree(finished / "turns/00/drive", tmp_path / "drive"))
    broken = sorted(drives.glob("*.mcap"))[0]
    broken.write_bytes(b"")
    output = command.run("curate", drives, "--dataset", tmp_path / "dataset")
    assert f"refused {broken.name}: " in output and "version 1, " in output


# Bad input: maps

NET = """<?xml version="1.0"?>
<net version="1.20" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
<location netOffset="0.00,0.00" convBoundary="0.00,0.00,200.00,0.00" origBoundary="0,0,200,0" projParameter="!"/>
<edge id="e" from="a" to="b" priority="1"><lane id="e_0" index="0" allow="{allow}" speed="13.89"
length="{length}.00" shape="0.00,0.00 {length}.00,0.00"/></edge>
<junction id="a" type="dead_end" x="0.00" y="0.00" incLanes="" intLanes="" shape="0.00,0.00 0.00,-3.20"/>
<junction id="b" type="dead_end" x="{length}.00" y="0.00" incLanes="e_0" intLanes=""
shape="{length}.00,-3.20 {length}.00,0.00"/>
</net>
"""

BAD_MAPS = {
    "missing.osm": (None, "does not exist; check the path"),
    "empty.osm": (b"", "is empty; download or export the map again"),
    "truncated.net.xml": (NET.format(allow="passenger", length=200)[:400].encode(), "is truncated"),
    "truncated.osm.gz": (gzip.compress(b"<osm>" + os.urandom(4000) + b"</osm>")[:2000], "is truncated"),
    "foreign.xodr": (b"<svg></svg>", "is not Opendrive (its root is <svg>"),
    "foreign.osm.gz": (b"\x00\x01\x02\x03", "is not a whole gzip file"),
    "foreign.csv": (b"a,b\n", "cannot tell what map this is"),
    "footpath.net.xml": (NET.format(allow="pedestrian", length=200).encode(), "footpath.net.xml: "),
    "stub.net.xml": (NET.format(allow="passenger", length=5).encode(), "stub.net.xml: "),
}


@pytest.mark.parametrize("name", BAD_MAPS)
def test_a_map_that_cannot_be_driven(name: str, tmp_path: Path, command: Cli):
    content, problem = BAD_MAPS[name]
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    for option in ("--town", "--evaluate-on"):
        error = command.fail("loop", "--preset", "smoke", "--workspace", tmp_path / "workspace", option, path)
        assert str(path) in error and problem in error
    assert not (tmp_path / "workspace" / "turns").exists()
    for verb in ("drive", "evaluate"):
        more = [tmp_path / "checkpoint"] if verb == "evaluate" else []
        assert str(path) in command.fail(verb, *more, "--out", tmp_path / "out", "--town", path)
    assert str(path) in command.fail("world", "preview", "--town", path, "--out", tmp_path / "preview.png")
    assert not (tmp_path / "preview.png").exists() and not (tmp_path / "out").exists()


@pytest.mark.parametrize("key", ["grid", "paris-1", "../grid-1", "grid-x"])
def test_a_town_that_nobody_knows(key: str, tmp_path: Path, command: Cli):
    assert f"town {key}: unknown; use a kind (grid, organic" in command.fail(
        "world", "preview", "--key", key, "--workspace", tmp_path, "--out", tmp_path / "preview.png"
    )


def test_a_town_without_a_place_to_start(tmp_path: Path, command: Cli, monkeypatch: pytest.MonkeyPatch):
    def place_nobody(*_):
        raise MapError("the town has no stretch of road to start from; choose a map with drivable lanes")

    monkeypatch.setattr("fleetloop.vehicle.drive.Rollout", place_nobody)
    workspace = prepare(tmp_path / "workspace")
    error = command.fail("loop", "--preset", "smoke", "--workspace", workspace)
    assert "choose a map with drivable lanes" in error


# Bad input: artifacts


def episode_of(workspace: Path) -> Path:
    return sorted((workspace / "turns/00/drive").glob("*.mcap"))[0]


def halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_episodes_that_cannot_be_used(copied: Path, tmp_path: Path, command: Cli):
    dataset, path = tmp_path / "dataset", episode_of(copied)
    record = path.with_name(f"{path.name}.artifact.json")
    missing = tmp_path / "missing.mcap"
    assert f"{missing}: there is no such file" in command.fail("curate", missing, "--dataset", dataset)
    assert "episodes: none is given" in command.fail("curate", "--dataset", dataset)
    assert f"{tmp_path / 'empty'}: " in command.fail("curate", empty_folder(tmp_path), "--dataset", dataset)
    flip(path)
    assert f"{path}: the episode was changed after it was made" in command.fail(
        "curate", path, "--dataset", dataset
    )
    record.unlink()
    halve(path)
    assert f"{path}: is truncated" in command.fail("curate", path, "--dataset", dataset)
    assert f"{path}: is truncated" in command.fail("show", path)
    path.write_bytes(b"")
    assert f"{path}: is empty" in command.fail("curate", path, "--dataset", dataset)
    path.write_bytes(b"\x89PNG\r\n")
    assert f"{path}: is not an MCAP recording" in command.fail("curate", path, "--dataset", dataset)
    assert not dataset.exists()


def empty_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "empty"
    folder.mkdir(exist_ok=True)
    return folder


def train_with(copied: Path, dataset: Path, *more: object) -> tuple[object, ...]:
    out = copied / "new-checkpoint"
    return ("train", "--out", out, "--dataset", dataset, "--workspace", copied, "--preset", "smoke", *more)


def test_data_sets_that_cannot_be_used(copied: Path, tmp_path: Path, command: Cli):
    dataset = copied / "dataset"
    missing, empty = tmp_path / "missing", empty_folder(tmp_path)
    assert str(missing) in command.fail(*train_with(copied, missing))
    assert f"{empty}: holds no Dataset" in command.fail(*train_with(copied, empty))
    foreign = copied / "turns/00/checkpoint"
    assert f"{foreign}: holds no Dataset" in command.fail(*train_with(copied, foreign))
    error = command.fail("curate", copied / "turns/00/drive", "--dataset", foreign)
    assert f"{foreign}: holds something else than a Dataset" in error
    assert verify_artifact(foreign)
    for version in (0, 9):
        error = command.fail(*train_with(copied, dataset, "--version", version))
        assert f"{dataset}: has no version {version}" in error
    for part in (dataset / "data").iterdir():
        halve(part)
    assert f"{dataset}: is truncated or damaged" in command.fail(*train_with(copied, dataset))
    assert not (copied / "new-checkpoint").exists()


def test_a_data_set_of_towns_that_are_not_there(copied: Path, tmp_path: Path, command: Cli, monkeypatch):
    samples = training.read_samples(copied / "dataset", 1)
    samples.town[:] = "x-1"
    monkeypatch.setattr(training, "read_samples", lambda *_: samples)
    assert "town x-1: unknown" in command.fail(*train_with(copied, copied / "dataset"))


def evaluate_with(copied: Path, checkpoint: Path, *more: object) -> tuple[object, ...]:
    out = copied / "new-report"
    return ("evaluate", checkpoint, "--out", out, "--workspace", copied, "--preset", "smoke", *more)


def test_checkpoints_that_cannot_be_used(copied: Path, tmp_path: Path, command: Cli):
    checkpoint, report = copied / "turns/00/checkpoint", copied / "turns/00/report"
    in_service = ("--in-service", report)
    dataset = copied / "dataset"

    def check(path: Path, problem: str) -> None:
        for error in (
            command.fail(*evaluate_with(copied, path, *in_service)),
            command.fail(*train_with(copied, dataset, "--initial", path)),
            command.fail("release", path, "--report", report, "--number", 3, "--workspace", copied),
        ):
            assert str(path) in error and problem in error, error

    check(tmp_path / "missing", "there is no such file or folder")
    check(empty_folder(tmp_path), "record is missing")
    check(report, "is a report, not a checkpoint")
    weights = checkpoint / "weights.safetensors"
    whole = weights.read_bytes()
    flip(weights)
    check(checkpoint, "was changed after it was made")
    weights.write_bytes(whole[: len(whole) // 2])
    check(checkpoint, "weights.safetensors: is empty, truncated or not safetensors")
    weights.write_bytes(b"")
    check(checkpoint, "weights.safetensors: is empty, truncated or not safetensors")
    weights.unlink()
    check(checkpoint, "weights.safetensors: is missing")
    weights.write_bytes(whole)
    config = checkpoint / "config.json"
    config.write_bytes(config.read_bytes()[:40])
    check(checkpoint, "config.json: is empty, truncated or unreadable")
    assert not (copied / "new-report").exists() and not (copied / "new-checkpoint").exists()


def test_reports_that_cannot_be_used(copied: Path, tmp_path: Path, command: Cli):
    checkpoint, report = copied / "turns/01/checkpoint", copied / "turns/01/report"

    def release(report: Path, number: int = 3) -> str:
        return command.fail(
            "release", checkpoint, "--report", report, "--number", number, "--workspace", copied
        )

    published = content_id(copied / "repository")
    assert f"{tmp_path / 'missing'}: there is no such" in release(tmp_path / "missing")
    assert f"{checkpoint}: is a checkpoint, not a report" in release(checkpoint)
    assert "judges another checkpoint; evaluate" in release(copied / "turns/00/report")
    assert "is release 2, but release 2 is published already" not in release(report, number=0)
    assert "published already; give it a higher number" in release(report, number=1)
    flip(report / "network.onnx")
    assert f"{report}: the report was changed after it was made" in release(report)
    assert content_id(copied / "repository") == published
    error = command.fail(*evaluate_with(copied, checkpoint, "--in-service", empty_folder(tmp_path)))
    assert "report.json: cannot be read" in error


def test_no_release_without_the_gate(
    copied: Path, tmp_path: Path, command: Cli, monkeypatch: pytest.MonkeyPatch
):
    def judge_strictly(
        candidate: DriveResult, in_service: DriveResult | None, minimum_progress: float
    ) -> Verdict:
        return Verdict(False, ("It is not proven safer.",), 0.5, 1.0, 0.5, 2.0)

    monkeypatch.setattr(judging, "decide", judge_strictly)
    checkpoint, report = copied / "turns/01/checkpoint", copied / "new-report"
    command.run(*evaluate_with(copied, checkpoint, "--in-service", copied / "turns/00/report"))
    error = command.fail("release", checkpoint, "--report", report, "--number", 3, "--workspace", copied)
    assert "no release without a passing Report" in error and "It is not proven safer." in error


def test_a_release_that_is_refused(copied: Path, tmp_path: Path, command: Cli):
    """Nothing is installed that could be kept, so the verb cannot drive."""
    drive = ("drive", "--out", tmp_path / "out", "--preset", "smoke", "--release")
    (tmp_path / "none/repository").mkdir(parents=True)
    assert "holds no release; run fleetloop loop first" in command.fail(*drive, tmp_path / "none")
    shutil.rmtree(copied / "vehicle")
    for target in (copied / "repository/targets").iterdir():
        halve(target)
    error = command.fail(*drive, copied)
    assert f"{copied / 'repository'}: a file is not the one that was signed" in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("damage", [halve, flip, Path.unlink])
def test_a_bundle_that_was_damaged_is_not_published(copied: Path, damage, command: Cli):
    bundle = copied / "turns/01/bundle/driver.bundle"
    damage(bundle)
    with pytest.raises(BundleError, match=str(bundle)):
        publish(bundle, copied / "repository", copied / "keys", utc_now())


# Bad input: fields


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["loop", "--seed", "-1"], "seed: -1 is out of range; use 0 to 2147483647"),
        (["drive", "--out", "x", "--seed", str(2**40)], "seed: 1099511627776 is out of range"),
        (["gain", "--seeds", "0", "-1"], "seed: -1 is out of range"),
        (
            ["adapt", "y", "--town", "grid-1", "--out", "x", "--km", "0"],
            "km: 0.0 is no distance; use a number above 0",
        ),
        (
            ["adapt", "y", "--town", "grid-1", "--out", "x", "--minutes", "inf"],
            "minutes is inf; use a number above 0",
        ),
        (
            ["adapt", "y", "--town", "grid-1", "--out", "x", "--learning-rate", "-1"],
            "imitation: learning_rate is -1.0; use a number above 0",
        ),
        (
            ["drive", "--out", "x", "--plan-budget-ms", "50"],
            "--plan-budget-ms and --mirror are for a network; give --release",
        ),
        (
            ["drive", "--view", "--scenario-share", "1"],
            "--scenario-share, --plan-budget-ms and --mirror are for Episodes",
        ),
        (["loop", "--turns", "0"], "turns: 0 is less than 1; use 1 or more"),
        (["drive", "--out", "x", "--steps", "0"], "drive: steps is 0; use 1 or more"),
        (["evaluate", "y", "--out", "x", "--routes", "0"], "evaluate: routes is 0; use 1 or more"),
        (["release", "y", "--report", "x", "--number", "0"], "number: 0 is less than 1; use 1 or more"),
        (["show", "nowhere"], "nowhere: there is no such file or folder; check the path"),
        (["bench", "nothing"], "benchmark: 'nothing' is unknown"),
    ],
)
def test_a_wrong_field(arguments: list[str], problem: str, command: Cli, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert problem in command.fail(*arguments)
    assert list(tmp_path.iterdir()) == []


def test_too_few_samples_to_train_on(copied: Path, command: Cli):
    error = command.fail(*train_with(copied, copied / "dataset", "--samples", 3))
    assert "samples is 3; use at least batch_size (16)" in error


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["fly"],
        ["world"],
        ["loop", "--presett", "smoke"],
        ["loop", "--preset", "huge"],
        ["loop", "--seed", "one"],
        ["train"],
    ],
)
def test_wrong_usage_exits_with_2_too(arguments: list[str], capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as exit:
        main(arguments)
    captured = capsys.readouterr()
    assert exit.value.code == 2 and "Traceback" not in captured.err and captured.err.strip()


def test_settings_that_differ_from_those_of_the_run(copied: Path, command: Cli):
    error = command.fail("loop", "--preset", "smoke", "--workspace", copied, "--seed", 1)
    assert f"{copied / 'run.json'}: seed is 0, not 1; use the same settings, or another --workspace" in error
    (copied / "run.json").write_bytes(b"{")
    error = command.fail("loop", "--preset", "smoke", "--workspace", copied)
    assert f"{copied / 'run.json'}: is damaged; use another --workspace" in error


def test_nothing_is_overwritten(copied: Path, tmp_path: Path, command: Cli):
    before, out = ids_of(copied), ("--out", copied / "turns/00/checkpoint")
    where = ("--workspace", copied, "--preset", "smoke")
    for arguments in (
        ("drive", *out, *where),
        ("train", "--dataset", copied / "dataset", *out, *where),
        ("evaluate", copied / "turns/01/checkpoint", *out, *where),
    ):
        assert "exists already; choose another --out" in command.fail(*arguments)
    folder = ("--workspace", copied, "--key", "grid-0", "--out", tmp_path)
    assert "is a folder; give --out the name of a PNG file" in command.fail("world", "preview", *folder)
    assert ids_of(copied) == before


def test_a_workspace_that_cannot_be_written(tmp_path: Path, command: Cli):
    file = tmp_path / "file"
    file.write_text("not a folder")
    error = command.fail("loop", "--preset", "smoke", "--workspace", file)
    assert str(file) in error and "choose another folder" in error
    assert file.read_text() == "not a folder"


# A full disk


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=96m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small disk is not permitted here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk: Path, leave_bytes: int) -> None:
    space = os.statvfs(disk)
    (disk / "ballast").write_bytes(bytes(max(space.f_bavail * space.f_frsize - leave_bytes, 0)))


def test_a_full_disk_loses_nothing(
    small_disk: Path, finished: Path, command: Cli, monkeypatch: pytest.MonkeyPatch
):
    """It fills up at the start of each stage; with space again, the loop goes on and ends the same."""
    workspace = prepare(small_disk / "workspace")
    loop = ("loop", "--preset", "smoke", "--workspace", workspace)
    known: dict[str, str] = {}
    for name in ("drive", "curate", "train", "evaluate", "release", "write_page"):
        method = getattr(Turns, name)

        def filled(turns: Turns, *arguments, method=method):
            fill(small_disk, leave_bytes=8192)
            return method(turns, *arguments)

        with monkeypatch.context() as patch:
            patch.setattr(Turns, name, filled)
            error = command.fail(*loop, "--turns", 1)
        assert str(workspace) in error and "the disk is full; free some space and run the same" in error
        (small_disk / "ballast").unlink()
        kept = {path: id for path, id in read_ids(workspace).items() if path in known}
        assert kept == known
        known = read_ids(workspace)
    command.run(*loop, "--turns", 1)
    ids = ids_of(workspace)
    assert {path: id for path, id in ids_of(finished).items() if path in ids and path != "dataset"} == {
        path: id for path, id in ids.items() if path != "dataset"
    }


def read_ids(workspace: Path) -> dict[str, str]:
    """Ids of the artifacts that are there."""
    paths = [*workspace.glob("turns/*/drive/*.mcap"), *workspace.glob("turns/*/*"), workspace / "dataset"]
    there = [path for path in paths if (path / "artifact.json").exists() or path.suffix == ".mcap"]
    return {str(path.relative_to(workspace)): verify_artifact(path).id for path in there}


def test_a_disk_too_small_for_a_town(tmp_path: Path, small_disk: Path, command: Cli):
    fill(small_disk, leave_bytes=8192)
    error = command.fail(
        *("world", "preview", "--key", "grid-3", "--workspace", small_disk / "workspace"),
        *("--out", tmp_path / "preview.png"),
    )
    assert "the disk is full" in error


# How it ends


def test_an_error_that_nobody_foresaw_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch):
    def fail(self) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(cli.Show, "run", fail)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        main(["show", "x"])


def test_a_stop_by_hand_says_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def interrupt(self) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.Show, "run", interrupt)
    with pytest.raises(SystemExit) as exit:
        main(["show", "x"])
    assert exit.value.code == 130
    assert "run the same command again to go on" in capsys.readouterr().err


def test_the_real_command_exits_with_2_and_one_sentence(tmp_path: Path):
    program = Path(sys.executable).with_name("fleetloop")
    command = [str(program)] if program.exists() else [sys.executable, "-m", "fleetloop.cli"]
    done = subprocess.run([*command, "show", str(tmp_path / "none")], capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == ""
    sentence = f"fleetloop: {tmp_path / 'none'}: there is no such file or folder; check the path\n"
    assert done.stderr == sentence


def test_help_does_not_wait_for_the_network(tmp_path: Path):
    code = (
        "import sys\nfrom fleetloop.cli import main\ntry:\n    main(['--help'])\n"
        "except SystemExit:\n    print('torch' in sys.modules, 'numba' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "False False"


def test_records_hold_the_seed_and_the_config(finished: Path):
    record = orjson.loads((finished / "turns/00/checkpoint/artifact.json").read_bytes())
    assert record["made_by"]["config"]["imitate"]["samples"] == 128
    assert record["made_by"]["seed"] == 0
