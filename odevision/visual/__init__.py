"""Figures of what evaluation found; the only place that imports matplotlib."""

from odevision.visual.caption import burn_caption
from odevision.visual.class_probabilities import plot_class_probabilities
from odevision.visual.confusion import plot_confusion
from odevision.visual.corruptions import plot_corruption_examples, plot_corruptions
from odevision.visual.filmstrips import Filmstrip, plot_filmstrips
from odevision.visual.frame_memory import plot_frame_memory
from odevision.visual.image_grid import plot_gallery
from odevision.visual.nfe import plot_nfe
from odevision.visual.reliability import plot_reliability
from odevision.visual.seen_frames import change_pictures, flow_pictures, plot_seen_frames
from odevision.visual.share_watched import plot_share_watched
from odevision.visual.solver_study import SolverTraining, plot_solver_study
from odevision.visual.sweep import plot_sweep
from odevision.visual.theme import save_figure
from odevision.visual.top5 import plot_top
from odevision.visual.training_curves import plot_training_curves
from odevision.visual.trajectories import plot_trajectories

__all__ = [
    "Filmstrip",
    "SolverTraining",
    "burn_caption",
    "change_pictures",
    "flow_pictures",
    "plot_class_probabilities",
    "plot_confusion",
    "plot_corruption_examples",
    "plot_corruptions",
    "plot_filmstrips",
    "plot_frame_memory",
    "plot_gallery",
    "plot_nfe",
    "plot_reliability",
    "plot_seen_frames",
    "plot_share_watched",
    "plot_solver_study",
    "plot_sweep",
    "plot_top",
    "plot_training_curves",
    "plot_trajectories",
    "save_figure",
]
