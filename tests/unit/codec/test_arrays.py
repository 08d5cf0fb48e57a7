"""Each dtype of safetensors is an array, or is told."""

import pytest

from roost.codec.arrays import ML_DTYPES, NUMPY_DTYPES, as_array
from roost.codec.safetensors import DTYPE_BITS
from roost.core.errors import Failed


@pytest.mark.parametrize("dtype", DTYPE_BITS)
def test_each_dtype_of_the_format_is_an_array_or_is_told(dtype: str) -> None:
    data = bytearray(DTYPE_BITS[dtype])
    if dtype in NUMPY_DTYPES or dtype in ML_DTYPES:
        array = as_array(data, dtype=dtype, shape=(2, 4))
        assert (array.shape, array.nbytes) == ((2, 4), len(data))
        array.flat[:] = 1
        assert any(data), "over its very bytes"
    else:
        with pytest.raises(Failed, match=dtype):
            as_array(data, dtype=dtype, shape=(8,))
