"""The checkpoints that the benchmark stores: bfloat16 weights in the shapes of Qwen2.5-0.5B, and a folder of crumbs."""

import random
from collections.abc import Iterator
from pathlib import Path

from roost.apps.cli.demo_checkpoint import write_weights

HIDDEN, INNER, KEYS, LAYERS = 896, 4864, 128, 24
ELEMENT_BYTES = 2
WHOLE_BYTES = 942_000_000
"""The weights of all layers and an embedding somewhat shorter than the model's own."""


def make_model(path: Path, *, bytes_wanted: int) -> int:
    """Write a safetensors file of `bytes_wanted` bytes of weights, less than one row of the embedding fewer; returns
    the file's bytes. More or fewer bytes mean more or fewer layers, so that the tensors keep their sizes."""
    write_weights(path, _shapes(bytes_wanted))
    return path.stat().st_size


def make_crumbs(folder: Path, *, files: int, each_bytes: int) -> int:
    """Write a folder of many small files of noise; returns their bytes."""
    folder.mkdir(parents=True)
    noise = random.Random()  # noqa: S311  # filling, not secrets
    for number in range(files):
        (folder / f"part-{number:05d}.bin").write_bytes(noise.randbytes(each_bytes))
    return files * each_bytes


def _shapes(bytes_wanted: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    layers = LAYERS * bytes_wanted // WHOLE_BYTES
    rest = [shape for layer in range(layers) for shape in _layer(layer)] + [("model.norm.weight", (HIDDEN,))]
    taken = sum(_bytes_of(shape) for _, shape in rest)
    yield "model.embed_tokens.weight", (max(1, (bytes_wanted - taken) // _bytes_of((HIDDEN,))), HIDDEN)
    yield from rest


def _layer(number: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    prefix = f"model.layers.{number}"
    yield f"{prefix}.input_layernorm.weight", (HIDDEN,)
    for part in ("gate", "up"):
        yield f"{prefix}.mlp.{part}_proj.weight", (INNER, HIDDEN)
    yield f"{prefix}.mlp.down_proj.weight", (HIDDEN, INNER)
    yield f"{prefix}.post_attention_layernorm.weight", (HIDDEN,)
    for part, width in (("q", HIDDEN), ("k", KEYS), ("v", KEYS)):
        yield f"{prefix}.self_attn.{part}_proj.bias", (width,)
        yield f"{prefix}.self_attn.{part}_proj.weight", (width, HIDDEN)
    yield f"{prefix}.self_attn.o_proj.weight", (HIDDEN, HIDDEN)


def _bytes_of(shape: tuple[int, ...]) -> int:
    count = ELEMENT_BYTES
    for extent in shape:
        count *= extent
    return count
