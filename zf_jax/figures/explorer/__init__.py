"""The explorer: every unit of a net in one folder of HTML.

`content.py` says what is shown, `writer.py` writes it; `templates/` and `static/` are
the page.
"""
