"""Events to an MQTT broker, the state of every camera beside them, and both as Home Assistant wants them."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from ssr_video.live.backoff import Backoff
from ssr_video.live.sinks.broker import Broker, Message
from ssr_video.live.sinks.delivery import Delivery, Refused, Undelivered
from ssr_video.live.sinks.home_assistant import device, discovery_topic
from ssr_video.live.sinks.reasons import tls_context
from ssr_video.live.sinks.settings import MqttSettings
from ssr_video.live.sinks.sink import Event
from ssr_video.live.sinks.spool import Spool
from ssr_video.live.sinks.spooled import Spooled
from ssr_video.live.status import CameraStatus
from ssr_video.reading import utc_text

NAME = "mqtt"
HEARTBEAT = 60.0
"""Seconds without a message after which the status is published again."""

_LONGEST = 65536
"""Bytes of a payload that is looked at."""


class Mqtt(Spooled):
    """A sink. Events are kept in the spool until the broker has acknowledged them; of a camera's state the
    broker is told the newest. docs/live.md lists the topics.

    The retained topics of a camera that is no longer watched are cleared, also those of an earlier process:
    the broker holds them, and the spool's identity in them says whose they are.

    Raises :class:`ssr_bundle.errors.SsrError` where the spool or the certificates cannot be opened.
    """

    def __init__(
        self,
        settings: MqttSettings,
        spool_folder: Path,
        say: Callable[[str], None],
        backoff: Backoff | None = None,
    ) -> None:
        self._settings = settings
        self._tls = tls_context(settings.ca) if settings.tls else None
        self._status_topic = f"{settings.prefix}/status"
        self._gate = threading.Lock()  # of what follows
        self._cameras: dict[str, None] = {}
        self._watched: set[str] | None = None  # once it is known
        self._remembered: set[str] = set()  # cameras of which the broker holds a state of ours
        self._states: dict[str, str] = {}  # the newest payload of each camera
        self._new_states: set[str] = set()
        self._stale: set[str] = set()  # cameras whose topics are to be cleared
        self._online_due = self._devices_due = False
        self._ending = False
        self._broker: Broker | None = None
        self._spool = Spool(spool_folder / f"{NAME}.spool", settings.spool_bytes, say)
        self._delivery = Delivery(
            NAME, self._spool, self._bring, say, idle=HEARTBEAT, end=self._end, backoff=backoff
        )
        self._delivery.poke()

    def camera(self, status: CameraStatus) -> None:
        state = json.dumps(state_json(status, self._spool.identity))
        with self._gate:
            if self._watched is not None and status.name not in self._watched:
                return
            if self._states.get(status.name) == state:
                return
            if status.name not in self._cameras:
                self._cameras[status.name] = None
                self._devices_due = True
            self._states[status.name] = state
            self._new_states.add(status.name)
        self._delivery.poke()

    def cameras(self, names: Collection[str]) -> None:
        with self._gate:
            self._watched = set(names)
            self._stale |= (self._cameras.keys() | self._remembered) - self._watched
            self._stale -= self._watched
            self._devices_due |= not self._watched <= self._cameras.keys()
            self._cameras = dict.fromkeys(names)
            self._states = {name: state for name, state in self._states.items() if name in self._watched}
        self._delivery.poke()

    def state_topic(self, camera: str) -> str:
        return f"{self._settings.prefix}/{level(camera)}/state"

    def event_topic(self, camera: str) -> str:
        return f"{self._settings.prefix}/{level(camera)}/event"

    # -- called by the delivery's thread -------------------------------------------------------------------

    def _bring(self, events: Sequence[Event]) -> None:
        if self._broker is None or not self._broker.alive:
            self._broker = self._connected()
        try:
            if not self._announce(self._broker) and not events:
                self._broker.send([self._says("online")])  # asks whether the connection is alive
        except Refused as error:
            raise Undelivered(str(error)) from None
        if events:
            messages = [
                Message(self.event_topic(str(event["camera"])), json.dumps(event)) for event in events
            ]
            self._broker.send(messages)

    def _connected(self) -> Broker:
        settings = self._settings
        if self._broker is not None:
            self._broker.abort()
        topics = [self._status_topic, f"{settings.prefix}/+/state"]
        if settings.discovery:
            topics.append(f"{settings.discovery}/status")
        identity, will = f"ssr{self._spool.identity}", self._says("offline")
        broker = Broker(settings, identity, self._tls, will, topics, self._heard, self._delivery.poke)
        self._all_due()
        return broker

    def _announce(self, broker: Broker) -> bool:
        """Bring the retained topics to what they should say; whether anything was to be said."""
        settings = self._settings
        with self._gate:
            messages = []
            for camera in self._stale:
                messages.append(Message(self.state_topic(camera), "", retain=True))
                if settings.discovery:
                    topic = discovery_topic(settings.discovery, settings.prefix, camera)
                    messages.append(Message(topic, "", retain=True))
            if self._devices_due and settings.discovery:
                messages += [self._device(camera) for camera in self._cameras]
            messages += [
                Message(self.state_topic(camera), self._states[camera], retain=True)
                for camera in self._cameras
                if camera in self._new_states
            ]
            if self._online_due:
                messages.append(self._says("online"))
            stale = set(self._stale)
            self._stale.clear()
            self._new_states.clear()
            self._online_due = self._devices_due = False
        if not messages:
            return False
        try:
            broker.send(messages)
        except (Refused, Undelivered):
            self._all_due()
            with self._gate:
                self._stale |= stale - self._cameras.keys()
            raise
        with self._gate:
            self._remembered -= stale
        return True

    def _says(self, status: str) -> Message:
        return Message(self._status_topic, status, retain=True)

    def _device(self, camera: str) -> Message:
        settings = self._settings
        return device(
            settings.discovery, settings.prefix, camera, self.state_topic(camera), self._status_topic
        )

    def _end(self) -> None:
        self._ending = True
        if self._broker is not None and self._broker.alive:
            try:
                self._broker.send([self._says("offline")])
            except (Refused, Undelivered):
                return
            self._broker.close()

    def _all_due(self) -> None:
        with self._gate:
            self._online_due = self._devices_due = True
            self._new_states.update(self._states)

    # -- called by paho's thread ---------------------------------------------------------------------------

    def _heard(self, topic: str, payload: bytes, retained: bool) -> None:
        if self._ending:
            return
        if topic == self._status_topic:
            # The will of a connection that broke before this one began may come after it.
            if payload == b"offline":
                with self._gate:
                    self._online_due = True
                self._delivery.poke()
        elif topic == f"{self._settings.discovery}/status":
            if payload == b"online":
                self._all_due()
                self._delivery.poke()
        elif retained:
            if not self._is_own(payload):
                return
            camera = unquote(topic.split("/")[-2])
            with self._gate:
                self._remembered.add(camera)
                if self._watched is None or camera in self._watched:
                    return
                self._stale.add(camera)
            self._delivery.poke()

    def _is_own(self, payload: bytes) -> bool:
        """Whether a retained state was written by this sink."""
        try:
            state = json.loads(payload) if len(payload) <= _LONGEST else None
        except (ValueError, RecursionError):
            return False
        return isinstance(state, dict) and state.get("watch") == self._spool.identity


def level(name: str) -> str:
    """``name`` as one level of a topic: what may not stand there as ``%`` and its bytes in hexadecimal."""
    return "".join(
        quote(character, safe="") if character in "/+#%" or not character.isprintable() else character
        for character in name
    )


def state_json(status: CameraStatus, watch: str) -> dict[str, Any]:
    """The fields of a camera's retained state. Who is there is only known of a live camera: else it is null.
    ``watch``: who wrote it."""
    live = status.state == "live"
    ages = sorted(round(person.age, 1) for person in status.people if person.age is not None) if live else []
    return {
        "state": status.state,
        "since": utc_text(status.since),
        "why": status.why,
        "people": len(status.people) if live else None,
        "ages": ages,
        "youngest": min(ages, default=None),
        "oldest": max(ages, default=None),
        "server": status.server,
        "watch": watch,
    }
