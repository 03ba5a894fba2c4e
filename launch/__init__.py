"""Commands that train, and how every command starts and ends."""
