"""config.pbtxt, rendered from a contract and read back through Triton's own protobuf definition."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ssr_bundle.contract import IMAGE_SIZE, Contract, canonical_json
from ssr_bundle.errors import SsrError, UsageError
from ssr_bundle.method import ServedContract
from ssr_bundle.regular import read_whole
from triton_repo.flavors import SSR, TENSORRT, Flavor, named

CONFIG_FILE = "config.pbtxt"
_MOST_BYTES = 1 << 20  # of config.pbtxt; those that `build` writes have 3 KB

CROPS, FRAME = "crops", "frame"
"""Modes: what a request to a model of ours holds."""

NO_DETECTOR = "none"
"""In place of a detector's bundle, or of its hash."""

PYTHON, PYTHON_STUB = "python", "triton_python_backend_stub"
"""The stock backend whose models are programs, and what it runs them with."""

_PIXELS = 4096 * 2304

CUDA_GRAPH_SIZES = (1, 2, 4, 8, 16, 32, 64)
"""Batches for which TensorRT's launches are recorded; each serves the sizes down to the one before it.
Above, the kernels take longer than their launches, and a graph saves nothing."""


class ConfigError(SsrError):
    """A configuration that cannot be written or read."""


@dataclass(frozen=True)
class Options:
    """How a model is served.

    ``flavors``: names of :data:`triton_repo.flavors.FLAVORS`; each becomes a model. ``precision``: of the
    arithmetic, one that every flavor has; bf16 and int8 need bundles that ``ssr-train quantize`` made, and
    ``auto`` is what :func:`ssr_ops.choose_precision` finds where the model is loaded.
    ``threads`` are those of the CPU; TensorRT has none. ``device``: TensorRT's is the GPU, whatever it says.

    ``max_batch`` 64: the engine works image by image, so that a larger batch saves nothing on a CPU
    and only keeps the merged requests waiting for each other; ``preferred_batch`` stops the merging at such
    a size, where a smaller ``max_batch`` would refuse larger requests as well. ``queue_delay_us`` 0: requests
    are merged from what queued while the instance worked, never held back. ``keep``: how many of the newest
    versions are loaded; 2 makes a rollback immediate.

    ``dynamic_batching`` False: a request is an execution, and an instance takes it straight from the server's
    queue. On a CPU that is the quicker answer to requests of a crop or a few, for merging saves the engine
    nothing and costs the server a thread more to wake; on a GPU merging is what fills it.

    ``frame``: also make the model that takes whole frames, with ``detector``: a bundle's folder, ``default``
    for the shipped one, ``none``: boxes then come with every request. It takes frames of at most
    ``max_frame_pixels``, with at most ``max_boxes`` faces each, and lets ``max_frames`` of them wait.

    ``queue_timeout_ms``: reject a request that waited this long (its own ``timeout`` wins); ``max_queue``:
    reject new ones beyond so many. Both are off by default, for a measured reason: with any queue policy
    the server (seen on 2.51.0) forms a batch only for an idle instance, is not woken when one becomes
    idle, and looks again after 500 ms, so that a burst of requests is answered at 40 crops a second
    instead of 5,000. A client's gRPC deadline needs neither: its end cancels the request in the queue.
    """

    instances: int = 1
    threads: int = 1
    precision: str = "fp32"
    max_batch: int = 64
    preferred_batch: tuple[int, ...] = ()
    dynamic_batching: bool = True
    queue_delay_us: int = 0
    queue_timeout_ms: int = 0
    max_queue: int = 0
    device: Literal["cpu", "gpu"] = "cpu"
    debug_outputs: bool = False
    warmup: bool = True
    keep: int = 2
    flavors: tuple[str, ...] = (SSR.name,)
    frame: bool = False
    detector: str = "default"
    max_frame_pixels: int = _PIXELS
    max_boxes: int = 1024
    max_frames: int = 64

    def __post_init__(self) -> None:
        limits = {
            "instances": (1, 256),
            "threads": (1, 256),
            "max_batch": (1, 4096),
            "queue_delay_us": (0, 10_000_000),
            "queue_timeout_ms": (0, 3_600_000),
            "max_queue": (0, 1_000_000),
            "keep": (1, 64),
            "max_frame_pixels": (64 * 64, 1 << 30),
            "max_boxes": (1, 1 << 20),
            "max_frames": (1, 1 << 20),
        }
        for name, (low, high) in limits.items():
            check_range(name.replace("_", "-"), getattr(self, name), low, high)
        for size in self.preferred_batch:
            check_range("preferred-batch", size, 1, self.max_batch, ", the max-batch")
        if not self.dynamic_batching:
            merging = ("preferred_batch", "queue_delay_us", "queue_timeout_ms", "max_queue")
            if asked := [name.replace("_", "-") for name in merging if getattr(self, name)]:
                raise UsageError(
                    f"{', '.join(asked)}: nothing without dynamic batching, leave out one or the other"
                )
        if self.device not in ("cpu", "gpu"):
            raise UsageError(f"device: expected cpu or gpu, got {self.device!r}")
        if not self.flavors:
            raise UsageError("flavor: none given")
        for flavor in map(named, self.flavors):
            if self.precision not in flavor.precisions:
                whose = "" if self.flavors == (SSR.name,) else f" of flavor {flavor.name}"
                raise UsageError(
                    f"precision{whose}: expected {', '.join(flavor.precisions)}, got {self.precision!r}"
                )
        own = {"detector": "default", "max_frame_pixels": _PIXELS, "max_boxes": 1024, "max_frames": 64}
        useless = [k.replace("_", "-") for k, v in own.items() if getattr(self, k) != v]
        if useless and not self.frame:
            raise UsageError(f"{', '.join(useless)}: nothing without frame, ask for it (--frame)")
        if self.frame and SSR.name not in self.flavors:
            raise UsageError("frame: only flavor ssr can serve it")
        if self.debug_outputs and self.flavors != (SSR.name,):
            raise UsageError("debug-outputs: only flavor ssr can declare them")


def check_range(name: str, value: float, low: float, high: float, what: str = "") -> None:
    """Raise :class:`UsageError` for an option outside ``low..high``; ``what`` says more of these."""
    if not low <= value <= high:
        raise UsageError(f"{name}: must lie in {low}..{high}{what}, got {value}")


def render(name: str, contract: ServedContract, options: Options, flavor: Flavor = SSR) -> str:
    """The text of config.pbtxt for a model of this contract that takes crops."""
    pb, _ = _protobuf()
    interface = contract.interface
    config = _begun(name, options, flavor)
    config.max_batch_size = options.max_batch
    config.default_model_filename = flavor.file(options.precision)
    image = config.input.add(name=interface.input.name, data_type=pb.TYPE_UINT8)
    image.dims.extend([IMAGE_SIZE, IMAGE_SIZE, 3])
    for output, dims in outputs(contract, debug=options.debug_outputs).items():
        config.output.add(name=output, data_type=pb.TYPE_FP32).dims.extend(dims)
    if options.dynamic_batching:
        config.dynamic_batching.preferred_batch_size.extend(options.preferred_batch)
        config.dynamic_batching.max_queue_delay_microseconds = options.queue_delay_us
    if options.queue_timeout_ms or options.max_queue:
        queue = config.dynamic_batching.default_queue_policy
        queue.timeout_action = pb.ModelQueuePolicy.REJECT
        queue.default_timeout_microseconds = options.queue_timeout_ms * 1000
        queue.allow_timeout_override = options.queue_timeout_ms > 0
        queue.max_queue_size = options.max_queue
    if options.warmup:
        sample = config.model_warmup.add(name="random", batch_size=options.max_batch, count=1)
        sample.inputs[interface.input.name].data_type = pb.TYPE_UINT8
        sample.inputs[interface.input.name].dims.extend([IMAGE_SIZE, IMAGE_SIZE, 3])
        sample.inputs[interface.input.name].random_data = True
    if flavor is TENSORRT:
        _record_cuda_graphs(config)
    _set_parameters(config, contract, CROPS, options, flavor)
    return to_text(config)


def render_frame(name: str, contract: ServedContract, options: Options, detector: str = NO_DETECTOR) -> str:
    """The text of config.pbtxt for a model of this contract that takes frames; ``detector``: the hash of its
    detector's weights."""
    pb, _ = _protobuf()
    config = _begun(name, options, SSR)
    frame = config.input.add(name="frame", data_type=pb.TYPE_UINT8)
    frame.dims.extend([-1, -1, -1])
    for optional, dims in {"boxes": [-1, 4], "landmarks": [-1, 5, 2]}.items():
        config.input.add(name=optional, data_type=pb.TYPE_FP32, optional=True).dims.extend(dims)
    for output, dims in frame_outputs(contract).items():
        config.output.add(name=output, data_type=pb.TYPE_FP32).dims.extend(dims)
    _set_parameters(config, contract, FRAME, options, SSR)
    limits = {
        "detector_sha256": detector,
        "max_boxes": options.max_boxes,
        "max_frame_pixels": options.max_frame_pixels,
        "max_queue": options.max_frames,
    }
    for key, value in limits.items():
        config.parameters[key].string_value = str(value)
    return to_text(config)


def _begun(name: str, options: Options, flavor: Flavor) -> Any:
    """A ``ModelConfig`` with what the models of both modes have."""
    pb, _ = _protobuf()
    config = pb.ModelConfig(name=name, backend=flavor.backend, platform=flavor.platform)
    config.version_policy.latest.num_versions = options.keep
    group = config.instance_group.add(count=options.instances)
    on_gpu = options.device == "gpu" or flavor is TENSORRT
    group.kind = pb.ModelInstanceGroup.KIND_GPU if on_gpu else pb.ModelInstanceGroup.KIND_CPU
    return config


def _set_parameters(
    config: Any, contract: ServedContract, mode: str, options: Options, flavor: Flavor
) -> None:
    interface = contract.interface
    parameters = {
        "interface": canonical_json(interface.to_json()),
        "interface_sha256": interface.sha256,
        "mode": mode,
        "precision": options.precision,
    }
    if flavor.threads_parameter:
        parameters[flavor.threads_parameter] = str(options.threads)
    for key, value in parameters.items():
        config.parameters[key].string_value = value


def _record_cuda_graphs(config: Any) -> None:
    """Let one graph launch a whole batch. A graph of 8 also runs 5 to 7 crops: what lies in the unused rows
    cannot reach the others, because the network works image by image."""
    most = config.max_batch_size
    cuda = config.optimization.cuda
    cuda.graphs = True
    lowest = 1
    for size in sorted({min(size, most) for size in CUDA_GRAPH_SIZES}):
        spec = cuda.graph_spec.add(batch_size=size)
        spec.graph_lower_bound.batch_size = lowest
        for image in config.input:
            spec.input[image.name].dim.extend(image.dims)
            spec.graph_lower_bound.input[image.name].dim.extend(image.dims)
        lowest = size + 1


def to_text(config: Any) -> str:
    """A ``ModelConfig`` message as config.pbtxt."""
    return str(_protobuf()[1].MessageToString(config))


def outputs(contract: ServedContract, *, debug: bool = False) -> dict[str, list[int]]:
    """Declared outputs and their shapes. A request that names none gets them all."""
    name = contract.interface.output.name
    result = {name: [1]}
    if contract.interval is not None:
        result[f"{name}_interval"] = [2]
    if debug and isinstance(contract, Contract):
        bins = sum(contract.architecture.stages)
        result |= {"p": [bins], "eta": [bins], "delta": [len(contract.architecture.stages)]}
    return result


def frame_outputs(contract: ServedContract) -> dict[str, list[int]]:
    """Declared outputs of the frame model and their shapes, a row a face."""
    rows = {name: [-1] if dims == [1] else [-1, *dims] for name, dims in outputs(contract).items()}
    return rows | {"boxes": [-1, 4], "scores": [-1], "landmarks": [-1, 5, 2]}


def parse(text: str, where: str = CONFIG_FILE) -> Any:
    """A ``ModelConfig`` message; raises :class:`ConfigError` with the parser's line and column."""
    pb, text_format = _protobuf()
    config = pb.ModelConfig()
    try:
        text_format.Parse(text, config)
    except text_format.ParseError as error:
        raise ConfigError(f"{where}: {error}") from None
    return config


def from_json(served: dict[str, Any]) -> Any:
    """A ``ModelConfig`` message of what a server says it serves."""
    from google.protobuf import json_format

    config = _protobuf()[0].ModelConfig()
    try:
        json_format.ParseDict(served, config, ignore_unknown_fields=True)
    except json_format.ParseError as error:
        raise ConfigError(f"the served configuration cannot be read: {error}") from None
    return config


def read_text(model_folder: Path) -> str:
    """The text of a model folder's config.pbtxt; raises :class:`ConfigError` if that is no file of text."""
    path = model_folder / CONFIG_FILE
    try:
        return read_whole(path, _MOST_BYTES, ConfigError).decode("utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path}: missing, so this is not a served model") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not UTF-8 text") from None


def read(model_folder: Path) -> Any:
    """The configuration of a model folder."""
    return parse(read_text(model_folder), str(model_folder / CONFIG_FILE))


def parameter(config: Any, key: str) -> str:
    """A string parameter, empty if it is not set."""
    return str(config.parameters[key].string_value) if key in config.parameters else ""


def precision(config: Any) -> str:
    """Arithmetic that a model is served in."""
    return parameter(config, "precision") or "fp32"


def mode(config: Any) -> str:
    """What a request to a model of ours holds."""
    return parameter(config, "mode") or CROPS


def declared(config: Any) -> dict[str, list[int]]:
    """Output names and shapes of a parsed configuration."""
    return {output.name: list(output.dims) for output in config.output}


def files_beside(config: Any) -> set[str]:
    """What a server reads in a model's folder beside config.pbtxt and the versions, as paths from there:
    labels, what warms up, a sequence's first state, the model's own backend. They need not exist."""
    found = {output.label_filename for output in config.output}
    for sample in config.model_warmup:
        found |= {f"warmup/{i.input_data_file}" for i in sample.inputs.values() if i.input_data_file}
    for state in config.sequence_batching.state:
        found |= {f"initial_state/{first.data_file}" for first in state.initial_state if first.data_file}
    found |= {own_backend(config), config.runtime, PYTHON_STUB if config.backend == PYTHON else ""}
    return found - {""}


def own_backend(config: Any) -> str:
    """The file by which a model can bring its backend with it, in its own folder."""
    return f"libtriton_{config.backend}.so"


def kept_versions(config: Any, versions: list[int]) -> list[int]:
    """Which of ``versions`` the configuration's policy loads, newest first."""
    newest = sorted(versions, reverse=True)
    policy = config.version_policy
    choice = policy.WhichOneof("policy_choice")
    if choice == "all":
        return newest
    if choice == "specific":
        return [v for v in newest if v in policy.specific.versions]
    return newest[: max(1, policy.latest.num_versions)]


def _protobuf() -> tuple[Any, Any]:
    """Triton's definition, and the text format."""
    try:
        from google.protobuf import text_format
        from tritonclient.grpc import model_config_pb2
    except ImportError:
        raise ConfigError("tritonclient is not installed: pip install ssr-client") from None
    return model_config_pb2, text_format
