"""Messages from bytes: whole, or refused; never the end of the process."""

from __future__ import annotations

from diagnostic_msgs.msg import DiagnosticArray
from imitation_ros.errors import MessageError
from imitation_ros.nodes._messages import decoded
import pytest
from rclpy.serialization import serialize_message
from sensor_msgs.msg import JointState


def test_a_whole_message_is_decoded():
    message = JointState(name=['elbow'], position=[0.5])
    assert decoded(JointState, serialize_message(message)) == message


@pytest.mark.parametrize(
    'content',
    [
        b'',
        b'\x00\x01\x00',
        bytes.fromhex('000000f6'),  # at these, Fast CDR itself ends the process
        bytes.fromhex('000100030000'),
        serialize_message(DiagnosticArray())[:9],
    ],
    ids=['nothing', 'no header', 'padding alone', 'less than its padding', 'cut off'],
)
def test_bytes_that_are_no_message_are_refused(content):
    with pytest.raises(MessageError, match=f'{len(content)} bytes'):
        decoded(DiagnosticArray, content)
