"""World. What rules catch follows the workload: ports, exclusions, services on loopback, who removes them."""

from collections.abc import Iterator

import pytest
import trio

from meshtrio.address import Address
from meshtrio.intercept.capture import Surroundings
from meshtrio.intercept.nft_plan import table_name
from meshtrio.intercept.nft_request import ErrandRefused
from tests.intercept.node import ELSEWHERE, HERE, VIP, Node, Place, a_place, caught_inbound, listen, node

pytestmark = pytest.mark.world


@pytest.fixture
def place() -> Iterator[Place]:
    with a_place() as made:
        yield made


async def surround(made: Node, **around: tuple[object, ...]) -> None:
    made.catcher.surroundings = Surroundings(**around)  # type: ignore[arg-type]
    await made.registry.refresh()


async def test_it_follows_listening_ports(place: Place) -> None:
    async with node(None) as made:
        listen(place, 8080)
        shop = await made.registry.add(place.spec(ports=(9000,)))
        assert caught_inbound(shop, place.space, HERE, 8080) == Address.of(HERE, 8080)
        listen(place, 8081)
        assert caught_inbound(shop, place.space, HERE, 8081) is None, "nobody has looked yet"
        await made.registry.refresh()
        for port in (8080, 8081, 9000):
            assert caught_inbound(shop, place.space, HERE, port) == Address.of(HERE, port)
        place.app.do("keep.pop(0).close()")
        await made.registry.refresh()
        assert caught_inbound(shop, place.space, HERE, 8080) is None
        assert caught_inbound(shop, place.space, HERE, 8081) == Address.of(HERE, 8081)


async def test_it_follows_exclusions(place: Place) -> None:
    async with node(None) as made:
        listen(place, 8080)
        shop = await made.registry.add(place.spec())
        with place.space.bound(ELSEWHERE, 80):
            assert place.caught(shop, ELSEWHERE) == Address.of(ELSEWHERE, 80)
            await surround(made, cidrs=(f"{ELSEWHERE}/32",), inbound_ports=(8080,))
            assert place.caught(shop, ELSEWHERE) is None
            assert place.caught(shop, VIP) == Address.of(VIP, 80)
            assert caught_inbound(shop, place.space, HERE, 8080) is None
            await surround(made, outbound_ports=(80,))
            assert place.caught(shop, ELSEWHERE) is None
            assert place.caught(shop, VIP, 81) == Address.of(VIP, 81)
            assert caught_inbound(shop, place.space, HERE, 8080) == Address.of(HERE, 8080)
            await surround(made)
            assert place.caught(shop, ELSEWHERE) == Address.of(ELSEWHERE, 80)


async def test_it_catches_services_on_loopback_alone(place: Place) -> None:
    async with node(None) as made:
        shop = await made.registry.add(place.spec())
        with place.space.bound("127.0.0.1", 80), place.space.bound("127.0.0.1", 81):
            assert place.caught(shop, "127.0.0.1", 80) is None
            await surround(made, services=("127.0.0.1:80",))
            assert place.caught(shop, "127.0.0.1", 80) == Address.of("127.0.0.1", 80)
            assert place.caught(shop, "127.0.0.1", 81) is None
            await surround(made)
            assert place.caught(shop, "127.0.0.1", 80) is None


async def test_it_tries_again_what_was_refused(place: Place) -> None:
    async with node(None) as made:
        shop = await made.registry.add(place.spec())
        too_many = tuple(f"10.{number >> 8}.{number & 255}.0/24" for number in range(5000))
        for _ in range(2):
            with pytest.raises(ErrandRefused, match="more than"):
                await surround(made, cidrs=too_many)
        assert place.caught(shop, VIP) == Address.of(VIP, 80), "the last good rules hold"
        await surround(made, cidrs=("10.96.0.0/16",))
        assert place.caught(shop, VIP) is None


async def test_one_that_cannot_follow_does_not_hold_up_the_others(place: Place) -> None:
    async with node(None) as made:
        with a_place() as other:
            await made.registry.add(place.spec())
            till = await made.registry.add(other.spec("till"))
            # Somebody put an empty table where the first one's was: its next update finds no set there.
            place.space.command("nft", "flush", "ruleset")
            place.space.command("nft", "add", "table", "inet", table_name("shop"))
            listen(place, 8080)
            listen(other, 8081)
            with pytest.raises(ErrandRefused):
                await made.registry.refresh()
            assert caught_inbound(till, other.space, HERE, 8081) == Address.of(HERE, 8081)
            place.space.command("nft", "flush", "ruleset")
            await made.take_away("till")


async def test_it_is_quiet_while_nothing_changes(place: Place) -> None:
    async with node(None) as made:
        await made.registry.add(place.spec())
        began = trio.current_time()
        for _ in range(20):
            await made.registry.refresh()
        assert trio.current_time() - began < 0.15 * 20, "no child was started"


async def test_rules_that_somebody_took_away_are_set_again(place: Place) -> None:
    """As each start of Debian's nftables.service does."""
    async with node(None) as made:
        listen(place, 8080)
        shop = await made.registry.add(place.spec())
        place.space.command("nft", "flush", "ruleset")
        assert place.caught(shop, VIP) is None
        await made.registry.refresh()
        assert place.caught(shop, VIP) == Address.of(VIP, 80)
        assert caught_inbound(shop, place.space, HERE, 8080) == Address.of(HERE, 8080)
