"""A camera as Home Assistant discovers it: one retained message that describes a device and its entities."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

from ssr_bundle import __version__
from ssr_video.live.sinks.broker import Message


def object_id(prefix: str, camera: str) -> str:
    """The camera's name among all devices, of letters, digits, ``_`` and ``-``; different for each camera."""
    name = f"{prefix}_{camera}"
    plain = re.sub(r"[^A-Za-z0-9_-]", "_", name)
    return plain if plain == name else f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def discovery_topic(discovery: str, prefix: str, camera: str) -> str:
    return f"{discovery}/device/{object_id(prefix, camera)}/config"


def device(discovery: str, prefix: str, camera: str, state_topic: str, status_topic: str) -> Message:
    """The device of ``camera``, whose state is JSON at ``state_topic``; it is available while ``online`` is
    at ``status_topic``."""
    name = object_id(prefix, camera)
    entities = {
        "connection": {
            "platform": "binary_sensor",
            "name": "Connection",
            "device_class": "connectivity",
            "entity_category": "diagnostic",
            "value_template": "{{ 'ON' if value_json.state == 'live' else 'OFF' }}",
        },
        "people": _sensor("People", "people", "mdi:account-group", "people"),
        "youngest": _sensor("Youngest", "youngest", "mdi:human-child", "years"),
        "oldest": _sensor("Oldest", "oldest", "mdi:human-cane", "years"),
    }
    payload = {
        "device": {
            "identifiers": [name],
            "name": camera,
            "manufacturer": "ssr-video",
            "model": "camera",
            "sw_version": __version__,
        },
        "origin": {"name": "ssr-video", "sw_version": __version__},
        "components": {key: {**entity, "unique_id": f"{name}_{key}"} for key, entity in entities.items()},
        "availability": [{"topic": status_topic}],
        "state_topic": state_topic,
        "qos": 1,
    }
    return Message(discovery_topic(discovery, prefix, camera), json.dumps(payload), retain=True)


def _sensor(name: str, key: str, icon: str, unit: str) -> dict[str, Any]:
    """A sensor of the number at ``key``; null there is unknown."""
    return {
        "platform": "sensor",
        "name": name,
        "icon": icon,
        "state_class": "measurement",
        "unit_of_measurement": unit,
        "value_template": f"{{{{ value_json.{key} }}}}",
    }
