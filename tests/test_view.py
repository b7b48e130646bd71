"""The view that ``run`` shows a server: what a stock server would read is there, and watched, and no more."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as grpcclient
from bundle_faults import broken_byte

from ssr_bundle.errors import SsrError
from ssr_ops.shipped import default_bundle
from triton_repo import config, repository
from triton_repo import view as view_module
from triton_repo.config import Options
from triton_repo.server import Server
from triton_repo.tritonserver import TritonServer
from triton_repo.view import View


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    repository.build([("ssrnet", default_bundle())], tmp_path / "repo", Options(warmup=False))
    return tmp_path / "repo"


@pytest.fixture
def view(repo: Path, tmp_path: Path) -> View:
    return View(repo, tmp_path / "view")


def change(model: Path, edit: Callable[[config.Any], object]) -> None:
    served = config.read(model)
    edit(served)
    (model / "config.pbtxt").write_text(config.to_text(served))


def label(path: str) -> Callable[[config.Any], object]:
    return lambda served: setattr(served.output[0], "label_filename", path)


def linked(view: View) -> set[str]:
    return {entry.name for entry in (view.folder / "ssrnet").iterdir()}


# -- what is there ---------------------------------------------------------------------------------


@pytest.mark.server
def test_labels_are_served(repo: Path, tritonserver: TritonServer) -> None:
    """And those of today: who asks for classes is answered with their names."""

    def answer() -> str:
        tensor = grpcclient.InferInput("image", [1, 64, 64, 3], "UINT8")
        tensor.set_data_from_numpy(np.zeros((1, 64, 64, 3), np.uint8))
        wanted = [grpcclient.InferRequestedOutput("age", class_count=1)]
        with grpcclient.InferenceServerClient(server.grpc_url) as client:
            return str(client.infer("ssrnet", [tensor], outputs=wanted).as_numpy("age")[0, 0].decode())

    change(repo / "ssrnet", label("labels/age.txt"))
    (repo / "ssrnet" / "labels").mkdir()
    (repo / "ssrnet" / "labels" / "age.txt").write_text("years\n")
    with Server(repo, tritonserver=tritonserver, watch=False) as server:
        assert server.failures == []
        assert answer().endswith(":0:years")
        (repo / "ssrnet" / "labels" / "age.txt").write_text("years of age\n")
        server.refresh()
        assert answer().endswith(":0:years of age")


def test_what_the_configuration_names_is_linked(repo: Path, view: View) -> None:
    model = repo / "ssrnet"

    def edit(served: config.Any) -> None:
        label("labels.txt")(served)
        sample = served.model_warmup.add(name="real", batch_size=1)
        sample.inputs["image"].data_type = served.input[0].data_type
        sample.inputs["image"].dims.extend([64, 64, 3])
        sample.inputs["image"].input_data_file = "crop"

    change(model, edit)
    for name in ("labels.txt", "libtriton_ssr.so", "unnamed.txt", "warmup/crop", "files/more"):
        (model / name).parent.mkdir(exist_ok=True)
        (model / name).write_text("")
    view.update()
    assert linked(view) == {"1", "config.pbtxt", "labels.txt", "libtriton_ssr.so", "warmup"}
    for name in ("labels.txt", "warmup/crop", "libtriton_ssr.so"):
        (model / name).write_text("changed")
        assert view.update() == (["ssrnet"], [])
    (model / "unnamed.txt").write_text("changed")
    assert view.update() == ([], [])
    (model / "labels.txt").unlink()
    assert view.update() == (["ssrnet"], [])
    assert "labels.txt" not in linked(view)


@pytest.mark.parametrize(
    "path", ["2/labels.txt", "../other/labels.txt", "/labels.txt", ".", "pipe", ".hidden/l", "config.pbtxt"]
)
def test_a_name_lets_no_bad_version_in_and_nothing_hang(path: str, repo: Path, view: View) -> None:
    model = repo / "ssrnet"
    repository.publish("default", repo, "ssrnet")
    broken_byte(model / "2")
    os.mkfifo(model / "pipe")
    (model / ".hidden").mkdir()
    change(model, label(path))
    view.update()
    assert linked(view) == {"1", "config.pbtxt"}


@pytest.mark.parametrize("name", ["/", "..", "../ssrnet", "/tmp"])
def test_nothing_outside_of_the_view_is_removed(
    name: str, repo: Path, view: View, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a name is read from: what lies in the way of a link is removed."""
    removed: list[Path] = []
    monkeypatch.setattr(view_module, "remove", removed.append)
    monkeypatch.setattr(view_module, "_beside", lambda model: {name: ()})
    view.update()
    assert {(path.parent, path.name) for path in removed} <= {(view.folder / "ssrnet", "1")}
    assert "is no name of a file" in str(view.failures[0])


def test_another_configuration_than_the_verified_one_is_refused(repo: Path) -> None:
    with pytest.raises(SsrError, match="--model-config-name=gpu: ssr-serve sets this option itself"):
        Server(repo, arguments=["--model-config-name=gpu"])


# -- what is watched -------------------------------------------------------------------------------


def program(repo: Path, text: str = 'backend: "python"\n') -> Path:
    model = repo / "program"
    (model / "1").mkdir(parents=True)
    (model / "config.pbtxt").write_text(text)
    (model / "1" / "model.py").write_text("")
    return model


WRITTEN = [
    "1/state.json",
    "1/cache/a/b",
    "log.txt",
    "logs/1.txt",
    "1/__pycache__/model.pyc",
    "__pycache__/x.pyc",
]


def test_what_a_program_writes_is_no_change(repo: Path, view: View) -> None:
    """Else it would be loaded again, and write again; while it writes, nothing else would be followed."""
    model = program(repo)
    view.update()
    before = view.signature()
    for text in ("", "and again"):
        for name in WRITTEN:
            (model / name).parent.mkdir(exist_ok=True, parents=True)
            (model / name).write_text(text)
            assert view.signature() == before, name
    assert view.update() == ([], [])


NAMES = """backend: "python"
default_model_filename: "served"
output { name: "OUT" data_type: TYPE_FP32 dims: 1 label_filename: "labels.txt" }
parameters { key: "EXECUTION_ENV_PATH" value { string_value: "$$TRITON_MODEL_DIRECTORY/env.tar.gz" } }
"""
READ = ["1/model.py", "1/help/more.py", "1/served", "labels.txt", "env.tar.gz", "triton_python_backend_stub"]


@pytest.mark.parametrize("name", ["config.pbtxt", *READ])
def test_what_a_server_reads_of_it_is_one(name: str, repo: Path, view: View) -> None:
    model = program(repo, NAMES)
    view.update()
    before = view.signature()
    (model / name).parent.mkdir(exist_ok=True)
    (model / name).write_text(NAMES + "# changed\n")
    assert view.signature() != before
    assert view.update() == (["program"], [])


def test_a_version_of_a_program_is_one(repo: Path, view: View) -> None:
    model = program(repo)
    view.update()
    (model / "2").mkdir()
    assert view.update() == (["program"], [])
    (model / "2").rmdir()
    assert view.update() == (["program"], [])


@pytest.mark.parametrize("name", ["1/weights.bin", "labels.txt", "warmup/one"])
def test_of_other_models_every_file_counts_but_what_python_leaves(name: str, repo: Path, view: View) -> None:
    model = program(repo, 'backend: "onnxruntime"')
    view.update()
    before = view.signature()
    for folder in (model, model / "1", repo / "ssrnet" / "1"):
        (folder / "__pycache__").mkdir()
        (folder / "__pycache__" / "model.pyc").write_text("")
    assert view.signature() == before
    (model / name).parent.mkdir(exist_ok=True)
    (model / name).write_text("")
    assert view.signature() != before


@pytest.mark.parametrize(("file", "counts"), [("model.py", False), ("model.onnx", True)])
def test_a_model_without_a_configuration(file: str, counts: bool, repo: Path, view: View) -> None:
    """A server completes it by what it finds. A bundle needs one, and without a version it is no model."""
    for name in ("program", "empty"):
        (repo / name / "1").mkdir(parents=True)
    (repo / "program" / "1" / file).write_text("")
    (repo / "empty" / "1").rmdir()
    (repo / "ssrnet" / "config.pbtxt").unlink()
    view.update()
    assert view.models == {"program": (1,)}
    assert [failure.model for failure in view.failures] == ["empty", "ssrnet"]
    assert all("config.pbtxt: missing" in failure.reason for failure in view.failures)
    before = view.signature()
    (repo / "program" / "1" / "log").write_text("")
    assert (view.signature() != before) is counts


# -- what the server cannot run --------------------------------------------------------------------


def test_the_fetched_server_cannot_run_python_models(
    repo: Path, tritonserver: TritonServer, tmp_path: Path
) -> None:
    """Its backend lacks the program that runs them, and looks for it nowhere but beside itself."""
    program(repo)
    folder = tmp_path / "root" / "backends" / "python"
    folder.mkdir(parents=True)
    (folder / "libtriton_python.so").write_text("")
    server = TritonServer(tmp_path / "root" / "bin" / "tritonserver", "test")
    assert server.backends().keys() == {"python"}
    assert server.working_backends() == set()
    view = View(repo, tmp_path / "view", server.working_backends())
    view.update()
    assert view.models == {"ssrnet": (1,)}
    told = "program: this tritonserver has no python backend; a Triton container has"
    assert [str(failure) for failure in view.failures] == [told]
    (repo / "program" / "triton_python_backend_stub").write_text("")
    assert view.update() == ([], [])
    (folder / "triton_python_backend_stub").write_text("")
    assert server.working_backends() == {"python"}


@pytest.mark.parametrize(
    ("text", "brought", "served"),
    [
        ('backend: "pytorch"', "", False),
        ('backend: "pytorch"', "libtriton_pytorch.so", True),
        ('backend: "pytorch"', "1/libtriton_pytorch.so", True),
        ('backend: "pytorch" runtime: "libtorch_of_mine.so"', "", True),
        ('platform: "ensemble"', "", True),
    ],
)
def test_a_backend_that_is_nowhere(text: str, brought: str, served: bool, repo: Path, tmp_path: Path) -> None:
    model = program(repo, text)
    if brought:
        (model / brought).write_text("")
    view = View(repo, tmp_path / "view", {"python"})
    view.update()
    assert view.models == {"ssrnet": (1,), **({"program": (1,)} if served else {})}
    assert len(view.failures) == (0 if served else 1)
