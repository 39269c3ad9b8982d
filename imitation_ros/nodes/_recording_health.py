"""How the topics of a recording do, as diagnostics."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue
from imitation_ros.nodes._recorded_topics import RecordedTopics
from imitation_ros.nodes._traffic import Traffic

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR


def topic_diagnostics(
    topics: RecordedTopics,
    traffic: Mapping[str, Traffic],
    publishers: Callable[[str], int],
    lockstep: bool,
    now_ns: int,
) -> tuple[list[DiagnosticStatus], list[str]]:
    """A status a topic, for what happened since the last call, and all troubles in words.

    Args:
        topics: what is recorded.
        traffic: topic → what came in.
        publishers: topic → how many publish it now.
        lockstep: the time between two messages says nothing about the sensor.
        now_ns: wall time.
    """
    statuses, troubles = [], []
    for name, counts in traffic.items():
        count = publishers(name)
        if count > 1:
            counts.numbers.note_several_publishers()
        max_age_s = None if lockstep else topics[name].max_age_s
        report = counts.report(now_ns, max_age_s, count)
        values = counts.summary() | {'rate_hz': round(report.rate_hz, 1)}
        level, text = WARN if report.troubles else OK, '; '.join(report.troubles)
        statuses.append(diagnostic(f'recorder: {name}', level, text, values))
        troubles += [f'{name}: {trouble}' for trouble in report.troubles]
    return statuses, troubles


def diagnostic(
    name: str, level: bytes, text: str, values: Mapping[str, object] | None = None
) -> DiagnosticStatus:
    """One status; a value of None is 'unknown'."""
    pairs = [
        KeyValue(key=key, value='unknown' if value is None else str(value))
        for key, value in (values or {}).items()
    ]
    return DiagnosticStatus(name=name, level=level, message=text, values=pairs)
