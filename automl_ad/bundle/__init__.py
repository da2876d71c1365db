"""The exported winner: one self-contained folder or zip file for prediction on new images."""
