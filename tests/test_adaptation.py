"""Taking a driver to another region, at the smallest size that goes through every part."""

import math
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import orjson
import pytest
import torch

from fleetloop import adaptation
from fleetloop.adaptation import Region, adapt_checkpoint, region_of_town
from fleetloop.artifacts.checkpoint import read_checkpoint, write_checkpoint
from fleetloop.artifacts.dataset import read_samples
from fleetloop.artifacts.episode import rig_to_json
from fleetloop.artifacts.lineage import read_artifact, verify_artifact
from fleetloop.cli import main
from fleetloop.core.errors import ConfigError
from fleetloop.policy.adapters import Adapt
from fleetloop.policy.network import NetworkConfig, build_network, config_to_dict
from fleetloop.presets import PRESETS
from fleetloop.sim.cameras import DEFAULT_RIG
from fleetloop.sim.roads.library import TownLibrary
from fleetloop.train.replay import Replay
from fleetloop.vehicle.recorder import RecorderConfig
from tiny_loop import TINY, make_tiny, prepare


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    make_tiny(monkeypatch)
    # As in presets whose demonstrator is recorded by its triggers: here its drives are kept as a whole all the same.
    demonstrate = replace(TINY.demonstrate, recorder=RecorderConfig())
    small = replace(TINY, demonstrate=demonstrate, imitate=replace(TINY.imitate, samples=32))
    monkeypatch.setitem(PRESETS, "smoke", small)


def write_fresh(path: Path) -> str:
    """A checkpoint of a network that learned nothing; its id."""
    torch.manual_seed(0)
    config = NetworkConfig(experts=2)
    content = {"network": config_to_dict(config), "rig": rig_to_json(DEFAULT_RIG)}
    network = build_network(config, DEFAULT_RIG)
    return write_checkpoint(path, network.state_dict(), content, [], 0, {}).id


def test_a_region_is_evaluated_on_towns_it_was_not_driven_in():
    region = region_of_town("left_grid-1", 60.0, evaluation_towns=2, seed=0)
    assert region.towns == ("left_grid-1",)
    assert region.evaluation_towns == ("left_grid-1000", "left_grid-1001")
    region = region_of_town("left_grid-1001", 60.0, evaluation_towns=2, seed=0)
    assert region.evaluation_towns == ("left_grid-1002", "left_grid-1003")
    assert region_of_town("monaco.net-0123abcd", 5.0, 2, 0).evaluation_towns == ("monaco.net-0123abcd",)
    for minutes in (0.0, math.nan, math.inf):
        with pytest.raises(ConfigError, match="minutes"):
            Region(("grid-1",), ("grid-1",), minutes)


def test_adapt_drives_trains_and_compares(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    workspace, out = prepare(tmp_path / "workspace"), tmp_path / "adapted"
    parent = write_fresh(tmp_path / "checkpoint")
    verb = ["adapt", str(tmp_path / "checkpoint"), "--town", "grid-1", "--out", str(out), "--minutes", "0.15"]
    verb += ["--workspace", str(workspace), "--preset", "smoke"]
    main(verb)
    shown = capsys.readouterr().out
    assert all(f" {name} " in shown for name in ("before", "all", "experts", "adapters"))
    start, _, _ = read_checkpoint(tmp_path / "checkpoint")
    changed: dict[str, set[str]] = {}
    for part in Adapt:
        folder = out / part / "checkpoint"
        tensors, config, artifact = read_checkpoint(folder)
        assert verify_artifact(folder)
        assert artifact.parents == (read_artifact(out / "dataset").id, parent)
        assert config["imitate"]["adapt"] == part and 0.0 <= float(artifact.figures["waiting_share"]) <= 1.0
        changed[part] = {name for name in start if not torch.equal(start[name], tensors[name])}
        assert read_artifact(out / part / "region").parents == (artifact.id,)
    assert changed["all"] > changed["experts"] and changed["adapters"]
    assert all(name.startswith("blocks.") for name in changed["experts"])
    content = orjson.loads((out / adaptation.RESULTS_FILE).read_bytes())
    assert [result["adapt"] for result in content["results"]] == ["before", "all", "experts", "adapters"]
    for result in content["results"]:
        region = result["region"]
        # Null is infinite.
        low, kpci, high = (
            math.inf if x is None else x
            for x in (region["kpci_low95"], region["kpci"], region["kpci_interval95"][1])
        )
        assert region["km"] > 0.0 and low <= kpci <= high and region["network_faults"] is not None
    main(verb)
    assert "fine-tune adapters" in capsys.readouterr().out
    assert orjson.loads((out / adaptation.RESULTS_FILE).read_bytes()) == content
    with pytest.raises(SystemExit):
        main([*verb, "--samples", "48"])
    assert "was begun with other settings" in capsys.readouterr().err

    # With samples of home, here those of the region again, as they are; then the region seen in a mirror.
    replay = Replay(out / "dataset", 1, 0.25)
    region = Region(("grid-1",), ("grid-1000",), 0.15)
    library, preset = TownLibrary(workspace / "towns"), PRESETS["smoke"]
    adapt_checkpoint(
        tmp_path / "mixed", tmp_path / "checkpoint", region, [Adapt.EXPERTS], library, preset, 0, replay
    )
    # Another share does not pass for this one.
    other = replace(replay, share=0.5)
    with pytest.raises(ConfigError, match="other settings"):
        adapt_checkpoint(
            tmp_path / "mixed", tmp_path / "checkpoint", region, [Adapt.EXPERTS], library, preset, 0, other
        )
    mixed = read_artifact(tmp_path / "mixed" / "experts" / "checkpoint")
    assert read_artifact(out / "dataset").id in mixed.parents and len(mixed.parents) == 3
    assert asdict(replay)["share"] == mixed.made_by["config"]["replay_share"]
    in_mirror = replace(region, mirrored=True)
    with pytest.raises(ConfigError, match="other settings"):
        adapt_checkpoint(
            tmp_path / "mixed",
            tmp_path / "checkpoint",
            in_mirror,
            [Adapt.EXPERTS],
            library,
            preset,
            0,
            replay,
        )
    adapt_checkpoint(
        tmp_path / "mirror", tmp_path / "checkpoint", in_mirror, [Adapt.EXPERTS], library, preset, 0, replay
    )
    assert read_artifact(tmp_path / "mirror" / "experts" / "checkpoint").id != mixed.id
    samples = read_samples(out / "dataset", 1)
    both = replay.mixed_with(samples)
    assert len(both) == 2 * len(samples)
    assert np.isclose(both.weight[len(samples) :].sum(), 0.25) and np.isclose(both.weight.sum(), 1.0)


def test_shares_that_are_none_are_refused(tmp_path: Path):
    for share in (0.0, 1.0, -0.5):
        with pytest.raises(ConfigError, match="share"):
            Replay(tmp_path, 1, share)
