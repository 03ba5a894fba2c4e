"""Table 3: the errors of a net without some layers, with narrower and wider ones."""
