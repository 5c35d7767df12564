"""SEAL objects as bytes, and the context that every role makes from the public parameters.

SEAL reads and writes files by path only, so bytes pass through a file in memory, or a temporary one where the system
has no memory files. Nothing secret is written: keys and ciphertexts that cross between roles anyway.

NOT protected: SEAL's loader is not safe on bytes from somebody else. What can be checked first is: the header's
fixed fields, that the length is the one it states, and an upper limit. SEAL then checks that coefficients are in range.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from protocols.base import MessageError
from protocols.bfv.parameters import Parameters

try:
    from tenseal import sealapi
except ImportError:  # no wheel for this machine; `BFV.why_not` says so
    sealapi = None

_HEADER = struct.Struct("<HBBBBHQ")  # SEALHeader: magic, header size, major, minor, compression, reserved, size
_MAGIC = 0xA15E
_MAJOR = 4
_SLACK = 4096  # bytes of metadata and incompressible blocks around the coefficients


@cache
def context(parameters: Parameters) -> Any:
    """SEAL's context for the parameters, with SEAL's modulus for 128-bit security."""
    settings = sealapi.EncryptionParameters(sealapi.SCHEME_TYPE.BFV)
    settings.set_poly_modulus_degree(parameters.n)
    settings.set_coeff_modulus(sealapi.CoeffModulus.BFVDefault(parameters.n, sealapi.SEC_LEVEL_TYPE.TC128))
    settings.set_plain_modulus(parameters.t)
    return sealapi.SEALContext(settings, True, sealapi.SEC_LEVEL_TYPE.TC128)


def to_bytes(objects: Iterable[Any]) -> list[bytes]:
    """Keys or ciphertexts in SEAL's format, compressed."""
    out = []
    with _file() as path:
        for item in objects:
            item.save(str(path))
            out.append(path.read_bytes())
    return out


def ciphertexts(parameters: Parameters, data: list[bytes], count: int, field: str) -> list[Any]:
    """`count` ciphertexts of two polynomials. Raises MessageError, which names `field`."""
    if len(data) != count:
        raise MessageError(f"{field}: {len(data)} ciphertexts; expected {count}")
    with _file() as path:
        loaded = [_load(sealapi.Ciphertext, parameters, data[i], f"{field}[{i}]", path) for i in range(count)]
    if any(item.size() != 2 or item.is_ntt_form() or item.is_transparent() for item in loaded):
        raise MessageError(f"{field}: not ciphertexts of two polynomials in coefficient form")
    return loaded


def public_key(parameters: Parameters, data: bytes) -> Any:
    """A public key. Raises MessageError."""
    with _file() as path:
        return _load(sealapi.PublicKey, parameters, data, "key", path)


def _load(kind: type, parameters: Parameters, data: bytes, field: str, path: Path) -> Any:
    limit = 2 * 8 * parameters.n + _SLACK
    if not _HEADER.size < len(data) <= limit:
        raise MessageError(f"{field}: {len(data)} bytes; expected more than {_HEADER.size} and at most {limit}")
    magic, size_of_header, major, _, compression, reserved, size = _HEADER.unpack_from(data)
    if (magic, size_of_header, major, reserved, size) != (_MAGIC, _HEADER.size, _MAJOR, 0, len(data)):
        raise MessageError(f"{field}: not what SEAL {_MAJOR} writes, or cut short")
    if compression not in (0, 1, 2):
        raise MessageError(f"{field}: compression is {compression}; SEAL has 0, 1 and 2")
    loaded = kind()
    path.write_bytes(data)
    try:
        loaded.load(context(parameters), str(path))
    except (RuntimeError, ValueError, IndexError):
        raise MessageError(f"{field}: SEAL cannot load it under these parameters") from None
    return loaded


@contextmanager
def _file() -> Iterator[Path]:
    if hasattr(os, "memfd_create"):
        with open(os.memfd_create("hushmatch")) as file:
            yield Path(f"/proc/self/fd/{file.fileno()}")
    else:
        with NamedTemporaryFile(prefix="hushmatch-") as temporary:
            yield Path(temporary.name)
