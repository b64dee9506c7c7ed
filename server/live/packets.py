"""Socket.IO packets, strictly: what is none is refused before anything else looks at it."""

from __future__ import annotations

from socketio.packet import ACK, BINARY_EVENT, CONNECT, DISCONNECT, EVENT, Packet

# Bytes of a message around its chunk: names, session_id and the like, well above what they take.
ENVELOPE = 4096
VALUES = 1000  # of JSON in one message; a `start` with all its tags has thirty
NAMESPACE_LENGTH = 64

RESERVED = frozenset({"connect", "disconnect", "connect_error", "*", "__disconnect_final"})


def message_room(max_chunk_bytes: int) -> int:
    """Bytes of the longest message that is read.

    A chunk a little too long is still refused with words, by us: one of up to 1.05 times the limit as base64 (four
    bytes for three), of up to 1.4 times as it is. A longer message closes its connection.
    """
    return max_chunk_bytes * 14 // 10 + ENVELOPE


def require_few_values(text: str) -> None:
    """Raise ValueError for JSON with too many of them, before it is read.

    A chunk is long and one value. A million empty lists are as long, and take seconds to read.
    """
    if len(text) > ENVELOPE and sum(map(text.count, ",[{")) > VALUES:
        raise ValueError(f"more than {VALUES} values in one message")


class TextPacket(Packet):  # type: ignore[misc]
    """A Socket.IO packet: lenient in nothing, and cheap to send.

    Results hold no bytes, so python-socketio need not walk through 90 numbers each time to look for some
    (`uses_binary_events`); receiving binary chunks does not depend on it.
    """

    uses_binary_events = False

    def decode(self, encoded_packet: object) -> int:
        """Raises ValueError for what is no packet of a client of ours."""
        if not isinstance(encoded_packet, str):
            raise ValueError("bytes that no packet announced")
        require_few_values(encoded_packet)
        attachments: int = super().decode(encoded_packet)
        if self.packet_type not in (CONNECT, DISCONNECT, EVENT, ACK, BINARY_EVENT):
            raise ValueError(f"packet type {self.packet_type}")
        if attachments != (1 if self.packet_type == BINARY_EVENT else 0):
            raise ValueError(f"{attachments} binary attachments: an event here has one, its chunk, or none")
        if len(self.namespace or "") > NAMESPACE_LENGTH:  # the refusal would hold all of it
            raise ValueError("a namespace that cannot exist")
        if self.packet_type in (EVENT, BINARY_EVENT):
            if not (isinstance(self.data, list) and self.data and isinstance(self.data[0], str)):
                raise ValueError("an event without a name")
            if self.data[0] in RESERVED:  # then it is an unknown event like any other
                self.data[0] = f"{self.data[0]} (reserved)"
        return attachments
