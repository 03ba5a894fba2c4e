"""What several experiments share: model, data, choice of images and units."""
