"""Draws with a rare scenario, and what clusters show of it."""

import numpy as np
import pytest

from stoic.causes.failures import UNKNOWN
from stoic.causes.pipeline import Clusters
from stoic.causes.rare import Shown, covered_by_share, draw, look_for, most

WORDS = np.array(["blur"] * 30 + ["dark"] * 50 + ["roll"] * 100 + [UNKNOWN] * 20)


@pytest.mark.parametrize(("share", "held"), [(0.005, 1), (0.02, 2), (0.25, 25)])
def test_a_draw_has_the_share_that_was_asked_for(share: float, held: int) -> None:
    places = draw(WORDS, "blur", share=share, count=100, seed=3)
    assert len(set(places.tolist())) == 100
    assert (WORDS[places] == "blur").sum() == held
    again = draw(WORDS, "blur", share=share, count=100, seed=3)
    other = draw(WORDS, "blur", share=share, count=100, seed=4)
    assert places.tolist() == again.tolist() != other.tolist()


def test_the_others_keep_their_proportions() -> None:
    drawn = [draw(WORDS, "blur", share=0.1, count=100, seed=each) for each in range(99)]
    dark = np.mean([(WORDS[places] == "dark").mean() for places in drawn])
    assert dark == pytest.approx(0.9 * 50 / 170, abs=0.01)


def test_a_draw_of_more_than_there_are_names_the_most() -> None:
    with pytest.raises(ValueError, match="count must be at most 61 for 0.5 of blur"):
        draw(WORDS, "blur", share=0.5, count=100, seed=0)


@pytest.mark.parametrize("share", [0.005, 0.03, 0.3, 0.5, 0.9])
def test_the_most_can_be_drawn_and_one_more_cannot(share: float) -> None:
    count = most(WORDS, "dark", share)
    assert len(draw(WORDS, "dark", share=share, count=count, seed=0)) == count
    with pytest.raises(ValueError, match="count must be at most"):
        draw(WORDS, "dark", share=share, count=count + 1, seed=0)


def by_word(places: np.ndarray, seed: int) -> Clusters:
    """Perfect clusters, of which those below five are noise."""
    _, labels = np.unique(WORDS[places], return_inverse=True)
    return Clusters.of(labels.reshape(-1).astype(np.int64), {})


def test_perfect_clusters_show_what_is_no_noise() -> None:
    shown = list(look_for(by_word, WORDS, count=60, shares=(0.05, 0.1), draws=4))

    assert len(shown) == 3 * 2 * 4
    assert {each.held for each in shown if each.share == 0.05} == {3}
    found = covered_by_share(shown)
    assert list(found) == [0.05, 0.1]
    assert (found[0.05].value, found[0.1].value) == (0, 1)
    assert found[0.1].n == 12 and 0.7 < found[0.1].low < found[0.1].high == 1


def test_a_share_of_draws_is_counted_at_the_threshold() -> None:
    shown = [Shown("blur", 0.1, 6, each, each / 10, 3) for each in range(10)]
    assert covered_by_share(shown)[0.1].value == 0.1
    assert covered_by_share(shown, threshold=0.7)[0.1].value == 0.3
    assert shown[3].as_record()["purest"] == 0.3


def test_a_share_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="share must lie between 0 and 1, got 0"):
        draw(WORDS, "blur", share=0, count=10, seed=0)
