"""Small sets whose pictures are cut together or learnt pixel by pixel, and those that were made elsewhere."""
