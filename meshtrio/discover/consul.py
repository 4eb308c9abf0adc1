"""Shell. Follow the services of a Consul datacenter, by questions that block until there is news.

Four streams have a record each: "leader" (is Consul there), "services" (which there are), "health" (the
instances of each), and "checks": whenever a check changes somewhere, this one tells whose, and those are
asked at once if they were to wait for their turn. Does not know what the answers mean.
"""

import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import trio

from meshtrio.catalog.consul_knowledge import Checks, Knowledge
from meshtrio.catalog.stream import Stream
from meshtrio.config.discovery import Consul
from meshtrio.discover.consul_client import Answer, Question, opened
from meshtrio.discover.consul_elsewhere import Elsewhere
from meshtrio.discover.consul_instances import APART_S, RESYNC_S, Instances, Watch
from meshtrio.discover.consul_pulse import Pulse
from meshtrio.discover.consul_wire import REFUSALS, Failed, Why
from meshtrio.discover.hub import Sink


async def follow_consul(settings: Consul, sink: Sink) -> None:
    """Say through the sink what Consul knows, until cancelled.

    Whatever Consul or the network does, this goes on, and a service is taken away only where Consul's own
    list no longer has it. What is true after a failure is known some seconds after it at the latest.
    """
    async with opened(settings) as client:
        knowledge = Knowledge()
        instances = Instances(client, settings, sink, knowledge)
        elsewhere = Elsewhere(client, settings.fallback_datacenters, knowledge, instances)
        instances.answered = elsewhere.look
        pulse = Pulse(client, sink.stream("leader"), instances.restart)
        source = _Source(settings, knowledge, instances, pulse)
        async with trio.open_nursery() as streams:
            streams.start_soon(pulse.run)
            streams.start_soon(source.keep, _Stream(sink.stream("services"), client.services, source.listed))
            streams.start_soon(source.keep, _Stream(sink.stream("checks"), client.checks, source.checked))
            streams.start_soon(instances.run, pulse)
            if settings.fallback_datacenters:
                streams.start_soon(elsewhere.run)


class _Stream(NamedTuple):
    record: Stream
    ask: Callable[[Question], Awaitable[Answer]]
    take: Callable[[Answer], None]
    """Raises Failed or ValueError, having changed nothing, where the answer is none."""


class _Source:
    def __init__(self, settings: Consul, knowledge: Knowledge, instances: Instances, pulse: Pulse) -> None:
        self._settings = settings
        self._knowledge, self._instances, self._pulse = knowledge, instances, pulse
        self._checks = Checks()
        self._seen_checks = False

    async def keep(self, stream: _Stream) -> None:
        """Ask one question again and again."""
        watch, record = Watch(), stream.record
        while True:
            question = watch.question(self._settings.wait_s, trio.current_time())
            try:
                # A slash, for no service's name has one.
                answer = await self._pulse.asked(f"/{record.name}", stream.ask(question))
                if answer is None:
                    watch.begin_anew()
                    continue
                if watch.answered(question, answer):
                    _taken(stream, answer)
                    record.heard(1, time.time())
                watch.failures = 0
                record.lives(str(answer.index), time.time())
                await trio.sleep(APART_S)
            except Failed as failed:
                watch.failed(failed)
                if await self._wait_out(failed, record, watch.failures):
                    watch.begin_anew()

    async def _wait_out(self, failed: Failed, record: Stream, failures: int) -> bool:
        if failed.why is Why.TOO_LARGE and record.name == "checks":
            # Then there is no trigger. Turns alone find what changes, later, and that is no failure.
            record.skips(f"all checks together: {failed}")
            record.lives("", time.time())
            await trio.sleep(RESYNC_S)
            return False
        record.failed(str(failed), time.time(), refused=failed.why in REFUSALS)
        return await self._pulse.rest(failed.why, failures)

    def listed(self, answer: Answer) -> None:
        """Take the list of services."""
        if answer.body == {}:
            # Consul itself is a service, so there is always one. Old versions answer this to a token that
            # may see none, or to no token; and a server does that has just become the leader.
            raise Failed(Why.EMPTY, "Consul lists no service, not even itself: may the token see any?")
        news = self._knowledge.listed(answer.body)
        self._instances.become(self._knowledge.names, self._pulse)
        self._instances.say(news)

    def checked(self, answer: Answer) -> None:
        """Take all checks, and ask about the services whose checks are others than before."""
        services, nodes = self._checks.changed(answer.body)
        if self._seen_checks:
            self._instances.hurry(services | self._knowledge.on_nodes(nodes))
        self._seen_checks = True


def _taken(stream: _Stream, answer: Answer) -> None:
    try:
        stream.take(answer)
    except ValueError as wrong:
        raise Failed(Why.GARBLED, str(wrong)) from None
