"""Shell. Tell Consul of the workloads of this node, for as long as they are there and we are.

Each gets a check that turns critical when we fall silent, and is taken out by Consul a minute after that.
Does not know where workloads come from.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import consul.base
import trio

from meshtrio.catalog.consul import IDENTITY, MESHED
from meshtrio.config.discovery import Consul
from meshtrio.discover.consul_client import Client, opened
from meshtrio.discover.consul_pulse import rest_s
from meshtrio.discover.consul_wire import Failed, Why
from meshtrio.observe import log

TTL_S = 15
RENEW_S = 5.0
FORGOTTEN_AFTER = "1m"
"""When Consul takes out what an agent that was killed has left. It allows no less."""
ASK_S = 5.0
END_S = 2.0


class Offer(NamedTuple):
    """One port that a workload serves. `id` is unique on this node."""

    id: str
    name: str
    host: str
    port: int
    identity: str = ""
    """Empty: it is not called in the mesh's way, for it could not say who it is."""


async def register_workloads(settings: Consul, offers: Callable[[], Sequence[Offer]]) -> None:
    """Keep Consul's word of what we offer true, until cancelled; then nothing of it is registered.

    In the end Consul has two seconds to answer. What it does not hear then, it finds out by itself.
    """
    async with opened(settings) as client:
        registered: dict[str, Offer] = {}
        failures = 0
        try:
            while True:
                rest = RENEW_S
                try:
                    await _kept_true(client, {offer.id: offer for offer in offers()}, registered)
                    failures = 0
                except Failed as failed:
                    failures += 1
                    if failures == 1:
                        log.warning("workloads cannot be registered in consul", error=str(failed))
                    if failed.why is Why.REFUSED:
                        await client.renew()
                    rest = min(RENEW_S, rest_s(failed.why, failures))
                await trio.sleep(rest)
        finally:
            with trio.move_on_after(END_S, shield=True):
                # A dead endpoint in Consul costs others a timeout.
                for id_ in list(registered):
                    await _taken_out(client, id_)


async def _kept_true(client: Client, offers: dict[str, Offer], registered: dict[str, Offer]) -> None:
    for id_ in [id_ for id_, offer in registered.items() if offers.get(id_) != offer]:
        await _asked(client.api.agent.service.deregister(id_))
        del registered[id_]
    for id_, offer in offers.items():
        if id_ in registered:
            try:
                await _asked(client.api.agent.check.ttl_pass(f"service:{id_}"))
                continue
            except Failed as failed:
                # An agent that began anew knows nothing of it: 404, or 500 before Consul 1.12.
                if failed.why not in (Why.MISSING, Why.SERVER):
                    raise
        # Noted first: cancelled half-way, it may be there.
        registered[id_] = offer
        await _asked(_registration(client, offer))
        await _asked(client.api.agent.check.ttl_pass(f"service:{id_}"))


def _registration(client: Client, offer: Offer) -> Any:
    meta = {MESHED: "enabled", IDENTITY: offer.identity} if offer.identity else {}
    return client.api.agent.service.register(
        offer.name,
        service_id=offer.id,
        address=offer.host,
        port=offer.port,
        meta=meta,
        check={**consul.base.Check.ttl(f"{TTL_S}s"), "DeregisterCriticalServiceAfter": FORGOTTEN_AFTER},
    )


async def _taken_out(client: Client, id_: str) -> None:
    try:
        await _asked(client.api.agent.service.deregister(id_))
    except Failed as failed:
        log.warning("a workload stays registered in consul", id=id_, error=str(failed))


async def _asked(question: Any) -> None:
    try:
        with trio.fail_after(ASK_S):
            await question
    except trio.TooSlowError:
        raise Failed(Why.NETWORK, "no answer in time") from None
