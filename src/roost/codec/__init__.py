"""Tensors as bytes: where chunks begin, how a chunk is encoded, and the records that describe them; all of it pure."""
