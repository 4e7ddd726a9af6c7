"""What version 0.1 saved, and the script that wrote it."""
