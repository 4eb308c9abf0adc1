"""Shell. The services of a Kubernetes cluster, followed through its API server.

    voice, outlook          say what has changed; look out for a server that is away
     |- follower x streams  namespaces, pods, services, slices; times the namespaces, if only some are wanted

Each follower has one thread, which waits for the server. Pods and namespaces only add to what is known: a
cluster that does not let us see them is followed without.
"""

import trio

from meshtrio.catalog.kubernetes import Reducer
from meshtrio.catalog.kubernetes_topic import topics
from meshtrio.config.discovery import Kubernetes
from meshtrio.discover.hub import Sink
from meshtrio.discover.kubernetes_pace import Pace
from meshtrio.discover.kubernetes_reach import find_reach
from meshtrio.discover.kubernetes_stream import Follower
from meshtrio.discover.kubernetes_voice import Voice

PACE = Pace()


async def follow_kubernetes(
    settings: Kubernetes, sink: Sink, pace: Pace = PACE, reducer: Reducer | None = None
) -> None:
    """Say what the cluster's services are, until cancelled. Never raises for what the server does.

    Cancelled, it ends within a second, and so do its threads, but for one that waits for a name's address or
    for a plugin of the kubeconfig.
    """
    wanted = topics(settings.namespaces, pods=settings.pods)
    reach = await find_reach(settings, pace, len(wanted))
    voice = Voice(sink, reducer or Reducer(), wanted, pace.begin_s)
    followers = [Follower(topic, reach, voice, settings.resync_s) for topic in wanted]
    try:
        async with trio.open_nursery() as speaking:
            speaking.start_soon(voice.speak)
            speaking.start_soon(reach.look_out)
            async with trio.open_nursery() as streams:
                for follower in followers:
                    streams.start_soon(follower.run)
    finally:
        reach.close()
