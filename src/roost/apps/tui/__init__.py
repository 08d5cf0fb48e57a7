"""The live view in a terminal: `roost top`."""
