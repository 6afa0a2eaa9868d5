"""The yardstick: how far the demonstrator drives between critical interventions."""

from collections.abc import Sequence

from fleetloop.bench.measure import Measurement, readable
from fleetloop.core.types import World
from fleetloop.evaluate.closed_loop import EvaluateConfig, drive_suite, tally
from fleetloop.progress import stage
from fleetloop.sim.cameras import DEFAULT_RIG

SEED = 1


def measure_demonstrator(
    name: str, world: World, towns: Sequence[str], config: EvaluateConfig
) -> Measurement:
    """Kilometres per critical intervention on routes that depend on nothing but `SEED`.

    The demonstrator drives as a network would: through the safety layer, under the same safety driver. The
    value is infinite when nothing happened; the interval holds all the same. Every run of the same code gives
    the same counts, so there is nothing to repeat.
    """
    with stage(name) as progress:
        results, _ = drive_suite(world, towns, DEFAULT_RIG, config, SEED, None, progress)
    counts = tally(results, results)
    low, high = counts.kpci_interval95
    seconds = sum(result.duration_s for result in results)
    finished, speed_mps = counts.routes_finished / counts.routes, counts.km * 1000.0 / seconds
    note = (
        f"95 %: {readable(low)} to {readable(high)}, {counts.critical_intervention_count} in "
        f"{readable(counts.km)} km, {finished:.1%} of {counts.routes} routes finished, {speed_mps:.1f} m/s"
    )
    return Measurement(
        name,
        counts.kpci,
        "km per critical intervention",
        {
            "repeats": 1,
            "interval95": [low, high],
            "low95": counts.kpci_low95,
            "note": note,
            "km": counts.km,
            "critical_interventions": {str(kind): n for kind, n in counts.critical_interventions.items()},
            "other_interventions": {str(kind): n for kind, n in counts.other_interventions.items()},
            "routes": counts.routes,
            "route_m": config.route_m,
            "agents": config.agents,
            "finished_share": finished,
            "blocked_routes": sum(result.blocked for result in results),
            "collided_routes": sum(result.collided for result in results),
            "success_rate": counts.success_rate,
            "mean_speed_mps": speed_mps,
            "towns": list(towns),
            "seed": SEED,
        },
    )
