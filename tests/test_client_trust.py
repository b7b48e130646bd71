"""What a client takes from a server, and what it gives to it: nothing is believed that can be checked."""

from __future__ import annotations

import asyncio
import re
import struct
import subprocess
import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from conftest import Serve

from ssr_ops import Engine
from ssr_ops.shipped import default_bundle

grpc = pytest.importorskip("grpc")
pytest.importorskip("tritonclient.grpc")

from ssr_client import AgeClient, AsyncAgeClient, BadInput, ClientError, SharedMemoryWarning  # noqa: E402
from ssr_client.exchange import LONGEST_TOLD, is_local, short  # noqa: E402
from stand_in import stand_in  # noqa: E402

CROPS = np.random.default_rng(5).integers(0, 256, (3, 64, 64, 3), np.uint8)
DISABLED = "Client shared memory is disabled. Start the server with --allow-client-shm=true to enable it."
"""What Triton answers from about 26.04 on."""


@pytest.fixture(scope="module")
def url(serve: Serve) -> str:
    return serve({"ssrnet": default_bundle()}, max_batch=16, shared_memory=True).grpc_url


@pytest.fixture(scope="module")
def expected() -> np.ndarray[Any, Any]:
    return Engine(default_bundle()).predict(CROPS)


# -- secrets -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("localhost:8001", True),
        ("LOCALHOST:8001", True),
        ("127.0.0.1:8001", True),
        ("127.9.8.7:8001", True),
        ("[::1]:8001", True),
        ("unix:/run/triton.sock", True),
        ("127.0.0.1.evil.example:8001", False),
        ("localhost.evil.example:8001", False),
        ("10.0.0.7:8001", False),
        ("0.0.0.0:8001", False),
        ("age.example:8001", False),
        ("[2001:db8::1]:8001", False),
    ],
)
def test_a_token_leaves_the_machine_encrypted_or_not_at_all(address: str, local: bool) -> None:
    assert is_local(address) == local
    for kind in (AgeClient, AsyncAgeClient):
        for options in ({"token": "secret"}, {"headers": {"authorization": "Bearer secret"}}):
            kind(address, ssl=True, **options)
            kind(address, creds=grpc.ssl_channel_credentials(), **options)
            if local:
                kind(address, **options)
                continue
            with pytest.raises(BadInput, match=f"token: {re.escape(address)} is not this machine") as caught:
                kind(address, **options)
            assert "secret" not in str(caught.value)
        kind(address)
        kind(address, headers={"x-request-id": "7"})


def test_the_command_refuses_to_send_a_token_in_the_clear() -> None:
    arguments = ("bench", "--url", "age.example:8001", "--token", "secret")
    code = "from ssr_client.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert done.returncode == 2
    assert "is not this machine" in " ".join(done.stderr.replace("│", " ").split())
    assert "secret" not in done.stderr


# -- shared memory --------------------------------------------------------------------------------------


@pytest.mark.server
@pytest.mark.parametrize(
    "refusal",
    [
        (grpc.StatusCode.INVALID_ARGUMENT, DISABLED),
        (
            grpc.StatusCode.UNAVAILABLE,
            "This protocol is restricted, expecting header 'key'",
        ),
    ],
    ids=["disabled", "restricted"],
)
def test_a_server_that_shares_no_memory_is_sent_bytes(url: str, expected: Any, refusal: Any) -> None:
    refuse = {"SystemSharedMemoryRegister": refusal, "SystemSharedMemoryStatus": refusal}

    async def ask_later(address: str) -> Any:
        async with AsyncAgeClient(address, shared_memory=True) as client:
            return [await client.predict(CROPS) for _ in range(3)]

    def ask(address: str) -> Any:
        with AgeClient(address, shared_memory=True) as client:
            assert not client.shares_memory
            return [client.predict(CROPS) for _ in range(3)]

    with stand_in(url, refuse) as address:
        with pytest.warns(SharedMemoryWarning, match="shares no memory with this client") as caught:
            answers = ask(address)
        assert len(caught) == 1
        with pytest.warns(SharedMemoryWarning) as caught:
            answers += asyncio.run(ask_later(address))
        assert len(caught) == 1
    for answer in answers:
        np.testing.assert_array_equal(answer, expected)


@pytest.mark.server
def test_a_server_that_stops_sharing_is_sent_bytes_from_then_on(url: str, expected: Any) -> None:
    """It was started anew, without: the region is unknown, and cannot be registered again."""
    refuse: dict[str, Any] = {}
    with stand_in(url, refuse) as address, AgeClient(address, shared_memory=True) as client:
        np.testing.assert_array_equal(client.predict(CROPS), expected)
        assert client.shares_memory
        refuse["SystemSharedMemoryRegister"] = (grpc.StatusCode.INVALID_ARGUMENT, DISABLED)
        assert client._memory is not None
        for region in client._memory._free:
            region.registered = False
        with pytest.warns(SharedMemoryWarning) as caught:
            answers = [client.predict(CROPS) for _ in range(3)]
        assert len(caught) == 1
        assert not client.shares_memory
    for answer in answers:
        np.testing.assert_array_equal(answer, expected)


@pytest.mark.server
def test_the_load_test_says_how_crops_were_sent(url: str) -> None:
    refuse = {"SystemSharedMemoryRegister": (grpc.StatusCode.INVALID_ARGUMENT, DISABLED)}
    with stand_in(url, refuse) as address:
        arguments = ("bench", "--url", address, "--shared-memory", "--duration", "0.3", "--warm-up", "0")
        code = "from ssr_client.cli import main; main()"
        done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "crops a request over gRPC" in done.stdout
    assert done.stderr.startswith("ssr-client: ")
    assert done.stderr.count("shares no memory") == 1


# -- answers ---------------------------------------------------------------------------------------------


def _values(*values: float) -> Callable[[Any], None]:
    def change(response: Any) -> None:
        response.raw_output_contents[0] = struct.pack(f"{len(values)}f", *values)

    return change


def _shape(*shape: int) -> Callable[[Any], None]:
    def change(response: Any) -> None:
        response.outputs[0].shape[:] = shape

    return change


def _type(name: str) -> Callable[[Any], None]:
    def change(response: Any) -> None:
        response.outputs[0].datatype = name

    return change


def _none(response: Any) -> None:
    del response.outputs[:]
    del response.raw_output_contents[:]


NAN = float("nan")


@pytest.mark.server
@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (_values(20, NAN, 30), "the server sent nan, expected 0 to 101"),
        (_values(20, 1e9, 30), r"the server sent 1e\+09, expected 0 to 101"),
        (_values(20, 30, -0.5), "the server sent -0.5, expected 0 to 101"),
        (_values(20, float("-inf"), 30), "the server sent -inf, expected 0 to 101"),
        (_values(20, 30), "nothing that can be read"),
        (_values(), "nothing that can be read"),
        (_shape(3, 2), "nothing that can be read"),
        (_shape(1, 3), r"float32 \(1, 3\), expected float32 for 3 crops"),
        (_shape(3, 1, 1), r"float32 \(3, 1, 1\), expected float32 for 3 crops"),
        (_shape(), "expected float32 for 3 crops"),
        (_shape(-3, -1), "expected float32 for 3 crops|nothing that can be read"),
        (_type("INT32"), r"int32 \(3, 1\), expected float32 for 3 crops"),
        (_type("BYTES"), "nothing that can be read"),
        (_type("NONSENSE"), "nothing that can be read"),
        (_none, "nothing that can be read"),
    ],
)
def test_answers_that_no_bundle_gives_are_refused(url: str, change: Any, fault: str) -> None:
    with (
        stand_in(url, change=change) as address,
        AgeClient(address) as client,
        pytest.raises(ClientError, match=f"output 'age': .*(?:{fault})"),
    ):
        client.predict(CROPS)


@pytest.mark.server
@pytest.mark.parametrize("method", ["ModelReady", "ModelConfig", "ModelInfer"])
def test_answers_that_are_no_messages(url: str, method: str) -> None:
    async def ask(address: str) -> None:
        async with AsyncAgeClient(address, wait=2) as client:
            await client.predict(CROPS)

    with stand_in(url, spoil=[method]) as address:
        with pytest.raises(ClientError), AgeClient(address, wait=2) as client:
            client.predict(CROPS)
        with pytest.raises(ClientError, match=r"cannot be read|nothing that can be read"):
            asyncio.run(ask(address))


@pytest.mark.server
def test_what_a_server_says_is_cut_and_shown_plainly(url: str) -> None:
    said = "line one\nssr-client: all is well\x1b[2K\x07" + "x" * 5_000
    with (
        stand_in(url, {"ModelInfer": (grpc.StatusCode.INTERNAL, said)}) as address,
        AgeClient(address) as client,
        pytest.raises(ClientError) as caught,
    ):
        client.predict(CROPS)
    told = str(caught.value)
    assert len(told) < LONGEST_TOLD + 200
    assert told.isprintable()
    assert "\\x1b[2K\\x07" in told
    assert re.search(r"x\.\.\. \([0-9,]+ characters\)$", told)


def test_short_keeps_what_is_short() -> None:
    assert short("no model\n 'ssrnet' — Übung") == "no model 'ssrnet' — Übung"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert short("é" * 10_000) == "é" * LONGEST_TOLD + "... (10,000 characters)"


@pytest.mark.server
@pytest.mark.parametrize("form", [[], ["--json"]], ids=["lines", "json"])
def test_names_of_photos_reach_the_terminal_as_text(url: str, form: list[str]) -> None:
    name = "a\x1b[2K\u202eb.jpg"
    code = "from ssr_client.cli import main; main()"
    arguments = ("image", name, "--url", url, "--detector", "haar", *form)
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert done.returncode == 1
    assert r"a\x1b[2K\u202eb.jpg: No such file" in done.stderr
    assert not set(done.stdout + done.stderr) & {"\x1b", "\u202e"}
