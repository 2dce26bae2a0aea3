import logging
import threading
import warnings

import pytest

from comit_ray.data.images.radiograph import decoder_guard
from comit_ray.errors import DecodeError, Reason


def test_warnings_and_logs_stay_inside() -> None:
    kept: list[logging.LogRecord] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            kept.append(record)

    handler = Keep()
    logging.getLogger().addHandler(handler)
    try:
        with decoder_guard():
            warnings.warn("Secret^Person", stacklevel=1)
            logging.getLogger("pydicom").error("Secret^Person")
    finally:
        logging.getLogger().removeHandler(handler)
    assert not kept
    with pytest.warns(UserWarning, match="after"):
        warnings.warn("after", stacklevel=1)


def test_threads_that_leave_in_another_order_restore_the_filters() -> None:
    before = list(warnings.filters)
    entered, leave = threading.Event(), threading.Event()

    def other() -> None:
        with decoder_guard():
            entered.set()
            leave.wait(5)

    thread = threading.Thread(target=other)
    with decoder_guard():
        thread.start()
        assert entered.wait(5)
    warnings.warn("the other thread is still inside", stacklevel=1)
    leave.set()
    thread.join()
    assert list(warnings.filters) == before


@pytest.mark.parametrize(
    ("raised", "reason"), [(ValueError("Secret^Person"), Reason.CORRUPT), (MemoryError(), Reason.TOO_LARGE)]
)
def test_only_decode_errors_leave(raised: Exception, reason: Reason) -> None:
    with pytest.raises(DecodeError) as caught, decoder_guard():
        raise raised
    assert caught.value.reason is reason
    assert "Secret" not in str(caught.value)
    assert caught.value.__suppress_context__
