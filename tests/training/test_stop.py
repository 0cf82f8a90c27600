import os
import signal
import threading

import pytest

from odevision.training.stop import Deadline, StopRequest


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_asks_to_stop_and_interrupts_nothing(number: signal.Signals) -> None:
    with StopRequest() as stop:
        assert not stop.requested
        os.kill(os.getpid(), number)
        assert stop.requested


def test_second_interrupt_acts_at_once() -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a background job
    try:
        _interrupt_twice()
    finally:
        signal.signal(signal.SIGINT, before)


def _interrupt_twice() -> None:
    with StopRequest():
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_signals_are_given_back() -> None:
    before = signal.getsignal(signal.SIGINT)
    with StopRequest():
        assert signal.getsignal(signal.SIGINT) != before
    assert signal.getsignal(signal.SIGINT) == before


def test_thread_trains_without_catching_signals() -> None:
    requested = []

    def run() -> None:
        with StopRequest() as stop:
            requested.append(stop.requested)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert requested == [False]


def test_deadline_allows_what_ends_before_it() -> None:
    assert Deadline(None).allows(1e9)
    assert Deadline(1.0).allows(50.0)
    assert not Deadline(1.0).allows(61.0)
