"""The words every layer speaks: ids, errors, checkpoints, clusters, and the door to time, chance and threads."""
