"""The driver network: geometry, memory, experts, export and the runtime."""

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetloop.core.errors import BundleError, ConfigError, InputError
from fleetloop.core.types import Camera, CameraRig, Observation
from fleetloop.policy import encoder, features, heads
from fleetloop.policy.compact_weights import rounded
from fleetloop.policy.experts import ExpertBlock
from fleetloop.policy.export import TorchDriver, export_onnx, import_onnx, parity
from fleetloop.policy.features import inputs_from
from fleetloop.policy.memory import MEMORY_DELAY_STEPS
from fleetloop.policy.network import (
    DriverNetwork,
    NetworkConfig,
    NetworkSize,
    build_network,
    config_from_dict,
    config_to_dict,
)
from fleetloop.policy.quantize import INT8_TOLERANCE, quantize_onnx
from fleetloop.policy.runtime import OnnxDriver


def camera(
    yaw: float = 0.0, pitch: float = 0.0, fov: float = 1.2, width: int = 96, height: int = 64
) -> Camera:
    return Camera("camera", (1.5, 0.2, 1.4), yaw, pitch, fov, width, height)


RIG = CameraRig(
    groups=(
        (camera(fov=0.8), camera(fov=1.6), camera(fov=2.1)),
        tuple(camera(yaw, width=48, height=32) for yaw in (1.0, -1.0, 2.3, -2.3, math.pi)),
    )
)


def random_observation(batch: int, seed: int, rig: CameraRig = RIG) -> Observation:
    random = np.random.default_rng(seed)
    return Observation(
        images=tuple(
            random.integers(0, 256, (batch, len(group), group[0].height, group[0].width, 3), dtype=np.uint8)
            for group in rig.groups
        ),
        ego_history=(random.normal(size=(batch, 8, 4)) * [5.0, 1.0, 0.05, 3.0] + [6.0, 0.0, 0.0, 0.0]).astype(
            np.float32
        ),
        navigation=np.stack(
            [random.uniform(0, 150, batch), random.normal(size=batch), random.uniform(0, 40, batch)] * 2
            + [random.uniform(-20, 20, batch)] * 4,
            axis=-1,
        ).astype(np.float32),
        time_of_day_h=random.uniform(0, 24, batch).astype(np.float32),
    )


def encode_forward(network: DriverNetwork, rig: CameraRig, observation: Observation) -> torch.Tensor:
    inputs = inputs_from(observation, rig)
    return network.encode_forward(inputs.images[0], inputs.geometry[0])


@pytest.fixture(scope="module")
def network() -> DriverNetwork:
    torch.manual_seed(3)
    network = build_network(NetworkConfig(), RIG)
    # Fresh heads say next to nothing; make them say something, so that differences show.
    torch.nn.init.normal_(network.heads.linear.weight, std=0.05)
    assert network.memory is not None
    torch.nn.init.normal_(network.memory.absent)
    rounded_network = rounded(network).eval()
    assert isinstance(rounded_network, DriverNetwork)
    return rounded_network


@pytest.fixture(scope="module")
def onnx_path(network: DriverNetwork, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("onnx") / "network.onnx"
    export_onnx(network, path)
    return path


class TestGeometry:
    def test_centre_of_a_camera_looks_along_its_yaw_and_pitch(self):
        # Cell (2, 3) of a 96x64 image is centred two pixels right of and below the axis.
        for yaw in (0.0, 0.7, math.pi / 2, -2.0):
            for pitch in (0.0, 0.3):
                ray = encoder.cell_rays(camera(yaw, pitch)).reshape(4, 6, 3)[2, 3]
                expected = [math.cos(yaw) * math.cos(pitch), math.sin(yaw) * math.cos(pitch), math.sin(pitch)]
                assert np.allclose(ray, expected, atol=0.04)

    def test_left_half_of_the_image_looks_left_and_upper_half_up(self):
        rays = encoder.cell_rays(camera()).reshape(4, 6, 3)
        assert (rays[:, 0, 1] > 0.3).all() and (rays[:, 5, 1] < -0.3).all()
        assert (rays[0, :, 2] > 0.1).all() and (rays[3, :, 2] < -0.1).all()
        assert np.allclose(np.linalg.norm(rays, axis=-1), 1.0, atol=1e-6)

    def test_edge_ray_is_half_the_field_of_view_off_axis(self):
        ray = encoder.cell_rays(camera(fov=1.2)).reshape(4, 6, 3)[2, 0]
        expected = math.atan(math.tan(0.6) * 46.0 / 48.0)
        assert math.atan2(ray[1], ray[0]) == pytest.approx(expected, abs=1e-4)

    def test_cells_match_the_feature_map(self, network: DriverNetwork):
        for group in RIG.groups:
            cells = (group[0].height // encoder.STRIDE) * (group[0].width // encoder.STRIDE)
            expected = (len(group) * cells, encoder.GEOMETRY_FEATURES)
            assert encoder.geometry_features(group).shape == expected
        single = torch.zeros(1, 3, 64, 96)
        assert network.encoder.convolutions(single).shape[-2:] == (4, 6)

    def test_cell_centre_is_the_centre_of_its_receptive_field(self, network: DriverNetwork):
        image = torch.zeros(1, 3, 64, 96, requires_grad=True)
        linear = torch.nn.Sequential(
            *[layer for layer in network.encoder.convolutions if isinstance(layer, torch.nn.Conv2d)]
        )
        linear(image)[0, :, 2, 3].sum().backward()
        assert image.grad is not None
        reached = image.grad.abs().sum(dim=(0, 1)).numpy() > 0
        rows, columns = np.nonzero(reached)
        assert (rows.min() + rows.max()) / 2 == 16 * 2 + 1.5
        assert (columns.min() + columns.max()) / 2 == 16 * 3 + 1.5

    def test_order_of_cameras_does_not_matter(self, network: DriverNetwork):
        """Swapped cameras with swapped images give the same embedding: geometry says which is which."""
        swapped_rig = CameraRig((RIG.groups[0][::-1], RIG.groups[1][::-1]))
        observation = random_observation(3, 5)
        mirrored = dataclasses.replace(
            observation, images=tuple(images[:, ::-1] for images in observation.images)
        )
        with torch.no_grad():
            expected = encode_forward(network, RIG, observation)
            actual = encode_forward(network, swapped_rig, mirrored)
        assert torch.allclose(expected, actual, atol=1e-4)

    def test_another_rig_takes_the_same_weights(self, network: DriverNetwork):
        other_rig = CameraRig((tuple(camera(yaw, width=128, height=96) for yaw in (-0.4, 0.4)),))
        other = build_network(network.config, other_rig)
        other.load_state_dict(network.state_dict())
        plan = TorchDriver(other.eval(), other_rig, 2).plan(random_observation(2, 0, other_rig))
        assert np.isfinite(plan.poses_in_ego).all()


class TestFeatures:
    @given(st.floats(-0.2, 0.2))
    @settings(max_examples=50, deadline=None)
    def test_cube_spacing_round_trip(self, curvature: float):
        control = features.control_from_curvature(torch.tensor(curvature, dtype=torch.float64))
        assert float(control.abs()) <= 1.0
        assert float(features.curvature_from_control(control)) == pytest.approx(curvature, abs=1e-9)

    @given(st.floats(0.0, 80.0))
    @settings(max_examples=50, deadline=None)
    def test_distance_round_trip(self, distance: float):
        scaled = heads.scaled_distance(torch.tensor(distance, dtype=torch.float64))
        assert float(heads.distance_from_scaled(scaled)) == pytest.approx(distance, abs=1e-6)

    def test_nothing_ahead_reads_as_far(self):
        unknown = torch.tensor([-1.0, float("nan"), float("inf"), 500.0])
        assert torch.equal(heads.scaled_distance(unknown), torch.ones(4))

    def test_far_turn_hardly_shows(self):
        navigation = torch.tensor(
            [
                [150.0, 1.5, 20.0, 150.0, -1.5, 20.0, 14.0, 13.0, 14.0, -13.0],
                [1.0, 1.5, 20.0, 150.0, -1.5, 20.0, 14.0, 13.0, 14.0, -13.0],
            ]
        )
        far, near = features.navigation_features(navigation)
        assert far[2].abs() < 0.2 and near[2] > 1.3
        assert far[19].abs() < 0.4 and near[19] > 2.0

    def test_where_an_arc_ends_is_no_news_and_another_lane_is(self):
        radius, angle, other_lane = 12.0, 1.2, 3.5
        arc = [radius * math.sin(angle), radius * (1.0 - math.cos(angle))]
        nothing = [600.0, 0.0, 0.0]
        straight, far = [0.0, 0.0, 20.0, *nothing, 20.0], [0.0, 0.0]
        navigation = torch.tensor(
            [
                [0.0, angle, radius * angle, *nothing, *arc, *far],
                [*straight, 0.0, *far],
                [*straight, other_lane, *far],
                [*straight, -other_lane, *far],
            ]
        )
        _, aside, across, curvature, beyond, *after = features.navigation_features(navigation)[:, 18:].T
        # Along a circle pure pursuit asks for that circle.
        assert torch.allclose(curvature[0], torch.tensor(10.0 / radius)) and curvature[1] == 0.0
        assert torch.allclose(beyond[:2], torch.zeros(2), atol=1e-5)
        for feature in (aside, across, curvature, beyond):
            assert feature[2] == -feature[3] > 0.0
        assert not torch.stack(after).any()

    @given(st.floats(-20, 20), st.floats(-20, 20), st.floats(-3, 3))
    @settings(max_examples=50, deadline=None)
    def test_on_the_line_of_the_lane_beyond_nothing_lies_across(self, x: float, y: float, angle: float):
        """However far along it the turn ends."""
        ends = [(x + along * math.cos(angle), y + along * math.sin(angle)) for along in (0.0, 7.0)]
        rows = torch.tensor([[0.0, angle, 20.0, 600.0, 0.0, 0.0, *end, 0.0, 0.0] for end in ends])
        across = features.navigation_features(rows)[:, 20]
        expected = (-x * math.sin(angle) + y * math.cos(angle)) / 5.0
        assert across.tolist() == pytest.approx([expected] * 2, abs=1e-4)

    def test_who_does_not_read_where_turns_end_needs_six_values(self):
        navigation = torch.tensor([[5.0, 1.5, 20.0, 60.0, -1.5, 20.0, 14.0, 13.0, 14.0, -13.0]])
        turns = features.navigation_features(navigation[:, : features.TURN_VALUES], turn_ends=False)
        assert turns.shape == (1, features.TURN_FEATURES)
        both = features.navigation_features(navigation)
        assert both.shape == (1, features.NAVIGATION_FEATURES)
        assert torch.equal(both[:, : features.TURN_FEATURES], turns)

    def test_who_does_not_read_how_long_it_has_stood_needs_three_values(self):
        history = torch.from_numpy(random_observation(5, 0).ego_history)
        history[:, -1, 3] = torch.tensor([0.0, 0.2, 0.4, 60.0, 1e9])
        for past_controls in (False, True):
            motion = features.ego_features(
                history[:, :, : features.MOTION_VALUES], past_controls, stood=False
            )
            both = features.ego_features(history, past_controls, stood=True)
            assert torch.equal(both[:, : -features.STOOD_FEATURES], motion)
            stopped, seconds = both[:, -features.STOOD_FEATURES :].T
            assert torch.allclose(stopped, torch.tensor([0.0, 0.5, 1.0, 1.0, 1.0]))
            assert seconds[0] == 0.0 < seconds[1] < seconds[2] < seconds[3] == seconds[4] == 1.0

    def test_clock_wraps(self):
        start, end = features.clock_features(torch.tensor([0.0, 24.0]))
        assert torch.allclose(start, end, atol=1e-6)

    def test_broken_numbers_become_neutral(self):
        observation = random_observation(2, 0)
        observation.ego_history[0] = np.nan
        observation.navigation[0] = [np.nan, np.nan, np.nan, np.inf, -np.inf, np.inf, *[np.nan, -np.inf] * 2]
        observation.time_of_day_h[0] = np.nan
        clean = features.finite(observation)
        assert all(np.isfinite(a).all() for a in (clean.ego_history, clean.navigation, clean.time_of_day_h))
        assert clean.navigation[0, 0] > 500.0 and np.array_equal(
            clean.navigation[1], observation.navigation[1]
        )


class TestExperts:
    @torch.no_grad()
    def test_two_experts_at_most_are_active_and_gates_sum_to_one(self):
        torch.manual_seed(0)
        block = ExpertBlock(16, 8, 4)
        torch.nn.init.normal_(block.router.weight)
        x = torch.randn(5, 16)
        actual, balance = block(x)
        normalised = block.normalise(x)
        probabilities = torch.softmax(block.router(normalised), dim=-1)
        for sample in range(5):
            best = torch.argsort(probabilities[sample], descending=True)[:2]
            expected = x[sample] + block.down.bias
            for expert in best:
                gate = probabilities[sample, expert] / probabilities[sample, best].sum()
                rows = slice(8 * int(expert), 8 * int(expert) + 8)
                hidden = torch.relu(block.up.weight[rows] @ normalised[sample] + block.up.bias[rows])
                expected = expected + gate * block.down.weight[:, rows] @ hidden
            assert torch.allclose(actual[sample], expected, atol=1e-5)
        assert 0.5 < float(balance) < 4.0

    @torch.no_grad()
    def test_balance_loss_is_one_when_even_and_two_when_half_are_idle(self):
        torch.manual_seed(0)
        block = ExpertBlock(16, 8, 4)
        x = torch.randn(4000, 16)
        torch.nn.init.normal_(block.router.weight, std=0.01)
        assert float(block(x)[1]) == pytest.approx(1.0, abs=0.02)
        block.router.bias.copy_(torch.tensor([9.0, 9.0, -9.0, -9.0]))
        assert float(block(x)[1]) == pytest.approx(2.0, abs=0.02)


class TestMemory:
    def test_streaming_equals_the_batched_form(self, network: DriverNetwork):
        sequence = [random_observation(3, seed) for seed in range(2 * MEMORY_DELAY_STEPS + 1)]
        driver = TorchDriver(network, RIG, 3)
        for step, observation in enumerate(sequence):
            plan = driver.plan(observation)
            has_past = step >= MEMORY_DELAY_STEPS
            earlier = sequence[step - MEMORY_DELAY_STEPS] if has_past else observation
            with torch.no_grad():
                outputs = network.forward_pair(
                    inputs_from(observation, RIG),
                    inputs_from(earlier, RIG).images[0],
                    torch.full((3,), has_past),
                )
            assert np.allclose(plan.poses_in_ego, outputs.poses_in_ego.numpy(), atol=1e-5)
            assert np.allclose(plan.curvature_1pm, heads.decode(outputs).curvature_1pm.numpy(), atol=1e-6)

    def test_memory_matters(self, network: DriverNetwork):
        observation, past = random_observation(3, 1), random_observation(3, 2)
        inputs = inputs_from(observation, RIG)
        with torch.no_grad():
            outputs = [
                network.forward_pair(
                    inputs, inputs_from(past, RIG).images[0], torch.full((3,), valid)
                ).lead_speed
                for valid in (True, False)
            ]
        assert not torch.allclose(outputs[0], outputs[1], atol=1e-4)

    def test_reset_forgets_only_the_masked(self, network: DriverNetwork):
        sequence = [random_observation(2, seed) for seed in range(MEMORY_DELAY_STEPS + 1)]
        kept, reset = TorchDriver(network, RIG, 2), TorchDriver(network, RIG, 2)
        for observation in sequence[:-1]:
            kept.plan(observation)
            reset.plan(observation)
        reset.reset(np.array([True, False]))
        expected, actual = kept.plan(sequence[-1]), reset.plan(sequence[-1])
        assert not np.allclose(expected.poses_in_ego[0], actual.poses_in_ego[0])
        assert np.allclose(expected.poses_in_ego[1], actual.poses_in_ego[1])


class TestConfig:
    @pytest.mark.parametrize("config", [NetworkConfig(), NetworkConfig(NetworkSize.BASE, False, True, 2)])
    def test_round_trip_through_json(self, config: NetworkConfig):
        assert config_from_dict(json.loads(json.dumps(config_to_dict(config)))) == config

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("size", "huge"),
            ("size", ["tiny"]),
            ("experts", 1),
            ("experts", "4"),
            ("memory", 1),
            ("planner", 0),
            ("turn_ends", 1),
            ("sightings", 1),
            ("stood", 1),
            ("speed", 3),
        ],
    )
    def test_wrong_field_is_named(self, field: str, value: object):
        with pytest.raises(ConfigError, match=field):
            config_from_dict({**config_to_dict(NetworkConfig()), field: value})
        with pytest.raises(ConfigError, match="JSON object"):
            config_from_dict([field])

    def test_a_network_from_before_has_no_planner_and_reads_less(self):
        before = NetworkConfig(planner=False, turn_ends=False, stood=False)
        content = config_to_dict(before)
        for field in ("planner", "turn_ends", "sightings", "stood"):
            del content[field]
        assert config_from_dict(content) == before

    def test_image_sizes_must_fit_the_cells(self):
        with pytest.raises(ConfigError, match="multiples of 16"):
            build_network(NetworkConfig(), CameraRig(((camera(width=100),),)))

    def test_rig_without_cameras_of_one_size_is_refused(self):
        with pytest.raises(ConfigError, match="forward"):
            build_network(NetworkConfig(), CameraRig(((camera(), camera(width=48)),)))
        with pytest.raises(ConfigError, match="groups"):
            build_network(NetworkConfig(), CameraRig(()))


class TestOnnx:
    @pytest.mark.parametrize("memory", [True, False])
    @pytest.mark.parametrize(("past_controls", "planner"), [(True, False), (False, True), (False, False)])
    def test_parity_over_a_sequence(self, tmp_path: Path, memory: bool, past_controls: bool, planner: bool):
        torch.manual_seed(1)
        network = build_network(
            NetworkConfig(memory=memory, past_controls=past_controls, planner=planner), RIG
        )
        torch.nn.init.normal_(network.heads.linear.weight, std=0.05)
        export_onnx(network, tmp_path / "network.onnx")
        sequence = [random_observation(3, seed) for seed in range(MEMORY_DELAY_STEPS + 2)]
        assert parity(rounded(network), tmp_path / "network.onnx", sequence, 1e-3) < 1e-3

    @pytest.mark.parametrize("planner", [True, False])
    def test_eight_bit_integers_plan_about_the_same(self, tmp_path: Path, planner: bool):
        torch.manual_seed(1)
        network = build_network(NetworkConfig(planner=planner), RIG)
        export_onnx(network, tmp_path / "network.onnx")
        sequence = [random_observation(3, seed) for seed in range(8)]
        quantize_onnx(tmp_path / "network.onnx", tmp_path / "int8.onnx", RIG, sequence[:4])
        whole = 4 * sum(parameter.numel() for parameter in network.parameters())
        assert (tmp_path / "int8.onnx").stat().st_size < 0.4 * whole
        assert parity(network, tmp_path / "int8.onnx", sequence[4:], INT8_TOLERANCE) > 1e-5
        plan = OnnxDriver(tmp_path / "int8.onnx", RIG, 2).plan(random_observation(2, 9))
        assert plan.curvature_1pm.shape == (2,)
        with pytest.raises(BundleError, match="at least one observation"):
            quantize_onnx(tmp_path / "network.onnx", tmp_path / "none.onnx", RIG, [])

    def test_products_of_eight_bits_fit_in_sixteen(self, tmp_path: Path, onnx_path: Path):
        # On processors without VNNI two products of an activation and a weight are added in 16 bits.
        quantize_onnx(
            onnx_path, tmp_path / "int8.onnx", RIG, [random_observation(2, seed) for seed in range(4)]
        )
        graph = onnx.load(str(tmp_path / "int8.onnx")).graph
        arrays = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
        # What is widened to float32 before it is multiplied may take all of its 8 bits.
        read = [arrays.get(node.input[0]) for node in graph.node if node.op_type == "DequantizeLinear"]
        weights = [array for array in read if array is not None and array.dtype == np.int8 and array.ndim > 1]
        assert len(weights) > 5
        assert all(2 * 255 * np.abs(array.astype(int)).max() <= np.iinfo(np.int16).max for array in weights)

    def test_eight_bits_of_other_weights_are_refused(self, tmp_path: Path, onnx_path: Path):
        sequence = [random_observation(2, seed) for seed in range(4)]
        quantize_onnx(onnx_path, tmp_path / "int8.onnx", RIG, sequence)
        torch.manual_seed(9)
        other = build_network(NetworkConfig(), RIG)
        torch.nn.init.normal_(other.heads.linear.weight, std=0.5)
        with pytest.raises(BundleError, match="differ"):
            parity(other, tmp_path / "int8.onnx", sequence, INT8_TOLERANCE)

    def test_parity_fails_for_other_weights(self, onnx_path: Path):
        torch.manual_seed(9)
        other = build_network(NetworkConfig(), RIG)
        with pytest.raises(BundleError, match="differ"):
            parity(other, onnx_path, [random_observation(2, 0)], 1e-3)

    def test_a_network_from_before_is_fed_what_it_took(self, tmp_path: Path):
        """Its file says that it takes fewer numbers of the hint and of the motion."""
        torch.manual_seed(5)
        network = build_network(NetworkConfig(turn_ends=False, stood=False), RIG).eval()
        export_onnx(network, tmp_path / "now.onnx")
        model = onnx.load(str(tmp_path / "now.onnx"))
        took = {"navigation": features.TURN_VALUES, "ego_history": features.MOTION_VALUES}
        for entry in model.graph.input:
            if entry.name in took:
                entry.type.tensor_type.shape.dim[-1].dim_value = took[entry.name]
        onnx.save(model, str(tmp_path / "before.onnx"))
        now, before = (OnnxDriver(tmp_path / f"{name}.onnx", RIG, 2) for name in ("now", "before"))
        assert (before.contract.navigation_values, before.contract.history_values) == (6, 3)
        for seed in range(3):
            seen = random_observation(2, seed)
            assert np.array_equal(before.plan(seen).poses_in_ego, now.plan(seen).poses_in_ego)

    def test_any_batch_and_reset(self, network: DriverNetwork, onnx_path: Path):
        for vehicles in (1, 5):
            driver, reference = OnnxDriver(onnx_path, RIG, vehicles), TorchDriver(network, RIG, vehicles)
            mask = np.arange(vehicles) % 2 == 0
            for seed in range(3):
                driver.plan(random_observation(vehicles, seed))
                reference.plan(random_observation(vehicles, seed))
            driver.reset(mask)
            reference.reset(mask)
            for seed in range(3):
                actual = driver.plan(random_observation(vehicles, seed))
                expected = reference.plan(random_observation(vehicles, seed))
                assert np.allclose(actual.poses_in_ego, expected.poses_in_ego, atol=1e-3)

    def test_another_layout_is_an_input(self, network: DriverNetwork, onnx_path: Path):
        """One exported file drives a vehicle whose cameras sit elsewhere, as the checkpoint would there."""
        lifted = CameraRig(
            tuple(
                tuple(dataclasses.replace(c, position_in_ego=(2.0, 0.0, 2.2), yaw=c.yaw + 0.3) for c in group)
                for group in RIG.groups
            )
        )
        drivers = [OnnxDriver(onnx_path, rig, 2) for rig in (RIG, lifted)]
        reference = TorchDriver(network, lifted, 2)
        for seed in range(MEMORY_DELAY_STEPS + 2):
            seen = random_observation(2, seed)
            known, other = (driver.plan(seen) for driver in drivers)
            expected = reference.plan(seen)
            assert np.allclose(other.poses_in_ego, expected.poses_in_ego, atol=1e-3)
            assert not np.allclose(other.poses_in_ego, known.poses_in_ego, atol=1e-2)

    def test_a_rig_of_other_images_is_refused(self, onnx_path: Path):
        with pytest.raises(InputError, match="rig"):
            OnnxDriver(onnx_path, CameraRig((RIG.groups[0],)), 1)

    def test_the_same_input_gives_the_same_bits(self, onnx_path: Path):
        plans = []
        for _ in range(2):
            driver = OnnxDriver(onnx_path, RIG, 4)
            plans.append([driver.plan(random_observation(4, seed)) for seed in range(5)][-1])
        assert np.array_equal(plans[0].poses_in_ego, plans[1].poses_in_ego)
        assert np.array_equal(plans[0].curvature_1pm, plans[1].curvature_1pm)

    def test_outputs_are_a_plan(self, onnx_path: Path):
        driver = OnnxDriver(onnx_path, RIG, 4)
        plan = driver.plan(random_observation(4, 0))
        assert plan.curvature_1pm.shape == (4,) and plan.poses_in_ego.shape == (4, 8, 3)
        assert (np.abs(plan.curvature_1pm) <= 0.2 + 1e-6).all() and (plan.spread_m > 0).all()
        assert driver.readings is not None
        assert np.allclose(driver.readings.signal_probabilities.sum(axis=1), 1.0, atol=1e-5)

    def test_broken_sensors_do_not_stop_the_planner(self, onnx_path: Path):
        observation = random_observation(2, 0)
        observation.ego_history[:] = np.nan
        observation.navigation[:] = np.inf
        black = dataclasses.replace(observation, images=tuple(0 * images for images in observation.images))
        plan = OnnxDriver(onnx_path, RIG, 2).plan(black)
        assert np.isfinite(plan.poses_in_ego).all() and np.isfinite(plan.curvature_1pm).all()

    def test_wrong_input_is_named(self, onnx_path: Path):
        driver = OnnxDriver(onnx_path, RIG, 2)
        good = random_observation(2, 0)
        with pytest.raises(InputError, match="images_around"):
            driver.plan(dataclasses.replace(good, images=(good.images[0], good.images[1][:, :4])))
        with pytest.raises(InputError, match="groups"):
            driver.plan(dataclasses.replace(good, images=good.images[:1]))
        with pytest.raises(InputError, match="uint8"):
            driver.plan(
                dataclasses.replace(good, images=tuple(i.astype(np.float32) for i in good.images))  # type: ignore[arg-type]
            )
        with pytest.raises(InputError, match="navigation"):
            driver.plan(dataclasses.replace(good, navigation=good.navigation[:1]))

    def test_foreign_and_broken_files_are_refused(self, onnx_path: Path, tmp_path: Path):
        with pytest.raises(BundleError, match="nowhere"):
            OnnxDriver(tmp_path / "nowhere.onnx", RIG, 1)
        (tmp_path / "cut.onnx").write_bytes(onnx_path.read_bytes()[:5000])
        with pytest.raises(BundleError, match="cut"):
            OnnxDriver(tmp_path / "cut.onnx", RIG, 1)
        torch.onnx.export(
            torch.nn.Linear(3, 2),
            (torch.zeros(1, 3),),
            tmp_path / "foreign.onnx",
            dynamo=False,
            verbose=False,
        )
        with pytest.raises(BundleError, match="not a driver"):
            OnnxDriver(tmp_path / "foreign.onnx", RIG, 1)
        open_memory = onnx.load(str(onnx_path))
        (memory,) = (entry for entry in open_memory.graph.input if entry.name == "memory")
        memory.type.tensor_type.shape.dim[2].dim_param = "width"
        with pytest.raises(BundleError, match="memory has shape"):
            OnnxDriver(open_memory.SerializeToString(), RIG, 1)


@pytest.mark.parametrize(
    "config", [NetworkConfig(planner=True), NetworkConfig(memory=False, past_controls=True)]
)
def test_a_network_is_built_again_from_its_onnx_file(config: NetworkConfig, tmp_path: Path):
    torch.manual_seed(3)
    network = build_network(config, RIG).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    path = tmp_path / "network.onnx"
    export_onnx(network, path)
    again = import_onnx(path.read_bytes(), RIG, "release")
    assert again.config == config
    for name, weights in rounded(network).state_dict().items():
        assert torch.equal(weights, again.state_dict()[name]), name
        assert torch.allclose(weights, network.state_dict()[name], rtol=2**-11, atol=5e-3), name


def test_weights_that_few_bits_cannot_hold_stay_as_they_are(tmp_path: Path):
    torch.manual_seed(3)
    network = build_network(NetworkConfig(), RIG).eval()
    with torch.no_grad():
        network.enter.weight[0, 0] = 1e6
    path = tmp_path / "network.onnx"
    export_onnx(network, path)
    again = import_onnx(path.read_bytes(), RIG, "release")
    assert torch.equal(again.state_dict()["enter.weight"], network.enter.weight)
    held = {tensor.name: tensor.data_type for tensor in onnx.load(str(path)).graph.initializer}
    assert held["network.enter.weight"] == onnx.TensorProto.FLOAT
    whole = 4 * sum(parameter.numel() for parameter in network.parameters())
    assert held["network.measured.0.weight"] == onnx.TensorProto.FLOAT16
    assert held["network.blocks.0.up.weight"] == onnx.TensorProto.INT8
    assert path.stat().st_size < 0.4 * whole


def test_an_onnx_file_that_cannot_be_looked_into(tmp_path: Path):
    network, path = build_network(NetworkConfig(), RIG).eval(), tmp_path / "network.onnx"
    export_onnx(network, path)
    model = onnx.load(str(path))
    weights = next(entry for entry in model.graph.initializer if entry.name == "network.enter.weight")
    weights.name = "folded"
    for node in model.graph.node:
        node.input[:] = ["folded" if name == "network.enter.weight" else name for name in node.input]
    for content in (b"", b"nonsense", path.read_bytes()[:1000], model.SerializeToString()):
        with pytest.raises(BundleError, match=r"^release: "):
            import_onnx(content, RIG, "release")
