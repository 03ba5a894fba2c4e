"""What each kind of layer computes: its forward pass, and the transpose of it."""
