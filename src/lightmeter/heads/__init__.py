"""Features → labels: closed forms, trees, neighbours; one idea a file."""

from lightmeter.heads.forest import Forest, ForestModel
from lightmeter.heads.knn import Knn, KnnModel
from lightmeter.heads.pnn import FourierPnn, FourierPnnModel
from lightmeter.heads.protocol import Head, Model
from lightmeter.heads.ridge import Ridge, RidgeModel
from lightmeter.heads.svm import KernelSvm, LinearSvm, Svm
from lightmeter.heads.table import HEADS

__all__ = [
    "HEADS",
    "Forest",
    "ForestModel",
    "FourierPnn",
    "FourierPnnModel",
    "Head",
    "KernelSvm",
    "Knn",
    "KnnModel",
    "LinearSvm",
    "Model",
    "Ridge",
    "RidgeModel",
    "Svm",
]
