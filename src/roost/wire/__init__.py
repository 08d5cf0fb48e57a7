"""The protocol between two peers as pure values and one state machine: no sockets, no clocks."""
