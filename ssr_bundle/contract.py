"""The preprocessing contract: what travels with a network's weights, and what a client may rely on.

``contract.json`` has two parts. ``interface`` belongs to the client (picture, crop, output) and is
hashed; everything else belongs to one version of the weights. Standard library only, so that the
client, the repository builder and the trainer read one definition.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from typing import Any, Literal, cast

from ssr_bundle import strict_json
from ssr_bundle.errors import SsrError
from ssr_bundle.face_crop import Crop as Crop
from ssr_bundle.face_crop import Template as Template
from ssr_bundle.fields import ContractError as ContractError
from ssr_bundle.fields import Fields, is_number, same, whole
from ssr_bundle.recalibration import Recalibration as Recalibration
from ssr_bundle.shown import cut, printable_json, shown

CONTRACT_VERSIONS = (1, 2)
"""What is read. A contract is written in the oldest version that can say it: 1, but 2 for a
recalibration and for crops that need it."""

IMAGE_SIZE = 64
"""Height and width of a crop in pixels: the size the network's levels are made for (paper 4.1)."""

Colour = Literal["bgr", "rgb"]


class _Part:
    """A dataclass that is an object in the contract: its fields, by their names and in their order."""

    def to_json(self) -> dict[str, Any]:
        data: dict[str, Any] = json.loads(json.dumps(asdict(cast(Any, self))))
        return data


@dataclass(frozen=True)
class Tap:
    """Where a stage reads the two streams: after which block, and through which head pool (1 = none)."""

    level: int
    pool: int


_TAPS: dict[int, tuple[Tap, ...]] = {
    1: (Tap(4, 1),),
    2: (Tap(4, 1), Tap(2, 4)),
    3: (Tap(4, 1), Tap(2, 4), Tap(1, 8)),
    4: (Tap(4, 1), Tap(3, 2), Tap(2, 4), Tap(1, 8)),
}

LEVEL_SIZES = {1: 31, 2: 14, 3: 6, 4: 4}
"""Side of the square feature map that a tap at each level reads (valid convolutions, 2x2 pools)."""

_SMALLEST_FLOOR = 1e-6
"""Below this a product of widths can leave the range in which answers stay finite."""

MAX_FILES_BYTES = 1 << 30
"""What the files of a bundle may have together: no file is read that could not be a bundle's."""

_LARGEST_FLOAT32 = struct.unpack("f", b"\xff\xff\x7f\x7f")[0]

_FILE_NAME = re.compile(r"(?!\.)[ -~]{1,255}")

_TEXTS = (
    "command",
    "data",
    "data_name",
    "data_sha256",
    "initial_weights_sha256",
    "labels_sha256",
    "leak",
    "licence",
    "protocol",
    "source",
    "source_sha256",
    "split",
    "training_data",
    "weights",
)
"""Keys of the provenance that commands read as text."""

_QUANTIZATION_LIMIT = 1e9
"""Ranges lie in 1/this..this and corrections within +-this: then every scale is a normal float32."""

_NUMBERS_APART = re.compile(r"(?<=\[)\n[-+0-9.eE,\s]+(?=\])")
"""A list of numbers as ``json.dumps`` indents it, a line each; no string holds a line break."""

BLOCKS = 4
"""Convolution blocks in a stream (paper, Figure 1a)."""


@dataclass(frozen=True)
class Architecture:
    """The network's shape and the constants of soft stagewise regression (paper 3.2 to 3.5).

    ``stages`` are the bins s_k, deepest level first; ``value_range`` is V. ``lambda_index`` and
    ``lambda_width`` scale the shift eta and the width change Delta; both 0 switch the dynamic
    range off, the paper's ablation. ``denominator_floor`` bounds 1 + lambda_width * Delta_k from
    below: in float32 1 + tanh(x) rounds to 0 and the unguarded formula gives 0/0.
    """

    stages: tuple[int, ...] = (3, 3, 3)
    value_range: float = 101.0
    lambda_index: float = 1.0
    lambda_width: float = 1.0
    denominator_floor: float = 1e-3
    width_x: int = 32
    width_s: int = 16
    width_fusion: int = 10
    batch_norm_epsilon: float = 1e-3

    def __post_init__(self) -> None:
        object.__setattr__(self, "stages", tuple(int(s) for s in self.stages))
        if not 1 <= len(self.stages) <= len(_TAPS):
            raise ContractError(
                f"architecture: {len(self.stages)} stages; this network has levels for 1 to {len(_TAPS)}"
            )
        if any(not 1 <= s <= 256 for s in self.stages):
            raise ContractError(
                f"architecture: bins a stage must lie in 1..256, got {shown(list(self.stages))}"
            )
        for name in ("width_x", "width_s", "width_fusion"):
            if not 1 <= getattr(self, name) <= 512:
                raise ContractError(
                    f"architecture: {name} must lie in 1..512, got {shown(getattr(self, name))}"
                )
        for name in ("value_range", "denominator_floor", "batch_norm_epsilon"):
            value = getattr(self, name)
            if not 0 < value <= _LARGEST_FLOAT32:
                raise ContractError(
                    f"architecture: {name} must be positive and finite in float32, got {value}"
                )
        if self.denominator_floor < _SMALLEST_FLOOR:
            raise ContractError(
                f"architecture.denominator_floor: must be at least {_SMALLEST_FLOOR}, "
                f"got {self.denominator_floor}"
            )
        for name in ("lambda_index", "lambda_width"):
            value = getattr(self, name)
            if not (math.isfinite(value) and 0 <= value <= 1):
                raise ContractError(f"architecture: {name} must lie in 0..1, got {value}")

    @property
    def taps(self) -> tuple[Tap, ...]:
        """Level and head pool of each stage, deepest first."""
        return _TAPS[len(self.stages)]

    def features(self, stage: int) -> int:
        """Length of the flattened head input of ``stage`` (0-based): side * side * fusion width."""
        tap = self.taps[stage]
        return (LEVEL_SIZES[tap.level] // tap.pool) ** 2 * self.width_fusion

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of every stored array: SSRNet's state dict, less the batch counters.

        Convolutions are OIHW; head layers are (out, in) over features flattened in HWC order.
        """
        shapes: dict[str, tuple[int, ...]] = {}
        for stream, width in (("x", self.width_x), ("s", self.width_s)):
            for block in range(BLOCKS):
                prefix = f"{stream}.{block}"
                shapes[f"{prefix}.conv.weight"] = (width, 3 if block == 0 else width, 3, 3)
                shapes[f"{prefix}.conv.bias"] = (width,)
                for name in ("weight", "bias", "running_mean", "running_var"):
                    shapes[f"{prefix}.norm.{name}"] = (width,)
        for k, bins in enumerate(self.stages):
            prefix, features, f = f"stages.{k}", self.features(k), self.width_fusion
            layers = {
                "fuse_x": (f, self.width_x, 1, 1),
                "fuse_s": (f, self.width_s, 1, 1),
                "delta": (1, features),
                "bins_x": (bins, features),
                "bins_s": (bins, features),
                "mix": (2 * bins, bins),
                "p": (bins, 2 * bins),
                "eta": (bins, 2 * bins),
            }
            for name, shape in layers.items():
                shapes[f"{prefix}.{name}.weight"] = shape
                shapes[f"{prefix}.{name}.bias"] = shape[:1]
        return shapes

    def to_json(self) -> dict[str, Any]:
        """The form in ``contract.json``; taps are written out for readers, derived on reading."""
        return {
            "stages": list(self.stages),
            "value_range": self.value_range,
            "lambda_index": self.lambda_index,
            "lambda_width": self.lambda_width,
            "denominator_floor": self.denominator_floor,
            "widths": {"x": self.width_x, "s": self.width_s, "fusion": self.width_fusion},
            "taps": [asdict(tap) for tap in self.taps],
            "batch_norm_epsilon": self.batch_norm_epsilon,
        }

    @classmethod
    def from_json(cls, data: Any) -> Architecture:
        """Read and check the ``architecture`` object of a contract."""
        block = Fields(data, "architecture")
        widths = Fields(block["widths"], "architecture.widths")
        stages = tuple(whole(s, "architecture.stages") for s in block.list("stages"))
        numbers = ("value_range", "lambda_index", "lambda_width", "denominator_floor", "batch_norm_epsilon")
        others: dict[str, Any] = {name: block.number(name) for name in numbers}
        others |= {f"width_{name}": widths.whole(name) for name in ("x", "s", "fusion")}
        architecture = cls(stages, **others)
        taps = [asdict(tap) for tap in architecture.taps]
        if not same(block["taps"], taps):
            raise ContractError(
                f"architecture.taps: {shown(block['taps'])} is not this network's layout for "
                f"{len(architecture.stages)} stages, expected {taps}"
            )
        return architecture


@dataclass(frozen=True)
class Input(_Part):
    """What one image of a request is: (size, size, 3) ``uint8`` values, 0..255, in ``colour`` order."""

    colour: Colour = "bgr"
    name: str = "image"

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "size": [IMAGE_SIZE, IMAGE_SIZE],
            "channels": 3,
            "colour": self.colour,
            "dtype": "uint8",
            "layout": "nhwc",
            "scale": 1.0,
        }

    @classmethod
    def from_json(cls, data: Any) -> Input:
        block = Fields(data, "interface.input")
        result = cls(colour=cast(Colour, block.choice("colour", "bgr", "rgb")), name=block.name())
        for key, expected in result.to_json().items():
            if not same(value := block.data.get(key), expected):
                raise ContractError(
                    f"interface.input.{key}: {shown(value)} is not supported, expected {expected!r}"
                )
        return result


@dataclass(frozen=True)
class Output(_Part):
    """The answer: its tensor name, unit, and the range that served answers are clipped to."""

    name: str = "age"
    unit: str = "years"
    clip: tuple[float, float] = (0.0, 101.0)

    @classmethod
    def from_json(cls, data: Any) -> Output:
        block = Fields(data, "interface.output")
        clip = block.list("clip")
        if len(clip) != 2 or not all(map(is_number, clip)) or not _rise_in_float32(*clip):
            raise ContractError(
                f"interface.output.clip: expected two rising numbers of float32, got {shown(clip)}"
            )
        return cls(block.name(), block.text("unit"), (float(clip[0]), float(clip[1])))

    @classmethod
    def for_value_range(cls, value_range: float) -> Output:
        """An age in years, or, for the general network (V = 1), the probability of ``male``."""
        if value_range == 1.0:
            return cls("male", "probability", (0.0, 1.0))
        return cls("age", "years", (0.0, float(value_range)))


@dataclass(frozen=True)
class Interface:
    """The client's part of the contract. Two versions of one model share it to the last bit."""

    input: Input = field(default_factory=Input)
    crop: Crop = field(default_factory=Crop)
    output: Output = field(default_factory=Output)

    def to_json(self) -> dict[str, Any]:
        parts: dict[str, Any] = {"input": self.input, "crop": self.crop, "output": self.output}
        return {name: part.to_json() for name, part in parts.items()}

    @classmethod
    def from_json(cls, data: Any) -> Interface:
        block = Fields(data, "interface")
        return cls(
            input=Input.from_json(block["input"]),
            crop=Crop.from_json(block["crop"]),
            output=Output.from_json(block["output"]),
        )

    @cached_property
    def sha256(self) -> str:
        """Hash over the canonical JSON form; the same in Python, in the backend and on the wire."""
        return hashlib.sha256(canonical_json(self.to_json()).encode()).hexdigest()


@dataclass(frozen=True)
class Interval(_Part):
    """Calibrated half-widths (split conformal): answer a lies within a +- half_widths[band(a)].

    ``edges`` are the rising inner borders between bands, so ``len(half_widths) == len(edges) + 1``;
    a value equal to an edge belongs to the upper band.
    """

    coverage: float
    edges: tuple[float, ...]
    half_widths: tuple[float, ...]

    @classmethod
    def from_json(cls, data: Any) -> Interval | None:
        if data is None:
            return None
        block = Fields(data, "interval")
        coverage = block.number("coverage")
        edges: Sequence[Any] = block.list("edges")
        widths: Sequence[Any] = block.list("half_widths")
        if not 0 < coverage < 1:
            raise ContractError(f"interval.coverage must lie between 0 and 1, got {coverage}")
        if not all(is_number(v) for v in [*edges, *widths]) or any(w < 0 for w in widths):
            raise ContractError("interval: edges and half_widths must be finite numbers, widths not negative")
        edges, widths = tuple(map(float, edges)), tuple(map(float, widths))
        if len(widths) != len(edges) + 1 or any(b <= a for a, b in pairwise(edges)):
            raise ContractError("interval: edges must rise, with one half-width more than edges")
        return cls(coverage, edges, widths)


PRECISIONS = ("bf16", "int8")
"""Precisions that need a ``quantization``, as its keys name them."""


FIRST_BLOCKS = ("x.0", "s.0")
"""The convolutions that read the picture."""


@dataclass(frozen=True)
class Quantization(_Part):
    """What the int8 and bf16 networks need beside the weights; all in real units, no stored integers.

    ``ranges``: for each map of stream X (``x.0`` .. ``x.3``) the value that its largest byte stands for,
    after ReLU and pool: one number, or one for each channel. Maps of stream S are tanh: 1, not stored.
    ``bias_correction``: by precision (:data:`PRECISIONS`), for each convolution, what is added to the
    bias of each output channel after batch norm is folded in.
    ``rounding``: for each convolution but the first blocks' (``x.0``, ``s.0``: their weights are finer, and
    rounded to nearest) one bit a weight of the int8 network in storage order, as hexadecimal text (see
    :func:`ssr_ops.quantized.rounding_bits`): rounded up from its floor or not. None: all to nearest.
    ``calibration``: how these were found, and how far the answers then drift.
    """

    ranges: dict[str, float | tuple[float, ...]]
    bias_correction: dict[str, dict[str, tuple[float, ...]]]
    rounding: dict[str, str] | None = None
    calibration: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, data: Any, architecture: Architecture) -> Quantization | None:
        """Read and check the ``quantization`` object against the network's layers; None for null."""
        if data is None:
            return None
        block = Fields(data, "quantization")
        widths = convolution_widths(architecture)
        rounding = block["rounding"]
        ranges = block.exactly("ranges", [name for name in widths if name.startswith("x.")])
        corrections = block.exactly("bias_correction", PRECISIONS)
        return cls(
            ranges={
                name: _range(value, widths[name], f"{ranges.where}.{name}")
                for name, value in ranges.data.items()
            },
            bias_correction={
                precision: {
                    name: _numbers(values, widths[name], f"{corrections.where}.{precision}.{name}")
                    for name, values in corrections.exactly(precision, list(widths)).data.items()
                }
                for precision in PRECISIONS
            },
            rounding=None if rounding is None else _rounding(block, architecture),
            calibration=dict(Fields(block["calibration"], "quantization.calibration").data),
        )


def convolution_widths(architecture: Architecture) -> dict[str, int]:
    """Every convolution by name (``x.0``, ``s.0`` .. ``s.3``, ``stages.<k>.fuse_x``, ``fuse_s``) with its
    output channels."""
    widths: dict[str, int] = {}
    for block in range(BLOCKS):
        widths |= {f"x.{block}": architecture.width_x, f"s.{block}": architecture.width_s}
    for k in range(len(architecture.stages)):
        widths |= {f"stages.{k}.fuse_{stream}": architecture.width_fusion for stream in "xs"}
    return widths


@dataclass(frozen=True)
class File:
    """One file of the bundle, as the contract pins it."""

    sha256: str
    bytes: int


@dataclass(frozen=True)
class Contract:
    """Everything a user of the weights must know (``contract.json``)."""

    name: str
    interface: Interface
    architecture: Architecture
    provenance: dict[str, Any] = field(default_factory=dict)
    quantization: Quantization | None = None
    interval: Interval | None = None
    recalibration: Recalibration | None = None
    files: dict[str, File] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_model_name(self.name)

    @property
    def version(self) -> int:
        """The oldest contract version that can say this."""
        return _version(self.interface, self.recalibration)

    @property
    def magnified(self) -> float:
        """How much larger the rounding of the network can be in what is served."""
        return 1.0 if self.recalibration is None else max(1.0, self.recalibration.steepest)

    @property
    def value_range(self) -> float:
        """V, by which tolerances scale."""
        return self.architecture.value_range

    @property
    def weights_sha256(self) -> str:
        """Identity of the version: the hash of its ``model.safetensors``."""
        return self.files["model.safetensors"].sha256

    def network_json(self, precision: str) -> dict[str, Any]:
        """What a graph in ``precision`` is made from beside interface and weights: the architecture, interval
        and recalibration and, in int8, the quantization without the record of its calibration."""
        network: dict[str, Any] = {"architecture": self.architecture.to_json()}
        if precision == "int8" and self.quantization is not None:
            network["quantization"] = self.quantization.to_json() | {"calibration": None}
        if self.interval is not None:
            network["interval"] = self.interval.to_json()
        if self.recalibration is not None:
            network["recalibration"] = self.recalibration.to_json()
        return network

    def with_files(self, files: Mapping[str, File]) -> Contract:
        return replace(self, files=dict(sorted(files.items())))

    def to_json(self) -> dict[str, Any]:
        return {
            "contract_version": self.version,
            "name": self.name,
            "interface": self.interface.to_json(),
            "interface_sha256": self.interface.sha256,
            "architecture": self.architecture.to_json(),
            "quantization": None if self.quantization is None else self.quantization.to_json(),
            "interval": None if self.interval is None else self.interval.to_json(),
            **({} if self.recalibration is None else {"recalibration": self.recalibration.to_json()}),
            "provenance": self.provenance,
            "files": {name: asdict(entry) for name, entry in self.files.items()},
        }

    def dumps(self) -> str:
        """The text of ``contract.json``, which a terminal can show as it is."""
        return text_of(self.to_json())

    @classmethod
    def loads(cls, text: str) -> Contract:
        """Parse and check ``contract.json``; raises :class:`ContractError` naming the first fault."""
        block = parsed(text)
        data = block.data
        if "kind" in data:
            told = "expected the bundle of an SSR-Net, which has no kind"
            raise ContractError(f"kind: this is the bundle of a {shown(data['kind'])}, {told}")
        version = block["contract_version"]
        if not any(same(version, known) for known in CONTRACT_VERSIONS):
            raise ContractError(f"contract_version {shown(version)} is unknown, expected 1 or 2")
        interface = Interface.from_json(block["interface"])
        recalibration = Recalibration.from_json(data.get("recalibration"), interface.output.clip)
        if version != (needed := _version(interface, recalibration)):
            what = "interface.crop" if needed == interface.crop.contract_version else "recalibration"
            raise ContractError(f"contract_version {version}: this {what} is one of version {needed}")
        check_interface(interface, block, text)
        architecture = Architecture.from_json(block["architecture"])
        return cls(
            name=block.text("name"),
            interface=interface,
            architecture=architecture,
            provenance=read_provenance(block["provenance"]),
            quantization=Quantization.from_json(block["quantization"], architecture),
            interval=Interval.from_json(block["interval"]),
            recalibration=recalibration,
            files=read_files(block["files"]),
        )


def parsed(text: str) -> Fields:
    """The object that a ``contract.json`` of any kind holds; :class:`ContractError` for other text."""
    try:
        return Fields(strict_json.loads(text), "contract")
    except strict_json.JsonError as error:
        raise ContractError(str(error)) from None


def check_interface(interface: Interface, contract: Fields, text: str) -> None:
    """Raise :class:`ContractError` unless the ``contract``, parsed from ``text``, has ``interface`` written
    to the last digit as it is hashed, and its hash."""
    canonical = canonical_json(interface.to_json())
    written = (canonical_json(contract["interface"]), _numbers_as_text(text)["interface"])
    if written != (canonical, _numbers_as_text(canonical)):
        raise ContractError(
            f"interface: expected exactly {cut(canonical, 1000)} "
            "(no other keys, numbers written the same way)"
        )
    if contract["interface_sha256"] != interface.sha256:
        raise ContractError(
            f"interface_sha256 is {shown(contract['interface_sha256'])}, "
            f"but the interface hashes to {interface.sha256}"
        )


def _version(interface: Interface, recalibration: Recalibration | None) -> int:
    return max(interface.crop.contract_version, 1 if recalibration is None else 2)


def check_model_name(name: str, error: type[SsrError] = ContractError) -> str:
    """``name``, if a model folder, a URL and a shell can carry it; else ``error``."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", name):
        told = "cannot name a model, expected letters, digits, '_', '.', '-' (at most 64)"
        raise error(f"name: {shown(name)} {told}")
    return name


def text_of(contract: Mapping[str, Any]) -> str:
    """A contract as ``contract.json`` holds it: indented, a list of numbers on one line."""
    text = json.dumps(contract, indent=2, ensure_ascii=False, allow_nan=False)
    return printable_json(_NUMBERS_APART.sub(lambda found: " ".join(found[0].split()), text)) + "\n"


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _numbers_as_text(text: str) -> Any:
    """The JSON value of ``text`` with each number as a string of its digits, as they are written."""
    return json.loads(text, parse_int=str, parse_float=str)


def read_provenance(data: Any) -> dict[str, Any]:
    """Free text for readers, but for what commands read: each of those has its type, or is null."""
    block = Fields(data, "provenance")
    for key, kind, expected in (
        *((key, str, "a string") for key in _TEXTS),
        ("metrics", dict, "an object"),
        ("synthetic", bool, "true or false"),
    ):
        if not isinstance(value := data.get(key), kind | None):
            raise ContractError(f"provenance.{key}: expected {expected}, got {shown(value)}")
    return dict(block.data)


def _range(value: Any, width: int, where: str) -> float | tuple[float, ...]:
    """A positive number, or a list of ``width`` of them."""
    if not isinstance(value, list) and not is_number(value):
        raise ContractError(f"{where}: expected a positive number or a list of {width}, got {shown(value)}")
    numbers = _numbers(value, width, where) if isinstance(value, list) else _numbers([value], 1, where)
    if not all(1 / _QUANTIZATION_LIMIT <= v <= _QUANTIZATION_LIMIT for v in numbers):
        raise ContractError(
            f"{where}: must lie in {1 / _QUANTIZATION_LIMIT:g}..{_QUANTIZATION_LIMIT:g}, got {min(numbers)!r}"
        )
    return numbers if isinstance(value, list) else numbers[0]


def _rounding(block: Fields, architecture: Architecture) -> dict[str, str]:
    """Hexadecimal text for every convolution, as many bits as it has weights, the spare ones 0."""
    shapes = architecture.parameter_shapes()
    names = [name for name in convolution_widths(architecture) if name not in FIRST_BLOCKS]
    rounding = block.exactly("rounding", names).data
    for name, text in rounding.items():
        weights = math.prod(shapes[f"{name}.weight" if name.startswith("stages") else f"{name}.conv.weight"])
        digits, spare = 2 * ((weights + 7) // 8), -weights % 8
        where = f"quantization.rounding.{name}"
        if not isinstance(text, str) or not re.fullmatch(f"[0-9a-f]{{{digits}}}", text):
            raise ContractError(f"{where}: expected {digits} hexadecimal digits, one bit a weight")
        if spare and int(text[-2:], 16) % (1 << spare):
            raise ContractError(f"{where}: the {spare} bits after the last weight's must be 0")
    return dict(rounding)


def _numbers(value: Any, width: int, where: str) -> tuple[float, ...]:
    """A list of ``width`` finite numbers."""
    if not isinstance(value, list) or len(value) != width or not all(map(is_number, value)):
        what = f"{len(value)} values" if isinstance(value, list) else shown(value)
        raise ContractError(f"{where}: expected {width} finite numbers, got {what}")
    numbers = tuple(map(float, value))
    if any(abs(v) > _QUANTIZATION_LIMIT for v in numbers):
        raise ContractError(
            f"{where}: must lie within +-{_QUANTIZATION_LIMIT:g}, got {max(numbers, key=abs)!r}"
        )
    return numbers


def read_files(data: Any) -> dict[str, File]:
    """The files that a contract lists, each of a plain name and with its hash and size."""
    files = {name: _file(name, entry) for name, entry in Fields(data, "files").data.items()}
    if (size := sum(file.bytes for file in files.values())) > MAX_FILES_BYTES:
        raise ContractError(f"files: {size:,} bytes together, expected at most {MAX_FILES_BYTES:,}")
    return files


def _file(name: str, data: Any) -> File:
    if not _FILE_NAME.fullmatch(name) or "/" in name or "\\" in name:
        raise ContractError(f"files: {shown(name)} is not a plain file name")
    block = Fields(data, f"files.{name}")
    sha256 = block["sha256"]
    if not isinstance(sha256, str) or not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise ContractError(f"files.{name}.sha256: expected 64 hexadecimal digits, got {shown(sha256)}")
    if not 0 <= (size := block.whole("bytes")) <= MAX_FILES_BYTES:
        told = f"expected a size of at most {MAX_FILES_BYTES:,}, got {shown(size)}"
        raise ContractError(f"files.{name}.bytes: {told}")
    return File(sha256, size)


def _rise_in_float32(low: float, high: float) -> bool:
    if max(abs(low), abs(high)) > _LARGEST_FLOAT32:
        return False
    first, second = struct.unpack("2f", struct.pack("2f", low, high))
    return bool(first < second)
