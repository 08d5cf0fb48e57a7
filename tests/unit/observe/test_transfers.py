"""Counts of chunks by peer and way, and the histograms that they are kept in."""

from roost.core.ids import NodeId
from roost.observe.histogram import Histogram
from roost.observe.transfers import Transfers

A, B, C = NodeId("a" * 32), NodeId("b" * 32), NodeId("c" * 32)


def test_a_histogram_counts_by_upper_bounds_which_belong_to_their_bucket() -> None:
    histogram = Histogram((1.0, 10.0))
    for value in (0.5, 1.0, 1.1, 10.0, 99.0):
        histogram.add(value)
    assert histogram.buckets() == [("1.0", 2.0), ("10.0", 4.0), ("+Inf", 5.0)]
    assert histogram.sum == 111.6
    other = Histogram((1.0, 10.0))
    other.add(5.0)
    histogram.absorb(other)
    assert histogram.buckets()[1:] == [("10.0", 5.0), ("+Inf", 6.0)]


def test_peers_of_one_name_are_counted_together() -> None:
    transfers = Transfers()
    transfers.moved(A, "in", 10, 0.1)
    transfers.moved(B, "in", 5, 0.1)
    transfers.moved(C, "out", 7, 0.1)
    transfers.moved(None, "in", 1, 0.1)
    for peer in (A, B, None):
        transfers.failed(peer, "no-space")
    names = {A: "pi", C: "pi"}

    def called(node: NodeId | None) -> str:
        return names.get(node, "client") if node is not None else "client"

    assert [(name, way, flow.bytes) for name, way, flow in transfers.flows(called)] == [
        ("client", "in", 6), ("pi", "in", 10), ("pi", "out", 7),
    ]  # fmt: skip
    assert transfers.errors(called) == [("client", "no-space", 2), ("pi", "no-space", 1)]
    assert [flow.bytes for _, _, flow in transfers.flows(called)] == [6, 10, 7], "reading changes nothing"
