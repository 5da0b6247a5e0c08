"""Data set → small data set: coresets, prototypes, synthesis, and the protocols that score them."""
