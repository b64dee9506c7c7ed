"""The command line: the only room that imports server, tools and evaluation."""
