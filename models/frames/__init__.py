"""Many to many, in step: a guess at every frame of a video."""
