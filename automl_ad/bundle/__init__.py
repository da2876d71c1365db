"""The exported winner: one folder or zip file that holds all it takes to judge new images."""
