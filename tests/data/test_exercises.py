"""`exercises`: drawn people with limbs of one length, who do what their class says."""

import math

import pytest
import torch
from torch import Tensor

from odevision.data.clip_preprocessing import ClipPreprocessing
from odevision.data.clip_source import MixedClips
from odevision.data.exercises.body import Body, Limb, bend, draw_body, points
from odevision.data.exercises.drawing import View, draw_clip
from odevision.data.exercises.draws import Draws
from odevision.data.exercises.exercise_set import (
    EXERCISE_CLASSES,
    ExerciseSet,
    further_exercises,
    load_exercises,
)
from odevision.data.exercises.movements import MOVEMENTS
from odevision.data.ucf101 import UCF5_CLASSES
from odevision.data.video_sources import load_video_split, video_class_names

SIZE = (24, 32)
SECONDS = torch.arange(100) / 20
"""Long enough for two repetitions of the slowest exercise."""

HEAD, PELVIS = 3, 0
"""Places of the head, and of the torso that starts at the pelvis, among the limbs."""


def person(name: str, seed: int) -> tuple[Body, list[Limb]]:
    draws = Draws(seed)
    body = draw_body(draws)
    return body, MOVEMENTS[name](draws, SECONDS, body)


def of_part(limbs: list[Limb], part: str) -> list[Limb]:
    return [limb for limb in limbs if limb.part == part]


def lengths(limb: Limb) -> Tensor:
    return (limb.end - limb.start).norm(dim=1)


def test_splits_have_their_sizes_share_no_clip_and_all_classes_equally() -> None:
    assert EXERCISE_CLASSES == UCF5_CLASSES == video_class_names("exercises")
    training, validation, test = (load_exercises(s, SIZE) for s in ("train", "validation", "test"))
    assert (len(training), len(validation), len(test)) == (900, 100, 200)
    assert not set(training.indices.tolist()) & set(validation.indices.tolist())
    for part in (training, validation, test):
        assert len(set(part.labels.bincount().tolist())) == 1
    some = torch.arange(8)
    assert not torch.equal(training.frames(0, some), test.frames(0, some))
    by_name = load_video_split(
        "exercises", "test", preprocessing=ClipPreprocessing(height=24, width=32, rate=8.0), limit=7
    )
    assert len(by_name) == 7 and torch.equal(by_name.frames(3, some), test.frames(3, some))
    with pytest.raises(ValueError, match="`validation_fraction` must be between"):
        load_exercises("train", SIZE, validation_fraction=1.0)


def test_further_clips_are_in_no_split_others_in_each_epoch_and_of_all_classes() -> None:
    first, second = (further_exercises(10, SIZE, epoch=epoch) for epoch in (0, 1))
    assert min(first.indices.tolist()) >= 1000
    assert not set(first.indices.tolist()) & set(second.indices.tolist())
    for clips in (first, second):
        assert clips.labels.tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4]


@pytest.mark.parametrize("index", range(20))
def test_a_clip_is_always_the_same_and_frames_depend_on_their_time_alone(index: int) -> None:
    clips = ExerciseSet("train", torch.arange(40), SIZE)
    every, some = torch.arange(64), torch.tensor([5, 20, 63])
    frames = clips.frames(index, every)
    assert frames.shape == (64, 3, *SIZE) and frames.dtype == torch.uint8
    assert torch.equal(clips.frames(index, some), frames[some])
    later = ExerciseSet("train", torch.arange(20, 40), SIZE)
    assert torch.equal(later.frames(index, some), clips.frames(20 + index, some))
    moving = (frames.float() - frames[:1].float()).abs().amax((1, 2, 3))
    assert moving.max() > 20  # of 255: something is seen to move


@pytest.mark.parametrize("name", EXERCISE_CLASSES)
def test_limbs_keep_their_length_and_hold_together(name: str) -> None:
    for seed in range(30):
        body, limbs = person(name, seed)
        assert all(torch.isfinite(torch.stack([limb.start, limb.end])).all() for limb in limbs)
        thighs, shins = of_part(limbs, "trousers")[1:], of_part(limbs, "shins")
        upper, lower = of_part(limbs, "sleeves"), of_part(limbs, "forearms")
        pairs = (
            (thighs, shins, body.thigh, body.shank),
            (upper, lower, body.upper_arm, body.forearm),
        )
        for first, second, length, next_length in pairs:
            assert len(first) == len(second) == 2
            for one, other in zip(first, second, strict=True):
                assert torch.equal(one.end, other.start)
                torch.testing.assert_close(
                    lengths(one), torch.full((100,), length), atol=1e-3, rtol=0
                )
                torch.testing.assert_close(lengths(other), torch.full((100,), next_length),
                                           atol=1e-3, rtol=0)  # fmt: skip
        feet = torch.stack([limb.end for limb in shins])
        assert feet[..., 2].min() > 0.02 and limbs[HEAD].start[:, 2].min() > 0.5


def test_knees_bend_where_they_are_told_to_and_what_is_out_of_reach_is_come_near_to() -> None:
    start, towards = torch.zeros(1, 3), torch.tensor([[1.0, 0, 0]])
    knee, foot = bend(start, torch.tensor([[0.0, 0, -0.8]]), 0.5, 0.5, towards)
    torch.testing.assert_close(knee, torch.tensor([[0.3, 0, -0.4]]))
    torch.testing.assert_close(foot, torch.tensor([[0.0, 0, -0.8]]))
    _, foot = bend(start, torch.tensor([[0.0, 0, -3.0]]), 0.5, 0.5, towards)
    torch.testing.assert_close(foot, torch.tensor([[0.0, 0, -0.999]]))


def test_squats_go_down_over_both_feet_and_lunges_over_feet_far_apart() -> None:
    for seed in range(30):
        for name in ("BodyWeightSquats", "Lunges"):
            _, limbs = person(name, seed)
            hips = limbs[PELVIS].start[:, 2]
            assert hips.max() - hips.min() > 0.15, (name, seed)
            left, right = (limb.end[hips.argmin()] for limb in of_part(limbs, "shins"))
            ahead, apart = (left - right)[0].abs(), (left - right)[:2].norm()
            if name == "BodyWeightSquats":
                assert ahead < 1e-3 and apart < 0.55
            else:
                assert apart > 0.35, seed


def test_jumping_jacks_part_legs_and_arms_together() -> None:
    raised = 0
    for seed in range(30):
        body, limbs = person("JumpingJack", seed)
        left, right = (limb.end for limb in of_part(limbs, "shins"))
        hands = torch.stack([limb.end[:, 2] for limb in of_part(limbs, "forearms")])
        apart = left[:, 1] - right[:, 1]
        assert apart.max() - apart.min() > 0.2
        assert hands[:, apart.argmax()].min() > hands[:, apart.argmin()].max() + 0.2
        raised += bool(hands.max() > body.height)
    assert raised >= 20  # a tenth raise their arms by half only


def test_balls_fly_from_hand_to_hand_and_fists_to_a_bag() -> None:
    bags = 0
    for seed in range(30):
        _, limbs = person("JugglingBalls", seed)
        balls = [limb for limb in limbs if limb.part.startswith("ball")]
        assert len(balls) in (3, 4, 5)
        heights = torch.stack([ball.start[:, 2] for ball in balls])
        assert (heights.amax(1) - heights.amin(1)).min() > 0.2
        sides = torch.stack([ball.start[:, 1] for ball in balls])
        assert sides.amin(1).max() < 0 < sides.amax(1).min()
        _, limbs = person("BoxingPunchingBag", seed)
        hands = torch.stack([limb.end[:, 0] for limb in of_part(limbs, "forearms")])
        assert (hands.amax(1) - hands.amin(1)).max() > 0.25
        bags += len(of_part(limbs, "bag"))
    assert 20 <= bags <= 30


def view(**changes: float) -> View:
    still = torch.zeros(2)
    settings = {"azimuth": math.pi / 2, "elevation": 0.0, "distance": 4.0, "aim": 1.0,
                "scale": 8.0} | changes  # fmt: skip
    return View(
        **settings, offset=(0.0, 0.0), shift=(still, still), turn=still, zoom=still + 1, size=SIZE
    )


def ball(forward: float, left: float, up: float, part: str) -> Limb:
    at = points(torch.zeros(2), forward, left, up)
    return Limb(at, at, 0.5, part)


def middle(limbs: list[Limb], seed: int = 5) -> Tensor:
    frames = draw_clip(Draws(seed), limbs, view(), torch.zeros(2))
    return frames[0, :, SIZE[0] // 2, SIZE[1] // 2]


def test_what_is_nearer_covers_what_is_farther_whichever_is_drawn_first() -> None:
    near, far = ball(1.0, 0, 1, "bag"), ball(-1.0, 0, 1, "bar")
    # Seen from the front, from where the person looks to. Patterns differ, colors do not.
    alone = middle([near, ball(0, 0, 90, "bar")]).float()
    for limbs in ([near, far], [far, near]):
        assert (middle(limbs).float() - alone).abs().max() < 30
    behind = ball(-3.0, 0, 1, "bag")
    for limbs in ([behind, far], [far, behind]):
        assert (middle(limbs).float() - alone).abs().max() > 60


def test_the_left_hand_of_who_faces_the_camera_is_on_the_right_and_up_is_up() -> None:
    seed, empty = 3, ball(0, 0, 90, "bag")
    ground = draw_clip(Draws(seed), [empty], view(), torch.zeros(2))[0].float()
    for place, rows, columns in (
        (ball(0, 1.2, 1, "bag"), slice(None), slice(16, 32)),
        (ball(0, -1.2, 1, "bag"), slice(None), slice(0, 16)),
        (ball(0, 0, 1.9, "bag"), slice(0, 12), slice(None)),
    ):
        frames = draw_clip(Draws(seed), [place], view(), torch.zeros(2))[0].float()
        seen = (frames - ground).abs().amax(0) > 1
        assert seen.any() and int(seen.sum()) == int(seen[rows, columns].sum())


def test_clips_of_two_sources_are_one_with_the_labels_of_the_first() -> None:
    drawn = ExerciseSet("train", torch.arange(7), SIZE)

    class Backwards(ExerciseSet):
        name = "backwards"
        class_names = EXERCISE_CLASSES[::-1]

    first = Backwards("train", torch.arange(10, 13), SIZE)
    both = MixedClips(first, drawn)
    assert len(both) == 10 and both.class_names == EXERCISE_CLASSES[::-1]
    assert (both.name, both.split) == ("backwards", "train")
    assert both.labels.tolist() == [0, 1, 2, 4, 3, 2, 1, 0, 4, 3]
    some = torch.tensor([0, 30])
    assert torch.equal(both.frames(2, some), first.frames(2, some))
    assert torch.equal(both.frames(5, some), drawn.frames(2, some))
    assert torch.equal(both.seconds(9), drawn.seconds(6))
