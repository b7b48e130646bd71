"""What a flavor serves beside the bundle: the ONNX graph, the TensorRT plan; made, written, checked.

An ONNX graph belongs to the bundle: the version's contract lists it with its hash, as after
`ssr-train export`. A plan belongs to the machine that compiled it: a sidecar beside it pins it instead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from ssr_bundle.bundle import copy_into
from ssr_bundle.method import GRAPH_FILE, MethodBundle, ServedBundle
from ssr_ops.export.runtime import check_onnx, replay_onnx
from ssr_ops.precision import AUTO
from ssr_ops.replay import replay, replay_all
from triton_repo.flavors import ONNX, SSR, TENSORRT, Flavor, FlavorError

Say = Callable[[str], None]


def make(
    flavor: Flavor, bundle: ServedBundle, precision: str, max_batch: int, say: Say
) -> Mapping[str, bytes]:
    """Replay the golden record in ``precision`` with what the flavor serves, compiled if the bundle does not
    hold it; returns the files to put beside the bundle, by name. Nothing is written but compile's cache.

    Raises an :class:`SsrError`: the record is missed, the precision needs quantization, a library is missing.
    """
    if isinstance(bundle, MethodBundle):  # whose network is the graph that it holds
        replay_onnx(_check_graph(bundle, GRAPH_FILE, precision), bundle, GRAPH_FILE)
        return {}
    if flavor is TENSORRT:
        from triton_repo.compile.compiler import BATCHES, compile_plan
        from triton_repo.compile.runner import replay_plan

        smallest, tuned, _ = BATCHES
        batches = (smallest, min(tuned, max_batch), max_batch)
        plan = compile_plan(bundle, precision, batches=batches, library=TENSORRT.name, say=say)
        replay_plan(plan, bundle)
        return {file.name: file.read_bytes() for file in (plan.path, plan.sidecar)}
    if flavor is SSR:
        if precision == AUTO:  # whichever it is where the model will be loaded
            replay_all(bundle)
        else:
            replay(bundle, precision)
        return {}
    name = ONNX.file(precision)
    if name in bundle.contract.files:  # :func:`ssr_ops.export.export` put it there
        replay_onnx(_check_graph(bundle, name, precision), bundle, str(bundle.path / name))
        return {}
    try:
        from ssr_ops.export.network import build_onnx
    except ModuleNotFoundError as error:
        raise FlavorError(
            f"flavor onnx: {error.name} is not installed: pip install 'ssr-serve[onnx]'"
        ) from None
    graph = build_onnx(bundle, precision).SerializeToString()
    replay_onnx(graph, bundle, name)
    return {name: graph}


def write(flavor: Flavor, files: Mapping[str, bytes], bundle: ServedBundle, folder: Path) -> ServedBundle:
    """Copy ``bundle`` and what :func:`make` returned into the empty ``folder``."""
    if flavor is ONNX:
        return copy_into(folder, bundle, added=files)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return copy_into(folder, bundle)


def check(flavor: Flavor, bundle: ServedBundle, precision: str, max_batch: int) -> None:
    """Raise an :class:`SsrError` unless the version folder ``bundle`` holds what the flavor serves, whole,
    made of these weights in this precision and, for a plan, fit for this machine and for ``max_batch``."""
    if flavor is ONNX:
        name = flavor.file(precision)
        if name not in bundle.contract.files:
            raise FlavorError(f"{bundle.path / name}: missing, or not listed in the version's contract")
        _check_graph(bundle, name, precision)
    if flavor is not TENSORRT or isinstance(bundle, MethodBundle):
        return
    from triton_repo.compile.plan import read_plan

    plan = read_plan(bundle.path, bundle)
    recipe = plan.recipe
    if recipe.library != TENSORRT.name:
        raise FlavorError(
            f"{plan.path}: built by {recipe.library} {recipe.version}, which no backend of Triton loads, "
            f"expected one of {TENSORRT.name}: build it where that is installed"
        )
    if recipe.precision != precision:
        raise FlavorError(f"{plan.path}: built in {recipe.precision}, the model is served in {precision}")
    smallest, _, largest = recipe.batches
    if smallest > 1 or largest < max_batch:
        raise FlavorError(
            f"{plan.path}: built for batches of {smallest} to {largest}, the model takes 1 to {max_batch}"
        )


def _check_graph(bundle: ServedBundle, name: str, precision: str) -> bytes:
    """The file's bytes, if it is this bundle's graph in that precision."""
    path = bundle.path / name
    graph = path.read_bytes()
    if (found := check_onnx(graph, bundle, str(path))) != precision:
        raise FlavorError(f"{path}: a graph in {found}, expected {precision}")
    return graph
