"""Which maps say where a class is seen: saliency maps scored by annotations."""
