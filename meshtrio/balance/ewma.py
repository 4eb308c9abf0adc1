"""Core. How long a member takes lately: an average that rises at once and falls slowly (peak EWMA).

As in Finagle (`com.twitter.finagle.loadbalancer.PeakEwma`) and Linkerd: a latency above the average becomes
the average at once, so that a stall is seen by the next pick; one below it pulls it down with the time
constant DECAY_S. Without news it decays towards 0, so that a member that was slow once is tried again.
"""

from math import exp

from meshtrio.balance.member import Member

DECAY_S = 10.0
"""After so long without news, e^-1 of the latency is left. Finagle's and Linkerd's own default."""


def measured(member: Member, took_s: float, now: float) -> None:
    """Take a latency into the member's average. `now` is monotonic; going back counts as standing still."""
    if took_s > member.ewma_s:
        member.ewma_s = took_s
    else:
        kept = exp(min(0.0, member.ewma_at - now) / DECAY_S)
        member.ewma_s = member.ewma_s * kept + took_s * (1 - kept)
    member.ewma_at = now


def latency_s(member: Member, now: float) -> float:
    """Say what the member would take now; 0.0 if nothing was ever measured."""
    known = member.ewma_s
    return known * exp(min(0.0, member.ewma_at - now) / DECAY_S) if known else 0.0
