"""Tensors of safetensors files as arrays of numpy."""

from typing import Any, TypeAlias

import numpy

from roost.core.errors import Failed

Array: TypeAlias = "numpy.ndarray[Any, Any]"

NUMPY_DTYPES = {
    "BOOL": "bool", "U8": "u1", "I8": "i1", "I16": "<i2", "U16": "<u2", "F16": "<f2", "I32": "<i4", "U32": "<u4",
    "F32": "<f4", "I64": "<i8", "U64": "<u8", "F64": "<f8", "C64": "<c8",
}  # fmt: skip
ML_DTYPES = {
    "BF16": "bfloat16", "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "F8_E8M0": "float8_e8m0fnu",
    "F8_E4M3FNUZ": "float8_e4m3fnuz", "F8_E5M2FNUZ": "float8_e5m2fnuz",
}  # fmt: skip
"""Those that numpy knows, and those that the package ml_dtypes adds to it, by their names in safetensors."""


def as_array(data: bytearray, *, dtype: str, shape: tuple[int, ...]) -> Array:
    """A tensor as an array over its very bytes, which are in C order and little-endian; `dtype` is named as safetensors
    does. Failed when numpy has no such dtype."""
    if dtype in NUMPY_DTYPES:
        kind = numpy.dtype(NUMPY_DTYPES[dtype])
    elif dtype in ML_DTYPES:
        import ml_dtypes

        kind = numpy.dtype(getattr(ml_dtypes, ML_DTYPES[dtype]))
    else:
        raise Failed(f"numpy has no dtype like {dtype}", hint="take the tensor's bytes with raw()")
    return numpy.frombuffer(data, dtype=kind).reshape(shape)
