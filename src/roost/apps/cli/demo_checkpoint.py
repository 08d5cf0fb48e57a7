"""The checkpoint that the demo makes: a folder as Hugging Face writes it, of about 120 MB, made in a second.

Nothing but the standard library is needed. The weights are bfloat16 and compress as trained weights do: their sign and
exponent are drawn as those of normal numbers with a deviation of 0.02, their mantissas are noise.
"""

import json
import os
import statistics
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path

HIDDEN, INNER, LAYERS, VOCABULARY = 768, 3072, 5, 16_000
DEVIATION = 0.02
PIECE_BYTES = 4 * 1024 * 1024
_TABLE = 256


def make_checkpoint(folder: Path) -> int:
    """Write the checkpoint into `folder`, which is made; how many bytes it has."""
    folder.mkdir(parents=True)
    write_weights(folder / "model.safetensors", shapes())
    texts = {
        "config.json": {
            "architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "bfloat16",
            "hidden_size": HIDDEN, "intermediate_size": INNER, "num_hidden_layers": LAYERS, "num_attention_heads": 12,
            "vocab_size": VOCABULARY, "tie_word_embeddings": True,
        },
        "generation_config.json": {"bos_token_id": 1, "eos_token_id": 2},
        "tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 4096},
        "tokenizer.json": {
            "version": "1.0",
            "model": {"type": "BPE", "vocab": {f"t{i:05d}": i for i in range(VOCABULARY)}, "merges": []},
        },
    }  # fmt: skip
    for name, content in texts.items():
        (folder / name).write_text(json.dumps(content, indent=2), encoding="utf-8")
    return sum(file.stat().st_size for file in folder.iterdir())


def shapes() -> Iterator[tuple[str, tuple[int, ...]]]:
    """Every tensor's name and shape, in the order of the file."""
    yield "model.embed_tokens.weight", (VOCABULARY, HIDDEN)
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}"
        yield f"{prefix}.input_layernorm.weight", (HIDDEN,)
        for part in "qkvo":
            yield f"{prefix}.self_attn.{part}_proj.weight", (HIDDEN, HIDDEN)
        yield f"{prefix}.post_attention_layernorm.weight", (HIDDEN,)
        for part in ("gate", "up"):
            yield f"{prefix}.mlp.{part}_proj.weight", (INNER, HIDDEN)
        yield f"{prefix}.mlp.down_proj.weight", (HIDDEN, INNER)
    yield "model.norm.weight", (HIDDEN,)


def write_weights(path: Path, shapes: Iterable[tuple[str, tuple[int, ...]]]) -> None:
    """A safetensors file of bfloat16 tensors with these names and `shapes`: 8 bytes with the header's length, the
    header as JSON, then the tensors without gaps."""
    entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, shape in shapes:
        length = 2
        for extent in shape:
            length *= extent
        entries[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [offset, offset + length]}
        offset += length
    header = json.dumps(entries, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        for begin in range(0, offset, PIECE_BYTES):
            file.write(weights(min(PIECE_BYTES, offset - begin) // 2))


def _high_bytes() -> bytes:
    """The sign and the upper exponent bits of 256 normal numbers, equally likely each."""
    normal = statistics.NormalDist(0.0, DEVIATION)
    return bytes(struct.pack(">f", normal.inv_cdf((i + 0.5) / _TABLE))[0] for i in range(_TABLE))


def weights(count: int) -> bytes:
    """`count` bfloat16 numbers, little-endian."""
    drawn = bytearray(2 * count)
    drawn[0::2] = os.urandom(count)
    drawn[1::2] = os.urandom(count).translate(_high_bytes())
    return bytes(drawn)
