import pickle

from comit_ray import errors
from comit_ray.errors import STATUS_OF, ComitError, DecodeError, Reason, Status


def test_every_reason_has_one_status_that_is_not_ok():
    assert set(STATUS_OF) == set(Reason)
    assert Status.OK not in STATUS_OF.values()


def test_the_tree_in_the_docstring_is_the_tree():
    classes = [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, ComitError)]
    assert len(classes) >= 7
    for error in classes:
        assert f"{error.__name__} " in errors.__doc__


def test_a_decode_error_survives_the_way_between_processes():
    error = pickle.loads(pickle.dumps(DecodeError(Reason.TRUNCATED, "half a file")))
    assert (error.reason, error.detail, error.status) == (Reason.TRUNCATED, "half a file", Status.FAILED)
    assert str(error) == "truncated: half a file"
