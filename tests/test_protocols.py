"""Splits: the parts that the protocols promise, the same by the same seed, and the leak counted by hand."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from ssr_bundle.errors import SsrError
from ssr_train.data import load
from ssr_train.data.dataset import Dataset
from ssr_train.data.protocols import PROTOCOLS, Leak, Split, folds, leak, make_split
from ssr_train.data.synthetic.persons import draw_person


def dataset(subjects: list[str], splits: list[str] | None = None, ages: list[float] | None = None) -> Dataset:
    count = len(subjects)
    return Dataset(
        np.zeros((count, 1, 1, 3), np.uint8),
        np.array(ages or [30.0] * count, np.float32),
        description="made up",
        synthetic=True,
        licence="none",
        name="made-up",
        subjects=np.array(subjects),
        splits=np.array(splits or [""] * count),
    )


@pytest.fixture(scope="module")
def album() -> Dataset:
    """As many pictures and persons as MORPH2, four pictures a person on average."""
    rng = np.random.default_rng(0)
    return dataset([f"{s:06}" for s in rng.integers(0, 13617, 55134)])


def test_random_is_the_papers_80_20(album: Dataset) -> None:
    split = make_split(album, "random", seed=3)
    assert len(split.train) == round(0.8 * 55134)
    np.testing.assert_array_equal(split.validation, split.test)
    np.testing.assert_array_equal(np.sort(np.concatenate([split.train, split.test])), np.arange(55134))
    assert split.selects_on_test
    assert "44,107 training, 11,027 validation and test images (the same" in str(split)


def test_the_split_that_runs_have_always_had() -> None:
    """Indices of seed 0 over ten pictures, as drawn by the first release: runs of then can be repeated."""
    assert make_split(dataset([""] * 10), "random", 0).test.tolist() == [2, 7]


def test_subject_exclusive_keeps_persons_apart(album: Dataset) -> None:
    split = make_split(album, "subject-exclusive", seed=3)
    parts = [set(album.subjects[part]) for part in (split.train, split.validation, split.test)]
    assert len(set.union(*parts)) == sum(map(len, parts))
    together = np.sort(np.concatenate([split.train, split.validation, split.test]))
    np.testing.assert_array_equal(together, np.arange(55134))
    for part in (split.validation, split.test):
        assert abs(len(part) - 5513.4) <= 12, "the share is met to within one person's pictures"
    assert not split.selects_on_test


@pytest.mark.parametrize("protocol", ["random", "subject-exclusive"])
def test_the_seed_decides(album: Dataset, protocol: str) -> None:
    one, same, other = (make_split(album, protocol, seed).test for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert len(one) != len(other) or (one != other).any()


def test_distributed_is_the_publishers_split() -> None:
    own = dataset([""] * 6, ["train", "test", "train", "validation", "", "test"])
    split = make_split(own, "distributed", seed=0)
    assert (split.train.tolist(), split.validation.tolist(), split.test.tolist()) == ([0, 2], [3], [1, 5])
    assert not split.selects_on_test


def test_distributed_without_a_validation_part_selects_on_test_and_says_so() -> None:
    count = 40_000
    megaage = dataset([""] * count, ["train"] * (count - 3945) + ["test"] * 3945)
    split = make_split(megaage, "distributed", seed=0)
    assert len(split.test) == 3945
    np.testing.assert_array_equal(split.validation, split.test)
    assert "the best epoch is chosen on the test images" in str(split)


def test_every_person_is_left_out_once() -> None:
    people = dataset([f"{i % 12:02}" for i in range(100)])
    assert folds(people, "leave-one-subject-out") == 12
    assert folds(people, "random") == 1
    tested = []
    for fold in range(12):
        split = make_split(people, "leave-one-subject-out", seed=0, fold=fold)
        assert len(set(people.subjects[split.test])) == 1
        for other in (split.train, split.validation):
            assert not set(people.subjects[other]) & set(people.subjects[split.test])
        assert not set(people.subjects[split.train]) & set(people.subjects[split.validation])
        tested += split.test.tolist()
    assert sorted(tested) == list(range(100))


def test_leak_counted_by_hand() -> None:
    people = dataset(["ann", "ann", "bob", "cem", "ann", "dee", ""], ["train"] * 3 + ["test"] * 4)
    split = make_split(people, "distributed", seed=0)
    found = leak(people, split)
    assert found == Leak(images=1, of=4, share=0.25, subjects=1, unknown=1, known=True)
    assert str(found) == (
        "leak: 25.0 % of the test images (1 of 4, 1 persons) show a person that is also in training; "
        "who is on 1 more is unknown"
    )


def test_leak_of_the_random_split(album: Dataset) -> None:
    """A random split of a MORPH2-like album shows nearly everyone on both sides, an exclusive one nobody."""
    assert leak(album, make_split(album, "random", 0)).share > 0.95
    none = leak(album, make_split(album, "subject-exclusive", 0))
    assert (none.images, none.known) == (0, True)
    assert "none of the 5," in str(none)


def test_leak_without_identities() -> None:
    strangers = dataset([""] * 20)
    found = leak(strangers, make_split(strangers, "random", 0))
    assert not found.known
    assert str(found) == "leak: identities unknown: the leak cannot be counted"


def test_drawn_faces_are_all_different_people() -> None:
    faces = load("synthetic", count=40, seed=0, workers=1)
    assert len(set(faces.subjects)) == 40
    found = leak(faces, make_split(faces, "random", 0))
    assert (found.images, found.known) == (0, True)


def test_drawn_people_have_several_pictures() -> None:
    """The same people whoever draws them; the pictures of one are more alike than those of two."""
    people = load("synthetic-persons", count=1000, seed=2, workers=2)
    for i in (0, 1, 6, 999):
        image, age, sex = draw_person(2, *divmod(i, 4))
        np.testing.assert_array_equal(image, people.images[i])
        assert (age, sex) == (people.ages[i], people.sexes[i])
    assert people.subjects.tolist() == [str(i // 4) for i in range(1000)]
    assert set(people.sexes) == {"m", "f"}
    assert people.synthetic
    ages = people.ages.reshape(250, 4)
    assert 1 < np.abs(ages[:, 1:] - ages[:, :1]).mean() < 5
    assert 0 <= ages.min() < ages.max() <= 100
    assert (people.sexes.reshape(250, 4) == people.sexes[::4, None]).mean() == 1
    faces = people.images.reshape(250, 4, 64, 64, 3)[:, :, 20:52, 20:44].astype(float)
    own = np.abs(faces[:, 0] - faces[:, 1]).mean()
    other = np.abs(faces[:-1, 0] - faces[1:, 1]).mean()
    assert own < 0.75 * other
    assert leak(people, make_split(people, "random", 0)).share > 0.95
    assert leak(people, make_split(people, "subject-exclusive", 0)).images == 0


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_saved_and_read_again(protocol: str) -> None:
    people = dataset([f"{i % 9}" for i in range(90)], (["train"] * 7 + ["validation", "test", ""]) * 9)
    split = make_split(people, protocol, seed=4)
    again = Split.from_json(json.loads(json.dumps(split.to_json())), people)
    for part in ("train", "validation", "test"):
        np.testing.assert_array_equal(getattr(split, part), getattr(again, part))
        assert getattr(again, part).dtype == np.int64
    assert (again.protocol, again.seed, again.fold) == (protocol, 4, 0)
    assert str(again) == str(split)


def test_a_saved_split_of_other_pictures_is_refused() -> None:
    saved = make_split(dataset(["a", "b"] * 10), "random", 0).to_json()
    for other in (dataset(["a", "c"] * 10), dataset(["a", "b"] * 10, ages=[31.0] * 20), dataset(["a"] * 19)):
        with pytest.raises(SsrError, match=r"made for other pictures or labels"):
            Split.from_json(saved, other)
    with pytest.raises(SsrError, match="do not have the sizes"):
        Split.from_json({**saved, "test": 3}, dataset(["a", "b"] * 10))
    for damaged in ({**saved, "parts": "?"}, {**saved, "parts": None}, {"protocol": "random"}, 7):
        with pytest.raises(SsrError, match="not one that this program saved"):
            Split.from_json(damaged, dataset(["a", "b"] * 10))


def test_a_split_belongs_to_the_pictures_and_not_to_their_labels_alone() -> None:
    cut, otherwise = (dataclasses.replace(dataset(["a", "b"] * 10), pictures=text) for text in ("c", "o"))
    assert cut.labels_sha256 == otherwise.labels_sha256
    saved = make_split(cut, "random", 0).to_json()
    Split.from_json(saved, cut)
    with pytest.raises(SsrError, match="may be the same faces prepared otherwise"):
        Split.from_json(saved, otherwise)
    earlier = make_split(dataset(["a", "b"] * 10), "random", 0).to_json()  # by the labels alone
    assert Split.from_json(earlier, cut).data_sha256 == cut.labels_sha256


def test_the_hash_of_drawn_faces_is_the_one_recorded_since_the_first_runs() -> None:
    faces = load("synthetic", count=4, seed=0, workers=1)
    assert faces.sha256 == "df54ef0869c0d10da812d9c0e236e64db612da912eac2f2b51b1a29dc0e62e48"


@pytest.mark.parametrize(
    ("subjects", "splits", "protocol", "keywords", "message"),
    [
        (["a"] * 9, None, "alphabetical", {}, "'alphabetical' is unknown, expected one of: random"),
        (["a"], None, "random", {}, "random leaves no validation images of its 1"),
        ([], None, "random", {}, "random leaves no train images of its 0"),
        (["a"] * 9, None, "distributed", {}, "leaves no train images of its 9; the set as published has no"),
        (["a"] * 9, ["train"] * 9, "distributed", {}, "leaves no validation images"),
        (
            ["a"] * 9,
            None,
            "subject-exclusive",
            {},
            "leaves no train images of its 9; more pictures or persons",
        ),
        (["a", "", "b"], None, "subject-exclusive", {}, "who is on 1 of its 3 pictures is not known"),
        ([""] * 3, None, "leave-one-subject-out", {}, "who is on 3 of its 3 pictures is not known"),
        (["a", "b"], None, "leave-one-subject-out", {}, "leaves no train images"),
        (["a", "b", "c"], None, "leave-one-subject-out", {"fold": 3}, r"fold 3: expected 0\.\.2"),
        (["a", "b", "c"], None, "random", {"fold": 1}, "random has one fold"),
        (["a", "b", "c"], None, "random", {"seed": -1}, "seed must not be negative"),
    ],
)
def test_refused(
    subjects: list[str], splits: list[str] | None, protocol: str, keywords: dict[str, int], message: str
) -> None:
    with pytest.raises(SsrError, match=message):
        make_split(dataset(subjects, splits), protocol, **{"seed": 0, **keywords})


def test_labels_of_another_length_are_refused() -> None:
    with pytest.raises(SsrError, match="3 pictures, but 2 subjects"):
        Dataset(
            np.zeros((3, 1, 1, 3), np.uint8),
            np.zeros(3, np.float32),
            description="made up",
            synthetic=True,
            licence="none",
            subjects=np.array(["a", "b"]),
        )
