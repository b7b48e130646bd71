"""``ssr-serve``: build a model repository, run a real tritonserver over it, publish and roll back."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from ssr_bundle import commandline as command
from ssr_bundle.errors import SsrError, UsageError
from ssr_bundle.report import State, table
from ssr_bundle.shown import note, say

if TYPE_CHECKING:
    from triton_repo.control import Control

app = command.Application(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="Serve SSR-Net bundles on a real Triton server.\n\n"
    "[bold]First time[/bold]:\n\n"
    "    ssr-serve doctor\n\n"
    "    ssr-serve build --bundle default --repo models\n\n"
    "    ssr-serve run --repo models\n\n"
    "[bold]New weights[/bold], while it runs and without losing a request:\n\n"
    "    ssr-serve publish runs/second/bundle --repo models\n\n"
    "    ssr-serve versions --repo models\n\n"
    "    ssr-serve rollback ssrnet --repo models",
)

Repo = Annotated[Path, typer.Option("--repo", metavar="DIR", help="The model repository.")]
Url = Annotated[
    str | None,
    typer.Option("--url", metavar="HOST:PORT", help="HTTP address of a running server to talk to as well."),
]
Wait = Annotated[float, typer.Option(help="Seconds to wait for the server at --url to follow.")]


@app.command("build")
def build_command(
    context: typer.Context,
    bundle: Annotated[
        list[str],
        typer.Option(
            "--bundle",
            metavar="[NAME=]BUNDLE",
            help="A bundle folder, or 'default' for the shipped one; repeat for more models.",
        ),
    ],
    repo: Repo,
    flavor: Annotated[
        list[str] | None,
        typer.Option(
            "--flavor",
            metavar="F[,F...]",
            help="ssr: our backend. tensorrt, onnx: models NAME-tensorrt and NAME-onnx for the stock "
            "backends of a Triton container. The bundle of another method than SSR-Net takes onnx alone. "
            "[default: ssr]",
        ),
    ] = None,
    instances: Annotated[int, typer.Option(help="Copies of the engine that work at once.")] = 1,
    threads: Annotated[int, typer.Option(help="CPU threads of each copy.")] = 1,
    precision: Annotated[
        str,
        typer.Option(
            help="Arithmetic: fp32, bf16, int8 or auto in flavor ssr; fp32, fp16 or int8 in the others. "
            "bf16 and int8 need `ssr-train quantize`. auto: the quickest of them where the model is loaded "
            "that keeps its tolerance."
        ),
    ] = "fp32",
    max_batch: Annotated[
        int, typer.Option(help="Crops in one execution; more saves nothing on a CPU, only waits longer.")
    ] = 64,
    preferred_batch: Annotated[
        list[int] | None, typer.Option(help="Merge requests up to this many crops, no further; repeatable.")
    ] = None,
    dynamic_batching: Annotated[
        bool,
        typer.Option(
            help="Merge the requests that wait; without, a request of few crops is answered sooner by a CPU."
        ),
    ] = True,
    queue_delay_us: Annotated[
        int, typer.Option(help="Hold requests back this long to merge more of them.")
    ] = 0,
    queue_timeout_ms: Annotated[
        int,
        typer.Option(
            help="Reject a request that waited this long; 0 never. Slows bursts, see docs/operations.md."
        ),
    ] = 0,
    max_queue: Annotated[
        int, typer.Option(help="Reject requests beyond so many waiting; 0 none. Slows bursts as well.")
    ] = 0,
    device: Annotated[str, typer.Option(help="cpu or gpu; flavor tensorrt is always on the GPU.")] = "cpu",
    keep: Annotated[int, typer.Option(help="How many of the newest versions stay loaded.")] = 2,
    frame: Annotated[
        bool,
        typer.Option("--frame", help="Also make NAME-frame: a frame in, boxes and answers of its faces out."),
    ] = False,
    detector: Annotated[
        str,
        typer.Option(
            metavar="BUNDLE", help="Of frames: a detector's bundle, default (the shipped YuNet), or none."
        ),
    ] = "default",
    max_frame_pixels: Annotated[int, typer.Option(help="Pixels of the largest frame taken.")] = 4096 * 2304,
    max_boxes: Annotated[int, typer.Option(help="Faces of a frame at most.")] = 1024,
    max_frames: Annotated[int, typer.Option(help="Frames that may wait; others are refused.")] = 64,
    debug_outputs: Annotated[
        bool, typer.Option("--debug-outputs", help="Declare the stage outputs p, eta and delta too.")
    ] = False,
    warmup: Annotated[bool, typer.Option(help="Run one batch before a version counts as ready.")] = True,
    force: Annotated[
        bool, typer.Option("--force", help="Replace models that exist, versions and all.")
    ] = False,
) -> None:
    """Make a model repository: verify each bundle, replay its golden record, write version 1.

    Nothing is written unless every bundle passes in every flavor. A TensorRT plan is compiled on this machine
    for its GPU: build it where it will serve. See docs/deploy.md for the container.

    Examples:

        ssr-serve build --bundle default --repo models

        ssr-serve build --bundle bundles/morph2 --bundle gender=bundles/imdb --repo models --instances 2

        ssr-serve build --bundle default --repo models --precision auto

        ssr-serve build --bundle default --repo models --frame

        ssr-serve build --bundle default --repo models --flavor ssr,onnx

        ssr-serve build --bundle default --repo models --flavor tensorrt --precision fp16
    """
    from ssr_ops.precision import precision_note
    from triton_repo.config import Options
    from triton_repo.flavors import SSR, flavor_of
    from triton_repo.repository import build, parse_bundle, summary

    names = [name.strip() for name in ",".join(flavor or [SSR.name]).split(",")]
    given = {k: v for k, v in context.params.items() if k in Options.__dataclass_fields__}
    given["preferred_batch"] = tuple(preferred_batch or ())
    options = Options(**given, flavors=tuple(dict.fromkeys(names)))
    models = build([parse_bundle(text) for text in bundle], repo, options, force=force, say=_say)
    for model in models:
        contract = model.versions[0].contract
        assert contract is not None
        facts = summary(contract)
        say(
            f"{model.path}: version 1 in {precision}, weights {facts['weights'][:12]}, "
            f"learned from {facts['data']}"
        )
        if flavor_of(model.config) is SSR:
            if note := precision_note(model.versions[0].path, precision, device):
                say(f"  {note}")
        else:
            print(f"  for the {model.config.backend} backend of a Triton container, see docs/deploy.md")
        if facts["synthetic"] == "yes":
            print("  these weights learned from drawn faces: good for trying things out, not for real ages")
    say(f"next: ssr-serve run --repo {repo}")


@app.command("publish")
def publish_command(
    bundle: Annotated[str, typer.Argument(metavar="BUNDLE", help="A bundle folder, or 'default'.")],
    repo: Repo,
    model: Annotated[str | None, typer.Option(help="Model name, if not the contract's.")] = None,
    url: Url = None,
    header: command.Header = None,
    wait: Wait = 60.0,
) -> None:
    """Add a bundle as a model's newest version, which then serves.

    The version before it stays loaded, so that a rollback is immediate. A model of another flavor is named
    with --model; what it serves is compiled anew from the bundle. A server started by `ssr-serve run`
    follows by itself; any other one needs --url. The interface must be the served one: another interface is
    another model name.

    Examples:

        ssr-serve publish runs/second/bundle --repo models --url localhost:8000

        ssr-serve publish runs/second/bundle --repo models --model ssrnet-onnx
    """
    from triton_repo.repository import publish

    control = _control(url, header)
    version = publish(bundle, repo, model, say=_say)
    name = version.path.parent.name
    say(f"{name}: published as version {version.number}")
    _follow(control, name, version.number, wait)


@app.command("rollback")
def rollback_command(
    model: Annotated[str, typer.Argument(help="Model name.")],
    repo: Repo,
    to: Annotated[int | None, typer.Option(help="Version to return to; else the good one before.")] = None,
    url: Url = None,
    header: command.Header = None,
    wait: Wait = 60.0,
) -> None:
    """Return to the previous good version. Nothing is deleted.

    Newer versions are renamed to .withdrawn-N, which no server reads; `ssr-serve publish` of such a folder
    brings it back under a new number.

    Example:  ssr-serve rollback ssrnet --repo models
    """
    from triton_repo.repository import rollback

    control = _control(url, header)
    version, moved = rollback(repo, model, to)
    aside = ", ".join(map(str, moved))
    say(f"{model}: version {version.number} serves again; set aside as .withdrawn-N: {aside}")
    _follow(control, model, version.number, wait, moved)


def _control(url: str | None, header: list[str] | None, *, to_change: bool = True) -> Control | None:
    """The server at ``url``, which answers as a Triton server; None without a ``url``. ``to_change``: it also
    lets this program list its models, so that nothing is changed for one that would refuse afterwards."""
    from triton_repo.control import Control

    headers = command.headers_of(header)
    if not all(text.isascii() and text.isprintable() for text in header or ()):
        raise UsageError("--header: expected printable ASCII")
    if url is None:
        if headers:
            raise UsageError("--header goes to the server at --url, which is not given")
        return None
    control = Control(url, headers=headers)
    control.metadata()
    if to_change:
        control.index()
    return control


def _follow(control: Control | None, model: str, version: int, wait: float, gone: Sequence[int] = ()) -> None:
    if control:
        control.follow(model, version, wait, gone)
        say(f"{model}: version {version} serves at {control.url}")


@app.command("versions")
def versions_command(
    repo: Repo,
    url: Url = None,
    header: command.Header = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """List every version: its weights, where they come from, and its state.

    States: serving (the newest good one answers), loaded (kept beside it for a rollback), available (good,
    not loaded), broken (with the reason), withdrawn (by a rollback). Without --url, those of a server that
    follows the repository; with it, what the server there says: also failed (with its reason), loading,
    unloading.

    Example:  ssr-serve versions --repo models --url localhost:8000
    """
    from triton_repo import versions

    rows = versions.list_versions(repo, _control(url, header, to_change=False))
    if as_json:
        print(json.dumps(rows, indent=2))
    else:
        versions.show(rows)


@app.command("run", context_settings={"allow_extra_args": True, "ignore_unknown_options": False})
def run_command(
    context: typer.Context,
    repo: Repo,
    http_port: Annotated[int, typer.Option(help="0 takes a free one.")] = 8000,
    grpc_port: Annotated[int, typer.Option(help="0 takes a free one.")] = 8001,
    metrics_port: Annotated[int, typer.Option(help="0 takes a free one.")] = 8002,
    host: Annotated[
        str, typer.Option(help="Address to listen on. 0.0.0.0 opens it to the network: no authentication!")
    ] = "127.0.0.1",
    strict: Annotated[
        bool, typer.Option("--strict", help="Any model or version that fails stops the server, exit 1.")
    ] = False,
    log: Annotated[
        str | None,
        typer.Option(
            "--log-file",
            help="Where tritonserver's log goes, 16 MiB of it and 16 before; '-' is standard error.",
        ),
    ] = None,
    log_verbose: Annotated[int, typer.Option(help="tritonserver's log level.")] = 0,
    exit_timeout: Annotated[int, typer.Option(min=0, help="Seconds to let requests finish at the end.")] = 30,
    shared_memory: Annotated[
        bool,
        typer.Option(
            "--shared-memory",
            help="Let clients of this machine hand over memory. Any of them can then read and overwrite "
            "another's, and end the server: for a machine whose every user is trusted.",
        ),
    ] = False,
    open_: Annotated[
        bool,
        typer.Option(
            "--open", help="Let any client load and unload models, trace, and change the log, without a key."
        ),
    ] = False,
) -> None:
    """Run a real tritonserver over a repository, until SIGINT or SIGTERM.

    The server is the one that TRITONSERVER names, else the one on PATH, else a pinned one, fetched once.
    Every version is verified first and only good ones are loaded; what fails is listed and does not stop
    the others. Publishes and rollbacks are followed while it runs. A second signal, half a second later or
    more, ends it at once.
    Loading, tracing and the log need a key that is drawn at each start; the other commands of this user find
    it. It does not stand in the process list, but what you type after -- does.
    Arguments after -- go to tritonserver.

    Examples:

        ssr-serve run --repo models

        ssr-serve run --repo models --http-port 0 --grpc-port 0 --metrics-port 0

        ssr-serve run --repo models -- --http-restricted-api=model-repository:admin=secret
    """
    from triton_repo import foreground
    from triton_repo.server import Server

    given = {k: v for k, v in context.params.items() if k in Server.__dataclass_fields__}
    server = Server(repo, **given, open=open_, arguments=context.args, on_event=say)
    foreground.run(server)


@app.command("tune")
def tune_command(
    model: Annotated[
        str | None, typer.Argument(metavar="[MODEL]", help="Its name, if the repository has several.")
    ] = None,
    repo: Annotated[Path | None, typer.Option("--repo", metavar="DIR", help="The model repository.")] = None,
    bundle: Annotated[
        str | None,
        typer.Option(metavar="BUNDLE", help="Instead of a repository's model: measures, writes nothing."),
    ] = None,
    crops: Annotated[int, typer.Option(help="Crops that your clients send in a request.")] = 16,
    concurrency: Annotated[int, typer.Option(help="Requests that they have under way at once.")] = 8,
    rate: Annotated[
        float, typer.Option(help="Instead: requests a second that arrive by chance; with --goal latency.")
    ] = 0.0,
    goal: Annotated[
        str, typer.Option(help="throughput: most crops a second. latency: see --p99.")
    ] = "throughput",
    p99: Annotated[
        float,
        typer.Option(help="With --goal latency: most crops a second within so many ms; else the lowest p99."),
    ] = math.inf,
    precision: Annotated[
        str | None,
        typer.Option(
            metavar="P[,P...]",
            help="Of fp32, bf16, int8, auto. One: search in it, and change to it. Several: compare them, and "
            "change none.",
        ),
    ] = None,
    seconds: Annotated[float, typer.Option(min=5, max=86_400, help="How long to search, about.")] = 120.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Write nothing.")] = False,
    url: Url = None,
    header: command.Header = None,
    wait: Wait = 60.0,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Find by measurement the instances, threads, batch size and batching delay that serve best here.

    A server of its own, on a copy, is measured under the workload that you describe; one that runs is not
    touched, but should not be busy meanwhile. Instances times threads never exceed the cores. What was
    found goes into the model's config.pbtxt if it beats the present settings beyond the noise: the old values
    stay there in a comment, a server started by `ssr-serve run` follows, any other one needs --url.

    Examples:

        ssr-serve tune ssrnet --repo models --crops 8 --concurrency 16

        ssr-serve tune ssrnet --repo models --goal latency --p99 5 --crops 1 --concurrency 4

        ssr-serve tune ssrnet --repo models --precision auto

        ssr-serve tune --bundle default --precision fp32,int8 --seconds 60
    """
    from triton_repo import config, tune_report
    from triton_repo.settings import read_settings
    from triton_repo.trial import Workload
    from triton_repo.tune import Goal, TunedModel, tune

    if (repo is None) == (bundle is None) or (bundle is not None and model is not None):
        raise UsageError("say what to tune: MODEL --repo DIR, or --bundle BUNDLE")
    workload, wanted = Workload(crops, concurrency, rate), Goal(goal, p99)  # type: ignore[arg-type]
    precisions = tuple(dict.fromkeys(precision.split(","))) if precision else ()
    control = None if dry_run else _control(url, header)
    target = TunedModel.of_bundle(str(bundle)) if repo is None else TunedModel.of_repository(repo, model)
    found = tune(target, workload, wanted, seconds=seconds, precisions=precisions, dry_run=dry_run, say=_say)
    tune_report.report(found, target).show(as_json)
    if control and found.written:
        name, best = target.name, found.verdict.best.settings

        def follows() -> bool:
            return read_settings(config.from_json(control.config(name))) == best

        control.follow(name, int(target.bundle.name), wait, done=follows)


@app.command("compile")
def compile_command(
    bundle: Annotated[str, typer.Argument(metavar="BUNDLE", help="A bundle folder, or 'default'.")],
    precision: Annotated[
        str,
        typer.Option(
            metavar="P[,P...]", help="fp32, fp16, int8 (needs `ssr-train quantize`), or all that it can."
        ),
    ] = "fp32",
    target: Annotated[
        str | None,
        typer.Option(
            metavar="SM[,SM...]",
            help="GPUs to build for ahead of time, such as sm_89; else the one here, or all from sm_80 on.",
        ),
    ] = None,
    batch: Annotated[
        str | None,
        typer.Option(
            metavar="MIN,OPT,MAX",
            help="Crops at once: smallest, tuned for, largest; the table shows what they are without it.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Copy plans to DIR/<precision>; else they stay in the cache."),
    ] = None,
    library: Annotated[
        str | None, typer.Option(help="tensorrt or tensorrt_rtx; else the installed one that fits.")
    ] = None,
    compatibility: Annotated[
        str,
        typer.Option(help="Which other GPUs a tensorrt plan serves: exact (none), same-capability, ampere+."),
    ] = "exact",
    require_tensorrt: Annotated[
        bool, typer.Option("--require-tensorrt", help="Exit 1 if a plan could not be run here.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Build even if the cache has the plan.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For programs; with every layer.")] = False,
) -> None:
    """Compile a bundle to TensorRT plans, and run them where a GPU is.

    The graph is replayed in ONNX Runtime, built, and written with a sidecar that says what the plan is for;
    one made for another contract, GPU or TensorRT is refused when it is loaded. Without a GPU, TensorRT-RTX
    builds for the targets that you name and the table says "built, not run". Plans are cached: a stale one is
    built again, with a line that says why.

    Examples:

        ssr-serve compile bundles/morph2

        ssr-serve compile default --precision all --target sm_89,sm_120 --out plans

        ssr-serve compile bundles/morph2 --precision fp16 --batch 1,8,32 --require-tensorrt
    """
    from triton_repo.compile import outcome
    from triton_repo.repository import open_ssrnet

    opened = open_ssrnet(bundle)
    outcomes = outcome.compile_all(
        opened,
        outcome.parse_precisions(precision, opened),
        out=out,
        console=Console(stderr=True, highlight=False, soft_wrap=True),
        targets=target.split(",") if target is not None else None,
        **({} if batch is None else {"batches": outcome.parse_batches(batch)}),
        library=library,
        compatibility=compatibility,
        force=force,
    )
    outcome.report(outcomes).show(as_json)
    if require_tensorrt and (idle := [o for o in outcomes if o.ran is None]):
        raise SsrError(f"{idle[0].plan.recipe.precision}: built, not run: {idle[0].not_run}")


@app.command("verify")
def verify_command(
    context: typer.Context,
    path: Annotated[
        str, typer.Argument(metavar="BUNDLE|REPO", help="A bundle folder, 'default', or a model repository.")
    ],
    images: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Photos (faces are found and cut) or 64 x 64 face crops as well."),
    ] = None,
    jitter: Annotated[int, typer.Option(min=0, max=100, help="Further cuts of each face found.")] = 7,
    detector: Annotated[str, typer.Option(help="auto, yunet or haar.")] = "auto",
    rungs: Annotated[
        str, typer.Option(metavar="R[,R...]", help="Which to compare with the reference.")
    ] = "torch,native,onnx,tensorrt,served",
    precision: Annotated[
        str | None,
        typer.Option(
            metavar="P[,P...]",
            help="Of fp32, fp16, bf16, int8; without it all. In a repository each model has its own.",
        ),
    ] = None,
    require_tensorrt: Annotated[
        bool, typer.Option("--require-tensorrt", help="A TensorRT rung that did not run is a failure.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Climb the ladder: from the float64 reference to the served answer, does every step say the same?

    Each rung (torch, every native implementation, ONNX Runtime, TensorRT, a tritonserver of its own) answers
    the faces of the bundle's golden record and of --images. The table tells how far it lies from the
    reference and what is allowed, in years (a gender network: in probability). Served answers must be the
    engine's, bit for bit. Exit 1 when a row falls short; a rung that cannot run here is shown with its reason
    and is no failure. docs/verify.md says more.

    Examples:

        ssr-serve verify default

        ssr-serve verify bundles/morph2 --images photos --precision fp32,int8

        ssr-serve verify models --images photos --json

        ssr-serve verify bundles/morph2 --rungs tensorrt --require-tensorrt
    """
    for name in ("jitter", "detector"):
        if images is None and name in command.given(context):
            raise UsageError(f"--{name} says how faces are cut from --images DIR, which is not given")
    from triton_repo.ladder import summary
    from triton_repo.ladder.climber import Wanted, verify
    from triton_repo.ladder.status import shown

    wanted = Wanted(
        steps=tuple(rungs.split(",")),
        precisions=tuple(precision.split(",")) if precision is not None else None,
        images=images,
        jitter=jitter,
        detector=detector,
        require_tensorrt=require_tensorrt,
    )
    with shown(Console(stderr=True, highlight=False)) as progress:
        ladder = verify(path, wanted, progress)
    for line in ladder.skipped:
        _say(f"skipped: {line}")
    summary.report(ladder).show(as_json)
    summary.check(ladder)


@app.command("doctor")
def doctor_command() -> None:
    """Say what serving needs, what this machine has, and how to get the rest. Exit 1: serving cannot work."""
    from triton_repo.doctor import COLOURS, examine

    checks = examine()
    rows = [(c.what, State(c.state, COLOURS[c.state]), c.found, c.remedy) for c in checks]
    table(rows, ("what", "state", "found", "remedy"), ruled=True)
    if missing := [c.what for c in checks if c.state == "missing"]:
        raise SsrError(f"serving cannot work here: {', '.join(missing)}")


def _say(line: str) -> None:
    """Progress, for a person: to standard error."""
    note(Console(stderr=True, highlight=False), line, "dim")


def main() -> None:
    """Entry point of the ``ssr-serve`` command."""
    command.run(app, "ssr-serve")


if __name__ == "__main__":
    main()
