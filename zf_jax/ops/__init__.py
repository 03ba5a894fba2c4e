"""What each kind of layer computes: the way up, and its transpose the way down."""
