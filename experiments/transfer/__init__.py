"""Tables 4, 5 and 7, fig. 9: features of a net for few images of other classes."""
