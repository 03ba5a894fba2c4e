"""Table 1 and fig. 8: does the net know that images of a class share a part?"""
