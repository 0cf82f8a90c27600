"""A few pictures of a data set as files, for a first try of `predict`."""

from pathlib import Path

from odevision.data.image_set import ImageSet, to_picture


def write_examples(image_set: ImageSet, folder: Path, *, number: int = 5) -> list[Path]:
    """Write the first images of a split as PNG files, the true class in the name.

    PNG keeps every pixel, so predicting such a file gives the same as evaluating the image.

    Args:
        image_set: a split in memory; one of files needs no examples and gives none.
        folder: where to write; made if needed.
        number: how many, fewer if the split is smaller.

    Returns:
        The files written.
    """
    if image_set.images is None:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for index in range(min(number, len(image_set))):
        label = image_set.class_names[int(image_set.labels[index])]
        name = "".join(letter if letter.isalnum() else "_" for letter in label)
        path = folder / f"{index}-true-{name}.png"
        to_picture(image_set.images[index]).save(path)
        written.append(path)
    return written
