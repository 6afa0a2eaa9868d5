"""Recordings of a drive for people and their tools: MP4, MCAP for Foxglove, Rerun; of a rollout or an environment."""

from fleetloop.recording.drives import RecordConfig, record_drive, scenario_rollout
from fleetloop.recording.moment import Moment, look
from fleetloop.recording.recording import FORMATS, Recording

__all__ = ["FORMATS", "Moment", "RecordConfig", "Recording", "look", "record_drive", "scenario_rollout"]
