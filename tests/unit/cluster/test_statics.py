"""Static peers: whoever answers at a configured address is met; who does not is no error, and holds up nobody."""

from net_kits import Pair, address, hello, node_id, play
from roost.cluster.statics import meet_static
from roost.core.cluster import Address
from roost.core.ids import NodeId
from roost.net.server import Server

OTHER = 3


def test_members_at_configured_addresses_are_met_and_told_of() -> None:
    async def scenario(pair: Pair) -> None:
        await pair.serve()
        other = pair.member(OTHER)
        second = Server(pair.runtime, {}, greeting=lambda peer: hello())
        await second.listen(other, address(OTHER))
        told: dict[NodeId, Address] = {}
        addresses = [address(2), Address("10.0.0.2", 99), address(OTHER), address(77)]
        met = await meet_static(pair.runtime, pair.client, hello(), addresses, told.__setitem__, own=node_id(1))
        assert met == {node_id(2), node_id(OTHER)}
        assert told == {node_id(2): address(2), node_id(OTHER): address(OTHER)}
        second.close()

    play(scenario)


def test_our_own_address_in_the_list_is_passed_over() -> None:
    async def scenario(pair: Pair) -> None:
        await pair.serve()
        told: dict[NodeId, Address] = {}
        assert not await meet_static(pair.runtime, pair.client, hello(), [address(2)], told.__setitem__, own=node_id(2))
        assert not told

    play(scenario)
