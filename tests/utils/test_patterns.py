"""Patterns of names: what they match, and the names that are suggested where they match nothing."""

import pytest

from keras_fracinit.utils.patterns import check_patterns, did_you_mean, matches

PATHS = ["net/block/c[0]/kernel", "net/block/c[1]/kernel", "net/last/kernel"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("c[0]", [0]),  # a name with brackets
        ("net/block/c[0]", [0]),
        ("c*", [0, 1]),
        ("block", [0, 1]),
        ("net/b*", [0, 1]),
        ("*/kernel", [0, 1, 2]),
        ("[bl]*", [0, 1, 2]),  # a set of characters
        ("last/kernel", []),  # no path that begins in the middle
    ],
)
def test_names_paths_and_patterns_match_whole_parts(pattern, expected):
    assert [i for i, path in enumerate(PATHS) if matches([pattern], path)] == expected


def test_any_path_of_a_thing_may_match():
    assert matches(["net/a*"], "a/kernel", "net/a/kernel")
    assert not matches(["net/a*"], "a/kernel")
    check_patterns("only", ["net/a*"], [("a/kernel", "net/a/kernel")], "kernels")


def test_the_closest_names_are_suggested():
    with pytest.raises(ValueError, match=r"`skip` must hold .*'lsat'.*Did you mean 'last'"):
        check_patterns("skip", ["lsat"], PATHS, "kernels")
    assert did_you_mean("c[0]", PATHS, whole=True) == "Did you mean 'net/block/c[0]/kernel'?"
    assert did_you_mean("lats", PATHS, whole=True) == "Did you mean 'net/last/kernel'?"
    assert did_you_mean("?", [], whole=True) == ""
