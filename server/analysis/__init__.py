"""`./run.sh analyze`: files and folders from the command line."""
