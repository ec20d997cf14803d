"""Trajectories and entries elsewhere than in files of this machine."""
