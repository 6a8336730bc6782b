"""A process that is told to stop exits with 75, whatever library is running at that moment."""

import os
import signal

import pytest

from covbench.system.signals import INTERRUPTED, Interruption


def stop_at_once():
    with Interruption():
        os.kill(os.getpid(), signal.SIGTERM)


def stop_inside_a_library():
    with Interruption():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except SystemExit as leaving:
            raise SystemError("bad argument to internal function") from leaving


def fail_with_something_unsaved():
    with Interruption() as interruption:
        interruption.unsaved = True
        os.kill(os.getpid(), signal.SIGTERM)
        raise ZeroDivisionError(f"requested: {interruption.requested}")


def test_a_process_with_nothing_unsaved_exits_at_once():
    with pytest.raises(SystemExit) as caught:
        stop_at_once()
    assert caught.value.code == INTERRUPTED == 75


def test_a_library_that_turns_the_exit_into_another_error_changes_nothing():
    """TensorFlow does this while it traces a function."""
    with pytest.raises(SystemExit) as caught:
        stop_inside_a_library()
    assert caught.value.code == 75
    assert isinstance(caught.value.__cause__, SystemError)


def test_with_something_unsaved_it_goes_on_and_an_error_stays_what_it_is():
    with pytest.raises(ZeroDivisionError, match="requested: True"):
        fail_with_something_unsaved()
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
