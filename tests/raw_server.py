"""A bare tritonserver under explicit model control, for tests of the backend itself.

Nothing of ``triton_repo.server`` stands between a faulty model and the backend here.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tritonclient.grpc as grpc
from tritonclient.utils import InferenceServerException

from ssr_bundle.bundle import read_bundle
from ssr_ops import _native
from triton_repo import config as model_config
from triton_repo import ports
from triton_repo.tritonserver import TritonServer

BACKENDS = Path(_native.__file__).parent / "backends"
LIBRARY = BACKENDS / "ssr" / "libtriton_ssr.so"

Edit = Callable[[Any], object]


class RawServer:
    """Started on free ports of 127.0.0.1, stopped by ``close``; models are added one at a time."""

    def __init__(self, folder: Path, binary: TritonServer, *arguments: str) -> None:
        self.repository = folder / "repository"
        self.repository.mkdir()
        self.log = folder / "server.log"
        port = ports.choose("127.0.0.1", 0, 0, 0).grpc
        command = [
            str(binary.binary),
            f"--model-repository={self.repository}",
            "--model-control-mode=explicit",
        ]
        command += [f"--backend-directory={BACKENDS}", "--exit-timeout-secs=10"]
        command += ["--allow-http=false", "--allow-metrics=false"]
        command += ["--grpc-address=127.0.0.1", f"--grpc-port={port}"]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, *arguments],
                stdout=log,
                stderr=log,
                env=binary.environment(),
                # Ends with this process, however that ends (PR_SET_PDEATHSIG, SIGTERM).
                preexec_fn=lambda: ctypes.CDLL(None).prctl(1, 15),
            )
        self.url = f"127.0.0.1:{port}"
        self.client = grpc.InferenceServerClient(self.url)
        try:
            self._wait()
        except BaseException:
            self.close()
            raise

    def _wait(self) -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise AssertionError(f"tritonserver ended:\n{self.log.read_text(errors='replace')[-2000:]}")
            try:
                if self.client.is_server_live():
                    return
            except InferenceServerException:
                time.sleep(0.1)
        raise AssertionError("tritonserver did not become live within 60 s")

    def close(self) -> None:
        self.client.close()
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def put(self, name: str, bundle: Path, edit: Edit | None = None, **options: Any) -> Path:
        """Write a model folder with ``bundle`` as version 1; ``edit`` changes the configuration message."""
        text = model_config.render(
            name, read_bundle(bundle).contract, model_config.Options(**{"warmup": False, **options})
        )
        message = model_config.parse(text)
        if edit is not None:
            edit(message)
        folder = self.repository / name
        folder.mkdir()
        (folder / "config.pbtxt").write_text(str(message), encoding="utf-8")
        return Path(shutil.copytree(bundle, folder / "1"))

    def add(self, name: str, bundle: Path, edit: Edit | None = None, **options: Any) -> str:
        """Put a model and load it; raises ``InferenceServerException`` with the server's reason."""
        self.put(name, bundle, edit, **options)
        self.client.load_model(name)
        return name

    def statistics(self, name: str) -> Any:
        """The server's ``ModelStatistics`` of version 1."""
        return self.client.get_inference_statistics(name).model_stats[0]
