"""Media to features: pictures, sound and words become rows of numbers, some of them in one space."""
