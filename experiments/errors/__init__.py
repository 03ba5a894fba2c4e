"""Table 2: the errors of nets, with one crop and with ten, alone and averaged."""
