"""What people look at to choose among the candidates of a study; reads only."""
