"""Media to features: pictures, sound and words become rows of numbers, some of them in one space."""

from lightmeter.encoders.protocol import Classifier, Encoder, ImageEncoder, JointEncoder
from lightmeter.encoders.runtime import set_threads, threads
from lightmeter.encoders.table import ENCODERS

__all__ = ["ENCODERS", "Classifier", "Encoder", "ImageEncoder", "JointEncoder", "set_threads", "threads"]
