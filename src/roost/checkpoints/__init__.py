"""Checkpoints on top of chunks and a cluster: store, gather, what is listed, where copies belong, how they fare."""
