"""Where to look at a photo: square boxes along its long side, whole and slightly zoomed."""

CROP_SCALES = (1.0, 0.8, 0.64)
"""Sides of the squares, as fractions of the photo's short side."""

MAX_CROPS = 3 * len(CROP_SCALES)
"""Squares at the middle and the two ends of the long side, at each scale."""

_LEAST_SHIFT = 0.05
"""Squares that are closer than this fraction of their side show the same; one of them is enough."""

_MUCH_LARGER = 2
"""A photo whose short side is at least so many times the network's is zoomed into as well: a zoomed
square then still has more pixels than the network sees."""

Box = tuple[float, float, float, float]


def square_boxes(width: int, height: int, *, num: int | None, image_size: int) -> list[Box]:
    """Choose squares of a photo to look at.

    The largest centered square comes first, then those at the two ends of the long side (where
    they differ from it), then the same at 0.8 and at 0.64 of the side, centered across.

    Args:
        width: of the photo, in pixels.
        height: of the photo, in pixels.
        num: how many squares, 1 to `MAX_CROPS`; fewer come back where a photo has no more that
            differ. None chooses: one for a picture of the network's size or a small square one,
            else the whole squares, and those at 0.8 if the photo is much larger.
        image_size: height and width of the network's images.

    Returns:
        Boxes (left, top, right, bottom) in pixels, not rounded, inside the photo.

    Raises:
        ValueError: if `num` is out of range.
    """
    if num is not None and not 1 <= num <= MAX_CROPS:
        raise ValueError(f"`crops` must be 1 to {MAX_CROPS}, got {num}. Try 6.")
    if num is None and (width, height) == (image_size, image_size):
        num = 1
    short = min(width, height)
    if num is not None:
        scales = CROP_SCALES
    else:
        scales = CROP_SCALES[: 2 if short >= _MUCH_LARGER * image_size else 1]
    boxes = [box for scale in scales for box in _along(width, height, scale * short)]
    return boxes[:num]


def _along(width: int, height: int, side: float) -> list[Box]:
    """Squares of one size: in the middle, then at both ends of the long side."""
    room_x, room_y = width - side, height - side
    is_apart = max(room_x, room_y) / 2 >= _LEAST_SHIFT * side
    places = (0.5, 0.0, 1.0) if is_apart else (0.5,)
    corners = [
        (place * room_x, room_y / 2) if width >= height else (room_x / 2, place * room_y)
        for place in places
    ]
    return [(left, top, left + side, top + side) for left, top in corners]
