"""How the brightness of images rises from pixel to pixel."""

from torch.nn import functional as F

from odevision.types import Images


def slopes(images: Images) -> tuple[Images, Images]:
    """Central differences to the right and down, a pixel; at an edge its pixels go on outside."""
    padded = F.pad(images, (1, 1, 1, 1), mode="replicate")
    right = (padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]) / 2
    down = (padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]) / 2
    return right, down
