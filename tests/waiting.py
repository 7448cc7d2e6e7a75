"""Tests wait for conditions; they never sleep and hope."""

import time


def wait_until(condition, seconds=30, what="a condition"):
    """Call `condition` until its answer is true, and return that answer.

    Raises TimeoutError, which says `what` was waited for and the last answer.
    """
    end = time.monotonic() + seconds
    while not (answer := condition()):
        if time.monotonic() > end:
            raise TimeoutError(f"waited {seconds} s in vain for {what}; last answer: {answer!r}")
        time.sleep(0.05)
    return answer
