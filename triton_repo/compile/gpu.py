"""The GPU at hand through CUDA's driver library alone, so that looking and running need no package.

Signatures: CUDA driver API reference, ``cuda.h``.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from ctypes import POINTER, byref, c_char_p, c_int, c_size_t, c_uint, c_uint64, c_void_p
from dataclasses import dataclass
from functools import cache
from typing import Any

from numpy.typing import NDArray

from ssr_bundle.errors import SsrError
from triton_repo.compile.library import Target

_CAPABILITY_MAJOR, _CAPABILITY_MINOR = 75, 76  # CUdevice_attribute
_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING

_SIGNATURES: dict[str, tuple[Any, ...]] = {
    "cuInit": (c_uint,),
    "cuGetErrorString": (c_int, POINTER(c_char_p)),
    "cuDeviceGet": (POINTER(c_int), c_int),
    "cuDeviceGetName": (c_char_p, c_int, c_int),
    "cuDeviceGetAttribute": (POINTER(c_int), c_int, c_int),
    "cuDevicePrimaryCtxRetain": (POINTER(c_void_p), c_int),
    "cuDevicePrimaryCtxRelease_v2": (c_int,),
    "cuCtxSetCurrent": (c_void_p,),
    "cuStreamCreate": (POINTER(c_void_p), c_uint),
    "cuStreamSynchronize": (c_void_p,),
    "cuStreamDestroy_v2": (c_void_p,),
    "cuMemAlloc_v2": (POINTER(c_uint64), c_size_t),
    "cuMemFree_v2": (c_uint64,),
    "cuMemcpyHtoDAsync_v2": (c_uint64, c_void_p, c_size_t, c_void_p),
    "cuMemcpyDtoHAsync_v2": (c_void_p, c_uint64, c_size_t, c_void_p),
}


class NotRunnable(SsrError):
    """A plan that is whole, but cannot run on this machine; the message is the reason."""


class GpuError(SsrError):
    """A call of CUDA that failed on a GPU that is there: memory, or a fault of what ran."""


@dataclass(frozen=True)
class Gpu:
    """The first GPU that CUDA lists (``CUDA_VISIBLE_DEVICES`` decides which that is)."""

    name: str
    target: Target

    def __str__(self) -> str:
        return f"{self.name} ({self.target})"


def find() -> Gpu | None:
    """The GPU at hand, or None."""
    try:
        return require()
    except NotRunnable:
        return None


def require() -> Gpu:
    """The GPU at hand. Raises :class:`NotRunnable` saying what is missing."""
    name, numbers = ctypes.create_string_buffer(256), []
    try:
        _call("cuInit", 0)
        device = _device()
        _call("cuDeviceGetName", name, len(name), device)
        for attribute in (_CAPABILITY_MAJOR, _CAPABILITY_MINOR):
            value = c_int()
            _call("cuDeviceGetAttribute", byref(value), attribute, device)
            numbers.append(value.value)
    except GpuError as error:
        raise NotRunnable(f"no usable GPU: {error}") from None
    return Gpu(name.value.decode(errors="replace"), Target(*numbers))


class Stream:
    """A CUDA stream with memory that lives as long as ``life``; see :func:`stream`."""

    def __init__(self, handle: int, life: ExitStack) -> None:
        self.handle, self._life = handle, life

    def allocate(self, size: int) -> int:
        """Address of ``size`` bytes on the GPU."""
        address = c_uint64()
        _call("cuMemAlloc_v2", byref(address), size)
        self._life.callback(_call, "cuMemFree_v2", address.value)
        return address.value

    def upload(self, address: int, array: NDArray[Any]) -> None:
        """Copy a C-contiguous array to the GPU; it must stay until :meth:`synchronize`."""
        _call("cuMemcpyHtoDAsync_v2", address, array.ctypes.data, array.nbytes, self.handle)

    def download(self, array: NDArray[Any], address: int) -> None:
        """Copy from the GPU into a C-contiguous array, whole after :meth:`synchronize`."""
        _call("cuMemcpyDtoHAsync_v2", array.ctypes.data, address, array.nbytes, self.handle)

    def synchronize(self) -> None:
        _call("cuStreamSynchronize", self.handle)


@contextmanager
def stream() -> Iterator[Stream]:
    """A stream in the primary context, which is the one that TensorRT uses. What fails on it raises
    :class:`GpuError`: a fault of what runs there is no missing GPU."""
    _call("cuInit", 0)
    device = _device()
    context, handle = c_void_p(), c_void_p()
    with ExitStack() as life:
        _call("cuDevicePrimaryCtxRetain", byref(context), device)
        life.callback(_call, "cuDevicePrimaryCtxRelease_v2", device)
        _call("cuCtxSetCurrent", context)
        _call("cuStreamCreate", byref(handle), _NON_BLOCKING)
        life.callback(_call, "cuStreamDestroy_v2", handle)
        yield Stream(int(handle.value or 0), life)


def _device() -> int:
    device = c_int()
    _call("cuDeviceGet", byref(device), 0)
    return device.value


@cache
def _driver() -> Any:
    try:
        library = ctypes.CDLL("libcuda.so.1")
        for name, arguments in _SIGNATURES.items():
            function = getattr(library, name)
            function.argtypes, function.restype = arguments, c_int
    except OSError:
        return "no NVIDIA driver (libcuda.so.1)"
    except AttributeError as error:
        return f"the NVIDIA driver is too old ({error})"
    return library


def _call(name: str, *arguments: Any) -> None:
    driver = _driver()
    if isinstance(driver, str):
        raise NotRunnable(f"no GPU: {driver}")
    status = getattr(driver, name)(*arguments)
    if status != 0:
        text = c_char_p()
        driver.cuGetErrorString(status, byref(text))
        raise GpuError(f"{name}: {(text.value or b'').decode() or f'CUDA error {status}'}")
