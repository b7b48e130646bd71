"""One connection to an MQTT broker, by paho: messages go out in order, and are known to have arrived."""

from __future__ import annotations

import math
import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from ssr_bundle.errors import SsrError
from ssr_video.live.sinks.delivery import Refused, Undelivered
from ssr_video.live.sinks.reasons import why
from ssr_video.live.sinks.settings import MqttSettings

try:
    from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
    from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
    from paho.mqtt.properties import Properties
    from paho.mqtt.reasoncodes import ReasonCode
    from paho.mqtt.subscribeoptions import SubscribeOptions
except ImportError as error:
    raise SsrError(f"MQTT needs paho-mqtt 2: pip install 'ssr-client[live]' ({error})") from None

KEEPALIVE = 30
"""Seconds without a message after which the other side is asked whether it is there."""

PATIENCE = 20.0
"""Seconds that the broker may take to accept a connection, or to acknowledge what was sent."""

CONNECT_TIMEOUT = 5.0

_IN_FLIGHT = 20  # messages that paho lets wait for their acknowledgement
_UNSUPPORTED = 0x84  # the broker does not speak this version
_FAULTS = {0x90, 0x95, 0x99}
"""Reasons that the message itself is at fault: its topic's name, its size, its payload."""


@dataclass(frozen=True)
class Message:
    topic: str
    payload: str
    retain: bool = False


class _Client(Client):
    """Paho's client, whose thread tells of its end also where an answer of the broker is one that it does not
    understand. (Mosquitto refuses a large message by a reason that MQTT has not for that.)"""

    broken: Callable[[], None] | None = None

    def loop_forever(self, timeout: float = 1.0, retry_first_connection: bool = False) -> MQTTErrorCode:
        try:
            return super().loop_forever(timeout, retry_first_connection)
        except Exception:
            if self.broken is not None:
                self.broken()
            return MQTTErrorCode.MQTT_ERR_PROTOCOL


class Broker:
    """Connected once it is made; never connects again. :class:`Undelivered` says why it could not.

    ``will`` is published by the broker when the connection breaks. ``heard`` is told the topic, the payload
    and the retained flag of what arrives for ``topics``, and ``lost`` that the connection is over, both by
    paho's thread.
    """

    def __init__(
        self,
        settings: MqttSettings,
        identity: str,
        tls: ssl.SSLContext | None,
        will: Message,
        topics: Sequence[str],
        heard: Callable[[str, bytes, bool], None],
        lost: Callable[[], None],
    ) -> None:
        self._topics, self._heard, self._lost = topics, heard, lost
        self._five = settings.version == "5"
        self._changed = threading.Condition()
        self._accepted = False
        self._odd = False  # ended by an answer that could not be understood
        self._window, self._largest = _IN_FLIGHT, math.inf
        self._ended: str | None = None  # why
        self._answers: dict[int, ReasonCode] = {}  # to what send() published, by its number
        self._client = client = _Client(
            CallbackAPIVersion.VERSION2,
            client_id=identity,
            clean_session=None if self._five else True,
            protocol=MQTTProtocolVersion.MQTTv5 if self._five else MQTTProtocolVersion.MQTTv311,
            reconnect_on_failure=False,
        )
        client.connect_timeout = CONNECT_TIMEOUT
        client.will_set(will.topic, will.payload, qos=1, retain=will.retain)
        if settings.user is not None:
            client.username_pw_set(settings.user, settings.password)
        if tls is not None:
            client.tls_set_context(tls)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        client.on_message = self._on_message
        client.broken = self._on_broken
        try:
            client.connect(settings.host, settings.port, KEEPALIVE)
        except (OSError, ValueError) as error:
            self._forget()
            raise Undelivered(why(error)) from None
        client.loop_start()
        with self._changed:
            self._changed.wait_for(lambda: self._accepted or self._ended is not None, PATIENCE)
            ended = self._ended or (None if self._accepted else "the broker does not answer")
        if ended is not None:
            self.abort()
            raise Undelivered(ended)

    @property
    def alive(self) -> bool:
        return self._ended is None

    def send(self, messages: Sequence[Message]) -> None:
        """Publish ``messages`` in their order, and return once the broker has acknowledged all.

        Raises :class:`Undelivered` with the number of the first ones that it has, or :class:`Refused` where
        it finds a fault in the first.
        """
        larger = (i for i, message in enumerate(messages) if _size(message) > self._largest)
        end = next(larger, len(messages))
        window = self._window if self._window < _IN_FLIGHT else max(1, end)
        for first in range(0, end, window):
            self._send(messages[first : min(end, first + window)], first)
        if end < len(messages):
            told = "a message is larger than the broker takes"
            raise Undelivered(told, end) if end else Refused(told)

    def _send(self, messages: Sequence[Message], before: int) -> None:
        with self._changed:
            self._answers.clear()
        numbers = []
        for message in messages:
            info = self._client.publish(message.topic, message.payload, qos=1, retain=message.retain)
            if info.rc not in (MQTTErrorCode.MQTT_ERR_SUCCESS, MQTTErrorCode.MQTT_ERR_AGAIN):
                break
            numbers.append(info.mid)
        with self._changed:
            whole = len(numbers) == len(messages)
            self._changed.wait_for(
                lambda: self._ended is not None or (whole and len(self._answers) >= len(numbers)), PATIENCE
            )
            answers = [self._answers.get(number) for number in numbers]
            ended = self._ended
        refusals = [answer for answer in answers if answer is not None and answer.is_failure]
        if not refusals and None not in answers and whole:
            return
        done = next(
            (i for i, answer in enumerate(answers) if answer is None or answer.is_failure), len(answers)
        )
        if not refusals:
            self.abort()  # what was not acknowledged would be sent again
            if self._odd and before + done == 0:
                raise Refused(str(ended))
            raise Undelivered(ended or "the broker does not acknowledge", before + done)
        if any(refusal.value in _FAULTS for refusal in refusals) and before + done == 0:
            raise Refused(_words(refusals[0]))
        raise Undelivered(_words(refusals[0]), before + done)

    def close(self) -> None:
        """End the connection properly; the will is not published."""
        with suppress(ValueError):
            self._client.disconnect()
        with self._changed:
            self._changed.wait_for(lambda: self._ended is not None, 1.0)
        self.abort()

    def abort(self) -> None:
        """Break the connection off, if it lasts."""
        self._end("connection lost")
        if (connection := self._client.socket()) is not None:
            with suppress(OSError):
                # Wakes paho's thread, which then ends.
                connection.shutdown(socket.SHUT_RDWR)  # type: ignore[attr-defined,unused-ignore]
        self._forget()

    def _forget(self) -> None:
        """Let the client go once its thread has ended, with its descriptors."""
        client = self._client
        client.on_connect = client.on_disconnect = client.on_publish = client.on_message = None
        client.broken = None

    def _end(self, reason: str) -> None:
        with self._changed:
            self._ended = self._ended or reason
            self._changed.notify_all()

    # -- called by paho's thread ---------------------------------------------------------------------------

    def _on_connect(
        self,
        client: Client,
        data: Any,
        flags: ConnectFlags,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        if reason.is_failure:
            other = (
                '; the key version = "3.1.1" may help' if reason.value == _UNSUPPORTED and self._five else ""
            )
            self._end(_words(reason) + other)
            return
        self._window = min(_IN_FLIGHT, getattr(properties, "ReceiveMaximum", _IN_FLIGHT))
        self._largest = getattr(properties, "MaximumPacketSize", math.inf)
        if self._topics and self._five:
            client.subscribe([(topic, SubscribeOptions(qos=0, noLocal=True)) for topic in self._topics])
        elif self._topics:
            client.subscribe([(topic, 0) for topic in self._topics])
        with self._changed:
            self._accepted = True
            self._changed.notify_all()

    def _on_disconnect(
        self,
        client: Client,
        data: Any,
        flags: DisconnectFlags,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        of_broker = flags.is_disconnect_packet_from_server
        self._end(f"the broker ended the connection: {reason}".lower() if of_broker else "connection lost")
        self._lost()

    def _on_broken(self) -> None:
        self._odd = True
        self._end("the broker's answer is no MQTT")
        self._lost()

    def _on_publish(
        self, client: Client, data: Any, number: int, reason: ReasonCode, properties: Properties | None
    ) -> None:
        with self._changed:
            self._answers[number] = reason
            self._changed.notify_all()

    def _on_message(self, client: Client, data: Any, message: MQTTMessage) -> None:
        with suppress(UnicodeDecodeError):  # of a topic
            self._heard(message.topic, message.payload, message.retain)


def _size(message: Message) -> int:
    """Bytes of the packet, at most."""
    return len(message.topic.encode()) + len(message.payload.encode()) + 16


def _words(reason: ReasonCode) -> str:
    return f"the broker refuses: {reason}".lower()
