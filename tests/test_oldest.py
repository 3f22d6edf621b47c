"""Every requirement has a lower bound that can be installed: `make test-oldest` does it."""

from importlib.metadata import version

from packaging.version import Version

from tests.oldest import AS_IT_IS, ROOT, TESTS, lower_bounds


def test_every_requirement_has_a_lower_bound_that_is_met_here() -> None:
    bounds = lower_bounds()
    assert set(bounds) > AS_IT_IS and len(bounds) == 11
    for name, oldest in bounds.items():
        assert Version(version(name)) >= Version(oldest), name


def test_tests_that_are_moved_are_still_found() -> None:
    assert [path for path in TESTS if not (ROOT / path).exists()] == []
