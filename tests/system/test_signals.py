"""A process that is told to stop exits with 75, whatever library is running at that moment."""

import os
import signal

import pytest

from covbench.system.signals import INTERRUPTED, Interruption


def stop():
    os.kill(os.getpid(), signal.SIGTERM)


def test_a_process_with_nothing_unsaved_exits_at_once():
    with pytest.raises(SystemExit) as caught, Interruption():
        stop()
    assert caught.value.code == INTERRUPTED == 75


def test_a_library_that_turns_the_exit_into_another_error_changes_nothing():
    """TensorFlow does this while it traces a function: SystemError, bad argument to internal function."""
    with pytest.raises(SystemExit) as caught, Interruption():
        try:
            stop()
        except SystemExit as exit_:
            raise SystemError("bad argument to internal function") from exit_
    assert caught.value.code == 75
    assert isinstance(caught.value.__cause__, SystemError)


def test_with_something_unsaved_it_goes_on_to_the_next_safe_point_and_errors_stay_what_they_are():
    with pytest.raises(ZeroDivisionError), Interruption() as interruption:
        interruption.unsaved = True
        stop()
        assert interruption.requested
        raise ZeroDivisionError
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
