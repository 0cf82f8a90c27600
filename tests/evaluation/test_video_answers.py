"""Answers to a test split of videos: whole, at other rates, early."""

import dataclasses
from pathlib import Path

import pytest
import torch
from video_models import small_video_model

from odevision.data.clip_sampling import ClipSampling, sample_clip
from odevision.evaluation.video_answers import (
    answer_videos,
    check_rates,
    check_watched,
    load_test_videos,
    model_sampling,
    rate_conditions,
)
from odevision.training.card import LoadedModel
from odevision.types import Clips


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return small_video_model(tmp_path_factory.mktemp("odernn"), "video-odernn")


def test_other_data_have_no_official_split_of_the_training(loaded: LoadedModel) -> None:
    card = dataclasses.replace(loaded.card, dataset="ucf101", split_index=2)
    of_ucf101 = dataclasses.replace(loaded, card=card)
    source, _ = load_test_videos(of_ucf101, data="motion", limit=3)
    assert len(source) == 3


def by_hand(loaded: LoadedModel, sampling: ClipSampling, share: float, num: int) -> torch.Tensor:
    """The answers video by video, without batches and padding."""
    source, _ = load_test_videos(loaded, limit=num)
    logits = []
    for index in range(num):
        seconds = source.seconds(index)
        chosen = sample_clip(seconds, sampling)
        chosen = chosen[: max(1, -int(-share * len(chosen) // 1))]
        clips = Clips(
            loaded.clip_preprocessing.normalize(source.frames(index, chosen))[None],
            seconds[chosen].float()[None],
            torch.ones(1, len(chosen), dtype=torch.bool),
        )
        with torch.no_grad():
            logits.append(loaded.model(clips)[0])
    return torch.stack(logits)


@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("drop", [0.0, 0.5])
def test_batches_and_padding_change_no_answer(
    loaded: LoadedModel, share: float, drop: float
) -> None:
    kind = "irregular" if drop else "rate"
    sampling = ClipSampling(kind=kind, num_frames=None, rate=8.0, drop=drop)
    source, labels = load_test_videos(loaded, limit=9)
    answers, mean_frames = answer_videos(
        loaded, source, labels, sampling=sampling, share=share, batch_size=4
    )
    expected = by_hand(loaded, sampling, share, 9)
    torch.testing.assert_close(answers.logits, expected, atol=1e-4, rtol=1e-4)
    assert answers.labels.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8]
    assert 1 <= mean_frames <= 32
    assert answers.loss == pytest.approx(
        float(torch.nn.functional.cross_entropy(answers.logits, answers.labels))
    )


def test_mirrored_answers_are_the_mean_of_both_sides(loaded: LoadedModel) -> None:
    source, labels = load_test_videos(loaded, limit=3)
    both, _ = answer_videos(loaded, source, labels, mirror=True, batch_size=2)
    one, _ = answer_videos(loaded, source, labels, batch_size=2)
    other = []
    for index in range(3):
        seconds = source.seconds(index)
        chosen = sample_clip(seconds, model_sampling(loaded))
        frames = loaded.clip_preprocessing.normalize(source.frames(index, chosen).flip(3))
        mask = torch.ones(1, len(chosen), dtype=torch.bool)
        with torch.no_grad():
            other.append(loaded.model(Clips(frames[None], seconds[chosen].float()[None], mask))[0])
    assert not torch.allclose(one.logits, torch.stack(other), atol=1e-3)
    mean = (one.logits + torch.stack(other)) / 2
    torch.testing.assert_close(both.logits, mean, atol=1e-4, rtol=1e-4)


def test_other_rates_show_other_numbers_of_frames(loaded: LoadedModel) -> None:
    source, labels = load_test_videos(loaded, limit=12)
    answers, mean_frames = answer_videos(loaded, source, labels)
    rates = {one.condition: one for one in check_rates(loaded, source, answers)}
    assert mean_frames == 32
    assert list(rates) == list(rate_conditions(8.0))
    assert rates["half the rate"].mean_frames == 16
    assert rates["twice the rate"].mean_frames == 64
    assert 26 <= rates["irregular gaps, the same mean rate"].mean_frames <= 38
    assert 11 <= rates["half of the frames dropped"].mean_frames <= 21
    for one in rates.values():  # an answer that is right now and was wrong before has changed
        assert abs(one.accuracy - answers.accuracy) - 1e-9 <= one.changed_share


def test_a_watched_share_ends_in_the_whole_answer(loaded: LoadedModel) -> None:
    source, labels = load_test_videos(loaded, limit=12)
    answers, _ = answer_videos(loaded, source, labels)
    watched = check_watched(loaded, source, answers, shares=(0.25, 1.0))
    assert [one.share for one in watched] == [0.25, 1.0]
    assert watched[1].accuracy == answers.accuracy
    part, frames = answer_videos(loaded, source, labels, share=0.25)
    assert watched[0].accuracy == part.accuracy and frames == 8


def test_progress_is_told(loaded: LoadedModel) -> None:
    source, labels = load_test_videos(loaded, limit=5)
    told: list[tuple[int, int]] = []
    answer_videos(
        loaded,
        source,
        labels,
        batch_size=2,
        on_batch=lambda done, total: told.append((done, total)),
    )
    assert told == [(2, 5), (4, 5), (5, 5)]


def test_videos_of_other_classes_are_refused(loaded: LoadedModel, tmp_path: Path) -> None:
    for name in ("cats", "dogs"):
        (tmp_path / name).mkdir()
        for i in range(5):
            (tmp_path / name / f"{i}.mp4").write_bytes(b"x")
    with pytest.raises(ValueError, match="of which the model does not know cats, dogs"):
        load_test_videos(loaded, data=str(tmp_path))
