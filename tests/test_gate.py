"""The gate lets a safer driver pass, and nothing that it cannot judge; Reports survive the disk."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetloop.artifacts.report import (
    CriticalIntervention,
    DriveResult,
    Infraction,
    NetworkFault,
    OtherIntervention,
    Report,
    Tally,
    Verdict,
)
from fleetloop.artifacts.report_file import read_report, report_from_json, report_to_json, write_report
from fleetloop.core.errors import ReportError
from fleetloop.evaluate.gate import decide
from fleetloop.releases import find_driver


def counts(collisions: int) -> dict[CriticalIntervention, int]:
    return dict.fromkeys(CriticalIntervention, 0) | {CriticalIntervention.COLLISION: collisions}


def tally_fields(collisions: int, km: float) -> dict[str, Any]:
    return {
        "km": km,
        "progress_m": 950.0 * km,
        "demonstrator_progress_m": 1000.0 * km,
        "critical_interventions": counts(collisions),
        "other_interventions": dict.fromkeys(OtherIntervention, 0),
        "infractions": dict.fromkeys(Infraction, 0),
        "routes": 10,
        "routes_finished": 9,
        "successes": 8,
        "driving_score": 75.0,
    }


def drive(collisions: int, km: float = 100.0, families: dict[str, tuple[int, float]] | None = None, **fields):
    tallies = {name: Tally(**tally_fields(*family)) for name, family in (families or {}).items()}
    base: dict[str, Any] = {"subject": "a", "towns": ("t",), "seeds": (1, 2), "families": tallies}
    return DriveResult(**tally_fields(collisions, km) | base | fields)


def test_a_safer_candidate_passes():
    verdict = decide(drive(10), drive(40))
    assert verdict.passed and verdict.p_value < 0.001 and verdict.ratio == pytest.approx(0.25)
    assert verdict.ratio_low95 < 0.25 < verdict.ratio_high95 < 1.0
    assert len(verdict.reasons) == 1 and verdict.reasons[0].endswith(".")


@pytest.mark.parametrize("candidate", [35, 40, 100])
def test_a_candidate_that_is_not_proven_safer_fails(candidate: int):
    verdict = decide(drive(candidate), drive(40))
    assert not verdict.passed and "not proven safer" in verdict.reasons[0] and verdict.ratio_high95 >= 1.0


def test_two_flawless_drivers_cannot_be_told_apart():
    assert not decide(drive(0), drive(0)).passed


@given(st.integers(0, 80), st.integers(0, 80), st.floats(1.0, 1e3), st.floats(1.0, 1e3))
def test_verdict_agrees_with_its_own_bound(first: int, second: int, first_km: float, second_km: float):
    verdict = decide(drive(first, first_km), drive(second, second_km))
    if abs(verdict.p_value - 0.05) > 1e-9:
        assert verdict.passed == (verdict.ratio_high95 < 1.0)


def test_standing_still_does_not_pass():
    slow = drive(0, progress_m=70_000.0)
    verdict = decide(slow, drive(40))
    assert not verdict.passed and verdict.reasons == (
        "The candidate makes good 0.70 of the demonstrator's distance, less than 0.8.",
    )


def test_a_lower_bar_for_progress_is_told():
    slow = drive(0, progress_m=70_000.0)
    verdict = decide(slow, drive(40), minimum_progress=0.6)
    assert verdict.passed and "asked for 0.6 of the demonstrator's distance only" in verdict.reasons[0]


def test_one_family_that_is_worse_fails_the_candidate():
    candidate = drive(20, families={"grid": (0, 80.0), "spider": (20, 20.0)})
    in_service = drive(60, families={"grid": (55, 80.0), "spider": (5, 20.0)})
    verdict = decide(candidate, in_service)
    assert not verdict.passed and len(verdict.reasons) == 1 and "family spider is worse" in verdict.reasons[0]
    assert decide(candidate, in_service, margin_by_family={"spider": 4.0}).passed
    assert not decide(candidate, in_service, margin_by_family={"spider": math.nan}).passed


def test_a_family_that_is_slightly_worse_by_chance_does_not_fail_it():
    candidate = drive(20, families={"grid": (12, 80.0), "spider": (8, 20.0)})
    in_service = drive(60, families={"grid": (54, 80.0), "spider": (6, 20.0)})
    assert decide(candidate, in_service).passed


UNUSABLE: dict[str, dict[str, Any]] = {
    "no distance": {"km": 0.0},
    "distance is NaN": {"km": math.nan},
    "distance is missing": {"km": None},
    "distance is infinite": {"km": math.inf},
    "negative distance": {"km": -1.0},
    "progress is NaN": {"progress_m": math.nan},
    "progress is missing": {"progress_m": None},
    "no demonstrator": {"demonstrator_progress_m": 0.0},
    "demonstrator is missing": {"demonstrator_progress_m": None},
    "driving score is NaN": {"driving_score": math.nan},
    "driving score is missing": {"driving_score": None},
    "counts are missing": {"critical_interventions": None},
    "a kind is missing": {"critical_interventions": {CriticalIntervention.COLLISION: 0}},
    "a count is missing": {"critical_interventions": counts(0) | {CriticalIntervention.OFF_ROAD: None}},
    "a count is NaN": {"critical_interventions": counts(0) | {CriticalIntervention.OFF_ROAD: math.nan}},
    "a count is negative": {"critical_interventions": counts(-1)},
    "other seeds": {"seeds": (1, 3)},
    "fewer seeds": {"seeds": (1,)},
    "no seeds": {"seeds": ()},
    "other towns": {"towns": ("u",)},
    "a family more": {"families": {"grid": Tally(**tally_fields(0, 1.0))}},
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_whatever_cannot_be_computed_fails_on_either_side(name: str):
    for candidate, in_service in (
        (replace(drive(0), **UNUSABLE[name]), drive(40)),
        (drive(0), replace(drive(40), **UNUSABLE[name])),
    ):
        verdict = decide(candidate, in_service)
        assert not verdict.passed and verdict.reasons and math.isnan(verdict.p_value)
        assert all(reason.endswith(".") for reason in verdict.reasons)


def test_a_family_without_distance_fails():
    families = {"grid": (0, 50.0)}
    candidate = drive(0, families=families)
    broken = replace(candidate, families={"grid": replace(candidate.families["grid"], km=0.0)})
    assert not decide(broken, drive(40, families=families)).passed
    assert not decide(drive(0, families=families), replace(broken, subject="b")).passed


def test_without_a_network_in_service_nothing_passes():
    assert decide(drive(0), None).reasons == ("There is no result of a network in service to compare with.",)


tallies = st.integers(0, 50).flatmap(
    lambda routes: st.fixed_dictionaries(
        {
            "km": st.floats(0.0, 1e5),
            "progress_m": st.floats(0.0, 1e8),
            "demonstrator_progress_m": st.floats(0.0, 1e8),
            "critical_interventions": st.fixed_dictionaries(
                {kind: st.integers(0, 10**6) for kind in CriticalIntervention}
            ),
            "other_interventions": st.fixed_dictionaries(
                {kind: st.integers(0, 10**6) for kind in OtherIntervention}
            ),
            "infractions": st.fixed_dictionaries({kind: st.integers(0, 10**6) for kind in Infraction}),
            "routes": st.just(routes),
            "routes_finished": st.just(routes),
            "successes": st.integers(0, routes),
            "driving_score": st.floats(0.0, 100.0),
            "network_faults": st.none()
            | st.fixed_dictionaries({kind: st.integers(0, 10**6) for kind in NetworkFault}),
        }
    )
)
names = st.text(max_size=8).filter(lambda text: text.isprintable())
drives = st.builds(
    lambda fields, families, **rest: DriveResult(
        **fields, families={name: Tally(**tally) for name, tally in families.items()}, **rest
    ),
    tallies,
    st.dictionaries(names, tallies, max_size=2),
    subject=names,
    towns=st.lists(names, max_size=3).map(tuple),
    seeds=st.lists(st.integers(0, 2**63 - 1), max_size=3).map(tuple),
)
verdicts = st.builds(
    Verdict,
    st.booleans(),
    st.lists(names, max_size=2).map(tuple),
    st.floats(0.0, 1.0),
    st.floats(0.0, 1e3),
    st.floats(0.0, 1e3),
    st.floats(0.0, 1e3) | st.just(math.inf),
)
reports = st.builds(
    Report,
    drives,
    st.none() | drives,
    st.none() | verdicts,
    st.dictionaries(
        names, st.none() | st.booleans() | st.integers(-5, 5) | st.floats(-5, 5) | names, max_size=3
    ),
)


@given(reports)
def test_a_report_survives_the_disk(report: Report):
    content = report_to_json(report)
    again = report_from_json(content, "report.json")
    assert again == report
    assert report_to_json(again) == content


def test_a_figure_that_could_not_be_computed_survives_the_disk(tmp_path: Path):
    candidate = drive(1, driving_score=math.nan)
    report = Report(candidate, None, decide(candidate, drive(3)), {})
    write_report(tmp_path / "report.json", report)
    again = read_report(tmp_path / "report.json")
    assert math.isnan(again.candidate.driving_score) and again.verdict is not None
    assert math.isnan(again.verdict.p_value) and not again.verdict.passed


def test_figures_are_those_of_the_candidate():
    figures = Report(drive(4), drive(9), None, {}).figures()
    assert figures["kpci"] == 25.0 and figures["km"] == 100.0 and figures["critical_interventions"] == 4
    assert 0 < figures["kpci_low95"] < 25.0 and figures["success_rate"] == 0.8
    assert figures["progress"] == pytest.approx(0.95)


def test_figures_name_the_faults_that_happened():
    faults = dict.fromkeys(NetworkFault, 0) | {NetworkFault.JUMP: 3, NetworkFault.CAMERA_LOST: 2}
    figures = Report(drive(4, network_faults=faults), None, None, {}).figures()
    assert figures["braked_for_network"] == figures["fault_jump"] == 3 and figures["fault_camera_lost"] == 2
    assert "fault_late" not in figures
    assert "braked_for_network" not in Report(drive(4), None, None, {}).figures()


def test_a_report_from_before_faults_were_counted_is_read():
    """And says that they were not; it is not taken for one without faults, nor is a new one that lacks them."""
    report = Report(drive(1, families={"grid": (1, 100.0)}), drive(9), None, {})
    document = orjson.loads(report_to_json(report))
    for section in (document["candidate"], document["in_service"], document["candidate"]["families"]["grid"]):
        del section["network_faults"]
    with pytest.raises(ReportError, match=r"network_faults is missing"):
        report_from_json(orjson.dumps(document), "report.json")
    document["schema_version"] = 1
    assert report_from_json(orjson.dumps(document), "report.json") == report


def test_the_release_that_ships_is_read():
    assert find_driver("reference").release >= 1


def valid() -> dict[str, Any]:
    faults = dict.fromkeys(NetworkFault, 0)
    candidate = drive(1, network_faults=faults)
    return orjson.loads(report_to_json(Report(candidate, None, decide(drive(1), drive(9)), {"steps": 5})))


@pytest.mark.parametrize(
    "path, value, field",
    [
        (("schema_version",), 99, "schema_version"),
        (("candidate",), None, "candidate"),
        (("candidate", "km"), "12", "candidate.km"),
        (("candidate", "km"), -1.0, "candidate.km"),
        (("candidate", "km"), True, "candidate.km"),
        (("candidate", "routes"), 1.5, "candidate.routes"),
        (("candidate", "routes"), True, "candidate.routes"),
        (("candidate", "routes"), 1, "candidate.successes"),
        (("candidate", "driving_score"), 101.0, "candidate.driving_score"),
        (("candidate", "seeds"), [1, "2"], "candidate.seeds"),
        (("candidate", "families"), {"grid": 3}, "candidate.families.grid"),
        (("candidate", "critical_interventions"), {"collision": 1}, "candidate.critical_interventions"),
        (("candidate", "critical_interventions", "collision"), None, "critical_interventions.collision"),
        (("candidate", "network_faults"), {"jump": 1}, "candidate.network_faults"),
        (("candidate", "network_faults"), 3, "candidate.network_faults"),
        (("candidate", "network_faults", "jump"), -1, "candidate.network_faults.jump"),
        (("verdict", "passed"), "true", "verdict.passed"),
        (("settings", "steps"), [1], "settings.steps"),
    ],
)
def test_a_wrong_field_is_named(path: tuple[str, ...], value: Any, field: str):
    document = valid()
    section = document
    for key in path[:-1]:
        section = section[key]
    section[path[-1]] = value
    with pytest.raises(ReportError) as caught:
        report_from_json(orjson.dumps(document), "some/report.json")
    assert field in str(caught.value) and "some/report.json" in str(caught.value)


@given(st.data())
def test_a_missing_field_is_named(data: st.DataObject):
    document = valid()
    section = document
    while True:
        key = data.draw(st.sampled_from(sorted(section)))
        if key in ("settings", "families") or not isinstance(section[key], dict) or data.draw(st.booleans()):
            break
        section = section[key]
    if section[key] == 5:
        return
    del section[key]
    with pytest.raises(ReportError, match=key):
        report_from_json(orjson.dumps(document), "report.json")


@given(st.integers(0, 10_000))
def test_a_truncated_report_is_refused(length: int):
    content = report_to_json(Report(drive(1), None, None, {}))
    with pytest.raises(ReportError, match="not a complete JSON file"):
        report_from_json(content[: min(length, len(content) - 3)], "report.json")


def test_a_missing_report_is_one_sentence(tmp_path: Path):
    with pytest.raises(ReportError, match="run fleetloop evaluate"):
        read_report(tmp_path / "report.json")
