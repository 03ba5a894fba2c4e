"""The paper's figures and tables, one script each: flags, compose, write."""
