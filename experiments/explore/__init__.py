"""The explorer: every unit of a net in one folder of HTML."""
