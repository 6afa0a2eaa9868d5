"""Every error that fleetloop raises on purpose.

FleetloopError
├── InputError            something given to us is missing, broken or foreign
│   ├── ConfigError       a field of a configuration
│   ├── MapError          a map, or a town made from it
│   ├── EpisodeError      an MCAP recording
│   ├── DatasetError      a Lance data set
│   ├── CheckpointError   a trained network
│   ├── ReportError       a closed-loop report
│   └── BundleError       a signed release
├── GateError             a release was asked for that the gate did not pass
└── StorageError          the disk is full or cannot be written

The message is one sentence that names the file or field and the mend; the command line prints it and
exits with code 2, without a traceback.
"""


class FleetloopError(Exception):
    """Base of all errors raised on purpose; its text is meant for the user."""


class InputError(FleetloopError):
    """Something given to us is missing, empty, truncated or foreign."""


class ConfigError(InputError):
    """A field of a configuration has a value that cannot be used."""


class MapError(InputError):
    """A map cannot be read, or no vehicle could drive on it."""


class EpisodeError(InputError):
    """A recording is missing, empty, truncated beyond recovery, or not an Episode."""


class DatasetError(InputError):
    """A data set is missing, empty, or of another schema."""


class CheckpointError(InputError):
    """A checkpoint is missing, truncated, or does not fit its own config."""


class ReportError(InputError):
    """A report is missing, truncated, or lacks a figure that is asked of it."""


class BundleError(InputError):
    """A bundle is unsigned, altered, expired, rolled back, or breaks its input contract."""


class GateError(FleetloopError):
    """A release was asked for without a Report that passed the gate."""


class StorageError(FleetloopError):
    """The disk is full, or a folder cannot be written."""
