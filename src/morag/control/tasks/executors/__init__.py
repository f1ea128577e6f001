"""The ways a claimed task gets run, one module each."""
