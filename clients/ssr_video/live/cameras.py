"""cameras.toml: which cameras are watched, how, and where their events go."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ssr_bundle.errors import SsrError
from ssr_bundle.regular import opened
from ssr_bundle.shown import shown
from ssr_video.live.address import check_address, filled_address, shown_address
from ssr_video.live.keys import Keys, known
from ssr_video.live.sinks.settings import SinkSettings, sinks_of
from ssr_video.live.zones import Polygon, Zone, polygon, zones_of

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _.-]{0,63}")
"""A camera's name: it becomes a label, a topic and part of a file's name."""

MOST_BYTES = 1 << 20
"""Of a configuration."""


@dataclass(frozen=True)
class Camera:
    """One camera. Seconds, frames a second, pixels of the face's box.

    ``address``: where it is, as it may be shown.
    ``open_timeout``: until the first frame arrives. ``silence``: without a frame, after which the camera is
    lost. ``staleness``: a frame that waited longer is not worked on. ``fps``: frames analysed a second at
    most, 0 for all. ``budget``, ``smallest_face``: as of ``ssr-video run``. ``masks`` are painted black
    before anybody looks.
    """

    name: str
    url: str = field(repr=False)
    address: str = ""
    transport: str = "tcp"
    open_timeout: float = 5.0
    silence: float = 5.0
    staleness: float = 0.5
    fps: float = 0.0
    budget: float = 0.1
    smallest_face: float = 24.0
    zones: tuple[Zone, ...] = ()
    masks: tuple[Polygon, ...] = ()


@dataclass(frozen=True)
class Settings:
    """What a configuration says. ``cameras`` by name, in the order of the file."""

    cameras: Mapping[str, Camera]
    sinks: tuple[SinkSettings, ...] = ()


_BOUNDS = {
    "open_timeout": (1.0, 60.0),
    "silence": (1.0, 300.0),
    "staleness": (0.05, 10.0),
    "fps": (0.0, 240.0),
    "budget": (0.001, 1.0),
    "smallest_face": (8.0, 2000.0),
}
_OPTIONS = ("transport", *_BOUNDS)
_KEYS = ("url", *_OPTIONS, "zones", "masks")


def read_settings(path: Path, environ: Mapping[str, str]) -> Settings:
    """The configuration at ``path``; ``${NAME}`` in it stands for a variable of ``environ``.

    Raises :class:`SsrError` that names the file, the table and the key, and never a secret.
    """
    with opened(path, SsrError) as file:
        text = file.read(MOST_BYTES + 1)
    if len(text) > MOST_BYTES:
        raise SsrError(f"{path}: expected a configuration of at most {MOST_BYTES:,} bytes")
    try:
        table = tomllib.loads(text.decode("utf-8"))
    except UnicodeDecodeError:
        raise SsrError(f"{path}: expected TOML in UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise SsrError(f"{path}: {_twice(str(error)) or f'no TOML ({error})'}") from None
    return settings_of(table, str(path), environ)


def settings_of(table: Mapping[str, Any], where: str, environ: Mapping[str, str]) -> Settings:
    """As :func:`read_settings`, of the table that the file holds; ``where`` is its name."""
    known(table, ("camera", "defaults", "sink"), where)
    defaults = Keys(table.get("defaults", {}), _OPTIONS, f"{where}: [defaults]").table
    given = table.get("camera", {})
    if not isinstance(given, dict):
        raise SsrError(f"{where}: camera: expected tables such as [camera.front], got {shown(given)}")
    if not given:
        raise SsrError(f"{where}: no camera, expected tables such as [camera.front] with its url")
    cameras = {}
    for name, values in given.items():
        if not NAME.fullmatch(name):
            expected = "letters, digits, spaces, '_', '.' and '-', at most 64, a letter or digit first"
            raise SsrError(f"{where}: camera {shown(name)}: expected a name of {expected}")
        own = Keys(values, _KEYS, f"{where}: [camera.{name}]")
        cameras[name] = _camera(name, Keys({**defaults, **own.table}, _KEYS, own.where), environ)
    return Settings(cameras, tuple(sinks_of(table.get("sink", {}), where, environ)))


def _camera(name: str, keys: Keys, environ: Mapping[str, str]) -> Camera:
    template = keys.get("url")
    if not isinstance(template, str):
        raise keys.wrong("url", f"expected a string, got {type(template).__name__}")
    try:
        url = filled_address(template, environ)
    except SsrError as error:
        raise keys.wrong("url", str(error)) from None
    check_address(url, f"{keys.where}: url")
    camera = Camera(name, url, shown_address(template))
    numbers: dict[str, Any] = {
        key: keys.number(key, getattr(camera, key), least=least, most=most)
        for key, (least, most) in _BOUNDS.items()
    }
    masks = keys.table.get("masks", [])
    if not isinstance(masks, list):
        raise keys.wrong("masks", "expected a list of polygons")
    return replace(
        camera,
        transport=keys.choice("transport", ("tcp", "udp"), camera.transport),
        **numbers,
        zones=zones_of(keys.table.get("zones", {}), f"{keys.where}: zones"),
        masks=tuple(polygon(mask, f"{keys.where}: masks[{i}]") for i, mask in enumerate(masks)),
    )


def _twice(error: str) -> str | None:
    """What two tables of one name are, of what the reader of TOML says."""
    found = re.fullmatch(r"Cannot declare \('camera', '(.*)'\) twice \(at (line \d+).*\)", error)
    return found and f"two cameras are called {shown(found[1])}, the second at {found[2]}"
