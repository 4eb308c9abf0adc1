"""Core. How long to wait before another try? Full jitter, as in AWS's "Exponential Backoff And Jitter".

A time drawn evenly from zero up spreads those that failed together better than a fixed time with a little
jitter: they do not come back together.
"""


def backoff_s(attempt: int, base_s: float, max_s: float, luck: float) -> float:
    """Give the wait before the n-th repetition (from 0): 0 to base_s doubled n times, at most max_s.

    `luck` is in 0 to 1, drawn anew for each wait.
    """
    # 2 ** 1100 is no float.
    return luck * min(max_s, base_s * 2.0 ** min(max(0, attempt), 63))
