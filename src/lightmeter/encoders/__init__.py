"""Media to features: pictures, sound and words become rows of numbers; joint encoders put words and pictures in one space."""
