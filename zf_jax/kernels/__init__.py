"""Convolutions on a CPU in another form than XLA's, where that is faster.

`prepared_conv` chooses the form; what calls it does not know which one is taken. A form
stays only if it gains 1.3 times end to end on a CPU (docs/performance-notes.md).
"""
