"""A recorder in a process of its own that is killed with -9: how much of the drive is gone?"""

import multiprocessing
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path

from fleetloop.artifacts.episode import EpisodeMetadata, EpisodeStep
from fleetloop.artifacts.episode_reader import read_episode, recover_episode
from fleetloop.artifacts.episode_writer import EpisodeWriter
from fleetloop.core.files import PARTIAL_SUFFIX

_STARTED_WITHIN_S = 60.0
"""A process that has not written a step after so long never will."""


def _record(path: Path, metadata: EpisodeMetadata, steps: Sequence[EpisodeStep], written: Connection) -> None:
    """Record, report the time of every step that was written, and wait for the end."""
    with EpisodeWriter(path, metadata) as writer:
        for step in steps:
            writer.write_step(step)
            written.send(step.timestamp_ns)
        written.recv()


def seconds_lost(
    path: Path, metadata: EpisodeMetadata, steps: Sequence[EpisodeStep], kill_after: int
) -> float:
    """Recorded seconds between the last step a killed writer wrote and the last that can be recovered.

    Args:
        path: of the Episode; what was recovered stays there.
        steps: what the writer records when nobody stops it.
        kill_after: steps written before the kill; those written until it strikes count as well.

    Raises:
        EpisodeError: nothing could be recovered.
        RuntimeError: the writer ended before it was killed.
    """
    # Spawned, not forked: a fork inherits the locks that other threads hold, but not the threads.
    spawn = multiprocessing.get_context("spawn")
    receiver, sender = spawn.Pipe()
    writer = spawn.Process(target=_record, args=(path, metadata, steps, sender), daemon=True)
    writer.start()
    sender.close()
    written_ns: list[int] = []
    try:
        while receiver.poll(_STARTED_WITHIN_S):
            written_ns.append(receiver.recv())
            if len(written_ns) == kill_after:
                writer.kill()
    except (EOFError, ConnectionResetError):
        pass  # it is dead, and everything it had reported is read
    finally:
        writer.kill()
        writer.join()
        receiver.close()
    if len(written_ns) < kill_after:
        raise RuntimeError(f"{path}: the writer ended by itself after {len(written_ns)} steps")
    recovered = read_episode(recover_episode(path.with_name(path.name + PARTIAL_SUFFIX)))
    return max(written_ns[-1] - int(recovered.timestamp_ns[-1]), 0) / 1e9
