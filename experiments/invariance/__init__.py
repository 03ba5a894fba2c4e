"""Fig. 5: how features change as the image is translated, scaled and rotated."""
