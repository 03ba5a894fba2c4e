"""The explorer: every unit of a net in one folder of HTML.

`content.py` says what is shown, `writer.py` writes it, `single_file.py` packs it into
one page; `templates/` and `static/` are the page.
"""
