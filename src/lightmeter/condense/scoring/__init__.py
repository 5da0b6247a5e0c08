"""What a condensed set is worth: protocols, students, teachers and scores."""

from lightmeter.condense.scoring.label_order import check_labels
from lightmeter.condense.scoring.presets import Minimax, Preset, Quick, Rded
from lightmeter.condense.scoring.probe import encoded, linear_probe
from lightmeter.condense.scoring.robust_scores import LabelRobust, augmentation_robust, label_robust
from lightmeter.condense.scoring.scores import Scored, difference, score
from lightmeter.condense.scoring.students import ConvNetStudent, ResNetApStudent, ResNetStudent, Student
from lightmeter.condense.scoring.teacher import FittedTeacher, fit_teacher

__all__ = [
    "ConvNetStudent",
    "FittedTeacher",
    "LabelRobust",
    "Minimax",
    "Preset",
    "Quick",
    "Rded",
    "ResNetApStudent",
    "ResNetStudent",
    "Scored",
    "Student",
    "augmentation_robust",
    "check_labels",
    "difference",
    "encoded",
    "fit_teacher",
    "label_robust",
    "linear_probe",
    "score",
]
